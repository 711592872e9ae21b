"""Averaged power spectra in dBFS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ShapeError

#: Level of an empty bin, dBFS.
_FLOOR_DBFS = -250.0


@dataclass(frozen=True, slots=True)
class PowerSpectrum:
    """Averaged spectrum of M channels.

    Attributes
    ----------
    frequency_hz : (F,) float64, ascending, relative to the carrier, 0 in the middle.
    level_dbfs : (M, F) float64; a full-scale complex tone (|x| = 1) on a bin reads 0.
    resolution_hz : noise bandwidth of a bin: noise density in dBFS/Hz = level - 10 log10(resolution_hz).
    n_averages : segments averaged.
    """

    frequency_hz: NDArray[np.float64]
    level_dbfs: NDArray[np.float64]
    resolution_hz: float
    n_averages: int


def power_spectrum(
    samples: NDArray[np.complexfloating],
    fs_hz: float,
    n_fft: int = 1024,
    window: str = "hann",
    overlap: float = 0.5,
) -> PowerSpectrum:
    """Welch's averaged spectrum (Welch 1967), window gain taken out, DC centred.

    Parameters
    ----------
    samples : (M, N) complex, full scale 1, N >= n_fft. fs_hz : sample rate in Hz.
    n_fft : F, segment length in samples. overlap : part of a segment, 0 to below 1.
    window : any of scipy.signal.get_window without parameters. Tones between bins read low by at most
        1.4 dB with "hann", 0.01 dB with "flattop".

    Raises
    ------
    ShapeError : not complex (M, N), or fewer samples than one segment.
    """
    from scipy.signal import get_window

    x = np.asarray(samples)
    if x.ndim != 2 or not np.iscomplexobj(x):
        raise ShapeError(f"samples: {x.dtype} {x.shape}, expected complex (M, N)")
    if not 2 <= n_fft <= x.shape[1] or not 0 <= overlap < 1:
        raise ShapeError(f"n_fft = {n_fft}, overlap = {overlap} with {x.shape[1]} samples")
    weights = np.asarray(get_window(window, n_fft), np.float64)  # pyright: ignore[reportArgumentType]
    taper = (weights / weights.sum()).astype(x.real.dtype)
    step = max(1, round(n_fft * (1 - overlap)))
    starts = range(0, x.shape[1] - n_fft + 1, step)
    power = np.zeros((x.shape[0], n_fft))
    for start in starts:
        part = np.fft.fft(x[:, start : start + n_fft] * taper)
        power += part.real**2 + part.imag**2
    power = np.fft.fftshift(power, axes=-1) / len(starts)
    level = 10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DBFS / 10)))
    frequency = np.fft.fftshift(np.fft.fftfreq(n_fft, 1 / fs_hz)).astype(np.float64)
    noise_bins = n_fft * np.sum(weights**2) / np.sum(weights) ** 2
    return PowerSpectrum(frequency, level, float(noise_bins * fs_hz / n_fft), len(starts))
