"""Delays of transmitted waveforms: exact over a cyclic period, by a long windowed sinc over any other piece.

The windowed sinc h[n] = w sinc(w (n - D)) exp(j 2 pi c (n - D)) kaiser((n - D) / HALF), with w the width and c the
middle of the band in cycles per sample, has 2 HALF + 1 taps: its error stays under -75 dB up to 0.015 fs inside
the band's edges (Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", 1974).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Taps to either side of the middle of the interpolator.
HALF = 108
_BETA = 8.0
#: Room for delays that differ from the middle one, samples.
_SLACK = 4
_GRID = np.linspace(0.0, 1.0, 8193)
_KAISER = np.i0(_BETA * np.sqrt(1 - _GRID**2)) / np.i0(_BETA)


def band(offset_hz: float, fs_hz: float) -> tuple[float, float]:
    """Frequencies of the transmitted baseband that a receiver hears whose LO is `offset_hz` below the
    transmitter's, in cycles per sample; (0, 0) if none."""
    offset = offset_hz / fs_hz
    low, high = max(-0.5, -0.5 - offset), min(0.5, 0.5 - offset)
    return (low, high) if low < high else (0.0, 0.0)


def reach(spread_samples: float) -> int:
    """Samples that interpolators need on either side for delays within +-spread_samples of the middle."""
    return HALF + max(_SLACK, int(np.ceil(spread_samples)) + 2)


def taps(delay_samples: NDArray[np.float64], heard: tuple[float, float], pad: int) -> NDArray[np.complex128]:
    """(..., 2 pad + 1) complex128: interpolators that delay by (...) samples and keep the band `heard`."""
    x = np.arange(-pad, pad + 1) - delay_samples[..., None]
    width, middle = heard[1] - heard[0], (heard[0] + heard[1]) / 2
    shape = np.interp(np.abs(x) / HALF, _GRID, _KAISER, right=0.0) * np.sinc(width * x)
    turn = np.exp(2j * np.pi * middle * x) if middle else 1.0
    return np.asarray(width * shape * turn, np.complex128)


def response(h: NDArray[np.complex128], n: int) -> NDArray[np.complex64]:
    """(..., F) complex64: transform of impulse responses (..., L) for pieces of n samples."""
    from scipy import fft  # takes half of numpy's time, and stays in single precision

    return np.asarray(fft.fft(h.astype(np.complex64), smooth(n + h.shape[-1] - 1), axis=-1))


def combine(samples: NDArray[np.complex64], bank: NDArray[np.complex64], n: int) -> NDArray[np.complex64]:
    """Samples (J, n + L - 1) through the responses (J, P, F) of `response`, summed over J: (P, n) complex64."""
    from scipy import fft

    skip = samples.shape[1] - n
    spectra = np.asarray(fft.fft(samples, bank.shape[-1], axis=1))
    total = spectra[0] * bank[0] if len(bank) == 1 else np.einsum("jf,jpf->pf", spectra, bank)
    return np.asarray(fft.ifft(total, axis=-1, overwrite_x=True))[..., skip : skip + n]


@lru_cache(maxsize=256)
def smooth(n: int) -> int:
    """The least length from n on with no factor over 5: FFTs of these are fast."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def lagrange_nodes(span_s: tuple[float, float], fs_hz: float, error: float) -> NDArray[np.float64]:
    """Chebyshev nodes (P,) over a span of delays for any waveform within +-fs/2, in seconds.

    Error of interpolating exp(j 2 pi f D) over half a span R: at most (2 pi f R)^P / (2^(P-1) P!).
    """
    centre, half = (span_s[0] + span_s[1]) / 2, (span_s[1] - span_s[0]) / 2
    x = np.pi * fs_hz * half
    bound, n = x, 1
    while bound > error:
        n += 1
        bound *= x / (2 * n)
    return centre + half * np.cos(np.pi * (np.arange(n) + 0.5) / n)


def lagrange(nodes: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (K, ...) of values at nodes (K,) for the value at (...)."""
    k = len(nodes)
    gaps = nodes[:, None] - nodes + np.eye(k)
    factors = (at - nodes.reshape(k, *[1] * at.ndim))[None] / gaps.reshape(k, k, *[1] * at.ndim)
    factors[np.arange(k), np.arange(k)] = 1.0
    return np.prod(factors, axis=1)


class Kept:
    """The latest results of something that is asked for again. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most, self._kept, self._lock = most, OrderedDict[Any, Any](), threading.Lock()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """The result for a key, made if it is not there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made
