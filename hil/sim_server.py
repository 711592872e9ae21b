"""Start `hil sim serve` in a process of its own and wait until it accepts.

Standard library only: the pytest plugin runs this inside other people's projects.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SimServer:
    """A running simulated array: the URIs of its boards, its truth file and its process.

    soapy : URL of its SoapyRemote server, "" without: `driver=remote,remote=` and this opens it.
    rotator : URI of its turntable for `hil sweep --positioner`, "" without.
    """

    iio: tuple[str, ...]
    truth: Path
    process: subprocess.Popen[str]
    soapy: str = ""
    rotator: str = ""

    @property
    def uri(self) -> str:
        """What libiio and pyadi-iio open for the first board."""
        return self.iio[0]

    @property
    def soapy_args(self) -> dict[str, str]:
        """What SoapySDR.Device opens. TCP: over UDP the stock client loses samples silently."""
        return {"driver": "remote", "remote": self.soapy, "remote:prot": "tcp"}

    @property
    def device_uris(self) -> dict[str, str]:
        """URIs for this project's own programs, by protocol."""
        out = {"iio": "iio:" + ",".join(self.iio)} if self.iio else {}
        return out | ({"soapy": f"soapy:driver=remote,remote={self.soapy}"} if self.soapy else {})

    def events(self) -> list[dict[str, Any]]:
        """What the truth file says so far, line by line: first what was drawn, then what happened."""
        lines = self.truth.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def kill(self) -> None:
        """End the server without a word to its clients, as a power failure does."""
        self.process.kill()
        self.process.wait(10)


_IIO_PORT = 30431
_calls = itertools.count()
_servers = itertools.count()


def free_address() -> str:
    """A loopback address for up to 16 boards that two programs at work are unlikely to share, and where no IIO
    server of this process is (Linux answers on all of 127/8). Raises RuntimeError when 15 are at work."""
    pid = os.getpid()
    for _ in range(15):
        host = f"127.{64 + (pid >> 8) % 128}.{1 + pid % 254}.{2 + 16 * (next(_calls) % 15)}"
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server binds
            probe.bind((host, _IIO_PORT))
            return host
    raise RuntimeError("no free loopback address: 15 simulated arrays are at work in this process")


def anywhere() -> str:
    """HOST or HOST:PORT for the IIO contexts of one more server: nobody else listens there."""
    return free_address() if sys.platform == "linux" else "127.0.0.1:0"


@contextmanager
def serve(
    folder: Path,
    *,
    scene: Path | None = None,
    iio: str | None = "free",
    soapy: str | None = None,
    rotator: str | None = None,
    free_running: bool = False,
    loop_s: float | None = None,
    timeout_s: float = 60.0,
) -> Iterator[SimServer]:
    """Run `hil sim serve` until the block ends: IIO contexts at `iio`, a SoapyRemote server at `soapy`, or both.

    iio, soapy : HOST[:PORT], "free" for a loopback address where nobody listens, None for not at all. rotator : the same
    for the turntable under the array. loop_s : seconds of samples that are made once and repeated.

    Raises ValueError if both are None, RuntimeError with the server's own words if it cannot start.
    """
    if iio is None and soapy is None:
        raise ValueError("give an address for iio, for soapy, or for both")
    iio = anywhere() if iio == "free" else iio
    soapy = "127.0.0.1:0" if soapy == "free" else soapy
    rotator = "127.0.0.1:0" if rotator == "free" else rotator
    name = "-".join([part.replace(":", "-") for part in (iio, soapy) if part] + [str(next(_servers))])
    truth, log = folder / f"truth-{name}.jsonl", folder / f"server-{name}.log"
    command = [sys.executable, "-P", "-m", "hil.cli", "sim", "serve", "--truth", str(truth)]
    command += ["--iio", iio] if iio is not None else []
    command += ["--soapy", soapy] if soapy is not None else []
    command += ["--rotator", rotator] if rotator is not None else []
    command += ["--scene", str(scene)] if scene else []
    command += ["--free-running"] if free_running else []
    command += ["--loop", str(loop_s)] if loop_s is not None else []
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
        answer = json.loads(ready)
        yield SimServer(
            tuple(answer["iio"]), truth, process, answer.get("soapy", ""), answer.get("rotator", "")
        )
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
