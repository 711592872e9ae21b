"""Plays a SigMF recording as if it were the receiver: `replay:FILE`, `replay:FILE?realtime`.

Samples, gaps, retunes and coherence epochs come as they were recorded. `configure` accepts only what the
recording holds: with `fc_hz` or `gain_db` given, only the segments recorded that way are played.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import numpy as np

from drivers.replay_clock import Playback
from drivers.sigmf_files import Segment, open_recording
from hil.core.device import DeviceCaps, DeviceInfo, GainMode, Range, ReadResult, RxConfig, WireBuffer
from hil.core.errors import (
    DeviceStateError,
    DeviceTimeout,
    DriverUnavailable,
    RecordingError,
    StreamStopped,
    UnsupportedSetting,
)
from hil.core.frame import FrameFlag, StreamInfo
from hil.core.geometry import ArrayGeometry

_PAUSED_S = 0.1  # a paused read gives up early, so that its thread can do other things
_PIECE = 1 << 20  # samples of all channels that are held while a subset of channels is picked


class ReplayDevice:
    """An RxDevice that reads a recording.

    Parameters
    ----------
    path : `.sigmf-collection`, `.sigmf-meta` or `.sigmf-data`.
    realtime : deliver samples at the sample rate instead of as fast as they are read.
    geometry : array to put in place of the recorded one, one position per recorded channel.

    Attributes
    ----------
    playback : speed, pause, loop and seeking, for any thread.

    `read` never crosses a segment, so one StreamInfo holds for all that it returns. At the end of the
    recording it raises StreamStopped and `at_end` is True.
    """

    def __init__(
        self, path: str | os.PathLike[str], realtime: bool = False, geometry: ArrayGeometry | None = None
    ) -> None:
        self.recording = open_recording(path)
        if not self.recording.segments:
            raise RecordingError(f"{path}: holds no samples", hint="record again", exit_code=2)
        first = self.recording.stream
        if not first.fc_hz > 0 or not np.isfinite(self.recording.fs_hz):
            raise RecordingError(
                f"{path}: does not say its carrier frequency or sample rate",
                hint="add core:frequency to its captures and core:sample_rate to global",
                exit_code=2,
            )
        if geometry is not None and geometry.n_elements != self.recording.n_channels:
            raise UnsupportedSetting(
                "array", f"{geometry.n_elements} elements", f"{self.recording.n_channels} recorded channels",
                uri=f"replay:{path}", hint="give the array that was recorded",
            )  # fmt: skip
        self._geometry = geometry
        self._uri = f"replay:{path}" + ("?realtime" if realtime else "")
        self._channels = first.config.channels or tuple(range(self.recording.n_channels))
        self._picked: tuple[int, ...] = self._channels
        self._block_samples = first.config.block_samples or 65536
        self._fc_hz: float | None = None
        self._gain_db: tuple[float, ...] | float | None = None
        self._plan: list[Segment] = list(self.recording.segments)
        self._stopped = threading.Event()
        self._running = False
        self._closed = False
        self._place(0)
        self._seq_new = self._gap_pending = False
        self._shift_ns = 0  # the monotonic clock goes on over a seek
        self._clock_ns = 0
        speed = 1.0 if realtime else math.inf
        self.playback = Playback(self.recording.fs_hz, self.recording.n_samples, speed)

    @property
    def info(self) -> DeviceInfo:
        """The recorded receiver's identity under this URI."""
        return replace(self.recording.stream.device, uri=self._uri, driver="replay")

    @property
    def caps(self) -> DeviceCaps:
        """What the recording holds."""
        streams = [s.stream.config for s in self.recording.segments]
        fcs = [c.fc_hz or 0.0 for c in streams]
        gains = [g for c in streams for g in _gains(c)]
        fs_hz = self.recording.fs_hz
        return DeviceCaps(
            fc_hz=Range(min(fcs), max(fcs)),
            fs_hz=Range(fs_hz, fs_hz),
            gain_db=Range(min(gains), max(gains)),
            n_channels=self.recording.n_channels,
            full_scale_bits=self.info.full_scale_bits,
            fs_fixed_hz=(fs_hz,),
        )

    @property
    def at_end(self) -> bool:
        """All samples of the chosen segments were read."""
        return self._index >= len(self._plan)

    @property
    def paused(self) -> bool:
        """It is silent because it was asked to be, or waits at the end."""
        return self.playback.resting

    def configure(self, want: RxConfig) -> StreamInfo:
        """Choose among what was recorded; returns the stream of the next sample.

        Raises
        ------
        UnsupportedSetting : the recording holds nothing of that kind.
        """
        self._open_or_raise()
        segments = self.recording.segments
        config = segments[0].stream.config
        if want.fs_hz is not None and not abs(want.fs_hz - self.recording.fs_hz) <= 0.5:
            raise self._unsupported("fs_hz", want.fs_hz, [self.recording.fs_hz])
        if want.bandwidth_hz is not None and not abs(want.bandwidth_hz - (config.bandwidth_hz or 0.0)) <= 0.5:
            raise self._unsupported("bandwidth_hz", want.bandwidth_hz, [config.bandwidth_hz])
        # MANUAL is also what a request holds that does not care; the read-back says what was recorded.
        if want.gain_mode is not GainMode.MANUAL and want.gain_mode is not config.gain_mode:
            raise self._unsupported("gain_mode", want.gain_mode, [config.gain_mode])
        if want.block_samples is not None and not 1 <= want.block_samples <= 1 << 26:
            raise self._unsupported("block_samples", want.block_samples, ["1 to 67108864"])
        picked = self._picked if want.channels is None else tuple(want.channels)
        if not picked or len(set(picked)) != len(picked) or not set(picked) <= set(self._channels):
            raise self._unsupported("channels", picked, self._channels)
        fc_hz = self._fc_hz if want.fc_hz is None else want.fc_hz  # None: leave as it is
        gain_db = self._gain_db if want.gain_db is None else want.gain_db
        if want.gain_db is None and picked != self._picked:
            gain_db = None  # the gains asked for belonged to other channels
        plan = [s for s in segments if fc_hz is None or abs(s.stream.fc_hz - fc_hz) <= 0.5]
        if not plan:
            raise self._unsupported("fc_hz", fc_hz, [s.stream.fc_hz for s in segments])
        if gain_db is not None:
            plan = [s for s in plan if _fits(gain_db, _gains(s.stream.config), picked, self._channels)]
            if not plan:
                raise self._unsupported("gain_db", gain_db, [_gains(s.stream.config) for s in segments])
        self._picked, self._fc_hz, self._gain_db = picked, fc_hz, gain_db
        self._block_samples = want.block_samples or self._block_samples
        if [s.start for s in plan] != [s.start for s in self._plan]:
            self._replan(plan)
        return self._stream(self._plan[min(self._index, len(self._plan) - 1)])

    def _replan(self, plan: list[Segment]) -> None:
        """Go on with the first chosen segment that was not played yet, or the first of all."""
        here = self._plan[self._index].start + self._offset if not self.at_end else self.recording.n_samples
        self._plan = plan
        if not self._running:
            self._place(0)
            return
        k = next((i for i, s in enumerate(plan) if s.start >= here), 0)
        self._jump(k, 0)

    def _go_to(self, sample: int) -> None:
        """Go on at this sample of the file, or the first after it that was chosen."""
        k = next((i for i, s in enumerate(self._plan) if s.start + s.n > sample), len(self._plan))
        self._jump(k, max(sample - self._plan[k].start, 0) if k < len(self._plan) else 0)
        self.playback.position = min(sample, self.recording.n_samples)
        self.playback.ended = self.at_end

    def _jump(self, index: int, offset: int) -> None:
        n_next = self._next
        self._place(index)
        self._offset, self._next, self._gap_pending = offset, n_next, True

    def _place(self, index: int) -> None:
        self._index, self._offset, self._next = index, 0, 0

    def start(self) -> None:
        """Play from the first chosen segment on; the first sample has index 0."""
        self._open_or_raise()
        if self._running and not self._stopped.is_set():
            raise DeviceStateError("already streaming", uri=self._uri, hint="call stop() first")
        self._stopped.clear()
        self._place(0)
        self._seq_new, self._gap_pending = True, False
        self._running = True
        self._shift_ns = self._clock_ns = 0
        self.playback.restart()

    def read(self, out: WireBuffer, timeout_s: float) -> ReadResult:
        """Fill `out` (n, M, 2) with at most the rest of the present segment."""
        self._open_or_raise()
        if self._stopped.is_set() and self._running:
            raise self._ended()
        if not self._running:
            raise DeviceStateError("not streaming", uri=self._uri, hint="call start() first")
        if out.ndim != 3 or out.shape[1:] != (len(self._picked), 2) or out.dtype != self.recording.wire.dtype:
            raise DeviceStateError(
                f"buffer {out.dtype} {out.shape} for {len(self._picked)} channels of {self.recording.wire}",
                uri=self._uri,
            )
        at_once = self._obey(timeout_s)
        segment = self._plan[self._index]
        flags, lost = FrameFlag.NONE, 0
        if self._offset == 0 or self._gap_pending:
            flags, lost = self._enter(segment)
        n = min(len(out), segment.n - self._offset)
        if not at_once:
            n = self._due(n, lost or 0, timeout_s)
        self._copy(segment.start + self._offset, out[:n])
        first = self._next + (lost or 0)
        fs_hz = self.recording.fs_hz
        end_ns = round((self._offset + n) / fs_hz * 1e9)
        t_mono_ns = self._clock(segment, end_ns, round(n / fs_hz * 1e9))
        self.playback.seams += self._gap_pending and not self._seq_new
        self._next = first + n
        end = self._offset = self._offset + n
        self._seq_new = self._gap_pending = False
        if self._offset >= segment.n:
            self._index, self._offset = self._index + 1, 0
        self.playback.position, self.playback.ended = segment.start + end, self.at_end
        t_utc_ns = segment.t_utc_ns + end_ns if segment.t_utc_ns else time.time_ns()
        return ReadResult(n, first, t_mono_ns, t_utc_ns, flags, self._stream(segment), lost)

    def _enter(self, segment: Segment) -> tuple[FrameFlag, int | None]:
        """Flags and lost samples of the first block of a segment."""
        if self._seq_new:
            return FrameFlag.NONE, 0
        before = self._plan[self._index - 1] if self._index else None
        flags, lost = FrameFlag.NONE, segment.dropped_before
        if self._gap_pending or before is None:
            flags, lost = FrameFlag.GAP_BEFORE, None  # configured while streaming: time has no relation
        elif before.start + before.n != segment.start:  # segments in between were not chosen
            jump = segment.global_index - (before.global_index + before.n)
            lost = jump if jump > 0 else None
        if lost != 0 or segment.left_out:
            flags |= FrameFlag.GAP_BEFORE
        if before is None or self._gap_pending or _retuned(before, segment):
            flags |= FrameFlag.RETUNED
        return flags, lost

    def _obey(self, timeout_s: float) -> bool:
        """Do what was asked of the playback. True: the next block is due at once, it shows a new place while paused.

        Raises StreamStopped at the end, DeviceTimeout while nothing is to be played.
        """
        playback = self.playback
        give_up = time.monotonic() + min(timeout_s, _PAUSED_S)
        while not self._stopped.is_set():
            sample = playback.take_seek()
            if sample is not None:
                self._go_to(sample)
            if self.at_end and playback.loop:
                self._jump(0, 0)
                playback.ended = False
            playback.ended = self.at_end
            if self.at_end and not playback.hold:
                raise StreamStopped("end of the recording", uri=self._uri)
            if not playback.resting:
                return False
            if sample is not None and not self.at_end:
                return True
            if time.monotonic() >= give_up:
                raise DeviceTimeout("the playback is paused", uri=self._uri, hint="press play")
            playback.rest(give_up - time.monotonic(), self._stopped)
        raise self._ended()

    def _due(self, n: int, gap: int, timeout_s: float) -> int:
        due = self.playback.due(self._next + gap, n, gap, timeout_s, self._stopped)
        if self._stopped.is_set():
            raise self._ended()
        if due < 1:
            raise DeviceTimeout(f"no sample due within {timeout_s:g} s", uri=self._uri)
        return due

    def _ended(self) -> StreamStopped:
        self._running = False
        return StreamStopped("stopped", uri=self._uri)

    def _clock(self, segment: Segment, end_ns: int, length_ns: int) -> int:
        """Monotonic clock of a block's end, as recorded, but going on over a seek."""
        if not segment.t_mono_ns:
            return time.monotonic_ns()
        recorded = segment.t_mono_ns + end_ns
        if self._gap_pending and self._clock_ns:
            self._shift_ns = self._clock_ns + length_ns - recorded
        self._clock_ns = recorded + self._shift_ns
        self.playback.offset_ns = time.monotonic_ns() - self._clock_ns
        return self._clock_ns

    def _copy(self, first: int, out: WireBuffer) -> None:
        if self._picked == self._channels and out.flags.c_contiguous:
            self.recording.read_into(first, out)
            return
        columns = [self._channels.index(c) for c in self._picked]
        piece = max(_PIECE // len(self._channels), 1)
        for k in range(0, len(out), piece):
            part = self.recording.read(first + k, min(piece, len(out) - k))
            out[k : k + len(part)] = part[:, columns]

    def _stream(self, segment: Segment) -> StreamInfo:
        """The recorded StreamInfo with this device's URI and the chosen channels."""
        recorded = segment.stream
        columns = [self._channels.index(c) for c in self._picked]
        gains = _gains(recorded.config)
        geometry = self._geometry or recorded.geometry
        if geometry is not None and self._picked != self._channels:
            labels = tuple(geometry.labels[i] for i in columns)
            geometry = ArrayGeometry(geometry.positions_m[columns], labels, geometry.name)
        config = replace(
            recorded.config,
            gain_db=tuple(gains[i] for i in columns),
            channels=self._picked,
            block_samples=self._block_samples,
        )
        return StreamInfo(config, self.info, recorded.epoch, geometry)

    def transmitter(self) -> NoReturn:
        """A recording has none: raises DriverUnavailable."""
        raise DriverUnavailable(
            f"{self._uri}: a recording cannot transmit",
            uri=self._uri,
            hint="open a device: iio:, soapy: or sim:",
        )

    def stop(self) -> None:
        """Stop playing, from any thread."""
        self._stopped.set()
        self.playback.wake()

    def close(self) -> None:
        """Close the recording."""
        self.stop()
        self._running, self._closed = False, True
        self.recording.close()

    def _open_or_raise(self) -> None:
        if self._closed:
            raise DeviceStateError("closed", uri=self._uri, hint="open it again")

    def _unsupported(self, field: str, requested: object, allowed: Sequence[object]) -> UnsupportedSetting:
        seen = list(dict.fromkeys(str(a) for a in allowed))
        shown = ", ".join(seen[:6]) + (", ..." if len(seen) > 6 else "")
        return UnsupportedSetting(
            field, requested, shown, uri=self._uri, hint="a recording can only be played as it was made"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_replay(rest: str, *, geometry: ArrayGeometry | None = None) -> ReplayDevice:
    """ReplayDevice from what follows `replay:` in a URI: `FILE` or `FILE?realtime`."""
    path, _, options = rest.partition("?")
    if options not in ("", "realtime"):
        raise UnsupportedSetting("option", options, "realtime", uri=f"replay:{rest}")
    return ReplayDevice(Path(path), realtime=options == "realtime", geometry=geometry)


def _gains(config: RxConfig) -> tuple[float, ...]:
    gain = config.gain_db
    if gain is None or isinstance(gain, int | float):
        return (float(gain or 0.0),) * len(config.channels or (0,))
    return tuple(gain)


def _fits(
    want: tuple[float, ...] | float,
    have: tuple[float, ...],
    picked: tuple[int, ...],
    channels: tuple[int, ...],
) -> bool:
    wanted = (want,) * len(picked) if isinstance(want, int | float) else tuple(want)
    if len(wanted) != len(picked):
        return False
    recorded = [have[channels.index(c)] for c in picked]
    return all(abs(a - b) <= 0.01 for a, b in zip(wanted, recorded, strict=True))


def _retuned(before: Segment, after: Segment) -> bool:
    return before.stream.epoch != after.stream.epoch or before.stream.config != after.stream.config
