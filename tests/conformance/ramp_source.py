"""A source whose samples say what they are, so that every lost or repeated one shows."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHANNELS = {"pluto": 2, "fmcomms5": 4, "adrv9009": 2, "adrv9009-zu11eg": 4}


class RampSource:
    """Sample n of column k is (n + 100 k) modulo 2000; everything that is written is recorded in `events`."""

    def __init__(
        self, board: str = "fmcomms5", *, n_boards: int = 1, fs_hz: float = 2.5e6, free_running: bool = True
    ) -> None:
        self.n_boards = n_boards
        self.board, self.free_running = board, free_running
        self.events: list[tuple[Any, ...]] = []
        self.lo: dict[tuple[int, int], float] = {}
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
            time.sleep(min(missing_s + 1e-6, timeout_s))
        return self.now(board) >= sample

    def read(self, board: int, first: int, n: int) -> NDArray[np.int16]:
        with self._lock:
            self._latest = max(self._latest, first + n)
        return ramp(first, n, 2 * self.n_channels(board))

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

    def transmit(
        self, board: int, waveform: NDArray[np.complex64] | None, at: int, *, cyclic: bool = True
    ) -> None:
        self.events.append(("transmit", board, waveform, at, cyclic))

    def note(self, event: str, board: int, at: int, **details: Any) -> None:
        self.events.append((event, board, at, details))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """Recorded events of one kind."""
        return [event for event in list(self.events) if event[0] == kind]


def ramp(first: int, n: int, columns: int) -> NDArray[np.int16]:
    """(n, columns) int16 of the source."""
    return ((np.arange(first, first + n)[:, None] + 100 * np.arange(columns)) % 2000).astype(np.int16)
