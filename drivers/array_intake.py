"""The open streams of one or several boards, handed out as one aligned stream."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.alignment import (
    SEGMENT,
    UNSURE_SAMPLES,
    OffsetEstimate,
    alignment_error,
    find_offset,
    samples_needed,
    slip,
)
from drivers.array_starts import Alignment
from drivers.board_blocks import Interrupted, Source, WireBlock, put_columns
from drivers.fractional_delay import REACH, FractionalDelay
from drivers.sounding import Repeater, sounding
from hil.core.device import RxConfig, WireBuffer
from hil.core.errors import CaptureError, ConnectionLost, DeviceTimeout, HilError, StreamStopped
from hil.core.frame import FrameFlag

#: (largest offset in s, segments of 8192 samples): first where starts lie in practice, then as far as promised.
_SEARCHES = ((0.03, 16), (0.25, 16))
_SLIP_CHECK_S = 1.0
_MAX_TIME_APART_S = 1.0
#: After noise was sent for the alignment: how long the waveform may take to come back, and how far behind a device may be.
_SETTLE_S = 0.1
_BEHIND_S = 2.0
#: A part of a sample is corrected from here on: the array's own extent looks the same, but turns with the emitter.
_LEAST_FRACTION = 0.02
_LEAST_APART_S = 5e-9


@dataclass(frozen=True, slots=True)
class Taken:
    """What `ArrayIntake.take` put into the caller's buffer.

    Attributes
    ----------
    lost : samples are missing before these; `lost_samples` of them, None if not known.
    broken : the boards are no longer aligned, n is 0.
    time_ns : hardware time of the first of them, None if the device gives none.
    """

    n: int
    t_mono_ns: int
    t_utc_ns: int
    flags: FrameFlag = FrameFlag.NONE
    lost: bool = False
    broken: bool = False
    lost_samples: int | None = None
    time_ns: float | None = None


class ArrayIntake:
    """Streams of all boards that have selected channels.

    Parameters
    ----------
    sources : the open streams; closed by `close`.
    n_boards : boards of the array, also those without a selected channel.
    method : how the starts relate, see Alignment.
    transmitter : of the same boards; a waveform that it repeats gives way to noise while they are aligned.
    """

    def __init__(
        self,
        sources: list[Source],
        n_boards: int,
        config: RxConfig,
        method: str,
        transmitter: Repeater | None = None,
    ) -> None:
        self._sounding = ExitStack()  # before the streams open, until the boards are aligned
        self._sounded = method == "correlation" and self._sounding.enter_context(sounding(transmitter))
        self._opened = time.monotonic()
        self._sources = sources
        self._n_boards = n_boards
        self._config = config
        self._method = method
        self._next_check = 0.0
        self._heard: list[WireBuffer] = []
        self._slipped = False
        self._slips: tuple[int, ...] = ()
        self._aligning = False

    @property
    def failed(self) -> bool:
        """True if a stream ended by an error: its context cannot be trusted any more."""
        return any(s.stream.failed for s in self._sources)

    def wake(self) -> None:
        """Make a waiting `take` look at its `interrupted`."""
        for source in self._sources:
            source.stream.wake()

    def close(self) -> None:
        """Close all buffers."""
        with suppress(HilError):  # it is silent then, and what ended the alignment is told
            self._sounding.close()
        for source in self._sources:
            source.stream.end()
        for source in self._sources:
            source.stream.close()

    # ---- alignment ------------------------------------------------------------------------------------

    def align(self, first_sample: int, interrupted: Interrupted) -> Alignment:
        """Bring all boards to the same instant. Raises CaptureError if what they receive does not allow it."""
        n = self._n_boards
        offsets, skipped, ratios, fractions = [0] * n, [0] * n, [0.0] * n, [0.0] * n
        if self._method in ("correlation", "hardware time"):
            self._aligning = True
            measure = self._search if self._method == "correlation" else self._compare_times
            estimates = measure(interrupted)
            self._sounding.close()
            for source, found in zip(self._sources, estimates, strict=True):
                offsets[source.board], ratios[source.board] = found.offset, found.ratio
                fractions[source.board] = found.fraction
            start = max(s.consumed + offsets[s.board] for s in self._sources)
            for source in self._sources:
                self._discard(source, start - offsets[source.board] - source.consumed, interrupted)
            self._catch_up(interrupted)
            if self._sounded:
                self._skip_noise(interrupted)
            for source in self._sources:
                skipped[source.board] = source.consumed
            self._delay_fractions(fractions, skipped, interrupted)
            self._aligning = False
        self._next_check = time.monotonic() + _SLIP_CHECK_S
        return Alignment(
            self._method, first_sample, tuple(offsets), tuple(skipped), tuple(ratios), tuple(fractions),
            tuple(any(s.board == b and s.delay is not None for s in self._sources) for b in range(n)),
            self._sounded,
        )  # fmt: skip

    def _skip_noise(self, interrupted: Interrupted) -> None:
        """Skip what the devices had taken by now: their own buffers are behind by up to `_BEHIND_S`."""
        fs_hz = self._config.fs_hz or 1.0
        taken = round((time.monotonic() - self._opened + _SETTLE_S) * fs_hz)
        n = min(max(taken - s.consumed for s in self._sources), round(_BEHIND_S * fs_hz))
        for source in self._sources:
            self._discard(source, n, interrupted)

    def _delay_fractions(self, fractions: list[float], skipped: list[int], interrupted: Interrupted) -> None:
        """Start the filters of boards that are off by a part of a sample, all boards on the same instant."""
        least = max(_LEAST_FRACTION, _LEAST_APART_S * (self._config.fs_hz or 1.0))
        if not any(abs(fractions[s.board]) > least for s in self._sources):
            return
        for source in self._sources:
            if abs(fractions[source.board]) > least:
                first: list[NDArray[Any]] = []
                self._collect_wire(source, first, 2 * REACH, interrupted)
                source.delay = FractionalDelay(fractions[source.board], np.concatenate(first))
            else:
                self._discard(source, REACH, interrupted)
            skipped[source.board] += REACH

    def _compare_times(self, interrupted: Interrupted) -> list[OffsetEstimate]:
        """Offsets by the hardware times of the first samples."""
        fs_hz = self._config.fs_hz or 1.0
        times = [self._head(s, self._patience_s(), interrupted).time_ns for s in self._sources]
        first, found = times[0], []
        for source, time_ns in zip(self._sources, times, strict=True):
            apart = (time_ns - first) * 1e-9 * fs_hz if time_ns is not None and first is not None else None
            if apart is None or abs(apart) > _MAX_TIME_APART_S * fs_hz:
                raise CaptureError(
                    f"{source.stream.uri}: its hardware time does not agree with that of the first device",
                    hint="connect the same time source (PPS) to all devices, or leave time_source out: the "
                    "offset is then found by correlation",
                )
            found.append(OffsetEstimate(round(apart), 0.0, True, apart - round(apart)))
        return found

    def _search(self, interrupted: Interrupted) -> list[OffsetEstimate]:
        fs_hz = self._config.fs_hz or 1.0
        for source in self._sources:
            source.stream.hold_everything(True)  # searching takes longer than the usual queue holds
        try:
            heard: list[list[NDArray[np.complex64]]] = [[] for _ in self._sources]
            found: list[OffsetEstimate] = []
            for reach_s, n_segments in _SEARCHES:
                reach = int(reach_s * fs_hz)
                needed = samples_needed(reach, n_segments)
                for source, pieces in zip(self._sources, heard, strict=True):
                    self._collect(source, pieces, needed, interrupted)
                arrays = [np.concatenate(p)[:needed] for p in heard]
                found = [find_offset(arrays[0], other, reach, n_segments) for other in arrays[1:]]
                if all(estimate.clear for estimate in found):
                    return [OffsetEstimate(0, 0.0, True), *found]
            worst = min(found, key=lambda e: (e.clear, e.ratio))
            raise alignment_error(worst, ", ".join(s.stream.uri for s in self._sources))
        finally:
            for source in self._sources:
                source.stream.hold_everything(False)

    def _catch_up(self, interrupted: Interrupted) -> None:
        """Skip what came in while the boards were being aligned, or the stream would lag by that for ever."""
        backlog = min(s.stream.queued_samples - s.position for s in self._sources)
        for source in self._sources:
            self._discard(source, backlog, interrupted)

    def _collect(
        self, source: Source, pieces: list[NDArray[np.complex64]], needed: int, interrupted: Interrupted
    ) -> None:
        wire: list[NDArray[Any]] = []
        self._collect_wire(source, wire, needed - sum(len(p) for p in pieces), interrupted)
        pieces += [_complex(piece) for piece in wire]

    def _collect_wire(
        self, source: Source, pieces: list[NDArray[Any]], missing: int, interrupted: Interrupted
    ) -> None:
        """Copies of the next `missing` samples."""
        while missing > 0:
            block = self._head(source, self._patience_s(), interrupted)
            step = min(missing, source.remaining(block))
            pieces.append(block.wire[source.position : source.position + step].copy())
            source.advance(step, block)
            missing -= step

    def _discard(self, source: Source, n: int, interrupted: Interrupted) -> None:
        while n > 0:
            block = self._head(source, self._patience_s(), interrupted)
            step = min(n, source.remaining(block))
            source.advance(step, block)
            n -= step

    def _patience_s(self) -> float:
        return 5.0 + 4.0 * (self._config.block_samples or 0) / (self._config.fs_hz or 1.0)

    def _head(
        self,
        source: Source,
        timeout_s: float,
        interrupted: Interrupted,
        room: WireBuffer | None = None,
    ) -> WireBlock:
        block = source.stream.head(timeout_s, interrupted, room)
        if self._aligning and block is not None and block.lost and source.consumed:
            self._slipped = True  # what was measured before the gap does not hold behind it
        if block is None:
            raise StreamStopped(f"{source.stream.uri}: the stream was stopped", uri=source.stream.uri)
        return block

    # ---- samples --------------------------------------------------------------------------------------

    def take(self, out: WireBuffer, timeout_s: float, interrupted: Interrupted) -> Taken:
        """Fill `out`: wait for one block, and take what else is there if `out` has room for more.

        Ends early where samples were lost or the time is over. Raises DeviceTimeout if nothing came, StreamStopped,
        ConnectionLost.
        """
        deadline = time.monotonic() + timeout_s
        awaited = min(len(out), self._config.block_samples or len(out))
        n, flags, lost, lost_samples, time_ns = 0, FrameFlag.NONE, False, None, None
        heads: list[WireBlock] = []
        newest = 0, 0
        while n < len(out):
            if n >= awaited and not all(s.stream.waiting for s in self._sources):
                break
            try:
                # only where the block is consumed whatever it is
                room = out if n == 0 and self._one_as_it_is(out) else None
                heads = [
                    self._head(s, max(deadline - time.monotonic(), 0.0), interrupted, room)
                    for s in self._sources
                ]
            except (DeviceTimeout, ConnectionLost):
                if n:
                    break  # the next read tells
                raise
            lost_here = any(h.lost for s, h in zip(self._sources, heads, strict=True) if s.position == 0)
            broken = len(heads) > 1 and (lost_here or self._slipped)
            if (lost_here or broken) and n:
                break
            if broken:
                return Taken(0, heads[0].t_mono_ns, heads[0].t_utc_ns, broken=True)
            if lost_here or any(h.doubtful for h in heads):
                if n >= awaited and not flags:
                    break
                flags |= FrameFlag.OVERFLOW
            if lost_here:
                lost, lost_samples = True, heads[0].lost_samples
            if n == 0 and heads[0].time_ns is not None:
                time_ns = heads[0].time_ns + self._sources[0].position * 1e9 / (self._config.fs_hz or 1.0)
            n += self._copy(out[n:], heads)
            newest = max((h.t_mono_ns, h.t_utc_ns) for h in heads)
        self._watch_alignment(out[:n])
        return Taken(n, *newest, flags, lost, lost_samples=lost_samples, time_ns=time_ns)

    def _one_as_it_is(self, out: WireBuffer) -> bool:
        """Whether the next block of a single board is to fill `out` from its start, unchanged."""
        first = self._sources[0]
        alone = len(self._sources) == 1 and first.position == 0 and first.delay is None
        return alone and first.columns == slice(0, out.shape[1]) and out.flags.c_contiguous

    def _copy(self, out: WireBuffer, heads: list[WireBlock]) -> int:
        n = min(len(out), *(s.remaining(h) for s, h in zip(self._sources, heads, strict=True)))
        for source, head in zip(self._sources, heads, strict=True):
            if head.landed:
                source.advance(n, head)
                continue
            piece = head.wire[source.position : source.position + n]
            if source.delay is not None:
                piece = source.delay.push(piece)
            put_columns(out[:n], source.columns, piece)
            source.advance(n, head)
        return n

    def _watch_alignment(self, out: WireBuffer) -> None:
        """Once a second: do the boards still show the same instant?"""
        if len(self._sources) < 2 or time.monotonic() < self._next_check:
            return
        needed = samples_needed(SEGMENT // 2, 2)
        self._heard.append(out.copy())
        if sum(len(p) for p in self._heard) < needed:
            return
        samples = _complex(np.concatenate(self._heard)[:needed])
        self._heard.clear()
        self._next_check = time.monotonic() + _SLIP_CHECK_S
        first, *others = (samples[:, s.columns] for s in self._sources)
        slips, before = tuple(slip(first, other) for other in others), self._slips
        self._slipped, self._slips = has_slipped(slips, before), slips


def has_slipped(slips: tuple[int, ...], before: tuple[int, ...]) -> bool:
    """Whether slips of the boards (samples) are real: echoes that move look like one of few samples, but not twice.

    before : of the check before, () if there was none.
    """
    return any(
        abs(now) > UNSURE_SAMPLES or now == then != 0
        for now, then in zip_longest(slips, before[: len(slips)])
    )


def _complex(wire: NDArray[Any]) -> NDArray[np.complex64]:
    """(n, C) complex64 of wire samples, not scaled."""
    return np.ascontiguousarray(wire, np.float32).view(np.complex64)[..., 0]
