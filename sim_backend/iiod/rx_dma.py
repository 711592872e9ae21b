"""Receive buffer of one device: kernel blocks that fill by the scene's clock, whoever reads them.

The DMA starts at OPEN. Blocks fill in order and queue; when none is free the acquisition stalls, the queue keeps
the oldest samples, and after a block comes back it goes on with what the ADC converts then: stale blocks, then an
unmarked gap. The block that a client was given last is still in use until it asks for the next one.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim_backend.iiod.errors import HungUp, IioError
from sim_backend.iiod.registers import OVERFLOW_BIT, XFLOW_STATUS, Registers
from sim_backend.source import SampleSource

DEFAULT_BLOCKS, MAX_BLOCKS = 4, 64
MAX_BLOCK_BYTES, MAX_BUFFER_BYTES = 64 << 20, 512 << 20
#: How long a waiting reader sleeps before it looks whether its client is still there.
POLL_S = 0.05
_BUSY_RETRY_S = 0.05

#: A block as captured: consecutive (first scene sample, samples); more than one where samples were lost inside.
Segments = tuple[tuple[int, int], ...]
ReadSamples = Callable[[int, int], NDArray[np.int16]]


class LossModel(Protocol):
    """Says where the device loses samples by itself, and when it hangs."""

    def lost_at(self, first: int, n: int) -> tuple[int, int] | None:
        """(sample at which a loss begins, samples lost) within first..first+n, or None."""
        ...

    def dropped(self, first: int, n: int) -> int:
        """How many blocks from the one of first..first+n on vanish without a word; 0: none."""
        ...

    def blocked(self) -> bool:
        """True while the device answers no reads."""
        ...

    def report(self, kind: str, at: int, **details: int) -> None:
        """A loss of this kind begins with scene sample `at`."""
        ...


@dataclass(slots=True)
class Block:
    """What one READBUF may send: (n, enabled) int16 and the mask of its columns."""

    samples: NDArray[np.int16]
    mask: int


@dataclass(slots=True)
class _Entry:
    segments: Segments
    samples: NDArray[np.int16] | None = None


@dataclass(slots=True)
class _Opener:
    mask: int
    samples: int
    seen: int = 0


@dataclass(slots=True)
class _Stream:
    """State of one run of the DMA, from (re)start to stop."""

    mask: int
    samples: int
    fill: int | None
    queue: deque[_Entry] = field(default_factory=deque)
    in_use: bool = False
    stalled_at: int | None = None


class RxDma:
    """Buffer of a receive device; several connections may have it open.

    Parameters
    ----------
    read : (first, n) -> (n, n_scan) int16. n_scan : scan channels.
    free_running : blocks are ready when asked for, nothing stalls. start_offset() : samples between OPEN and
    the first sample. losses : see LossModel. traced : its events go to the truth file.
    """

    def __init__(
        self,
        source: SampleSource,
        board: int,
        read: ReadSamples,
        n_scan: int,
        registers: Registers,
        *,
        free_running: bool,
        start_offset: Callable[[], int] = lambda: 0,
        losses: LossModel | None = None,
        traced: bool = True,
    ) -> None:
        self.board, self.n_scan = board, n_scan
        self.blocks = DEFAULT_BLOCKS
        self._source, self._read, self._registers = source, read, registers
        self._free_running, self._start_offset, self._losses = free_running, start_offset, losses
        self._reading = threading.Lock()  # taken before _cond
        self._traced = traced
        self._cond = threading.Condition()
        self._openers: dict[object, _Opener] = {}
        self._stream: _Stream | None = None
        self._held = False
        self._refilling = False
        self._last: tuple[int, Block] | None = None
        self._sequence = 0
        registers.refresh = self.advance

    @property
    def is_open(self) -> bool:
        """True while a connection has the device open."""
        return bool(self._openers)

    @property
    def is_shared(self) -> bool:
        """True while several connections have it open."""
        return len(self._openers) > 1

    def frame_bytes(self, token: object) -> int:
        """Bytes of one sample of all enabled channels; IioError(EBADF) if `token` has not opened it."""
        with self._cond:
            if token not in self._openers or self._stream is None:
                raise IioError(errno.EBADF)
            return 2 * self._stream.mask.bit_count()

    def set_blocks(self, n: int) -> None:
        """Number of kernel blocks; -EBUSY while open, -EINVAL for a senseless one."""
        if not 1 <= n <= MAX_BLOCKS:
            raise IioError(errno.EINVAL)
        with self._cond:
            if self._openers:
                raise IioError(errno.EBUSY)
            self.blocks = n

    def open(self, token: object, samples: int, mask: int) -> None:
        """Add an opener; the buffer is made anew with the union of the masks and the largest block."""
        frame = 2 * mask.bit_count()
        if samples <= 0 or not mask or mask >> self.n_scan:
            raise IioError(errno.EINVAL)
        if samples * frame > MAX_BLOCK_BYTES or samples * frame * self.blocks > MAX_BUFFER_BYTES:
            raise IioError(errno.ENOMEM)
        deadline = time.monotonic() + _BUSY_RETRY_S
        with self._cond:
            while token in self._openers:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise IioError(errno.EBUSY)
                self._cond.wait(remaining)
            self._openers[token] = _Opener(mask, samples, self._sequence)
            try:
                self._restart()
            except IioError:
                del self._openers[token]  # the stream of the others goes on
                raise

    def close(self, token: object) -> None:
        """Remove an opener; -ENXIO if it is none. The others go on with a new buffer."""
        with self._cond:
            if self._openers.pop(token, None) is None:
                raise IioError(errno.ENXIO)
            self._restart()

    def _restart(self) -> None:
        self._last = None
        now = self._source.now(self.board)
        if not self._openers:
            if self._stream is not None:
                self._note("close", now)
            self._stream = None
            self._cond.notify_all()
            return
        mask = 0
        for opener in self._openers.values():
            mask |= opener.mask
        samples = max(opener.samples for opener in self._openers.values())
        # every opener may be sending a block of its own while the kernel blocks are full
        if samples * 2 * mask.bit_count() * (self.blocks + len(self._openers) - 1) > MAX_BUFFER_BYTES:
            raise IioError(errno.ENOMEM)
        self._stream = _Stream(mask, samples, None)
        if not self._held:
            self._start(self._stream, now + self._start_offset())
        self._cond.notify_all()

    def _start(self, stream: _Stream, first: int) -> None:
        stream.fill = first
        details = {"mask": stream.mask, "block_samples": stream.samples, "blocks": self.blocks}
        self._note("open", first, **details)

    def _note(self, event: str, at: int, **details: int) -> None:
        if self._traced:
            self._source.note(event, self.board, at, **details)

    def hold(self) -> None:
        """Wait for the trigger (sync.Armable): a running stream stops, a new one does not start."""
        with self._cond:
            self._advance()
            self._held = True
            if self._stream:
                self._stream.fill = None
                self._stream.stalled_at = None

    def release(self, at: int) -> None:
        """The trigger came: begin with scene sample `at`."""
        with self._cond:
            self._held = False
            if self._stream:
                self._start(self._stream, at)
            self._cond.notify_all()

    def advance(self) -> None:
        """Account for the time that has passed; blocks complete, the stream may stall."""
        with self._cond:
            self._advance()

    def _advance(self) -> None:
        stream = self._stream
        if stream is None or self._free_running or stream.fill is None:
            return
        now = self._source.now(self.board)
        while stream.fill is not None:
            end = self._end(stream.fill, stream.samples)
            if now < end:
                return
            self._complete(stream)
            if len(stream.queue) + stream.in_use >= self.blocks:
                stream.fill, stream.stalled_at = None, end
                self._registers.set_bits(XFLOW_STATUS, OVERFLOW_BIT)
                self._note("stall", end)

    def _complete(self, stream: _Stream) -> None:
        assert stream.fill is not None
        end = self._end(stream.fill, stream.samples)
        dropped = self._losses.dropped(stream.fill, end - stream.fill) if self._losses else 0
        if self._losses and dropped:
            end += (dropped - 1) * stream.samples
            details = {"blocks": dropped, "lost_samples": end - stream.fill}
            self._losses.report("drop_blocks", stream.fill, **details)
            stream.fill = end
            return
        segments = self._segments(stream.fill, stream.samples)
        expected = stream.fill
        for first, n in segments:
            if first != expected:
                self._registers.set_bits(XFLOW_STATUS, OVERFLOW_BIT)
                self._note("overflow", expected, lost_samples=first - expected)
                if self._losses:
                    self._losses.report("overflow", expected, lost_samples=first - expected)
            expected = first + n
        stream.queue.append(_Entry(segments))
        stream.fill = expected

    def _end(self, first: int, n: int) -> int:
        """Scene sample after the block that begins at `first`."""
        last, length = self._segments(first, n)[-1]
        return last + length

    def _segments(self, first: int, n: int) -> Segments:
        loss = self._losses.lost_at(first, n) if self._losses else None
        if loss is None:
            return ((first, n),)
        at, lost = loss
        head = at - first
        return ((first, head), (at + lost, n - head)) if head else ((at + lost, n),)

    @contextmanager
    def rate_change(self) -> Iterator[None]:
        """Around a change of the sampling rate: reads what was captured before, goes on at the new rate after.

        Scene samples are counted in the present rate, so that none may be asked for with an old number.
        """
        with self._reading, self._cond:
            self._advance()
            if self._stream:
                for entry in self._stream.queue:
                    self._materialise(entry, self._stream.mask)
            yield
            if self._stream and self._stream.fill is not None:
                self._stream.fill = self._source.now(self.board)

    def _materialise(self, entry: _Entry, mask: int) -> NDArray[np.int16]:
        if entry.samples is None:
            parts = [self._read(first, n) for first, n in entry.segments]
            samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
            if mask.bit_count() < self.n_scan:
                columns = [k for k in range(self.n_scan) if mask >> k & 1]
                samples = np.ascontiguousarray(samples[:, columns])
            entry.samples = samples
        return entry.samples

    def read_block(self, token: object, timeout_s: float | None, hung_up: Callable[[], bool]) -> Block:
        """Next block for this opener; waits until one is complete.

        Openers that wait at the same time share a block, one that comes later gets the next: as in iiod.
        Raises IioError(EBADF) if not open, IioError(ETIMEDOUT), or HungUp when the client has gone.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with self._cond:
                opener = self._openers.get(token)
                if opener is None:
                    raise IioError(errno.EBADF)
                if not self._refilling:
                    self._refilling = True
                    break
                waited_for = self._sequence
                self._cond.wait(_slice(deadline))
                if self._last and self._sequence > waited_for and opener.seen < self._last[0]:
                    opener.seen = self._last[0]
                    return self._last[1]
            if hung_up():
                raise HungUp
            if deadline is not None and time.monotonic() >= deadline:
                raise IioError(errno.ETIMEDOUT)
        try:
            block = self._refill(token, deadline, hung_up)
            with self._cond:
                self._sequence += 1
                self._last = (self._sequence, block)
                if token in self._openers:
                    self._openers[token].seen = self._sequence
            return block
        finally:
            with self._cond:
                self._refilling = False
                self._cond.notify_all()

    def _refill(self, token: object, deadline: float | None, hung_up: Callable[[], bool]) -> Block:
        while True:
            with self._reading:
                with self._cond:
                    stream = self._stream
                    if stream is None or token not in self._openers:
                        raise IioError(errno.EBADF)
                    self._advance()
                    self._return_block(stream)
                    blocked = self._losses is not None and self._losses.blocked()
                    entry = None if blocked else self._take(stream)
                    target = None if stream.fill is None else self._end(stream.fill, stream.samples)
                if entry is not None:
                    return Block(self._materialise(entry, stream.mask), stream.mask)
            if hung_up():
                raise HungUp
            if target is None or blocked:
                with self._cond:
                    self._cond.wait(_slice(deadline))
            else:
                self._source.wait_until(self.board, target, _slice(deadline))
            if deadline is not None and time.monotonic() >= deadline and not self._ready(stream):
                raise IioError(errno.ETIMEDOUT)

    def _ready(self, stream: _Stream) -> bool:
        with self._cond:
            self._advance()
            return bool(stream.queue) and not (self._losses and self._losses.blocked())

    def _return_block(self, stream: _Stream) -> None:
        stream.in_use = False
        if stream.stalled_at is not None and len(stream.queue) < self.blocks:
            stream.fill = self._source.now(self.board)
            lost = stream.fill - stream.stalled_at
            self._note("resume", stream.fill, lost_samples=lost)
            stream.stalled_at = None

    def _take(self, stream: _Stream) -> _Entry | None:
        while not stream.queue and self._free_running and stream.fill is not None:
            self._complete(stream)
        if not stream.queue:
            return None
        stream.in_use = True
        return stream.queue.popleft()


def _slice(deadline: float | None) -> float:
    if deadline is None:
        return POLL_S
    return max(0.0, min(POLL_S, deadline - time.monotonic()))
