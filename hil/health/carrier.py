"""Does the spectrum of the signals move? A score test on averaged periodograms.

    d = sum_f (P - P0) P0' / P0^2  /  sum_f (P0' / P0)^2,   var d = 1 / (L sum_f (P0' / P0)^2)

for L averaged periodograms (Whittle likelihood): the edges of a band count, not its random content, so that a
modulated signal shows a shift of a small part of a bin. Directions play no part: the power of a channel is what
it is wherever the emitter stands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.health.readings import Readings

_BINS = 256
_CHANNELS = 2
_EVERY = 2  # blocks
_REFERENCE_PARTS = 48
WINDOW_BLOCKS = 32
_WINDOW_PARTS = WINDOW_BLOCKS // _EVERY
_SIGMAS = 8.0
_LEAST_BINS = 0.02
_SAME_DB = 1.5
_TAPER = np.hanning(_BINS + 1)[:-1].astype(np.float32)


class CarrierWatch:
    """Needs 96 blocks as a reference, then judges 32 at a time, looking at every second one."""

    def __init__(self, fs_hz: float) -> None:
        self._bin_hz = fs_hz / _BINS
        self._sum = np.zeros(_BINS)
        self._count = self._skipped = 0
        self._reference: NDArray[np.float64] | None = None
        self._weight: NDArray[np.float64] | None = None
        self._sigma = np.inf
        self._parts: list[NDArray[np.float64]] = []
        self._power: list[float] = []
        self._usual_db = 0.0
        self._over = 0
        self._told_hz = 0.0

    def take(self, readings: Readings) -> float | None:
        """A clean block; the shift in Hz once two windows agree that there is one, and again
        when it has doubled; else None."""
        self._skipped = (self._skipped + 1) % _EVERY
        if self._skipped:
            return None
        psd = _periodogram(readings.block.stretch)
        self._power.append(readings.signal_db)
        if self._reference is None:
            self._parts.append(psd)
            if len(self._parts) >= _REFERENCE_PARTS:
                self._settle()
            return None
        if abs(readings.signal_db - self._usual_db) > _SAME_DB:
            # other emitters are on than before: their spectrum is another one
            self._sum[:], self._count, self._over = 0, 0, 0
            return None
        self._sum += psd
        self._count += 1
        if self._count < _WINDOW_PARTS:
            return None
        mean = self._sum / self._count
        self._sum[:], self._count = 0, 0
        shift = self._score(mean)
        sure = abs(shift) > max(_SIGMAS * self._sigma / np.sqrt(_WINDOW_PARTS), _LEAST_BINS)
        self._over = self._over + 1 if sure else 0
        if self._over < 2:
            return None
        size_hz = self._size_hz(mean)
        if abs(size_hz) < 2 * self._told_hz:
            return None  # told already
        self._told_hz = max(abs(size_hz), self._bin_hz / 8)
        return size_hz

    def _settle(self) -> None:
        parts = np.array(self._parts)
        self._parts = []
        reference = parts.mean(axis=0)
        self._usual_db = float(np.median(self._power))
        slope = (np.roll(reference, -1) - np.roll(reference, 1)) / 2
        weight = -slope / reference**2
        information = float(np.sum((slope / reference) ** 2))
        self._reference, self._weight = reference, weight / max(information, 1e-9)
        scores = np.array([self._score(p) for p in parts])
        # the periodograms of neighbouring blocks may be alike (hops, bursts): the spread of groups of them counts
        groups = scores[: len(scores) // 8 * 8].reshape(-1, 8).mean(axis=1)
        self._sigma = float(max(scores.std(), np.sqrt(8) * groups.std(), 1e-4))

    def _score(self, psd: NDArray[np.float64]) -> float:
        assert self._reference is not None
        assert self._weight is not None
        # a change of level alone is no shift
        scale = float(np.median(psd / self._reference))
        return float(np.sum(self._weight * (psd / scale - self._reference)))

    def _size_hz(self, psd: NDArray[np.float64]) -> float:
        """Shift by the best match of the logarithms, to a tenth of a bin."""
        assert self._reference is not None
        have, want = np.log(psd), np.log(self._reference)
        have, want = np.fft.fft(have - have.mean()), np.fft.fft(want - want.mean())
        fine = 16
        cross = have * want.conj()
        padded = np.zeros(_BINS * fine, complex)
        half = _BINS // 2
        padded[:half], padded[-half:] = cross[:half], cross[-half:]
        at = int(np.fft.ifft(padded).real.argmax())
        bins = (at if at < len(padded) // 2 else at - len(padded)) / fine
        return float(bins * self._bin_hz)


def _periodogram(stretch: NDArray[np.complex64]) -> NDArray[np.float64]:
    """(256,) mean over the pieces of the strongest channels, relative to their power."""
    n = stretch.shape[1] // _BINS * _BINS
    x = stretch[:, :n]
    power = np.einsum("mt,mt->m", x[:, ::8], x[:, ::8].conj()).real
    chosen = x[np.argsort(power)[-_CHANNELS:]].reshape(-1, _BINS) * _TAPER
    spectrum = np.fft.fft(chosen, axis=1)
    return (spectrum.real**2 + spectrum.imag**2).mean(axis=0).astype(np.float64) + 1e-30
