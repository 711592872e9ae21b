"""What hangs on a session's reader: rings that may come and go, the recorder's thread, the DSP thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drivers.convert import convert, to_frame
from hil.core.device import RxDevice
from hil.core.errors import HilError
from hil.core.frame import Block, Frame, StreamInfo
from hil.pipeline.latest import Latest
from hil.pipeline.policy import Policy
from hil.pipeline.ring import BlockRing
from hil.pipeline.stage import Stage
from hil.recorder import RecordingSummary

#: What the rings hold, seconds of stream. A disk may pause for longer than a display needs.
RING_S = 0.5
RECORDER_RING_S = 2.0
_RECORDER_RING_BYTES = 160e6
_BLOCK_SAMPLES = 16384
#: Short blocks are handed on together, up to so much of the stream, while their consumer is behind.
_TOGETHER_S = 16e-3
#: Short blocks are read so rarely, a few at once: a thread that wakes for each of a thousand blocks a second costs as much
#: again as their samples.
_GATHER_S = 4e-3
#: What processes or keeps them wakes more rarely still.
_REST_S = 12e-3
#: Longest pause of a consumer that a source which waits is held up by.
_SOURCE_WAITS_S = 60.0
_LOOK_S = 0.2

FrameSink = Callable[[Frame, NDArray[np.int64]], None]


class BlockSink(Protocol):
    """What a session can record into: a Recorder, or what passes on a part to one."""

    def write(self, block: Block) -> None:
        """Take a block. Raises CaptureError."""
        ...

    def close(self) -> RecordingSummary:
        """Finish. Idempotent."""
        ...


def block_samples(stream: StreamInfo) -> int:
    """Samples of one block of this stream."""
    return stream.config.block_samples or _BLOCK_SAMPLES


def blocks_together(stream: StreamInfo) -> int:
    """Blocks that are handed on as one at most, where somebody is behind."""
    return max(1, int(_TOGETHER_S * stream.fs_hz / block_samples(stream)))


def pause_s(stream: StreamInfo) -> float:
    """From one read to the next, 0 where blocks are long enough."""
    return _GATHER_S if 2 * block_samples(stream) <= _GATHER_S * stream.fs_hz else 0.0


def ring_for(stream: StreamInfo, name: str, policy: Policy) -> BlockRing:
    """A ring of `RING_S`; one whose consumer must not lose anything (FAIL) holds up to `RECORDER_RING_S`.

    Blocks shorter than `_TOGETHER_S` are joined in it while they wait.
    """
    samples = block_samples(stream)
    # a source that waits is to give the same blocks in every run
    together = 1 if policy is Policy.BLOCK else blocks_together(stream)
    gather_s = _REST_S if together > 1 and pause_s(stream) else 0.0
    bytes_per_second = stream.fs_hz * stream.n_channels * 2 * stream.device.wire.dtype.itemsize
    seconds = RING_S
    if policy is Policy.FAIL:
        seconds = max(RING_S, min(RECORDER_RING_S, _RECORDER_RING_BYTES / bytes_per_second))
    return BlockRing(
        name, n_slots=max(4, int(np.ceil(seconds * stream.fs_hz / samples / together))), block_samples=samples,
        n_channels=stream.n_channels, wire=stream.device.wire, together=together, gather_s=gather_s,
        policy=policy, deadline_s=_SOURCE_WAITS_S,
    )  # fmt: skip


def skipped(device: RxDevice) -> int:
    """Samples of the first board between its OPEN and the first one handed out (boards being aligned).

    Indices of a session count from OPEN (docs/adr/0005), so that they can be matched with a truth file.
    """
    samples: tuple[int, ...] = getattr(device, "skipped_samples", ())
    return samples[0] if samples else 0


class Outlet(Protocol):
    """What gets every block of the reader, in its thread: a ring, or what picks some."""

    def push(self, block: Block) -> bool:
        """Take a copy, or not; returns whether it did. Never waits but by policy."""
        ...

    def close(self) -> None:
        """No more blocks. Idempotent."""
        ...


class Newest:
    """Hands the newest samples to a thread of its own, now and then: it never waits for those before them.

    Parameters
    ----------
    take : gets the last `n_samples` of a block at most, `hz` times a second at most. Its error ends the run.
    """

    def __init__(self, name: str, take: Callable[[Frame], None], n_samples: int, hz: float) -> None:
        self.edge: Latest[Block] = Latest(f"reader -> {name}")
        self.stage = Stage(name, self._run, closes=[self.edge])
        self._take, self._n, self._period_s = take, n_samples, 1.0 / hz
        self._next = 0.0

    def push(self, block: Block) -> bool:
        """Copy the end of a block if it is time."""
        now = time.monotonic()
        if now < self._next or not block.n:
            return False
        # blocks come when they come: the mean rate is kept, not the least distance
        self._next = max(self._next + self._period_s, now)
        wire = block.wire[-self._n :].copy()
        first = block.first_sample + block.n - len(wire)
        return self.edge.put(replace(block, wire=wire, first_sample=first), len(wire))

    def close(self) -> None:
        """The thread ends after what waits."""
        self.edge.close()

    def _run(self, stop: threading.Event) -> None:
        while not self.edge.finished:
            if (block := self.edge.take(_LOOK_S)) is not None:
                self._take(to_frame(block))


class Fanout:
    """Outlets that get every block. They come and go between two blocks, in the thread that pushes."""

    def __init__(self) -> None:
        self._outlets: list[Outlet] = []
        self._closed = False

    def add(self, outlet: Outlet) -> None:
        """From the next block on; one that comes after the end is closed at once."""
        self._outlets.append(outlet)
        if self._closed:
            outlet.close()

    def remove(self, outlet: Outlet) -> None:
        """No more blocks for it: its consumer empties it and ends."""
        self._outlets.remove(outlet)
        outlet.close()

    def push(self, block: Block) -> None:
        """Raises what an outlet raises, CaptureOverrun of one that must not lose anything."""
        for outlet in self._outlets:
            outlet.push(block)

    def close(self) -> None:
        """The end of the stream. Idempotent."""
        self._closed = True
        for outlet in self._outlets:
            outlet.close()


class Branch:
    """A consumer of all blocks in a thread of its own.

    Parameters
    ----------
    take : gets every block. policy : what happens when it is too slow. vital : its error ends the run; otherwise the
        error is kept in `error` and the stream goes on without it.
    """

    def __init__(
        self, stream: StreamInfo, name: str, take: Callable[[Block], None], policy: Policy, *, vital: bool
    ) -> None:
        self.ring = ring_for(stream, f"reader -> {name}", policy)
        self.stage = Stage(name, self._run, closes=[self.ring])
        self.error: HilError | None = None
        self._take, self._vital = take, vital

    def _run(self, stop: threading.Event) -> None:
        """Until the ring has ended."""
        try:
            for block in self.ring:
                self._take(block)
        except HilError as err:
            self.error = err
            if self._vital:
                raise


def process_frames(ring: BlockRing, on_frame: FrameSink, overloads: NDArray[np.int64]) -> None:
    """Until the ring has ended; clip counts (M,) are added up in `overloads`."""
    memory = np.empty(0, np.complex64)
    for block in ring:
        n_values = block.wire.shape[1] * block.n
        if len(memory) < n_values:
            memory = np.empty(n_values, np.complex64)
        out = memory[:n_values].reshape(block.wire.shape[1], block.n)
        frame, clipped = convert(block, out)
        overloads += clipped
        on_frame(frame, clipped)
