"""Emulator under test with a source whose samples say what they are, and a client that speaks raw bytes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sim_backend.serve import IioServers

_CHANNELS = {"pluto": 2, "fmcomms5": 4, "adrv9009": 2, "adrv9009-zu11eg": 4}
HOST = "127.0.10.1"


class RampSource:
    """Sample n of column k is (n + 100 k) modulo 2000; everything that is written is recorded in `events`."""

    def __init__(
        self, board: str, *, n_boards: int = 1, fs_hz: float = 2.5e6, free_running: bool = True
    ) -> None:
        self.n_boards, self.board, self.free_running = n_boards, board, free_running
        self.reads: deque[tuple[int, float]] = deque(maxlen=1000)
        self.events: list[tuple[Any, ...]] = []
        self.lo: dict[tuple[int, int], float] = {}
        self.tx_lo: dict[tuple[int, int], float] = {}
        self.scale: tuple[float, ...] | None = None  # of every transmit channel, as last given
        self.gain: dict[tuple[int, int], float] = {}
        self._fs = dict.fromkeys(range(n_boards), fs_hz)
        self._t0 = dict.fromkeys(range(n_boards), (time.monotonic(), 0))
        self._latest = 0
        self._lock = threading.Lock()

    def board_name(self, board: int) -> str:
        return self.board

    def n_channels(self, board: int) -> int:
        return _CHANNELS[self.board]

    def fc_hz(self, board: int, chip: int = 0) -> float:
        return self.lo.get((board, chip), 2.45e9)

    def fs_hz(self, board: int) -> float:
        return self._fs[board]

    def gain_db(self, board: int, channel: int) -> float:
        return self.gain.get((board, channel), 20.0)

    def now(self, board: int) -> int:
        if self.free_running:
            return self._latest
        t0, n0 = self._t0[board]
        return n0 + int((time.monotonic() - t0) * self._fs[board])

    def wait_until(self, board: int, sample: int, timeout_s: float) -> bool:
        if self.free_running:
            return True
        missing_s = (sample - self.now(board)) / self._fs[board]
        if missing_s > 0:
            threading.Event().wait(min(missing_s + 1e-6, timeout_s))
        return self.now(board) >= sample

    def read(self, board: int, first: int, n: int) -> NDArray[np.int16]:
        with self._lock:
            self._latest = max(self._latest, first + n)
            self.reads.append((first, self._fs[board]))
        return self.ramp(first, n)

    def ramp(self, first: int, n: int) -> NDArray[np.int16]:
        """(n, 2 C) int16 that the source gives from scene sample `first` on."""
        columns = 2 * _CHANNELS[self.board]
        return ((np.arange(first, first + n)[:, None] + 100 * np.arange(columns)) % 2000).astype(np.int16)

    def write_lo(self, board: int, chip: int, fc_hz: float, at: int) -> None:
        self.lo[board, chip] = fc_hz
        self.events.append(("lo", board, chip, fc_hz))

    def write_rate(self, board: int, fs_hz: float, at: int) -> None:
        now = self.now(board)
        self._t0[board] = (time.monotonic(), int(now * fs_hz / self._fs[board]))
        self._fs[board] = fs_hz
        self.events.append(("rate", board, fs_hz))

    def write_gain(self, board: int, channel: int, gain_db: float, at: int) -> None:
        self.gain[board, channel] = gain_db
        self.events.append(("gain", board, channel, gain_db))

    def tx_fc_hz(self, board: int, chip: int = 0) -> float:
        return self.tx_lo.get((board, chip), 2.45e9)

    def write_tx_lo(self, board: int, chip: int, fc_hz: float, at: int) -> None:
        self.tx_lo[board, chip] = fc_hz
        self.events.append(("tx_lo", board, chip, fc_hz))

    def transmit(
        self, board: int, waveform: NDArray[np.complex64] | None, at: int, *, cyclic: bool = True,
        scale: tuple[float, ...] | None = None,
    ) -> None:  # fmt: skip
        self.scale = scale
        self.events.append(("transmit", board, waveform, at, cyclic))

    def rescale(self, board: int, scale: tuple[float, ...], at: int) -> None:
        self.scale = scale
        self.events.append(("tx_scale", board, scale, at))

    def note(self, event: str, board: int, at: int, **details: Any) -> None:
        self.events.append((event, board, at, details))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """Recorded events of one kind."""
        return [event for event in list(self.events) if event[0] == kind]


class RawClient:
    """Bytes to and from one connection, written for these tests only."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 10.0) -> None:
        self.sock = socket.create_connection(address, timeout=timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.sock.makefile("rb")

    def send(self, text: str | bytes) -> None:
        self.sock.sendall(text.encode() if isinstance(text, str) else text)

    def line(self) -> str:
        return self._file.readline().decode()

    def take(self, n: int) -> bytes:
        return self._file.read(n)

    def ask(self, command: str) -> int:
        """Send a command and read its status."""
        self.send(command + "\r\n")
        return int(self.line())

    def value(self, command: str) -> str | int:
        """READ: the text, or the negative errno."""
        n = self.ask(command)
        if n < 0:
            return n
        data = self.take(n + 1)
        assert data.endswith(b"\0\n"), data
        return data[:-2].decode()

    def write(self, target: str, text: str) -> int:
        """WRITE as libiio does, with the trailing NUL."""
        payload = text.encode() + b"\0"
        self.send(f"WRITE {target} {len(payload)}\r\n".encode() + payload)
        return int(self.line())

    def readbuf(self, device: str, n_bytes: int, words: int = 1) -> tuple[bytes, int | None, int]:
        """(data, mask, last status): status 0 for a short read, -errno, or n_bytes if all came."""
        self.send(f"READBUF {device} {n_bytes}\r\n")
        data, mask = b"", None
        while len(data) < n_bytes:
            length = int(self.line())
            if length <= 0:
                return data, mask, length
            if mask is None:
                mask = int(self.take(8 * words + 1)[:-1], 16)
            data += self.take(length)
        return data, mask, n_bytes

    def frames(self, device: str, n: int, columns: int) -> NDArray[np.int16]:
        """(n, columns) int16 by one READBUF that must succeed."""
        data, _, status = self.readbuf(device, 2 * columns * n)
        assert status == len(data), status
        return np.frombuffer(data, "<i2").reshape(n, columns)

    def ended(self) -> bool:
        """True if the server closes the connection (within the socket's timeout)."""
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        self._file.close()
        self.sock.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[IioServers, RampSource]]]:
    """Start servers over a RampSource: serve(board, n_boards=1, fs_hz=2.5e6, free_running=True, **of IioServers)."""
    with contextlib.ExitStack() as stack:

        def start(
            board: str, *, n_boards: int = 1, fs_hz: float = 2.5e6, free_running: bool = True, **options: Any
        ) -> tuple[IioServers, RampSource]:
            source = RampSource(board, n_boards=n_boards, fs_hz=fs_hz, free_running=free_running)
            options = {"host": HOST, "port": 0, "free_running": free_running} | options
            servers = IioServers(source, **options)
            stack.enter_context(servers)
            return servers, source

        yield start


@pytest.fixture
def connect() -> Iterator[Callable[..., RawClient]]:
    """Connect to board k of the servers: connect(servers, k=0)."""
    with contextlib.ExitStack() as stack:

        def start(servers: IioServers, k: int = 0, timeout_s: float = 10.0) -> RawClient:
            client = RawClient(servers.servers[k].address, timeout_s)
            stack.callback(client.close)
            return client

        yield start


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Poll until a condition holds: eventually(condition, timeout_s=5)."""

    def wait(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "did not happen in time"
            pause.wait(0.005)

    return wait


@pytest.fixture
def cli() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `hil sim serve` as its own process, from another folder; ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, cwd: str = "/") -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "hil.cli.main", "sim", "serve", *arguments]
        process = subprocess.Popen(
            command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)
