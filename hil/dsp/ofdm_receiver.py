"""The streaming receiver of a known OFDM-like waveform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError, ShapeError
from hil.core.waveform import Waveform
from hil.dsp.ofdm_acquire import Acquired
from hil.dsp.ofdm_block import CsiBlock, SampleStore
from hil.dsp.ofdm_grid import CsiGrid
from hil.dsp.ofdm_symbols import SymbolReader, averaged, mean_turning, pair_levels
from hil.dsp.ofdm_track import (
    CarrierTrack,
    LevelMeter,
    TimingTrack,
    delay_between,
    delay_zero,
    heard,
    least_heard,
)
from hil.dsp.ofdm_watch import Watch

#: Samples of a channel that are read together.
_BATCH_SAMPLES = 1 << 15
_YOUNG_BATCH_SAMPLES = 1 << 12  # until a drift of the clock would have shown
_MISSES = 8
_SOME_SYMBOLS = 6
_TRACK_SAMPLES = 1 << 17


class OfdmReceiver:
    """Streaming receiver of a waveform that is sent cyclically: pieces of any size, gaps allowed.

    Timing is found once by correlation and then kept (see `ofdm_track`): with a transmitter on the same clock the
    delay zero does not move during an epoch. Call `reset` when a new coherence epoch begins. An offset of the
    carrier, also of many subcarriers, and a slow drift of an emitter's clock are followed.

    Parameters
    ----------
    waveform : with a layout. n_channels : M.
    average : symbols per block; the mean has the noise of one / average. every : only every so many-th symbol
        is read, which saves time.
    subcarriers : bins to keep, ascending and equally spaced, out of `waveform.layout.columns`; None: all.
    reference : what delay zero is. "strongest": the strongest path. "first": the earliest path at most 20 dB under
        the strongest, for a weak direct path before strong echoes. A number: the stream sample, modulo the
        period, at which a period begins. The leakage of a monostatic array is usually the strongest and
        always the first.
    common_phase : "remove": blocks are turned, all channels alike, so that the mean over subcarriers of the
        strongest channel is real and positive. "keep": phases are those of a carrier that turns at the constant
        `carrier_offset_hz` found at the lock (0 for a transmitter on the same clock), for Doppler.
    max_carrier_offset_hz : 0 for one's own transmission; None: the whole band is searched.

    Attributes
    ----------
    columns : (S,) bins of the CSI. interpolated : (S,) bool, columns that are not sent (DC) and interpolated.
    subcarrier_spacing_hz : between columns. locked : timing is known. inverted : the spectrum is upside down (I
        and Q swapped): never mended here, nothing is received. slips : sudden jumps of timing that were followed.
    clock_error : of the transmitter's sample clock, samples per sample; 0 until a drift is beyond doubt.

    Raises
    ------
    ConfigError : a waveform without subcarriers, or an option out of range.
    """

    def __init__(
        self,
        waveform: Waveform,
        n_channels: int,
        *,
        average: int = 1,
        every: int = 1,
        subcarriers: Sequence[int] | NDArray[np.int64] | None = None,
        reference: Literal["strongest", "first"] | float = "strongest",
        common_phase: Literal["remove", "keep"] = "remove",
        max_carrier_offset_hz: float | None = None,
    ) -> None:
        layout = waveform.layout
        if layout is None:
            raise ConfigError(
                f"a waveform of kind {waveform.kind!r} has no subcarriers",
                where="waveform",
                hint='use "ofdm" or "srs"',
            )
        if n_channels < 1 or average < 1 or every < 1:
            raise ConfigError("n_channels, average and every must be at least 1", where="OfdmReceiver")
        if isinstance(reference, str) and reference not in ("strongest", "first"):
            raise ConfigError(f"{reference!r} is not strongest or first", where="reference")
        if common_phase not in ("remove", "keep"):
            raise ConfigError(f"{common_phase!r} is not remove or keep", where="common_phase")
        self.waveform = waveform
        self._layout, self._m = layout, n_channels
        self._average, self._every = average, every
        self._reference, self._keep = reference, common_phase == "keep"
        self._grid = CsiGrid(layout, subcarriers)
        self._reader = SymbolReader(layout, self._grid, layout.cp_samples // 4)
        self._limit_hz = max_carrier_offset_hz
        self._period = len(waveform.samples)
        self._watch = Watch(waveform, max_carrier_offset_hz)
        self.columns = self._grid.columns
        self.interpolated = self._grid.interpolated
        self.subcarrier_spacing_hz = self._grid.spacing_hz
        self._next: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget timing and carrier, as a new coherence epoch demands."""
        self._store = SampleStore(self._m)
        self._timing: TimingTrack | None = None
        self._carrier = CarrierTrack(0.0, self.waveform.fs_hz)
        self._level = LevelMeter(np.zeros(self._m), np.zeros(self._m))
        self._template: NDArray[np.complex128] | None = None
        self._last: tuple[int, NDArray[np.complex64]] | None = None
        self._symbol = 0
        self._tracked = -np.inf
        self._strongest = 0
        self._misses = 0
        self._watch.reset()

    @property
    def locked(self) -> bool:
        """True while timing is known and the waveform is heard."""
        return self._timing is not None and self._misses == 0

    @property
    def inverted(self) -> bool:
        """The waveform is there with its spectrum upside down (I and Q swapped); nothing is received."""
        return self._watch.inverted

    @property
    def slips(self) -> int:
        """Jumps of timing by more than half a sample, of all channels alike, that were followed."""
        return self._timing.slips if self._timing else 0

    @property
    def clock_error(self) -> float:
        """Difference of the sample clocks, positive: the transmitter is slower."""
        return self._timing.rate if self._timing else 0.0

    def push(self, samples: NDArray[np.complex64], first_sample: int) -> list[CsiBlock]:
        """Samples (M, N) complex64 from absolute index `first_sample`; returns the blocks that became complete.

        A jump forward is a gap: symbols cut by it are dropped, timing carries over. A jump back is a new
        stream. Raises ShapeError for another shape or dtype.
        """
        x = np.asarray(samples)
        if x.ndim != 2 or len(x) != self._m or x.dtype != np.complex64:
            raise ShapeError(f"samples: {x.dtype} {x.shape}, expected complex64 ({self._m}, N)")
        if self._next is not None and first_sample != self._next:
            if first_sample < self._next:
                self.reset()
            self._store.drop()
            self._last = None
        self._next = first_sample + x.shape[1]
        if self._timing is None:
            return self._seek(x, first_sample)
        if self._store.n == 0:
            return self._run(x, first_sample)
        more = min(x.shape[1], self._span + 2 * self._layout.symbol_samples)
        self._store.add(x[:, :more], first_sample)
        blocks = self._run(*self._store.take())
        if more == x.shape[1]:
            return blocks
        if self._timing is None:  # lost on the way
            return blocks + self._seek(x[:, more:], first_sample + more)
        self._store.drop()
        return blocks + self._run(x, first_sample)

    def _seek(self, x: NDArray[np.complex64], first: int) -> list[CsiBlock]:
        """Gather samples and search them; after a lock, read them."""
        if self._store.n == 0:
            skip = self._watch.skip(x, first)
            x, first = x[:, skip:], first + skip
        self._store.add(x, first)
        if self._store.n < self._watch.need:
            return []
        x, first = self._store.take()
        while x.shape[1] >= self._watch.need:
            found = self._watch.look(x[:, : self._watch.need], first)
            if found is not None:
                self._lock(x[:, : self._watch.need], first, found)
                return self._run(x, first)
            skip = self._watch.need + self._watch.skip(x[:, self._watch.need :], first + self._watch.need)
            x, first = x[:, skip:], first + skip
        self._store.add(x, first)
        return []

    @property
    def _span(self) -> int:
        """Samples of the symbols of one block."""
        return (self._average - 1) * self._every * self._layout.symbol_samples + self._layout.n_fft

    def _lock(self, x: NDArray[np.complex64], first: int, found: Acquired) -> None:
        """Fractional timing from the CSI of what was searched; the delay zero."""
        offset_hz = found.carrier_offset_hz
        if abs(offset_hz) < 4 * found.offset_sigma_hz or (self._limit_hz is not None and self._limit_hz == 0):
            offset_hz = 0.0
        self._carrier = CarrierTrack(offset_hz, self.waveform.fs_hz)
        begin = float(first + found.begin - self._period)
        self._timing = TimingTrack(begin, first)
        n = self._layout.symbol_samples
        low = int(np.ceil((first - begin) / n))
        csi = self._csi(x, first, low, min((x.shape[1] - n) // n, 128), 1)
        mean = self._grid.fill(np.mean(csi, axis=1).astype(np.complex64))
        self._strongest = int(np.argmax(np.sum(np.abs(mean) ** 2, axis=1)))
        if isinstance(self._reference, str):
            reach = min(self._layout.n_fft / (2 * self._layout.step), 0.75 * self._layout.n_fft)
            begin += delay_zero(mean, self.columns, self._layout.n_fft, self._reference, reach)
        else:
            begin += (float(self._reference) - begin + self._period / 2) % self._period - self._period / 2
        self._timing = TimingTrack(begin, first)
        self._template, self._last = None, None
        self._level = LevelMeter(np.zeros(self._m), np.zeros(self._m))
        self._misses = 0
        self._symbol = int(np.ceil((first - self._reader.advance - begin) / n)) - 1

    def _window(self, symbol: int) -> tuple[int, float]:
        """(first sample of the window, samples until the body begins at delay zero) of a symbol."""
        assert self._timing is not None
        n = self._layout.symbol_samples
        nominal = self._timing.begin(0.0) + symbol * n
        nominal = self._timing.begin(nominal) + symbol * n
        body = self._timing.begin(nominal) + symbol * n + self._layout.cp_samples
        start = round(body - self._reader.advance)
        return start, body - start

    def _csi(
        self, x: NDArray[np.complex64], first: int, symbol: int, count: int, every: int
    ) -> NDArray[np.complex64]:
        """CSI (M, count, R) of symbols symbol, symbol + every, ..."""
        assert self._timing is not None
        n = self._layout.symbol_samples
        start, late = self._window(symbol)
        index = np.arange(count)
        starts = start + index * every * n
        lates = np.asarray(late + self._timing.rate * every * n * index, np.float64)
        rows = (symbol + every * index) % len(self._layout.grid)
        offset_hz = self._carrier.offset_hz
        turns = self._carrier.turns(starts.astype(np.float64)) if offset_hz else None
        return self._reader.read(x, starts - first, rows, lates, turns, offset_hz / self.waveform.fs_hz)

    def _run(self, x: NDArray[np.complex64], first: int) -> list[CsiBlock]:
        """Read all whole blocks of x; the rest is kept."""
        blocks: list[CsiBlock] = []
        n, every = self._layout.symbol_samples, self._every
        end = first + x.shape[1]
        start, count = first, 0
        while self._timing is not None:
            start, _ = self._window(self._symbol)
            while start < first:  # before these samples, or lost in a gap
                self._symbol += max(1, (first - start) // n)
                start, _ = self._window(self._symbol)
            room = (end - start - self._layout.n_fft) // (every * n) + 1
            drift = abs(self._timing.rate) * every * n
            size = _YOUNG_BATCH_SAMPLES if self._timing.is_young else _BATCH_SAMPLES
            most = max(1, size // (every * n))
            if drift > 0:
                most = max(1, min(most, int(self._layout.cp_samples / 8 / drift) or 1))
            count = min(room, max(most // self._average, 1) * self._average) // self._average * self._average
            if count <= 0:
                break
            blocks += self._batch(x, first, count)
            self._symbol += count * every
        if self._timing is None:  # lost: look for it again behind what was read
            after = min(start + count * every * n, end)
            return blocks + self._seek(x[:, after - first :], after)
        start = max(first, self._window(self._symbol)[0])
        self._store.add(x[:, min(start - first, x.shape[1]) :], start)
        return blocks

    def _batch(self, x: NDArray[np.complex64], first: int, count: int) -> list[CsiBlock]:
        """Blocks of `count` symbols; none if the waveform is not heard in them."""
        assert self._timing is not None
        symbol, every, average = self._symbol, self._every, self._average
        csi = self._csi(x, first, symbol, count, every)
        inverse = np.mean(1 / self._reader.weight, axis=1)
        rows = (symbol + every * np.arange(count)) % len(inverse)
        turning = self._levels(csi, symbol, rows, inverse)
        if turning is None:
            return []
        if average > 1:
            phase = None if self._keep else np.concatenate(([0.0], np.cumsum(turning)))
            csi = averaged(csi, self._reader.weight[rows], phase, average)
        out = self._grid.fill(csi)
        if not self._keep:
            phase = np.sum(out[self._strongest], axis=1)
            out *= np.exp(-1j * np.angle(phase)).astype(np.complex64)[:, None]
        n = self._layout.symbol_samples
        snr_db = self._level.snr_db()
        offset_hz, timing = self._carrier.offset_hz, self._timing
        middle = self._window(symbol)[0]
        blocks = []
        for b in range(count // average):
            at = symbol + b * average * every
            begin = timing.begin(float(middle + b * average * every * n))
            blocks.append(
                CsiBlock(
                    out[:, b],
                    round(begin + at * n),
                    int(at % len(inverse)),
                    snr_db,
                    offset_hz,
                    begin % self._period,
                )
            )
        self._track(out, middle + count * every * n / 2)
        return blocks

    def _levels(
        self, csi: NDArray[np.complex64], symbol: int, rows: NDArray[np.int64], inverse: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Update levels and carrier; returns the turning of each pair of symbols (B - 1,) in radians.

        None: the waveform is not heard.
        """
        count, every = csi.shape[1], self._every
        last, self._last = self._last, (symbol + (count - 1) * every, csi[:, -1].copy())
        turns = self._carrier.offset_hz != 0  # on a common clock some symbols say it all
        some, some_rows, at = csi, rows, symbol
        if count < 2:
            if last is None or last[0] != symbol - every:
                return np.zeros(0)
            at = symbol - every
            some = np.concatenate((last[1][:, None], csi), axis=1)
            some_rows = np.array([at % len(inverse), rows[0]])
        elif not turns:
            some, some_rows = csi[:, :_SOME_SYMBOLS], rows[:_SOME_SYMBOLS]
        power, noise, cross, by_bin = pair_levels(some, inverse[some_rows])
        pairs, size = some.shape[1] - 1, csi.shape[2]
        now, limit = heard(power, noise), least_heard(pairs, size * self._m)
        if now < limit and self._level.heard() > 2 * limit and self._level.pairs > 0:
            self._miss()  # it was strong enough to be heard in so few symbols, and is gone
            return None
        self._level.add(power, noise, pairs)
        level = self._level.heard()
        if level < least_heard(self._level.pairs, size * self._m):
            self._miss()
            return None
        self._misses = 0
        span_s = every * self._layout.symbol_samples / self.waveform.fs_hz
        residual, seen = mean_turning(by_bin)
        sigma = max(seen, np.sqrt((1 / level + 0.5 / level**2) / (pairs * size * self._m)) + 1e-5)
        if not self._keep and pairs > 1:
            where = (at + pairs * every) * self._layout.symbol_samples + (
                self._timing.begin(0.0) if self._timing else 0
            )
            self._carrier.update(where, residual / (2 * np.pi * span_s), sigma / (2 * np.pi * span_s))
        if count < 2 or not turns:
            return np.zeros(count - 1)
        # phases of single pairs where they are certain, else the mean turning
        certain = size * self._m * level > 100
        return np.angle(cross) if certain else np.full(count - 1, residual)

    def _track(self, blocks: NDArray[np.complex64], t: float) -> None:
        """Compare the mean CSI of a batch with that of the lock: has timing moved?"""
        timing = self._timing
        assert timing is not None
        if timing.rate == 0.0 and not timing.is_young and t < self._tracked + _TRACK_SAMPLES:
            return
        self._tracked = t
        some = blocks[:, : max(1, 32 // self._average)]
        mean: NDArray[np.complex128] = np.asarray(some.mean(axis=1, dtype=np.complex128))
        if self._template is None:
            self._template = mean
            return
        offset, coherence = delay_between(mean, self._template, self._layout.n_fft, self._layout_step)
        if coherence < 0.7:  # the channel is another one now
            self._template = mean
            return
        used = some.shape[1] * self._average
        snr = float(np.sum(10 ** (self._level.snr_db() / 10))) * used
        s = len(self.columns) * self._layout_step
        sigma = self._layout.n_fft / (2 * np.pi * s) * np.sqrt(12 * 2 / max(1e-9, snr * len(self.columns)))
        timing.update(t, offset, float(sigma) + 1e-4)

    @property
    def _layout_step(self) -> int:
        return round(self.subcarrier_spacing_hz / self._layout.spacing_hz)

    def _miss(self) -> None:
        """The waveform is not heard; after some batches the lock is given up."""
        self._misses += 1
        if self._misses >= _MISSES:
            self.reset()
