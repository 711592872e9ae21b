"""Whole programs: `hil` in processes of its own, simulated boards behind real sockets."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hil.cli.main import call
from hil.sim_server import SimServer, free_address, serve

#: Guards against a hang; nothing here is a measurement of speed.
HANG_S = 150.0

#: Emitters that hop quickly enough for half a second of stream to show a hundred directions.
HOPPING = """
seed = {seed}
[array]
n_elements = {n}
[receiver]
fs_hz = 1.0e6
{receiver}
[[emitter]]
hop = {{ period_s = 0.004, min_deg = -60.0, max_deg = 60.0 }}
{more}
"""


def hopping_scene(n: int, seed: int = 5, receiver: str = "", more: str = "") -> str:
    """Scene text: n elements and one hopping emitter, 1 MS/s."""
    return HOPPING.format(n=n, seed=seed, receiver=receiver, more=more)


def poll_until(condition: Callable[[], Any], seconds: float = 30.0, step_s: float = 0.02) -> Any:
    """The first true value of the condition; fails after the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(step_s)
    raise AssertionError(f"nothing within {seconds:g} s: {condition}")


@dataclass(frozen=True)
class Outcome:
    """How a finished `hil` left: exit code, its JSON object ({} if none), stderr."""

    code: int
    json: dict[str, Any]
    stderr: str
    stdout: str


class Program:
    """Runs `hil` as users do: a process of its own in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.env = os.environ | threads | {"HIL_HOME": str(folder / "home"), "QT_QPA_PLATFORM": "offscreen"}
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *args: object, **options: Any) -> subprocess.Popen[str]:
        """Start in the background, as leader of a process group; ended by the fixture at the latest."""
        command = [sys.executable, "-P", "-m", "hil.cli", *map(str, args)]
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.env, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip
        self._running.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], timeout_s: float = HANG_S) -> Outcome:
        """Wait for the end and read what was said."""
        out, err = process.communicate(timeout=timeout_s)
        assert "Traceback" not in err, err
        assert "unexpected" not in err, err
        lines = out.splitlines()
        found = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
        return Outcome(process.returncode, found, err, out)

    def __call__(self, *args: object, timeout_s: float = HANG_S, **options: Any) -> Outcome:
        """Run to the end with `--json -`; exactly one object must be on stdout."""
        ended = self.finish(self.start(*args, "--json", "-", **options), timeout_s)
        assert len(ended.stdout.splitlines()) == 1, ended.stdout
        assert ended.json["exit_code"] == ended.code, ended
        assert (ended.json["status"] == "ok") == (ended.code == 0)
        if ended.code not in (0, 130):
            assert ended.json["reason"], ended
        return ended

    def here(self, *args: object) -> Outcome:
        """The same in this process (a second less of imports), for what leaves no process to be looked at."""
        out, err = io.StringIO(), io.StringIO()
        before = {name: os.environ.get(name) for name in ("HIL_HOME",)}
        os.environ["HIL_HOME"] = self.env["HIL_HOME"]
        try:
            with (
                contextlib.chdir(self.folder),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                code = call([*map(str, args), "--json", "-"])
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        assert "Traceback" not in err.getvalue()
        assert "unexpected" not in err.getvalue(), err.getvalue()
        assert len(out.getvalue().splitlines()) == 1, (out.getvalue(), err.getvalue())
        found = json.loads(out.getvalue())
        assert found["exit_code"] == code
        return Outcome(code, found, err.getvalue(), out.getvalue())

    def end_all(self) -> None:
        """Kill what still runs."""
        for process in self._running:
            if process.poll() is None:
                with_group = os.getpgid(process.pid)
                os.killpg(with_group, signal.SIGKILL)
                process.wait(10)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def hil(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    program.end_all()


@pytest.fixture(scope="module")
def shared_hil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One folder for the tests of a module that build on each other's files."""
    program = Program(tmp_path_factory.mktemp("shared"))
    yield program
    program.end_all()


@contextmanager
def _board(folder: Path, text: str, **options: Any) -> Iterator[SimServer]:
    scene = folder / "board.toml"
    scene.write_text(text, encoding="utf-8")
    with serve(folder, scene=scene, iio=free_address(), **options) as server:
        yield server


@pytest.fixture
def board(tmp_path: Path) -> Callable[..., Any]:
    """`with board(scene_text, free_running=False) as server`: boards on the network."""
    return lambda text, **options: _board(tmp_path, text, **options)


@pytest.fixture(scope="module")
def shared_board(shared_hil: Program) -> Callable[..., Any]:
    """The same for a whole module."""
    return lambda text, **options: _board(shared_hil.folder, text, **options)


@pytest.fixture(scope="session")
def scene_text() -> Callable[..., str]:
    return hopping_scene


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    return poll_until
