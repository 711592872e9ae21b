"""Faults of the transport of one board, as the scene's [faults] table orders them."""

from __future__ import annotations

import math
import threading
import time

import numpy as np

from sim_backend.faults import Faults
from sim_backend.source import SampleSource


class BoardFaults:
    """Overflows, hangs, dropped connections and short reads of board `index` (rx_dma.LossModel)."""

    def __init__(self, source: SampleSource, index: int, faults: Faults, seed: int = 0) -> None:
        self._source, self._index, self._faults = source, index, faults
        self._lock = threading.Lock()
        self._rng = np.random.default_rng([seed, index, 1])
        self._checked_s = {"stall": 0.0, "disconnect": 0.0}
        self._blocked_until = 0.0

    def lost_at(self, first: int, n: int) -> tuple[int, int] | None:
        """(sample at which an overflow begins, samples lost) within first..first+n, or None."""
        if not self._faults.overflow_every_s:
            return None
        fs_hz = self._source.fs_hz(self._index)
        for t_s in self._faults.due("overflow", first / fs_hz, (first + n) / fs_hz):
            at = math.ceil(t_s * fs_hz - 1e-6)
            if first <= at < first + n:
                return at, self._faults.overflow_samples
        return None

    def blocked(self) -> bool:
        """True while the device hangs: `stall_s` by the wall clock from the scene second of the fault on."""
        if not self._faults.stall_at_s:
            return False
        with self._lock:
            if self._due("stall"):
                self._source.note("hang", self._index, self._source.now(self._index))
                self._blocked_until = time.monotonic() + self._faults.stall_s
            return time.monotonic() < self._blocked_until

    def disconnect_due(self) -> bool:
        """True once for every time at which the connections are to be dropped."""
        with self._lock:
            return self._due("disconnect")

    def _due(self, kind: str) -> bool:
        now_s = self._source.now(self._index) / self._source.fs_hz(self._index)
        due = self._faults.due(kind, self._checked_s[kind], now_s)
        self._checked_s[kind] = max(now_s, self._checked_s[kind])
        return bool(due)

    def shorten(self, n_bytes: int) -> int:
        """Bytes that a READBUF of `n_bytes` may return: every other one is cut to a quarter up to all of it."""
        if not self._faults.short_reads or n_bytes < 64:
            return n_bytes
        with self._lock:
            if self._rng.random() < 0.5:
                return n_bytes
            return int(n_bytes * self._rng.uniform(0.25, 1.0))
