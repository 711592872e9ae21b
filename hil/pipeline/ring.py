"""A ring of preallocated wire blocks between two threads."""

from __future__ import annotations

import mmap
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hil.core.device import WireFormat
from hil.core.errors import CaptureOverrun, ShapeError
from hil.core.frame import Block, FrameFlag
from hil.pipeline.ledger import EdgeCounts
from hil.pipeline.policy import Policy

#: Flags of a dropped block that the next delivered one inherits.
_INHERITED = FrameFlag.OVERFLOW | FrameFlag.GAP_BEFORE | FrameFlag.RETUNED
#: Flags of something that happened right before a block: it begins a new one.
_OF_THE_FIRST = FrameFlag.GAP_BEFORE | FrameFlag.RETUNED


def pages(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that begin at a page of memory: from there a disk takes them without another copy."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(n_bytes, 1)), np.dtype(dtype), int(np.prod(shape))).reshape(shape)


class BlockRing:
    """Bounded queue of blocks: one producer thread, one consumer thread, memory allocated once.

    `push` copies the block into a slot; `pop` returns it as a view of that slot, valid until the consumer's
    next `pop` or `release`. Copies are made outside the lock. `seq` of a block counts those of this
    ring, lost ones included.

    Parameters
    ----------
    name : of the edge, for the ledger.
    n_slots : at least 2 (one may be held by the consumer).
    block_samples, n_channels, wire : largest block that fits.
    together : blocks that a slot has room for. A block that continues one that still waits becomes part of it, so that
        a consumer that is behind gets fewer, longer ones.
    gather_s : least time between two pops while nothing but the newest waits, so that what comes meanwhile is joined.
    policy : see Policy. deadline_s : how long BLOCK waits.
    """

    def __init__(
        self,
        name: str,
        *,
        n_slots: int,
        block_samples: int,
        n_channels: int,
        wire: WireFormat,
        together: int = 1,
        gather_s: float = 0.0,
        policy: Policy = Policy.DROP_OLDEST,
        deadline_s: float = 1.0,
    ) -> None:
        if n_slots < 2 or block_samples < 1 or n_channels < 1 or together < 1:
            raise ShapeError(
                f"ring {name!r}: {n_slots} slots of {block_samples} samples, {n_channels} channels"
            )
        self._name = name
        self._policy = policy
        self._deadline_s = deadline_s
        # Zeroed, not empty: the pages are mapped now and not at the first overload.
        self._memory = pages((n_slots, together * block_samples, n_channels, 2), wire.dtype)
        self._together = together
        self._gather_s, self._rested = gather_s, 0.0
        self._free = deque(range(n_slots))
        self._queue: deque[tuple[int, Block]] = deque()
        self._held: int | None = None
        self._condition = threading.Condition()
        self._closed = False
        self._writing = 0
        self._error: CaptureOverrun | None = None
        self._lost_flags = FrameFlag.NONE
        self._lost: int | None = 0
        self._produced = self._delivered = self._dropped = 0
        self._entries = 0

    @property
    def name(self) -> str:
        """Name of the edge."""
        return self._name

    @property
    def error(self) -> CaptureOverrun | None:
        """The overrun that ended this edge (FAIL), if any."""
        return self._error

    @property
    def finished(self) -> bool:
        """True when closed and emptied: nothing will come any more."""
        with self._condition:
            return self._ended

    def push(self, block: Block) -> bool:
        """Copy a block in. Returns False if it was not taken: closed, or lost under FAIL.

        Raises
        ------
        ShapeError : the block does not fit a slot. CaptureOverrun : BLOCK, deadline passed.
        """
        n = block.n
        memory = self._memory
        if (
            n > memory.shape[1]
            or block.wire.shape[1:] != memory.shape[2:]
            or block.wire.dtype != memory.dtype
        ):
            raise ShapeError(
                f"ring {self._name!r}: a block {block.wire.dtype} {block.wire.shape} does not fit slots of "
                f"{memory.dtype} {memory.shape[1:]}"
            )
        with self._condition:
            if self._closed:
                return False
            start, tail = 0, self._to_continue(block)
            if tail is None:
                slot = self._slot_for(block)
                if slot is None:
                    return False
            else:
                slot, start = tail[0], tail[1].n
            self._produced += n
            self._writing = start + n
        np.copyto(memory[slot, start : start + n], block.wire)
        with self._condition:
            self._writing = 0
            if tail is None:
                entry = replace(block, wire=memory[slot, :n], seq=self._entries)
                self._entries += 1
            else:
                entry = replace(
                    tail[1],
                    wire=memory[slot, : start + n],
                    t_mono_ns=block.t_mono_ns,
                    t_utc_ns=block.t_utc_ns,
                )
            self._queue.append((slot, entry))
            self._condition.notify_all()
        return True

    def _to_continue(self, block: Block) -> tuple[int, Block] | None:
        """The newest waiting block, taken out of the queue, if this one follows it seamlessly and fits behind it."""
        if not self._queue or self._together == 1:
            return None
        tail = self._queue[-1][1]
        seamless = (
            tail.n + block.n <= self._memory.shape[1]
            and block.first_sample == tail.first_sample + tail.n
            and block.stream is tail.stream
            and block.flags == tail.flags
            and block.lost_before == 0
            and not block.flags & _OF_THE_FIRST
        )
        return self._queue.pop() if seamless else None

    def pop(self, timeout_s: float) -> Block | None:
        """The oldest block, or None if none came in time or the ring is `finished`.

        After a loss (DROP_OLDEST) the block carries GAP_BEFORE, the flags of what was lost, and the missing
        samples added to `lost_before`. Releases the block of the call before.

        Raises
        ------
        CaptureOverrun : FAIL, after the last block before the loss was delivered.
        """
        self._gather()
        with self._condition:
            self._release()
            self._condition.wait_for(lambda: self._queue or self._ended, timeout_s)
            if not self._queue:
                if self._error is not None:
                    raise self._error
                return None
            self._held, block = self._queue.popleft()
            self._delivered += block.n
            return self._with_loss(block)

    def _gather(self) -> None:
        """Rest until it is time, where nobody is behind."""
        if self._gather_s and len(self._queue) < 2 and not self._closed:
            time.sleep(max(self._rested - time.monotonic(), 0.0))
            self._rested = time.monotonic() + self._gather_s

    def release(self) -> None:
        """Give the block of the last `pop` back before the next one."""
        with self._condition:
            self._release()

    def __iter__(self) -> Iterator[Block]:
        """Blocks until the ring is finished; each is valid until the next."""
        while True:
            block = self.pop(3600.0)
            if block is not None:
                yield block
            elif self.finished:
                return

    def close(self) -> None:
        """No more blocks, from either side; what waits can still be taken. Idempotent."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def counts(self) -> EdgeCounts:
        """Counters in samples; what waits, and what is being copied in, is in flight."""
        with self._condition:
            waiting = sum(block.n for _, block in self._queue) + self._writing
            return EdgeCounts(self._produced, self._delivered, self._dropped, 0, waiting)

    @property
    def _ended(self) -> bool:
        """Nothing waits and nothing will come; what is being copied in still comes."""
        return self._closed and not self._queue and not self._writing

    def _release(self) -> None:
        if self._held is not None:
            self._free.append(self._held)
            self._held = None
            self._condition.notify_all()

    def _slot_for(self, block: Block) -> int | None:
        """A slot to write, by policy; None if the block was not taken. Called with the lock held."""
        if self._free:
            return self._free.popleft()
        if self._policy is Policy.DROP_OLDEST:
            slot, oldest = self._queue.popleft()
            self._dropped += oldest.n
            self._lost_flags |= FrameFlag.GAP_BEFORE | (oldest.flags & _INHERITED)
            self._lost = _sum(self._lost, oldest.n, oldest.lost_before)
            return slot
        if self._policy is Policy.BLOCK:
            self._condition.wait_for(lambda: self._free or self._closed, self._deadline_s)
            if self._closed:
                return None
            if self._free:
                return self._free.popleft()
        self._produced += block.n
        self._dropped += block.n
        overrun = CaptureOverrun(
            f"{self._name}: the consumer fell behind, {block.n} samples from sample {block.first_sample} on are lost",
            gaps=[(block.first_sample, block.n)],
            hint="lower the sample rate, use a faster disk, or record with gaps allowed",
        )
        if self._policy is Policy.BLOCK:
            raise overrun
        self._error = overrun
        self._closed = True
        self._condition.notify_all()
        return None

    def _with_loss(self, block: Block) -> Block:
        """The block with what was dropped just before it. Dropped blocks are always the oldest ones."""
        if not self._lost_flags:
            return block
        flags, lost = block.flags | self._lost_flags, _sum(self._lost, 0, block.lost_before)
        self._lost_flags, self._lost = FrameFlag.NONE, 0
        return replace(block, flags=flags, lost_before=lost)


def _sum(lost: int | None, n: int, before: int | None) -> int | None:
    return None if lost is None or before is None else lost + n + before
