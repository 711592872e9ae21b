"""Finds a known period in noise: where it begins, and its carrier offset.

All channels are combined without regard to their phases. The threshold follows from the correlations themselves:
their floor and its spread are measured, so that other signals in the band raise it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.dsp.ofdm_fft import dft, idft

#: Chance that noise alone passes one search.
_FALSE_ALARM = 1e-9
_CANDIDATES = 12
_BATCH = 1 << 21


@dataclass(frozen=True, slots=True)
class Acquired:
    """What a search found.

    Attributes
    ----------
    begin : sample (from the first one searched) at which a period begins, 0 <= begin < period; whole samples.
    carrier_offset_hz, offset_sigma_hz : of the signal, and its standard deviation.
    share : part of the received energy that the waveform explains, 0..1.
    """

    begin: int
    carrier_offset_hz: float
    offset_sigma_hz: float
    share: float


class Search:
    """Search for one period; keeps the transforms of the reference.

    Parameters
    ----------
    reference : (P,) complex64, one period. fs_hz : its rate.
    max_offset_hz : carrier offsets up to here are looked for; None: up to fs/2.
    """

    def __init__(
        self, reference: NDArray[np.complex64], fs_hz: float, max_offset_hz: float | None = None
    ) -> None:
        rms = float(np.sqrt(np.mean(np.abs(reference) ** 2)))
        self._s: NDArray[np.complex64] = (reference / rms).astype(np.complex64)
        self._fs_hz = fs_hz
        self._limit_hz = fs_hz / 2 if max_offset_hz is None else min(abs(max_offset_hz), fs_hz / 2)
        spectrum = dft(self._s)
        self._conj_spectrum = np.conj(spectrum)
        power = np.abs(spectrum) ** 2
        self._dimension = max(1, int(np.sum(power > 1e-3 * np.max(power))))
        turn = np.roll(self._s, -1) * np.conj(self._s)
        self._conj_turn = np.conj(dft((turn - np.mean(turn)).astype(np.complex64)))
        self._ambiguous = _is_ambiguous(self._conj_turn, len(self._s), self._dimension)

    def run(self, x: NDArray[np.complex64]) -> Acquired | None:
        """Search x (M, N) complex64, N at least a period; None if the waveform is not there."""
        period = len(self._s)
        chunks = x[:, : x.shape[1] // period * period].reshape(len(x), -1, period)
        energy: NDArray[np.float64] = np.asarray(np.sum(np.abs(chunks) ** 2, axis=(1, 2), dtype=np.float64))
        chunks = chunks[energy > 0]
        if len(chunks) == 0:
            return None
        scale = np.sqrt(energy[energy > 0] / chunks[0].size)
        chunks = chunks / scale[:, None, None].astype(
            np.float32
        )  # every channel counts alike, whatever its gain
        step_hz = self._fs_hz / period
        near = [
            f for f in (0.0, -0.5, 0.5, -1.0, 1.0) if abs(f * step_hz) <= max(self._limit_hz, 0.5 * step_hz)
        ]
        found = None
        if not self._ambiguous or self._limit_hz <= step_hz:
            found = self._best(chunks, np.array(near))
        if found is None and self._limit_hz > step_hz:
            if self._ambiguous:
                steps = (
                    np.arange(-np.floor(2 * self._limit_hz / step_hz), 2 * self._limit_hz / step_hz + 1) / 2
                )
                found = self._best(chunks, steps)
            else:
                found = self._differential(chunks)
        if found is None:
            return None
        out = self._refined(chunks, *found)
        if self._ambiguous and self._limit_hz > step_hz and chunks.shape[1] > 1:
            out = self._settled(chunks, out)
        return out

    def _correlations(self, chunks: NDArray[np.complex64], steps: float) -> NDArray[np.float64]:
        """(P,) sum over channels and periods of |correlation|^2 at an offset of `steps` fs/P."""
        period = len(self._s)
        turn = np.exp(-2j * np.pi * ((steps * np.arange(period) / period) % 1.0)).astype(np.complex64)
        total = np.zeros(period)
        rows = chunks.reshape(-1, period)
        each = max(1, _BATCH // period)
        for low in range(0, len(rows), each):
            part = dft(rows[low : low + each] * turn) * self._conj_spectrum
            total += np.sum(np.abs(idft(part)) ** 2, axis=0, dtype=np.float64)
        return total

    def _best(self, chunks: NDArray[np.complex64], steps: NDArray[np.float64]) -> tuple[int, float] | None:
        """(begin, offset in Hz) of the best of these offsets, if it is no chance."""
        some = chunks
        if len(steps) > 64:  # long searches: the first periods are enough to choose
            some = chunks[:2, : max(1, 4096 // chunks.shape[2])]
        best, at = -1.0, 0.0
        for step in steps:
            top = float(np.max(self._correlations(some, step)))
            if top > best:
                best, at = top, float(step)
        return self._accepted(chunks, at, len(steps))

    def _accepted(self, chunks: NDArray[np.complex64], step: float, n_tried: int) -> tuple[int, float] | None:
        """The peak at this offset if noise or another signal is unlikely to make it."""
        from scipy import special

        score = self._correlations(chunks, step)
        begin = int(np.argmax(score))
        chance = _FALSE_ALARM / (len(score) * n_tried)
        share = score[begin] / (chunks.size * len(self._s))
        mean, spread = _floor(score)
        if mean > 0:
            most = chunks.shape[0] * chunks.shape[1]
            shape = float(np.clip((mean / spread) ** 2 if spread > 0 else most, 1.0, most))
            if score[begin] > mean / shape * float(special.gammainccinv(shape, chance)):
                return begin, step * self._fs_hz / len(self._s)
        # a short period has no floor to speak of: ask how much of the energy it explains instead
        if self._dimension > 1 and share > 1 - chance ** (1 / (self._dimension - 1)):
            return begin, step * self._fs_hz / len(self._s)
        return None

    def _differential(self, chunks: NDArray[np.complex64]) -> tuple[int, float] | None:
        """Any offset: x[n+1] x*[n] turns it into a constant phase that is the same in all channels."""
        period = len(self._s)
        flat = chunks.reshape(len(chunks), -1)
        turn = np.zeros(flat.shape[1], np.complex64)
        for row in flat:
            turn[:-1] += row[1:] * np.conj(row[:-1])
        folded = turn.reshape(-1, period).sum(axis=0)
        score = np.abs(idft(dft(folded - np.mean(folded)) * self._conj_turn))
        best, at = -1.0, 0.0
        for begin in np.argsort(score)[-_CANDIDATES:]:
            step, top = self._offset(chunks[:, :1], int(begin))
            if top > best:
                best, at = top, step
        return self._accepted(chunks, at, period)

    def _offset(self, chunks: NDArray[np.complex64], begin: int) -> tuple[float, float]:
        """(offset in fs/P, peak) of x s* at a known beginning, over the first chunks, whole band."""
        rows = chunks.reshape(len(chunks), -1) * np.conj(np.roll(np.tile(self._s, chunks.shape[1]), begin))
        n = rows.shape[1]
        padded = dft(np.pad(rows, ((0, 0), (0, n))))
        power: NDArray[np.float64] = np.asarray(np.sum(np.abs(padded) ** 2, axis=0, dtype=np.float64))
        freq = np.fft.fftfreq(2 * n) * len(self._s)
        power[np.abs(freq) * self._fs_hz / len(self._s) > self._limit_hz] = 0
        top = int(np.argmax(power))
        return float(freq[top]), float(power[top])

    def _settled(self, chunks: NDArray[np.complex64], found: Acquired) -> Acquired:
        """The most likely pair of delay and offset on a chirp's ridge.

        The repetition gives the offset modulo fs/P; each of these offsets has a delay of its own. With all periods
        added in phase, the delays taken to fractions of a sample, the true pair stands out.
        """
        period = len(self._s)
        step_hz = self._fs_hz / period
        flat = chunks.reshape(len(chunks), -1)
        turns = found.carrier_offset_hz / self._fs_hz * np.arange(flat.shape[1])
        level = flat * np.exp(-2j * np.pi * (turns % 1.0)).astype(np.complex64)
        spectrum = dft(level.reshape(chunks.shape).sum(axis=1))
        bins = np.round(np.fft.fftfreq(period) * period).astype(np.int64)
        padded = np.zeros((len(spectrum), 4 * period), np.complex64)
        low = int(np.ceil((-self._limit_hz - found.carrier_offset_hz) / step_hz))
        high = int(np.floor((self._limit_hz - found.carrier_offset_hz) / step_hz))
        best = (-1.0, 0, 0)
        for shift in sorted(range(min(low, 0), max(high, 0) + 1), key=abs):
            product = np.roll(spectrum, -shift, axis=1) * self._conj_spectrum
            coarse = float(np.max(np.sum(np.abs(idft(product)) ** 2, axis=0)))
            if coarse < 0.5 * best[0]:
                continue
            padded[:, bins % (4 * period)] = product
            score = 16 * np.asarray(np.sum(np.abs(idft(padded)) ** 2, axis=0))
            top = int(np.argmax(score))
            if score[top] > best[0]:
                best = (float(score[top]), shift, top)
        _, shift, top = best
        if shift == 0:
            return found
        begin = round(top / 4) % period
        return self._refined(chunks, begin, found.carrier_offset_hz + shift * step_hz)

    def _refined(self, chunks: NDArray[np.complex64], begin: int, offset_hz: float) -> Acquired:
        """Fine carrier offset from all periods: the peak of the spectrum of x s*."""
        from scipy import optimize

        rows = chunks.reshape(len(chunks), -1) * np.conj(np.roll(np.tile(self._s, chunks.shape[1]), begin))
        n = rows.shape[1]
        m = max(1, min(n // 8, int(len(self._s) // 8) or 1))  # sum over short pieces first
        coarse = np.exp(-2j * np.pi * ((offset_hz / self._fs_hz * np.arange(n)) % 1.0)).astype(np.complex64)
        pieces = (rows * coarse)[:, : n // m * m].reshape(len(rows), -1, m).sum(axis=2, dtype=np.complex128)
        t_s = np.arange(pieces.shape[1]) * (m / self._fs_hz)

        def lost(f_hz: float) -> float:
            return -float(np.sum(np.abs(pieces @ np.exp(-2j * np.pi * f_hz * t_s)) ** 2))

        width_hz = self._fs_hz / len(self._s)
        grid = np.linspace(-width_hz, width_hz, 8 * chunks.shape[1] + 9)
        near = grid[int(np.argmin([lost(f) for f in grid]))]
        half = grid[1] - grid[0]
        found: Any = optimize.minimize_scalar(
            lost, bounds=(near - half, near + half), method="bounded", options={"xatol": 1e-6 * half}
        )
        fine_hz = float(found.x)
        share = min(1.0, -lost(fine_hz) / (rows.size * n))
        snr = share / max(1e-4, 1 - share)  # of the waveform to everything else, per sample
        sigma_hz = self._fs_hz * np.sqrt(6 / (snr * len(rows) * float(n) ** 3)) / (2 * np.pi)
        return Acquired(begin, offset_hz + fine_hz, float(sigma_hz), share)


def _floor(score: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of the correlations beside the peak, by their quartiles."""
    low, middle, high = np.percentile(score, (25, 50, 75))
    spread = float(high - low) / 1.35
    # gamma of shape k: median is about mean (1 - 1/(3k)), 1/k = (spread / mean)^2
    return float(middle) + spread**2 / (3 * max(float(middle), 1e-300)), spread


def _is_ambiguous(conj_turn: NDArray[np.complex64], period: int, dimension: int) -> bool:
    """True of chirps such as Zadoff-Chu: an offset in frequency looks like one in time."""
    score = np.abs(idft(np.abs(conj_turn).astype(np.complex64) ** 2))
    cell = int(np.ceil(2 * period / dimension)) + 1
    beside = score[cell : period - cell + 1]
    return len(beside) == 0 or float(np.max(beside)) > 0.5 * float(score[0])
