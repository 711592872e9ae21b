"""Faults of one IIO context: those of every transport, and replies that are too short."""

from __future__ import annotations

import threading

import numpy as np

from sim_backend.fault_transport import TransportFaults
from sim_backend.faults import Faults
from sim_backend.source import SampleSource


class BoardFaults(TransportFaults):
    """Faults of the context of board `index` (rx_dma.LossModel, wire.LinkFaults). `seed` draws the short reads."""

    def __init__(self, source: SampleSource, index: int, faults: Faults, seed: int = 0) -> None:
        super().__init__(source, index, faults)
        self._short_reads = faults.short_reads
        self._drawing = threading.Lock()
        self._rng = np.random.default_rng([seed, index, 1])

    def shorten(self, n_bytes: int) -> int:
        """Bytes that a READBUF of `n_bytes` may return: every other one is cut to a quarter up to all of it."""
        if not self._short_reads or n_bytes < 64:
            return n_bytes
        with self._drawing:
            if self._rng.random() < 0.5:
                return n_bytes
            return int(n_bytes * self._rng.uniform(0.25, 1.0))
