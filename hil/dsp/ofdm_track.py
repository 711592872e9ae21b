"""Slow motion of timing and carrier after the lock: nothing moves unless the data show it beyond doubt.

A transmitter on the receiver's clock keeps its timing for a whole epoch; correcting the noise of every measurement
would make all delays jitter. So both stay where they are until a drift is significant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.dsp.ofdm_symbols import even_weights

_ENTRIES = 64
_YOUNG = 4
_SIGNIFICANT = 6.0
_LEAST_DRIFT_SAMPLES = 0.03
_SLIP_SAMPLES = 0.5


class TimingTrack:
    """Where periods begin: `begin + rate * (t - t0)`; the rate (clock difference) is 0 until it is significant.

    Attributes
    ----------
    rate : samples per sample, e.g. 1e-6 for 1 ppm. slips : sudden jumps that were followed.
    """

    def __init__(self, begin: float, at: float) -> None:
        self._begin, self._at = begin, at
        self.rate = 0.0
        self.slips = 0
        self._history: list[tuple[float, float, float]] = []  # (time, offset, weight)

    @property
    def is_young(self) -> bool:
        """True until enough offsets are known to tell a drift."""
        return self.rate == 0.0 and len(self._history) < 2 * _YOUNG

    def begin(self, t: float) -> float:
        """Beginning of period 0 in samples as it holds at stream sample t."""
        return self._begin + self.rate * (t - self._at)

    def update(self, t: float, offset: float, sigma: float) -> None:
        """A measured offset (samples, positive: later than `begin(t)` says) and its standard deviation."""
        if self.rate != 0.0:
            if abs(offset) > max(_SLIP_SAMPLES, _SIGNIFICANT * sigma):
                self._slip(t, offset)
            else:
                self._follow(t, offset)
            return
        if self._history:
            expected = self._history[-1][1]
            if len(self._history) > 1:  # a steady drift is no slip
                (t0, o0, _), (t1, o1, _) = self._history[-2:]
                expected = o1 + (o1 - o0) * min((t - t1) / max(t1 - t0, 1.0), 2.0)
            if abs(offset - expected) > max(_SLIP_SAMPLES, _SIGNIFICANT * sigma):
                self._slip(t, offset)
                return
        self._history.append((t, offset, 1 / max(sigma, 1e-4) ** 2))
        if len(self._history) > _ENTRIES:  # pairs become one: the span doubles
            self._history = [
                ((a[0] + b[0]) / 2, (a[1] * a[2] + b[1] * b[2]) / (a[2] + b[2]), a[2] + b[2])
                for a, b in zip(self._history[::2], self._history[1::2], strict=False)
            ]
        if len(self._history) >= _YOUNG:
            self._judge()

    def _slip(self, t: float, offset: float) -> None:
        self._begin, self._at = self.begin(t) + offset, t
        self.slips += 1
        self._history = []

    def _judge(self) -> None:
        """Start to drift if a straight line through the offsets has a slope beyond doubt."""
        times, offsets, weights = np.array(self._history).T
        middle = float(np.sum(weights * times) / np.sum(weights))
        about = float(np.sum(weights * (times - middle) ** 2))
        if about <= 0:
            return
        slope = float(np.sum(weights * (times - middle) * offsets)) / about
        mean = float(np.sum(weights * offsets) / np.sum(weights))
        rest = offsets - mean - slope * (times - middle)
        excess = max(1.0, float(np.sum(weights * rest**2)) / max(1, len(times) - 2))
        moved = abs(slope) * float(times[-1] - times[0])
        if moved > _LEAST_DRIFT_SAMPLES and abs(slope) > _SIGNIFICANT * math.sqrt(excess / about):
            self._begin, self._at = self._begin + mean + slope * (times[-1] - middle), float(times[-1])
            self.rate = slope
            self._history = []

    def _follow(self, t: float, offset: float) -> None:
        """Alpha-beta filter of a drifting clock."""
        span = t - self._at
        if span <= 0:
            return
        self._begin, self._at = self.begin(t) + 0.2 * offset, t
        self.rate += 0.02 * offset / span


class CarrierTrack:
    """Carrier offset with a continuous phase: phase(t) in turns."""

    def __init__(self, offset_hz: float, fs_hz: float) -> None:
        self.offset_hz = offset_hz
        self._fs_hz = fs_hz
        self._turns, self._at = 0.0, 0.0

    def turns(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """Phase of the offset at stream samples t, in turns modulo 1."""
        return (self._turns + self.offset_hz / self._fs_hz * (t - self._at)) % 1.0

    def update(self, t: float, residual_hz: float, sigma_hz: float) -> None:
        """A measured rest of the offset; ignored unless significant."""
        if abs(residual_hz) > _SIGNIFICANT * sigma_hz:
            self._turns, self._at = float(self.turns(np.array(t))), t
            self.offset_hz += 0.5 * residual_hz


@dataclass(slots=True)
class LevelMeter:
    """Power and noise of M channels from pairs of symbols, forgotten after about `memory` symbols.

    Attributes
    ----------
    power, noise : (M,) of CSI entries. pairs : as many as the means are worth.
    """

    power: NDArray[np.float64]
    noise: NDArray[np.float64]
    memory: int = 128
    pairs: float = 0.0

    def add(self, power: NDArray[np.float64], noise: NDArray[np.float64], n: int) -> None:
        """Mean power and noise (M,) of CSI entries over n pairs."""
        keep = 0.5 ** (2 * n / self.memory)
        before = keep * self.pairs
        self.pairs = before + n
        share = n / self.pairs
        self.power = (1 - share) * self.power + share * power
        self.noise = (1 - share) * self.noise + share * noise

    def heard(self) -> float:
        """Mean ratio of signal to noise power over the channels."""
        return heard(self.power, self.noise)

    def snr_db(self) -> NDArray[np.float64]:
        """(M,) signal to noise ratio in dB; -inf where no signal is left above the noise, at most 99."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.maximum(self.power - self.noise, 0) / np.maximum(self.noise, 1e-30)
            return np.minimum(10 * np.log10(ratio), 99.0)


def heard(power: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    """Mean over the channels of (power - noise) / noise; dead channels count as 0."""
    return float(np.mean(np.where(power > 0, power / np.maximum(noise, 1e-30) - 1, 0.0)))


def least_heard(pairs: float, size: int) -> float:
    """What `heard` of noise alone stays under: five standard deviations with so many pairs of `size` entries."""
    return 5 * math.sqrt(3 / (max(pairs, 1.0) * size))


def delay_between(
    csi: NDArray[np.complexfloating], reference: NDArray[np.complexfloating], n_fft: int, step: int
) -> tuple[float, float]:
    """(delay in samples of CSI (M, S) against a reference (M, S), coherence 0..1).

    Each channel may have turned by a phase of its own, as it does when an emitter moves; what is common is the slope
    of phase over frequency.
    """
    s = csi.shape[1]
    if s < 4:
        return 0.0, 0.0
    weight = even_weights(np.asarray(np.sum(np.abs(reference) ** 2, axis=0)))
    csi, reference = csi * np.sqrt(weight), reference * np.sqrt(weight)
    cross = csi * np.conj(reference)
    lag = max(1, s // 16)
    short = np.sum(cross[:, 1:] * np.conj(cross[:, :-1]))
    delay = -float(np.angle(short)) * n_fft / (2 * np.pi * step)
    k = step * np.arange(s)
    for distance in (lag, s // 4, s // 2):
        level = cross * np.exp(2j * np.pi * k * delay / n_fft)
        wide = np.sum(level[:, distance:] * np.conj(level[:, : s - distance]))
        delay -= float(np.angle(wide)) * n_fft / (2 * np.pi * step * distance)
    aligned = np.abs(np.sum(cross * np.exp(2j * np.pi * k * delay / n_fft), axis=1))
    scale = np.sqrt(np.sum(np.abs(csi) ** 2, axis=1) * np.sum(np.abs(reference) ** 2, axis=1))
    total = float(np.sum(scale))
    return delay, float(np.sum(aligned)) / total if total > 0 else 0.0


def delay_zero(
    csi: NDArray[np.complexfloating], bins: NDArray[np.int64], n_fft: int, which: str, reach: float
) -> float:
    """Delay in samples of the reference path of CSI (M, S), its channels combined by power.

    which : "strongest", or "first": the earliest path that is at most 20 dB under the strongest, at most
        `reach` samples before it. Two paths are told apart from 2 / bandwidth on.
    """
    if len(bins) < 2:
        return 0.0  # one subcarrier knows no delay
    strongest = _peak(csi, bins, n_fft, 0.0, min(_cell(bins, n_fft), max(1.0, reach)))
    if which == "strongest":
        return strongest
    s = len(bins)
    window = np.hamming(s + 2)[1:-1]  # side lobes of -42 dB: none is taken for a path
    cell = _cell(bins, n_fft)
    grid = strongest + np.arange(-reach, 1.5 * cell, cell / 8)
    level = _profile(csi * window, bins, n_fft, grid)
    limit = 0.01 * float(np.max(level))
    tops = np.flatnonzero((level[1:-1] >= level[:-2]) & (level[1:-1] > level[2:]) & (level[1:-1] > limit)) + 1
    if len(tops) == 0:
        return strongest
    return _peak(csi * window, bins, n_fft, float(grid[tops[0]]), cell / 4)


def _cell(bins: NDArray[np.int64], n_fft: int) -> float:
    return n_fft / max(1, int(bins[-1] - bins[0]) + 1)


def _profile(
    csi: NDArray[np.complexfloating], bins: NDArray[np.int64], n_fft: int, delays: NDArray[np.float64]
) -> NDArray[np.float64]:
    turn = np.exp(2j * np.pi * np.outer(bins, delays) / n_fft)
    return np.sum(np.abs(csi @ turn) ** 2, axis=0)


def _peak(
    csi: NDArray[np.complexfloating], bins: NDArray[np.int64], n_fft: int, around: float, half: float
) -> float:
    """Delay of the greatest power within +-half, by three zooms and a parabola."""
    for _ in range(4):
        grid = around + np.linspace(-half, half, 17)
        top = int(np.clip(np.argmax(_profile(csi, bins, n_fft, grid)), 1, 15))
        around, half = float(grid[top]), float(grid[1] - grid[0])
    a, b, c = _profile(csi, bins, n_fft, around + half * np.array([-1.0, 0.0, 1.0]))
    bend = float(a - 2 * b + c)
    return around + (half * 0.5 * float(a - c) / bend if bend < 0 else 0.0)
