"""Compiled kernels where numba is at hand; plain numpy everywhere else.

Importing numba and loading kernels takes a second, compiling them half a minute. So nothing happens unless a program
that will need them says `prepare()`; then a process at low priority compiles once for this machine and these versions, a
thread loads the result, and `kernel(name)` turns from None to the kernels. Callers ask it for every frame and switch
over by themselves. Whatever fails on the way leaves numpy in place.

`HIL_COMPILED=0` in the environment switches it off. Kernels are kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SWITCH = "HIL_COMPILED"
#: Modules of kernels by the name that callers ask for. Named, not imported: importing one compiles it.
KERNELS = {"fetch": "drivers.iio.fetch_kernel", "doa": "hil.dsp.doa_kernel"}
#: Their text decides whether what is kept still fits.
_SOURCES = (
    "drivers/iio/fetch_kernel.py", "hil/dsp/doa_kernel.py", "hil/dsp/subspace_kernel.py", "hil/dsp/covariance_kernel.py",
)  # fmt: skip
_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("numba", "llvmlite", "numpy")
_READY = "ready"
_COMPILE_S = 900.0


class _Here(threading.local):
    plain = False


_here = _Here()
_lock = threading.Lock()
_thread: threading.Thread | None = None
_kernels: dict[str, Any] = {}
_why_not = "not prepared"


def kernel(name: str) -> Any:
    """The module of `KERNELS`, or None: not prepared, not ready yet, not possible here, or inside `plain()`."""
    return None if _here.plain else _kernels.get(name)


@contextmanager
def plain() -> Generator[None]:
    """In this thread numpy alone: what several processes share must not depend on what each has prepared."""
    before, _here.plain = _here.plain, True
    try:
        yield
    finally:
        _here.plain = before


def why_not() -> str:
    """Why `kernel()` is None, "" if it is not."""
    return _why_not


def prepare(wait: bool = False) -> bool:
    """Compile and load the kernels, the first time that it is called; returns whether they are there now.

    wait : block until they are or cannot be; without it everything happens beside the caller.
    """
    global _thread, _why_not
    with _lock:
        if _thread is None:
            reason = _impossible()
            if reason:
                _why_not = reason
                return False
            _why_not = "being compiled or loaded"
            _thread = threading.Thread(target=_make_ready, name="compiled-kernels", daemon=True)
            _thread.start()
    if wait:
        _thread.join()
    return bool(_kernels)


def _impossible() -> str:
    if os.environ.get(SWITCH, "") == "0":
        return f"switched off by {SWITCH}=0"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    return ""


def _make_ready() -> None:
    """Body of the thread."""
    global _kernels, _why_not
    folder: Path | None = None
    try:
        folder = _folder()
        if not (folder / _READY).exists():
            _compile_apart(folder)
        _kernels = _load(folder, KERNELS)
        _why_not = ""
    except Exception as err:  # noqa: BLE001 - top of a thread; whatever numba raises, numpy goes on
        _why_not = f"{type(err).__name__}: {err}"
        if folder is not None and (folder / _READY).exists():
            # Damaged: the next program makes it anew.
            shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    """Where kernels of these sources, versions and this processor are kept; made if need be. Raises OSError."""
    import platformdirs

    known = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    known += [sys.version, platform.machine(), _processor()]
    for name in _SOURCES:
        path = _ROOT / name
        # numba compares place and time of the file as well.
        known += [str(path), str(path.stat().st_mtime_ns), hashlib.sha256(path.read_bytes()).hexdigest()]
    key = hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]
    folder = Path(platformdirs.user_cache_dir("hil", appauthor=False)) / "compiled" / key
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    first = text.partition("\n\n")[0].splitlines()
    return "\n".join(line for line in first if line.startswith(wanted))


def _compile_apart(folder: Path) -> None:
    """Compile in another process, which ends with this one. Raises RuntimeError and OSError."""
    with tempfile.TemporaryFile(dir=folder):
        pass  # half a minute of work would be in vain where nothing can be written
    code = (
        f"import sys; sys.path.insert(0, {str(_ROOT)!r}); "
        f"from hil.core.compiled import compile_into; compile_into({str(folder)!r}, {KERNELS!r})"
    )
    environment = dict(os.environ) | dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
    )
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    try:
        code_of_end = child.wait(_COMPILE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        code_of_end = child.wait()
    finally:
        assert child.stdin is not None
        child.stdin.close()
    if code_of_end != 0:
        raise RuntimeError(f"the compiler ended with {code_of_end}")


def compile_into(folder: str, modules: dict[str, str]) -> None:
    """Body of the process that compiles: kernels of these modules into `folder`, and a mark once all are there."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "setpriority"):  # not os.nice: a capture that goes first may have started us
        os.setpriority(os.PRIO_PROCESS, 0, 15)
    _load(Path(folder), modules)
    handle, name = tempfile.mkstemp(dir=folder)
    os.close(handle)
    Path(name).replace(Path(folder) / _READY)


def _end_with_parent() -> None:
    # Not through sys.stdin: its lock, held by a daemon thread, aborts the interpreter's end.
    while os.read(0, 1024):
        pass
    os._exit(1)


def _load(folder: Path, modules: dict[str, str]) -> dict[str, Any]:
    """By name, the kernels from `folder`, compiled into it where they are missing."""
    numba: Any = importlib.import_module("numba")
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        return {name: importlib.import_module(module) for name, module in modules.items()}
    finally:
        numba.config.CACHE_DIR = before
