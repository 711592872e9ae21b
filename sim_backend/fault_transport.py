"""Faults of the transport of one board, as the scene's [faults] table orders them; the same for every protocol.

A server asks: `lost_at` and `dropped` where it cuts the stream of samples into blocks, `blocked` before it answers a
read, `disconnect_due` from time to time, `half_reply_due`, `latency_s` and `allow` where it sends. What begins by
the clock is written to the truth here; what begins in a block is reported by who makes the block.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from sim_backend.faults import Faults, border
from sim_backend.source import SampleSource

#: Shorter replies (status lines) are never sent by halves.
LEAST_HALVED_BYTES = 64
_BURST_S = 0.01
_LEAST_BURST_BYTES = 1500


class TransportFaults:
    """Overflows, lost blocks, hangs, dropped connections, half replies and a slow network of board `board`.

    Thread-safe.
    """

    def __init__(self, source: SampleSource, board: int, faults: Faults) -> None:
        self._source, self._board, self._faults = source, board, faults
        self._lock = threading.Lock()
        self._checked_s: dict[str, float] = {}
        self._blocked_until = 0.0
        self._half_pending = 0
        self._slow_noted = False
        self._bytes_per_s = faults.network_mbit_s * 1e6 / 8
        self._tokens = 0.0
        self._filled_at = time.monotonic()

    # Samples

    def lost_at(self, first: int, n: int) -> tuple[int, int] | None:
        """(sample at which an overflow begins, samples lost) within first..first+n, or None."""
        if not self._faults.overflow_every_s or not self._faults.concerns("overflow", self._board):
            return None
        at = self._begun("overflow", first, n)
        return None if at is None else (at, self._faults.overflow_samples)

    def dropped(self, first: int, n: int) -> int:
        """How many blocks from the one of first..first+n on are to vanish; 0: none."""
        if not self._faults.drop_blocks_at_s or not self._faults.concerns("drop_blocks", self._board):
            return 0
        return 0 if self._begun("drop_blocks", first, n) is None else self._faults.drop_blocks

    def _begun(self, kind: str, first: int, n: int) -> int | None:
        """The first sample of first..first+n at which a fault of this kind begins."""
        fs_hz = self._source.fs_hz(self._board)
        for t_s in self._faults.due(kind, (first - 1) / fs_hz, (first + n) / fs_hz):
            at = border(t_s, fs_hz)
            if first <= at < first + n:
                return at
        return None

    def report(self, kind: str, at: int, **details: Any) -> None:
        """Write to the truth that a fault of the transport begins at scene sample `at`."""
        self._source.note("fault", self._board, at, kind=kind, channel=None, **details)

    # Answers

    def blocked(self) -> bool:
        """True while the device hangs: `stall_s` by the wall clock from the scene second of the fault on."""
        if not self._faults.stall_at_s:
            return False
        with self._lock:
            if self._due("stall"):
                now = self._source.now(self._board)
                self._source.note("hang", self._board, now)
                self.report("stall", now, stall_s=self._faults.stall_s)
                self._blocked_until = time.monotonic() + self._faults.stall_s
            return time.monotonic() < self._blocked_until

    def disconnect_due(self) -> bool:
        """True once for every time at which the connections are to be dropped."""
        with self._lock:
            if not self._due("disconnect"):
                return False
            self.report("disconnect", self._source.now(self._board))
            return True

    def half_reply_due(self, n_bytes: int) -> float | None:
        """Asked before a reply of n_bytes is sent: None, or the seconds to wait after its first half before the
        connection is closed. Each time of the scene is spent on one reply of LEAST_HALVED_BYTES or more."""
        if not self._faults.half_reply_at_s:
            return None
        with self._lock:
            self._half_pending += self._due("half_reply")
            if not self._half_pending or n_bytes < LEAST_HALVED_BYTES:
                return None
            self._half_pending -= 1
            sent = n_bytes // 2
            now = self._source.now(self._board)
            self.report("half_reply", now, bytes_sent=sent, bytes_of_reply=n_bytes)
            return self._faults.half_reply_hang_s

    def _due(self, kind: str) -> int:
        """How many faults of a kind have begun since this was last asked."""
        now_s = self._source.now(self._board) / self._source.fs_hz(self._board)
        since_s = self._checked_s.get(kind, 0.0)
        self._checked_s[kind] = max(now_s, since_s)
        return len(self._faults.due(kind, since_s, now_s)) if self._faults.concerns(kind, self._board) else 0

    # Network

    def latency_s(self) -> float:
        """Seconds that a reply is to be held back; 0 where the network is not slow."""
        return self._faults.network_latency_s if self._slow() else 0.0

    def allow(self, n_bytes: int) -> int:
        """How many of n_bytes may go out now, over all connections of the board; the caller asks again later for
        the rest. All of them where the network is not slow."""
        if not self._bytes_per_s or not self._slow():
            return n_bytes
        with self._lock:
            now = time.monotonic()
            burst = max(_LEAST_BURST_BYTES, _BURST_S * self._bytes_per_s)
            self._tokens = min(burst, self._tokens + (now - self._filled_at) * self._bytes_per_s)
            self._filled_at = now
            granted = min(n_bytes, int(self._tokens))
            self._tokens -= granted
            return granted

    def _slow(self) -> bool:
        f = self._faults
        if not (f.network_mbit_s or f.network_latency_s):
            return False
        if not self._slow_noted:
            now = self._source.now(self._board)
            if now / self._source.fs_hz(self._board) < f.network_from_s:
                return False
            with self._lock:
                noted, self._slow_noted = self._slow_noted, True
            if not noted:
                self.report("slow_network", now, mbit_s=f.network_mbit_s, latency_s=f.network_latency_s)
        return True
