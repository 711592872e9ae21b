"""Channel responses demodulated from a recording or a running stream that carries a known waveform.

The receiver (`hil.dsp.ofdm`) gives one response per symbol. Here they are brought to one delay zero and averaged over
groups of equal length, so that any capture fits into memory and the groups say how the channel changes with time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import Recording
from hil.core.errors import ConfigError, RecordingError
from hil.core.frame import Frame, FrameFlag, StreamInfo
from hil.core.waveform import Waveform
from hil.dsp.angle_delay_looks import Separated
from hil.dsp.angle_delay_search import CyclicPrefix
from hil.dsp.ofdm import CsiBlock, OfdmReceiver, not_found
from hil.learning.csi_steady import steady
from hil.learning.observe import CovarianceBatch

#: Samples per channel that are read from a file at a time.
_PIECE_SAMPLES = 1 << 16
#: Bytes of channel responses kept at most; telling their components apart takes thirty times as much.
_MOST_BYTES = 64 << 20
#: Synthesizers take rates to within a few hertz.
_RATE_TOLERANCE = 2e-6
#: Symbols are averaged by the receiver where a group has many: a block of its own for each costs time.
_BLOCKS_PER_GROUP = 4
_MOST_AVERAGED = 64
#: With more groups than that, one cut short at the end is left out: its middle is not in step with the others.
_FEW_GROUPS = 8
#: Share of a look's energy in one constant vector from which it counts as standing still.
_STILL = 0.95
_STILL_COVARIANCES = 24
#: Share of samples at full scale from which on the user is told.
_CLIPPED = 1e-5

#: Samples (M, N) complex64 to better ones.
Mend = Callable[[NDArray[np.complex64]], NDArray[np.complex64]]


@dataclass(frozen=True, slots=True, eq=False)
class CsiCapture:
    """Channel responses of B groups of symbols.

    csi (B, M, S) complex64. frequency_hz (S,) from the carrier, those that were sent. time_s (B,) middle of each group
    since sample 0. first_sample (B,). spacing_hz between columns. snr_db (M,) mean per symbol. symbols (B,) averaged in each
    group. carrier_offset_hz : of the transmitter, removed. prefix : delays read without interference. notes : for the user.
    begin_samples (B,) : stream sample, modulo the period, at which a period begins at delay zero; None: not known.
    piece (B,) : number of the piece without missing samples that each group lies in; None: there is one.
    """

    csi: NDArray[np.complex64]
    frequency_hz: NDArray[np.float64]
    time_s: NDArray[np.float64]
    first_sample: NDArray[np.int64]
    spacing_hz: float
    stream: StreamInfo
    snr_db: NDArray[np.float64]
    symbols: NDArray[np.int64]
    carrier_offset_hz: float = 0.0
    prefix: CyclicPrefix | None = None
    notes: tuple[str, ...] = field(default=())
    begin_samples: NDArray[np.float64] | None = None
    piece: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.csi)

    @property
    def overdriven(self) -> str:
        """The note that says that converters clipped, or ""."""
        return next((note for note in self.notes if " clipped in " in note), "")

    @property
    def longest(self) -> slice:
        """The longest run of groups without missing samples: what Doppler shifts are read from."""
        if self.piece is None or not len(self.piece):
            return slice(0, len(self))
        edges = np.concatenate(([0], np.flatnonzero(np.diff(self.piece)) + 1, [len(self)]))
        k = int(np.argmax(np.diff(edges)))
        return slice(int(edges[k]), int(edges[k + 1]))

    def unbroken(self) -> CsiCapture:
        """The longest piece without missing samples, with a note if that is not all."""
        run = self.longest
        if run.stop - run.start == len(self):
            return self
        assert self.piece is not None
        pieces, part = int(np.count_nonzero(np.diff(self.piece))) + 1, self.symbols[run]
        note = (
            f"samples were lost, or the waveform was off at times: of {pieces} pieces only the longest was used, "
            f"{part.sum()} of {self.symbols.sum()} symbols; weak paths may be missing"
        )
        return replace(
            self, csi=self.csi[run], time_s=self.time_s[run], first_sample=self.first_sample[run], symbols=part,
            notes=(*self.notes, note), piece=None,
            begin_samples=None if self.begin_samples is None else self.begin_samples[run],
        )  # fmt: skip

    def averaged(self, most: int) -> CsiCapture:
        """At most `most` groups: coherent means of as many neighbours each, so that all have the same noise.

        What is left over at the end is left out.
        """
        if len(self) <= most:
            return self
        size = -(-len(self) // most)
        whole = len(self) // size * size
        edges = np.arange(0, whole, size)
        weight = self.symbols[:whole].astype(float)
        total = np.add.reduceat(weight, edges)
        csi = np.add.reduceat(self.csi[:whole] * weight[:, None, None], edges, axis=0) / total[:, None, None]
        time_s = np.add.reduceat(self.time_s[:whole] * weight, edges) / total
        return CsiCapture(
            csi.astype(np.complex64), self.frequency_hz, time_s, self.first_sample[edges], self.spacing_hz,
            self.stream, self.snr_db, np.add.reduceat(self.symbols[:whole], edges), self.carrier_offset_hz,
            self.prefix, self.notes, None if self.begin_samples is None else self.begin_samples[edges],
        )  # fmt: skip


class CsiGatherer:
    """Pushes samples through the receiver and averages what comes out.

    Parameters
    ----------
    waveform : OFDM-like, made for the stream's rate. stream : of all samples. n_samples : expected length of the capture.
    most_groups : groups that the capture is divided into, if it is long enough. own : the transmitter shares the
        receiver's clock, no carrier offset is looked for. mend : what is done to the samples before, e.g. IQ images.

    Raises
    ------
    ConfigError : a waveform that is not OFDM-like, or for another rate.
    """

    def __init__(
        self,
        waveform: Waveform,
        stream: StreamInfo,
        n_samples: int,
        most_groups: int = 512,
        *,
        own: bool = False,
        mend: Mend | None = None,
    ) -> None:
        layout = waveform.layout
        if layout is None:
            raise ConfigError(
                f"a {waveform.kind} waveform has no subcarriers", where="--waveform",
                hint="transmit an OFDM or SRS waveform: hil waveform new ofdm F.toml",
            )  # fmt: skip
        if not abs(waveform.fs_hz - stream.fs_hz) <= max(4.0, _RATE_TOLERANCE * stream.fs_hz):
            raise ConfigError(
                f"made for {waveform.fs_hz:g} S/s, the samples have {stream.fs_hz:g} S/s", where="--waveform",
                hint="give the waveform that was transmitted, or capture at its rate (--fs)",
            )  # fmt: skip
        self.waveform, self.stream, self._mend, self._own = waveform, stream, mend, own
        self._period = len(waveform.samples)
        symbol = self._symbol_samples = layout.symbol_samples
        per_group = stream.n_channels * len(layout.subcarriers) * 8
        groups = int(max(1, min(most_groups, _MOST_BYTES // per_group, n_samples // symbol)))
        self._group_samples = max(symbol, n_samples // groups)
        self._average = int(np.clip(self._group_samples // symbol // _BLOCKS_PER_GROUP, 1, _MOST_AVERAGED))
        unit = symbol * self._average
        self._group_samples = -(-self._group_samples // unit) * unit  # all groups alike
        self._receiver = OfdmReceiver(
            waveform, stream.n_channels, average=self._average, reference="first", common_phase="keep",
            max_carrier_offset_hz=0.0 if own else None,
        )  # fmt: skip
        self._sent = ~self._receiver.interpolated
        self._columns_hz: NDArray[np.float64] = np.asarray(
            self._receiver.columns * layout.spacing_hz, np.float64
        )
        self._zero: float | None = None
        self._forget()

    def _forget(self) -> None:
        """Begin to gather anew, with the timing that was found."""
        m = self.stream.n_channels
        self._sums: dict[int, NDArray[np.complex128]] = {}
        self._counts: dict[int, int] = {}
        self._firsts: dict[int, int] = {}
        self._times: dict[int, float] = {}
        self._begins: dict[int, float] = {}
        self._pieces: dict[int, int] = {}
        self._piece, self._first_group, self._end = 0, 0, 0
        self._snr = np.zeros(m)
        self._offset_hz = 0.0
        self._origin: int | None = None
        self._n, self._pushed = 0, 0
        self._clipped = np.zeros(m, np.int64)

    def push(
        self,
        samples: NDArray[np.complex64],
        first_sample: int,
        *,
        gap: bool = False,
        clipped: NDArray[np.int64] | None = None,
    ) -> None:
        """Samples (M, N) from an absolute index on; gaps are allowed. gap: some are missing before or within these,
        and the index may not tell how many: the timing is looked for anew, its zero with it. clipped (M,): how many
        of them are at full scale."""
        if clipped is not None:
            self._clipped = self._clipped + clipped
        if gap:
            self._receiver.reset()
            self._zero, self._origin = None, None
        self._pushed += samples.shape[1]
        samples = samples if self._mend is None else self._mend(samples)
        for block in self._receiver.push(samples, first_sample):
            self._add(block)

    def _add(self, block: CsiBlock) -> None:
        if self._zero is None:
            self._zero = block.timing_samples
        if self._origin is None or abs(block.first_sample - self._end) > self._symbol_samples / 2:
            # groups are counted anew: those of one piece lie in equal steps
            self._origin = block.first_sample
            self._piece, self._first_group = self._piece + 1, max(self._sums, default=-1) + 1
        self._end = block.first_sample + self._average * self._symbol_samples
        late = block.timing_samples - self._zero
        late -= self._period * round(late / self._period)
        csi = block.csi.astype(np.complex128)
        if abs(late) > 1e-9:
            # delays count from this block's own zero: count them from the first one's
            csi *= np.exp(-2j * np.pi * self._columns_hz * late / self.stream.fs_hz)
        # a drifting clock moves symbols by a sample now and then
        at = block.first_sample - self._origin + self._symbol_samples // 2
        group = self._first_group + at // self._group_samples
        if group in self._sums:
            self._sums[group] += csi
        else:
            self._sums[group], self._counts[group], self._times[group] = csi, 0, 0.0
            self._firsts[group] = block.first_sample
            self._begins[group] = block.timing_samples
            self._pieces[group] = self._piece
        self._counts[group] += 1
        self._times[group] += block.first_sample / self.stream.fs_hz
        self._snr += 10 ** (np.asarray(block.snr_db, float) / 10)
        self._offset_hz += block.carrier_offset_hz
        self._n += 1

    def take(self) -> CsiCapture:
        """`result`, then begin to gather anew: the timing and its zero are kept, for a live display."""
        try:
            return self.result()
        finally:
            self._forget()

    def result(self) -> CsiCapture:
        """What has come so far. Raises RecordingError (exit code 2) if the waveform was not found."""
        if not self._n:
            why = not_found(self._receiver, self._pushed)
            raise RecordingError(str(why), hint=why.hint, exit_code=2)
        keys = sorted(self._sums)
        csi = np.stack([self._sums[k] / self._counts[k] for k in keys])
        on = steady(csi, own=self._own)
        counts = np.array([self._counts[k] for k in keys])
        whole = on & (2 * counts > np.median(counts))  # others were cut short by a gap or the end
        keys, csi = [k for k, good in zip(keys, whole, strict=True) if good], csi[whole]
        counts = np.array([self._counts[k] for k in keys], np.int64)
        if len(keys) > _FEW_GROUPS and counts[-1] < counts.max():
            keys, csi, counts = keys[:-1], csi[:-1], counts[:-1]
        slips = self._receiver.slips
        notes = (f"the timing of the waveform jumped {slips} times",) if slips else ()
        notes += self._overdriven()
        if not on.all():
            notes += (
                f"{np.count_nonzero(~on)} of {len(on)} blocks, in which the waveform was not on all the time, "
                "were left out",
            )
        return CsiCapture(
            csi[:, :, self._sent].astype(np.complex64), self._columns_hz[self._sent],
            np.array([self._times[k] for k in keys]) / counts, np.array([self._firsts[k] for k in keys], np.int64),
            self._receiver.subcarrier_spacing_hz, self.stream, 10 * np.log10(np.maximum(self._snr / self._n, 1e-12)),
            counts * self._average, self._offset_hz / self._n, self._prefix(), notes,
            np.array([self._begins[k] for k in keys]), self._runs(keys, counts),
        )  # fmt: skip

    def _runs(self, keys: list[int], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B,) number of the run of neighbouring groups of one piece that each group lies in."""
        pieces = np.array([self._pieces[k] for k in keys], np.int64)
        short = counts < counts.max()  # by a gap within
        short[-1] = False
        new = (np.diff(pieces) != 0) | (np.diff(keys) > 1) | short[1:] | short[:-1]
        return np.concatenate(([0], np.cumsum(new)))

    def _overdriven(self) -> tuple[str, ...]:
        """A note if converters clipped: what that adds looks like echoes."""
        worst = int(np.argmax(self._clipped))
        share = float(self._clipped[worst]) / max(self._pushed, 1)
        if share < _CLIPPED:
            return ()
        remedy = "transmit with more --tx-attenuation, or capture" if self._own else "capture"
        return (
            f"channel {worst} clipped in {100 * share:.2g} % of the samples: levels, angles and weak paths are not to "
            f"be trusted; {remedy} with less --gain",
        )

    def _prefix(self) -> CyclicPrefix:
        """The receiver's window begins a quarter of the prefix early."""
        layout = self.waveform.layout
        assert layout is not None
        early = layout.cp_samples // 4
        fs_hz = self.stream.fs_hz
        clean_s = -early / fs_hz, (layout.cp_samples - early) / fs_hz
        return CyclicPrefix(clean_s, layout.n_fft / fs_hz, len(layout.grid), self._period / fs_hz)


def csi_of_recording(
    recording: Recording,
    waveform: Waveform,
    start: int,
    end: int,
    *,
    most_groups: int = 512,
    own: bool = False,
    mend: Mend | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CsiCapture:
    """Channel responses of samples start..end (places in the file), all of one epoch and configuration.

    Raises
    ------
    ConfigError : the waveform does not fit. RecordingError : it is not in the samples.
    """
    stream = recording.segment_at(start).stream
    bits = stream.device.full_scale_bits
    gather = CsiGatherer(waveform, stream, end - start, most_groups, own=own, mend=mend)
    for segment in recording.segments:
        if (segment.stream.epoch.id, segment.stream.config) != (stream.epoch.id, stream.config):
            continue
        low, high = max(start, segment.start), min(end, segment.start + segment.n)
        for place in range(low, high, _PIECE_SAMPLES):
            n = min(_PIECE_SAMPLES, high - place)
            samples, clipped = wire_to_complex(recording.read(place, n), bits)
            unknown = segment.dropped_before is None and place == segment.start
            gather.push(samples, segment.global_index + place - segment.start, gap=unknown, clipped=clipped)
            if progress is not None:
                progress(place + n - start, end - start)
    return gather.result()


@dataclass(slots=True)
class CsiTap:
    """`on_frame` of a session: gathers one epoch; a new epoch begins anew. own, mend : as of CsiGatherer."""

    waveform: Waveform
    n_samples: int
    most_groups: int = 512
    own: bool = False
    mend: Mend | None = None
    gather: CsiGatherer | None = None

    def __call__(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        """In the DSP thread."""
        if self.gather is None or self.gather.stream.epoch.id != frame.stream.epoch.id:
            self.gather = CsiGatherer(
                self.waveform, frame.stream, self.n_samples, self.most_groups, own=self.own, mend=self.mend
            )
        gap = bool(frame.flags & (FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW))
        self.gather.push(frame.samples, frame.first_sample, gap=gap, clipped=clipped)

    def result(self) -> CsiCapture:
        """Raises RecordingError if the waveform was not found."""
        if self.gather is None:
            raise RecordingError("no samples came", hint="capture longer", exit_code=3)
        return self.gather.result()


def covariances_of_looks(separated: Separated, capture: CsiCapture) -> CovarianceBatch:
    """Covariances with one source each: the values of each look over groups of blocks. May be empty."""
    m = len(separated.deviation)
    covariance: list[NDArray[Any]] = []
    first: list[int] = []
    blocks = len(capture)
    # what stands still may be summed for longer: weak targets need it
    still = all(look.still > _STILL for look in separated.looks)
    size = max(2 * m, 8, blocks // _STILL_COVARIANCES if still else 0)
    for k, look in enumerate(separated.looks):
        values = look.values * separated.deviation
        for low in range(0, len(values) - size + 1, size):
            part = values[low : low + size]
            covariance.append(part.T @ part.conj() / size)
            first.append(
                k * int(capture.first_sample[-1] - capture.first_sample[0] + 1)
                + int(capture.first_sample[low])
            )
    stacked = np.array(covariance) if covariance else np.zeros((0, m, m), complex)
    return CovarianceBatch(
        stacked, np.array(first, np.int64), size, capture.stream.fs_hz, capture.stream.epoch.counter
    )
