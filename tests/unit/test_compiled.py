"""Compiled kernels come beside the program, and whatever goes wrong on the way leaves plain numpy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hil.core import compiled
from hil.dsp.covariance import sample_covariance

ROOT = Path(__file__).resolve().parents[2]
TINY = """
from numba import njit, types
{first}
@njit([types.float64(types.float64)], cache=True)
def twice(x):
    return 2.0 * x
"""
Write = Callable[[str], None]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """A small kernel instead of ours, a process that has prepared nothing, and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compiled, "KERNELS", {"tiny": "tiny_kernel_of_tests"})
    forget(monkeypatch)

    def write(first: str) -> None:
        (tmp_path / "tiny_kernel_of_tests.py").write_text(TINY.format(first=first))

    write("")
    yield write
    sys.modules.pop("tiny_kernel_of_tests", None)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process would start."""
    monkeypatch.setattr(compiled, "_thread", None)
    monkeypatch.setattr(compiled, "_kernels", {})
    monkeypatch.setattr(compiled, "_why_not", "not prepared")
    sys.modules.pop("tiny_kernel_of_tests", None)


def marks(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("ready"))


def numpy_still_works() -> None:
    assert compiled.kernel("tiny") is None
    np.testing.assert_array_equal(sample_covariance(np.ones((2, 3), np.complex64)), np.ones((2, 2)))


def test_compiled_once_and_loaded_from_then_on(
    tiny: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled.prepare() in (False, True)  # returns at once; what it says may still change
    assert compiled.prepare(wait=True), compiled.why_not()
    assert compiled.kernel("tiny").twice(3.0) == 6.0
    assert compiled.why_not() == ""
    assert len(marks(tmp_path)) == 1
    forget(monkeypatch)

    def never(folder: Path) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(compiled, "_compile_apart", never)
    assert compiled.prepare(wait=True), compiled.why_not()
    assert compiled.kernel("tiny").twice.stats.cache_hits


def test_switched_off(tiny: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.SWITCH, "0")
    assert not compiled.prepare(wait=True)
    assert compiled.SWITCH in compiled.why_not()
    assert not (tmp_path / "cache").exists()
    numpy_still_works()


def test_without_numba(tiny: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not compiled.prepare(wait=True)
    assert compiled.why_not() == "numba is not installed"
    numpy_still_works()


def test_cache_that_cannot_be_written(tiny: Write, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert not compiled.prepare(wait=True)
    assert compiled.why_not()
    numpy_still_works()


@pytest.mark.parametrize(
    "end", ["import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "raise OSError('disk full')", "1 / 0"]
)
def test_compiler_that_dies_leaves_no_mark(
    tiny: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    tiny(end)
    assert not compiled.prepare(wait=True)
    assert "compiler ended" in compiled.why_not()
    assert not marks(tmp_path)
    numpy_still_works()
    tiny("")
    forget(monkeypatch)
    assert compiled.prepare(wait=True), compiled.why_not()


def test_damaged_cache_is_made_anew_by_the_next_program(
    tiny: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled.prepare(wait=True)
    for path in (tmp_path / "cache").rglob("*.nb?"):
        path.write_bytes(b"\x80\x05damaged")
    forget(monkeypatch)
    if not compiled.prepare(wait=True):
        numpy_still_works()
        forget(monkeypatch)
        assert compiled.prepare(wait=True), compiled.why_not()
    assert compiled.kernel("tiny").twice(3.0) == 6.0


def test_two_programs_compile_at_once(tiny: Write, tmp_path: Path) -> None:
    code = (
        "from hil.core import compiled; compiled.KERNELS = {'tiny': 'tiny_kernel_of_tests'}; "
        "print(compiled.prepare(wait=True), compiled.why_not())"
    )
    both = [
        subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(2)
    ]
    assert [p.communicate(timeout=120)[0].strip() for p in both] == ["True", "True"]
    assert len(marks(tmp_path)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="asks the system for processes")
def test_compiler_ends_with_its_program(tiny: Write, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    tiny(
        f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    code = (
        "import time; from hil.core import compiled; compiled.KERNELS = {'tiny': 'tiny_kernel_of_tests'}; "
        "compiled.prepare(); time.sleep(60)"
    )
    program = subprocess.Popen([sys.executable, "-P", "-c", code], cwd=ROOT)
    until(lambda: told.exists() and told.read_text() != "")
    program.send_signal(signal.SIGKILL)
    program.wait(10)
    until(lambda: not alive(int(told.read_text())))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """A process that ended and was not waited for by whoever inherited it counts as ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("module", ["hil", "hil.cli.main", "hil.dsp.doa", "hil.jobs.spectrum"])
def test_numba_is_not_imported_unasked(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print('numba' in sys.modules)"],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


def test_plain_is_of_the_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_kernels", {"tiny": "kernels"})
    seen = []
    with compiled.plain():
        with compiled.plain():
            assert compiled.kernel("tiny") is None
        assert compiled.kernel("tiny") is None
        other = threading.Thread(target=lambda: seen.append(compiled.kernel("tiny")))
        other.start()
        other.join()
    assert compiled.kernel("tiny") == "kernels" == seen[0]
