"""Start `hil sim serve` in a process of its own and wait until it accepts.

Standard library only: the pytest plugin runs this inside other people's projects.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SimServer:
    """A running simulated array: the URIs of its boards, its truth file and its process."""

    iio: tuple[str, ...]
    truth: Path
    process: subprocess.Popen[str]


def free_address() -> str:
    """A loopback address that two programs at work are unlikely to share (Linux answers on all of 127/8)."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 8) % 128}.{1 + pid % 254}.2"


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
    name = iio.replace(":", "-")
    truth, log = folder / f"truth-{name}.jsonl", folder / f"server-{name}.log"
    command = [sys.executable, "-P", "-m", "hil.cli", "sim", "serve", "--iio", iio, "--truth", str(truth)]
    command += ["--scene", str(scene)] if scene else []
    command += ["--free-running"] if free_running else []
    if sys.platform == "linux":
        command += ["--parent", str(os.getpid())]
    # One native thread per process: two cores are shared by the server, the client and the learner.
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with log.open("w", encoding="utf-8") as stderr:
        # its own process group: Ctrl-C reaches the client first, which then ends the server in order
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env, start_new_session=True
        )
    try:
        ready = _first_line(process, timeout_s)
        if not ready:
            words = log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
            raise RuntimeError(f"the simulated array did not start: {words}")
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
