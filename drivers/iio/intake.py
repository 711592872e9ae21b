"""The open receive buffers of one or several boards, handed out as one aligned stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.iio.alignment import SEGMENT, OffsetEstimate, alignment_error, find_offset, samples_needed, slip
from drivers.iio.board import Board
from drivers.iio.stream import BoardStream, WireBlock
from hil.core.device import RxConfig, WireBuffer
from hil.core.errors import ConnectionLost, DeviceTimeout, HilError, StreamStopped
from hil.core.frame import FrameFlag

#: (largest offset in s, segments of 8192 samples): first where starts lie in practice, then as far as promised.
_SEARCHES = ((0.03, 16), (0.25, 16))
_SLIP_CHECK_S = 1.0

Interrupted = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the boards' first samples relate after one start of the buffers.

    Attributes
    ----------
    method : "single", "common start" (sync_start_enable) or "correlation".
    first_sample : count of the stream at which this start begins.
    offsets : per board: its sample j and sample j + offset of the first board are simultaneous.
    skipped : per board: samples received after OPEN and dropped before the first one handed out.
    ratios : per board: correlation peak over the next best (0: not measured).
    """

    method: str
    first_sample: int
    offsets: tuple[int, ...]
    skipped: tuple[int, ...]
    ratios: tuple[float, ...]

    def as_dict(self, uris: list[str]) -> dict[str, Any]:
        """For JSON."""
        rows = zip(uris, self.offsets, self.skipped, self.ratios, strict=False)
        boards = [
            {"uri": u, "offset_samples": o, "skipped_samples": s, "peak_ratio": r} for u, o, s, r in rows
        ]
        return {"method": self.method, "first_sample": self.first_sample, "boards": boards}


@dataclass(frozen=True, slots=True)
class Taken:
    """What `Intake.take` put into the caller's buffer; `broken`: the boards are no longer aligned, n is 0."""

    n: int
    t_mono_ns: int
    t_utc_ns: int
    flags: FrameFlag = FrameFlag.NONE
    lost: bool = False
    broken: bool = False


@dataclass(slots=True)
class _Source:
    """A board's stream, how far its oldest block has been read, and where its channels go."""

    board: int
    stream: BoardStream
    columns: list[int]
    all_columns: bool
    position: int = 0
    consumed: int = 0

    def remaining(self, block: WireBlock) -> int:
        return len(block.wire) - self.position

    def advance(self, n: int, block: WireBlock) -> None:
        self.position += n
        self.consumed += n
        if self.position >= len(block.wire):
            self.position = 0
            self.stream.pop()


class Intake:
    """Buffers of all boards that have selected channels.

    Raises what opening a buffer raises; then nothing stays open.
    """

    def __init__(
        self, boards: list[Board], ports: list[tuple[int, int]], config: RxConfig, link_timeout_s: float
    ) -> None:
        self._config = config
        self._n_boards = len(boards)
        channels = config.channels or ()
        used = sorted({ports[c][0] for c in channels})
        self._common_start = len(used) > 1 and all(boards[b].has_common_start for b in used)
        self._sources: list[_Source] = []
        self._next_check = 0.0
        self._heard: list[WireBuffer] = []
        self._slipped = False
        if self._common_start:
            for b in used:
                boards[b].sync_start("arm")
        try:
            for b in used:
                own = sorted(ports[c][1] for c in channels if ports[c][0] == b)
                columns = [channels.index(ports.index((b, c))) for c in own]
                stream = BoardStream(
                    boards[b], tuple(own), config.fs_hz or 1.0, config.block_samples or 1, link_timeout_s
                )
                self._sources.append(_Source(b, stream, columns, columns == list(range(len(channels)))))
            if self._common_start:
                boards[used[0]].sync_start("trigger_manual")
        except HilError:
            self.close()
            raise

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
        for source in self._sources:
            source.stream.end()
        for source in self._sources:
            source.stream.close()

    # ---- alignment ------------------------------------------------------------------------------------

    def align(self, first_sample: int, interrupted: Interrupted) -> Alignment:
        """Bring all boards to the same instant. Raises CaptureError if what they receive does not allow it."""
        n = self._n_boards
        offsets, skipped, ratios = [0] * n, [0] * n, [0.0] * n
        method = (
            "single" if len(self._sources) == 1 else "common start" if self._common_start else "correlation"
        )
        if method == "correlation":
            for source, (offset, ratio) in zip(self._sources, self._search(interrupted), strict=True):
                offsets[source.board], ratios[source.board] = offset, ratio
            start = max(s.consumed + offsets[s.board] for s in self._sources)
            for source in self._sources:
                self._discard(source, start - offsets[source.board] - source.consumed, interrupted)
                skipped[source.board] = source.consumed
        self._next_check = time.monotonic() + _SLIP_CHECK_S
        return Alignment(method, first_sample, tuple(offsets), tuple(skipped), tuple(ratios))

    def _search(self, interrupted: Interrupted) -> list[tuple[int, float]]:
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
                    return [(0, 0.0), *((e.offset, e.ratio) for e in found)]
            worst = min(found, key=lambda e: (e.clear, e.ratio))
            raise alignment_error(worst, ", ".join(s.stream.uri for s in self._sources))
        finally:
            for source in self._sources:
                source.stream.hold_everything(False)

    def _collect(
        self, source: _Source, pieces: list[NDArray[np.complex64]], needed: int, interrupted: Interrupted
    ) -> None:
        while sum(len(p) for p in pieces) < needed:
            block = self._head(source, self._patience_s(), interrupted)
            pieces.append(_complex(block.wire[source.position :]))
            source.advance(source.remaining(block), block)

    def _discard(self, source: _Source, n: int, interrupted: Interrupted) -> None:
        while n > 0:
            block = self._head(source, self._patience_s(), interrupted)
            step = min(n, source.remaining(block))
            source.advance(step, block)
            n -= step

    def _patience_s(self) -> float:
        return 5.0 + 4.0 * (self._config.block_samples or 0) / (self._config.fs_hz or 1.0)

    def _head(self, source: _Source, timeout_s: float, interrupted: Interrupted) -> WireBlock:
        block = source.stream.head(timeout_s, interrupted)
        if block is None:
            raise StreamStopped(f"{source.stream.uri}: the stream was stopped", uri=source.stream.uri)
        return block

    # ---- samples --------------------------------------------------------------------------------------

    def take(self, out: WireBuffer, timeout_s: float, interrupted: Interrupted) -> Taken:
        """Fill `out`, at most one block of it; ends early where samples were lost or the time is over.

        Raises DeviceTimeout if nothing came, StreamStopped, ConnectionLost.
        """
        deadline = time.monotonic() + timeout_s
        wanted = min(len(out), self._config.block_samples or len(out))
        n, flags, lost = 0, FrameFlag.NONE, False
        heads: list[WireBlock] = []
        while n < wanted:
            try:
                heads = [
                    self._head(s, max(deadline - time.monotonic(), 0.0), interrupted) for s in self._sources
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
                flags |= FrameFlag.OVERFLOW
            lost |= lost_here
            n += self._copy(out[n:wanted], heads)
        self._watch_alignment(out[:n])
        newest = max(heads, key=lambda h: h.t_mono_ns)
        return Taken(n, newest.t_mono_ns, newest.t_utc_ns, flags, lost)

    def _copy(self, out: WireBuffer, heads: list[WireBlock]) -> int:
        n = min(len(out), *(s.remaining(h) for s, h in zip(self._sources, heads, strict=True)))
        for source, head in zip(self._sources, heads, strict=True):
            piece = head.wire[source.position : source.position + n]
            if source.all_columns:
                out[:n] = piece
            else:
                out[:n, source.columns] = piece
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
        self._slipped = any(slip(first, other) for other in others)


def _complex(wire: NDArray[np.int16]) -> NDArray[np.complex64]:
    """(n, C) complex64 of wire samples, not scaled."""
    return np.ascontiguousarray(wire, np.float32).view(np.complex64)[..., 0]
