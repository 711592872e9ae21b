"""Transmit buffer of one device: cyclic waveforms, or blocks queued one after the other."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sim_backend.iiod.errors import HungUp, IioError
from sim_backend.iiod.registers import UNDERFLOW_BIT, XFLOW_STATUS, Registers
from sim_backend.iiod.rx_dma import DEFAULT_BLOCKS, MAX_BLOCK_BYTES, MAX_BLOCKS, MAX_BUFFER_BYTES, POLL_S
from sim_backend.source import SampleSource

_BUSY_RETRY_S = 0.05
_FULL_SCALE = 32768.0
#: Samples that may be queued ahead where time passes only as samples are read.
FREE_SAMPLES = 1 << 22


class TxDma:
    """Buffer of a transmit device; one connection at a time.

    `on_idle()` runs when the buffer stops: the core falls back to its DDS. `levels()` gives the amplitude that
    the chips' attenuators leave to every transmit channel. Without a clock, blocks queue up to FREE_SAMPLES ahead
    of what has been read; then a write waits for a reader.
    """

    def __init__(
        self,
        source: SampleSource,
        board: int,
        n_scan: int,
        registers: Registers,
        *,
        free_running: bool,
        on_idle: Callable[[], None],
        levels: Callable[[], tuple[float, ...]],
    ) -> None:
        self.board, self.n_scan = board, n_scan
        self.blocks = DEFAULT_BLOCKS
        self._source, self._registers = source, registers
        self._free_running, self._on_idle, self._levels = free_running, on_idle, levels
        self._cond = threading.Condition()
        self._owner: object | None = None
        self._samples = self._mask = 0
        self._cyclic = self._filled = self._held = False
        self._end: int | None = None
        self._ends: deque[int] = deque(maxlen=MAX_BLOCKS)  # of the latest blocks, whatever their lengths
        self._pending: list[NDArray[np.complex64]] = []
        registers.refresh = self.advance

    @property
    def is_open(self) -> bool:
        """True while a connection has the device open."""
        return self._owner is not None

    @property
    def block_bytes(self) -> int:
        """Bytes of one block as opened."""
        return 2 * self._mask.bit_count() * self._samples

    def set_blocks(self, n: int) -> None:
        """Number of kernel blocks; -EBUSY while open, -EINVAL for a senseless one."""
        if not 1 <= n <= MAX_BLOCKS:
            raise IioError(errno.EINVAL)
        with self._cond:
            if self._owner is not None:
                raise IioError(errno.EBUSY)
            self.blocks = n

    def open(self, token: object, samples: int, mask: int, *, cyclic: bool) -> None:
        """Take the device; -EBUSY if another has it after 50 ms of retries (its CLOSE may be on the way)."""
        if samples <= 0 or not mask or mask >> self.n_scan:
            raise IioError(errno.EINVAL)
        block = samples * 2 * mask.bit_count()
        if block > MAX_BLOCK_BYTES or block * self.blocks > MAX_BUFFER_BYTES:
            raise IioError(errno.ENOMEM)
        deadline = time.monotonic() + _BUSY_RETRY_S
        with self._cond:
            while self._owner is not None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise IioError(errno.EBUSY)
                self._cond.wait(remaining)
            self._owner, self._samples, self._mask = token, samples, mask
            self._cyclic, self._filled, self._end = cyclic, False, None
            self._ends.clear()

    def close(self, token: object) -> None:
        """Give the device back; the output goes to the DDS or to zero. -ENXIO if `token` has not opened it."""
        with self._cond:
            if self._owner is None or self._owner is not token:
                raise IioError(errno.ENXIO)
            self._owner = None
            self._pending.clear()
            self._cond.notify_all()
        self._on_idle()

    def hold(self) -> None:
        """Wait for the trigger (sync.Armable)."""
        with self._cond:
            self._held = True

    def release(self, at: int) -> None:
        """The trigger came: what is queued goes out from scene sample `at`."""
        with self._cond:
            self._held = False
            self._end = at
            for waveform in self._pending:
                self._send(waveform)
            self._pending.clear()
            self._cond.notify_all()

    def rate_changed(self) -> None:
        """The clock runs at another rate: what comes next goes out at once."""
        with self._cond:
            self._end = None
            self._ends.clear()
            self._cond.notify_all()

    def advance(self) -> None:
        """Set the underflow bit if the stream ran dry."""
        with self._cond:
            dry = (
                self._end is not None
                and self._owner is not None
                and not self._cyclic
                and not self._free_running
            )
            if dry and self._end is not None and self._source.now(self.board) > self._end:
                self._registers.set_bits(XFLOW_STATUS, UNDERFLOW_BIT)

    def check_write(self, token: object, n_bytes: int) -> None:
        """Refuse a WRITEBUF before its payload is sent."""
        with self._cond:
            if self._owner is not token:
                raise IioError(errno.EBADF)
            if not 0 < n_bytes <= self.block_bytes or n_bytes % (2 * self._mask.bit_count()):
                raise IioError(errno.EINVAL)
            if self._cyclic and self._filled:
                raise IioError(errno.EBUSY)

    def write(
        self, token: object, payload: bytes | bytearray, timeout_s: float | None, hung_up: Callable[[], bool]
    ) -> None:
        """Queue one block; waits while all blocks are pending. IioError(ETIMEDOUT), or HungUp."""
        waveform = self._waveform(payload)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with self._cond:
                if self._owner is not token:
                    raise IioError(errno.EBADF)
                free_at = self._free_at(waveform.shape[1])
                if free_at is None:
                    self._accept(waveform)
                    return
                if free_at < 0 or self._free_running:
                    self._cond.wait(POLL_S)
            if free_at >= 0 and not self._free_running:
                self._source.wait_until(self.board, free_at, POLL_S)
            if hung_up():
                raise HungUp
            if deadline is not None and time.monotonic() >= deadline:
                raise IioError(errno.ETIMEDOUT)

    def _free_at(self, n: int) -> int | None:
        """None: a block is free; else the scene sample at which one will be, -1: only a trigger frees one."""
        if self._held:
            return -1 if len(self._pending) >= self.blocks else None
        if self._cyclic or self._end is None:
            return None
        if self._free_running:
            free_at = self._end - max(FREE_SAMPLES - n, (self.blocks - 1) * n)
        elif len(self._ends) < self.blocks:
            return None
        else:
            free_at = self._ends[-self.blocks]
        return free_at if self._source.now(self.board) < free_at else None

    def _accept(self, waveform: NDArray[np.complex64]) -> None:
        self._filled = True
        if self._held:
            self._pending.append(waveform)
        else:
            self._send(waveform)

    def _send(self, waveform: NDArray[np.complex64]) -> None:
        now = self._source.now(self.board)
        at = now if self._end is None else self._end
        if at < now:
            if self._filled and not self._cyclic and not self._free_running:
                self._registers.set_bits(XFLOW_STATUS, UNDERFLOW_BIT)
                self._source.note("tx_underflow", self.board, at, lost_samples=now - at)
            at = now
        self._source.transmit(self.board, waveform, at, cyclic=self._cyclic, scale=self._levels())
        self._end = end = at + waveform.shape[1]
        self._ends.append(end)

    def _waveform(self, payload: bytes | bytearray) -> NDArray[np.complex64]:
        columns = [k for k in range(self.n_scan) if self._mask >> k & 1]
        wire = np.frombuffer(payload, dtype="<i2").reshape(-1, len(columns))
        full = np.zeros((len(wire), self.n_scan), dtype=np.float32)
        full[:, columns] = wire / _FULL_SCALE
        return np.ascontiguousarray(full.view(np.complex64).T)
