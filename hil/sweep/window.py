"""Records windows of a running stream: so many samples after a moment, nothing in between.

The stream never stops between two points, since a restart would begin a new coherence epoch. A sample belongs to a
window if it was taken after the table had settled, not if it arrived after that: what waited in a buffer is too old.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from hil.core.errors import DeviceTimeout, HilError, StreamStopped
from hil.core.frame import Block, FrameFlag
from hil.recorder import Recorder, RecordingSummary
from hil.recorder.files import overloads
from hil.recorder.metadata import Point

_MOST_SNAPSHOTS = 1 << 16  # of a window go into its covariance
_CLOCK_S = 2.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Taken:
    """A window as it was recorded.

    Attributes
    ----------
    start, n : its samples in the file. lost : samples missing within it, at least; lost_unknown : gaps of unknown
        length. overflow : the device says that it lost some. overloads : (M,) samples at full scale.
    epochs : coherence epochs that it touches. covariance : (M, M) complex128 of at most 65536 snapshots.
    """

    start: int
    n: int
    lost: int
    lost_unknown: int
    overflow: bool
    overloads: tuple[int, ...]
    epochs: tuple[str, ...]
    covariance: NDArray[np.complex128]


class SampleClock:
    """When samples were taken, by the clock of this machine: the shortest delay seen lately is the delay there is."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()

    def start_ns(self, block: Block) -> int:
        """Monotonic time of the block's first sample, at the latest."""
        rate = block.stream.fs_hz
        end_ns = round((block.first_sample + block.n) / rate * 1e9)
        delay_ns = block.t_mono_ns - end_ns
        while self._seen and self._seen[-1][1] >= delay_ns:
            self._seen.pop()  # what is longer and older never counts again: the first one is the shortest
        self._seen.append((block.t_mono_ns, delay_ns))
        while self._seen[0][0] < block.t_mono_ns - _CLOCK_S * 1e9:
            self._seen.popleft()
        return round(block.first_sample / rate * 1e9) + self._seen[0][1]

    def forget(self) -> None:
        """The counting begins anew."""
        self._seen.clear()


class Windows:
    """What a session records into instead of a Recorder: passes windows on to one.

    make : makes the recorder with the first window, so that a run without one leaves no files.
    """

    def __init__(self, make: Callable[[Block], Recorder]) -> None:
        self._make = make
        self.recorder: Recorder | None = None
        self._changed = threading.Condition()
        self._clock = SampleClock()
        self._stream: object = None
        self._wanted: _Wanted | None = None
        self._done: Taken | None = None
        self._error: HilError | None = None
        self._closed = False

    def take(self, n: int, point: Point, after_ns: int, stop: Callable[[], bool], timeout_s: float) -> Taken:
        """Record n samples per channel taken after a moment of the monotonic clock; waits for them.

        Raises DeviceTimeout: they did not come. StreamStopped: the stream ended, or `stop` said so. RecordingError.
        """
        give_up = time.monotonic() + timeout_s
        with self._changed:
            self._wanted, self._done = _Wanted(n, point, after_ns), None
            while self._done is None:
                if self._error is not None:
                    raise self._error
                if self._closed or stop():
                    self._wanted = None
                    raise StreamStopped("the stream ended within a point")
                if time.monotonic() > give_up:
                    self._wanted = None
                    raise DeviceTimeout(
                        f"{n} samples did not come within {timeout_s:.0f} s",
                        hint="check the receiver's connection",
                    )
                self._changed.wait(_POLL_S)
            return self._done

    def write(self, block: Block) -> None:
        """From the recorder's thread. Raises RecordingError."""
        with self._changed:
            start_ns = self._clock_of(block)
            wanted = self._wanted
            if wanted is None or block.n == 0:
                return
            try:
                self._pass_on(block, start_ns, wanted)
            except HilError as err:
                self._error = err
                self._changed.notify_all()
                raise

    def close(self) -> RecordingSummary:
        """Close the recording; the summary of an empty one if no window was recorded."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self.recorder is None:
            return RecordingSummary(0, 0, 0, 0, 0, 0, 0, ())
        return self.recorder.close()

    def _clock_of(self, block: Block) -> int:
        if self._stream is not block.stream:  # another rate, or another count
            self._stream = block.stream
            self._clock.forget()
        return self._clock.start_ns(block)

    def _pass_on(self, block: Block, start_ns: int, wanted: _Wanted) -> None:
        skip = 0
        if not wanted.begun:
            late_s = (wanted.after_ns - start_ns) * 1e-9
            skip = max(0, int(np.ceil(late_s * block.stream.fs_hz)))
            if skip >= block.n:
                return
            if self.recorder is None:
                self.recorder = self._make(block)
            wanted.begin(self.recorder)
        recorder = self.recorder
        assert recorder is not None
        part = _cut(block, skip, min(block.n - skip, wanted.n - wanted.got), first=not wanted.got)
        recorder.write(part)
        wanted.account(part)
        if wanted.got >= wanted.n:
            self._done, self._wanted = wanted.taken(recorder), None
            self._changed.notify_all()


class _Wanted:
    """A window while it is being recorded."""

    def __init__(self, n: int, point: Point, after_ns: int) -> None:
        self.n, self.after_ns, self._point = n, after_ns, point
        self.got = self._snapshots = self._start = 0
        self.begun = self._overflow = False
        self._overloads: NDArray[np.int64] | None = None
        self._before = (0, 0)
        self._epochs: dict[str, None] = {}
        self._sum: NDArray[np.complex128] | None = None

    def begin(self, recorder: Recorder) -> None:
        """The first block is there."""
        recorder.leave_out()
        recorder.note_segment(self._point)
        self.begun, self._start = True, recorder.samples
        lost, _, unknown = recorder.losses
        self._before = lost, unknown

    def account(self, part: Block) -> None:
        """What was written just now."""
        m = part.wire.shape[1]
        if self._overloads is None or self._sum is None:
            self._overloads, self._sum = np.zeros(m, np.int64), np.zeros((m, m), np.complex128)
        hit = overloads(part.wire, part.stream.device)
        if hit is not None:
            self._overloads += np.asarray(hit)
        self._epochs[part.stream.epoch.id] = None
        if self.got:  # a flag on the first block tells of what came before it
            self._overflow |= FrameFlag.OVERFLOW in part.flags
        room = min(_MOST_SNAPSHOTS - self._snapshots, part.n)
        if room > 0:
            samples, _ = wire_to_complex(part.wire[:room], part.stream.device.full_scale_bits)
            x = samples.astype(np.complex128)
            self._sum += x @ x.conj().T
            self._snapshots += room
        self.got += part.n

    def taken(self, recorder: Recorder) -> Taken:
        """The window, complete."""
        lost, _, unknown = recorder.losses
        assert self._overloads is not None
        assert self._sum is not None
        return Taken(
            self._start, self.n, lost - self._before[0], unknown - self._before[1], self._overflow,
            tuple(int(v) for v in self._overloads), tuple(self._epochs), self._sum / self._snapshots,
        )  # fmt: skip


def _cut(block: Block, skip: int, n: int, *, first: bool) -> Block:
    """Part of a block; the first one of a window has nothing lost before it."""
    flags = block.flags & ~(FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW) if first else block.flags
    after_ns = round((block.n - skip - n) / block.stream.fs_hz * 1e9)
    return replace(
        block, wire=block.wire[skip : skip + n], first_sample=block.first_sample + skip, flags=flags,
        t_mono_ns=block.t_mono_ns - after_ns, t_utc_ns=block.t_utc_ns - after_ns,
        lost_before=0 if first else block.lost_before,
    )  # fmt: skip
