"""What a waveform is: one period of samples, and how OFDM-like ones are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core import checks
from hil.core.errors import ConfigError, ShapeError

#: Samples lie on this grid: int16 holds them exactly, and they are the same on every machine.
SAMPLE_STEP = 2.0**-15
MAX_SAMPLES = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class OfdmLayout:
    """How to read the samples of an OFDM-like waveform.

    Symbol i of a period begins at sample i (n_fft + cp_samples) with its cyclic prefix. Subcarrier k of it is
    the unitary DFT Y[k] = n_fft^(-1/2) sum_n y[n] exp(-j 2 pi k n / n_fft) of the n_fft samples after the prefix.

    Attributes
    ----------
    n_fft : samples of a symbol without prefix. spacing_hz : between neighbouring bins of the DFT.
    cp_samples : cyclic prefix.
    subcarriers : (S,) int64, ascending bins relative to the carrier; only those that are sent and known.
    grid : (n_symbols, S) complex128, the known symbols, mean power 1, never 0. The samples are
        proportional to their inverse DFT: the CSI Y / grid is the channel times the waveform's amplitude.

    Raises
    ------
    ShapeError : arrays that do not fit each other.
    """

    n_fft: int
    spacing_hz: float
    cp_samples: int
    subcarriers: NDArray[np.int64]
    grid: NDArray[np.complex128]

    def __post_init__(self) -> None:
        k = checks.array("subcarriers", self.subcarriers, np.int64, (None,))
        grid = checks.array("grid", self.grid, np.complex128, (None, len(k)))
        if len(k) == 0 or np.any(np.diff(k) <= 0) or k[-1] - k[0] >= self.n_fft:
            raise ShapeError(f"subcarriers: must ascend and span less than n_fft = {self.n_fft}")
        if len(grid) == 0 or not np.all(np.abs(grid) > 0):
            raise ShapeError("grid: needs at least one symbol, and none may be 0")
        object.__setattr__(self, "subcarriers", k)
        object.__setattr__(self, "grid", grid)

    @property
    def symbol_samples(self) -> int:
        """Samples from the beginning of a symbol to that of the next."""
        return self.n_fft + self.cp_samples

    @property
    def step(self) -> int:
        """Bins between neighbouring columns of the CSI: 1, or the comb of SRS and comb pilots."""
        return int(np.gcd.reduce(np.diff(self.subcarriers))) if len(self.subcarriers) > 1 else 1

    @property
    def columns(self) -> NDArray[np.int64]:
        """(S',) bins of the CSI: uniform and ascending from the first to the last subcarrier.

        Besides `subcarriers` they hold the bins that are missing in between, which is the carrier itself
        where DC is not sent. Receivers interpolate those.
        """
        return np.arange(self.subcarriers[0], self.subcarriers[-1] + 1, self.step, dtype=np.int64)

    @property
    def column_spacing_hz(self) -> float:
        """Frequency between neighbouring columns of the CSI: the subcarrier spacing of delay spectra."""
        return self.step * self.spacing_hz


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """One period of a signal that is known to transmitter and receiver, sent cyclically without a seam.

    Attributes
    ----------
    kind : "ofdm", "srs", "cw", "chirp" or "file".
    fs_hz : sample rate that it is made for; n_fft * spacing_hz of OFDM-like ones.
    samples : (n,) complex64, |I| and |Q| <= 1 (full scale); multiples of 2^-15 unless kind is "file".
    layout : of OFDM-like waveforms, else None.
    settings : what makes the same samples again, bit for bit (`waveform.make`); without "kind".

    Raises
    ------
    ShapeError : samples that are over full scale, not finite, or all 0. ConfigError : a rate that is no rate.
    """

    kind: str
    fs_hz: float
    samples: NDArray[np.complex64]
    layout: OfdmLayout | None
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        x = checks.array("samples", self.samples, np.complex64, (None,))
        if not (math.isfinite(self.fs_hz) and self.fs_hz > 0):
            raise ConfigError(f"{self.fs_hz:g} is not a sample rate", where="fs_hz")
        if len(x) == 0 or len(x) > MAX_SAMPLES or not np.any(x):
            raise ShapeError(f"samples: {len(x)} samples, expected 1 to {MAX_SAMPLES}, not all 0")
        if float(np.max(np.abs(x.view(np.float32)))) > 1.0:
            raise ShapeError("samples: I or Q is over full scale 1")
        if self.layout is not None and len(x) != len(self.layout.grid) * self.layout.symbol_samples:
            raise ShapeError("samples: not as long as the layout's symbols")
        object.__setattr__(self, "samples", x)

    @property
    def crest_factor_db(self) -> float:
        """Greatest |x| over its RMS value in dB: 0 for a carrier."""
        return 20 * math.log10(float(np.max(np.abs(self.samples))) / self._rms)

    @property
    def rms_dbfs(self) -> float:
        """Mean power in dB of full scale (a complex tone with |x| = 1 is 0 dBFS)."""
        return 20 * math.log10(self._rms)

    @property
    def duration_s(self) -> float:
        """Length of one period."""
        return len(self.samples) / self.fs_hz

    @property
    def _rms(self) -> float:
        return math.sqrt(float(np.mean(np.abs(self.samples.astype(np.complex128)) ** 2)))


def scaled(samples: NDArray[np.complexfloating[Any, Any]], backoff_db: float) -> NDArray[np.complex64]:
    """Samples (n,) whose greatest |I| or |Q| lies `backoff_db` under 32767/32768, on the grid of int16."""
    parts = np.ascontiguousarray(samples, dtype=np.complex128).view(np.float64)
    steps = np.rint(parts * (10 ** (-backoff_db / 20) * 32767 / float(np.max(np.abs(parts)))))
    return (steps * SAMPLE_STEP).astype(np.float32).view(np.complex64)


def modulated(
    layout_bins: NDArray[np.int64], grid: NDArray[np.complex128], n_fft: int, cp_samples: int
) -> NDArray[np.complex128]:
    """CP-OFDM symbols (n_symbols (n_fft + cp),) complex128: x[n] = sum_k X[k] exp(+j 2 pi k n / n_fft).

    layout_bins : (S,) bins. grid : (n_symbols, S).
    """
    spectrum = np.zeros((len(grid), n_fft), np.complex128)
    spectrum[:, layout_bins % n_fft] = grid
    body = np.fft.ifft(spectrum, axis=1, norm="ortho")
    return body[:, np.arange(-cp_samples, n_fft) % n_fft].ravel()
