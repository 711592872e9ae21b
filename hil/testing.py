"""pytest plugin: a simulated array on the network for anybody's tests.

    def test_my_script(hil_sim):
        with hil_sim(seed=3) as server:
            sdr = adi.FMComms5(uri=server.iio[0])
            ...

The server runs in its own process. Nothing else of this project is imported into the test process.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class SimServer:
    """A running simulated array: the URIs of its boards, its truth file and its process."""

    iio: tuple[str, ...]
    truth: Path
    process: subprocess.Popen[str]


@contextmanager
def serve(
    folder: Path,
    *,
    scene: Path | None = None,
    iio: str = "127.0.0.2",
    free_running: bool = False,
    timeout_s: float = 60.0,
) -> Iterator[SimServer]:
    """Run `hil sim serve` until the block ends. Raises RuntimeError with the server's own words if it cannot."""
    truth = folder / f"truth-{iio.replace(':', '-')}.jsonl"
    command = [sys.executable, "-P", "-m", "hil.cli", "sim", "serve", "--iio", iio, "--truth", str(truth)]
    command += ["--scene", str(scene)] if scene else []
    command += ["--free-running"] if free_running else []
    # One native thread per process: two cores are shared by the server, the client and the learner.
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    log = folder / f"server-{iio.replace(':', '-')}.log"
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env)
    try:
        ready = _first_line(process, timeout_s)
        if not ready:
            raise RuntimeError(
                f"the simulated array did not start: {log.read_text(encoding='utf-8')[-2000:]}"
            )
        yield SimServer(tuple(json.loads(ready)["iio"]), truth, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _first_line(process: subprocess.Popen[str], timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if selector.select(timeout=0.2):
                return process.stdout.readline()
            if process.poll() is not None:
                return ""
    return ""


@pytest.fixture
def hil_sim(tmp_path: Path) -> Callable[..., AbstractContextManager[SimServer]]:
    """A factory: `hil_sim(scene=Path|None, iio="127.0.0.2", free_running=False)` is a context manager."""

    def start(**options: object) -> AbstractContextManager[SimServer]:
        return serve(tmp_path, **options)  # type: ignore[arg-type]

    return start
