"""Thresholds for a set false-alarm rate: P(max of the map > eta) without a source.

Without a source M/(N S N0) at one cell is exponential of mean 1, and the map is half the sum of squares of two
smooth Gaussian fields. Its maximum over a rectangle of angle and delay follows, far out, the expected Euler
characteristic (Adler and Taylor 2007, Random Fields and Geometry, section 15.10, chi-squared field, k = 2):

    P(max > eta) ~ exp(-eta) (1 + (a + b) sqrt(eta/pi) + a b (2 eta - 1)/(2 pi))
    a = 2 pi std(x) (u_high - u_low),   b = 2 pi spacing std(s) (tau_high - tau_low)

std over the elements (weighted by |kappa|^2) and over the subcarriers. No simulation, no grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError


def false_alarm_rate(
    eta: float,
    x_wavelengths: NDArray[np.float64],
    sector_u: NDArray[np.float64],
    n_subcarriers: int,
    spacing_hz: float,
    window_s: tuple[float, float],
    weight: NDArray[np.float64] | None = None,
) -> float:
    """Mean over the sectors (B, 2) of u of P(max M/(N S N0) > eta), at most 1.

    x_wavelengths (N,); weight (N,), |kappa|^2, None: equal.
    """
    a, b = _cells(x_wavelengths, sector_u, n_subcarriers, spacing_hz, window_s, weight)
    return float(np.mean(np.minimum(_tail(eta, a, b), 1.0)))


def detection_threshold(
    rate: float,
    x_wavelengths: NDArray[np.float64],
    sector_u: NDArray[np.float64],
    n_subcarriers: int,
    spacing_hz: float,
    window_s: tuple[float, float],
    weight: NDArray[np.float64] | None = None,
) -> float:
    """The eta of a false-alarm rate, in units of N S N0. Raises ConfigError unless 0 < rate <= 0.5."""
    if not 0 < rate <= 0.5:
        raise ConfigError(f"false-alarm rate {rate:g} does not lie in 0..0.5")
    a, b = _cells(x_wavelengths, sector_u, n_subcarriers, spacing_hz, window_s, weight)

    from scipy.optimize import brentq  # a tenth of the time until the window is there

    def gap(eta: float) -> float:
        return float(np.log(np.mean(np.minimum(_tail(eta, a, b), 1.0))) - np.log(rate))

    root: Any = brentq(gap, 0.5, 60.0 - np.log(rate) + 2 * np.log1p(float(np.max(a)) + b))
    return float(root)


def empirical_threshold(noise_maxima: NDArray[np.float64], rate: float) -> float:
    """The quantile of maxima (B,) of maps without a source that is exceeded with the given rate."""
    return float(np.quantile(noise_maxima, 1 - rate))


def _cells(
    x_wavelengths: NDArray[np.float64],
    sector_u: NDArray[np.float64],
    n_subcarriers: int,
    spacing_hz: float,
    window_s: tuple[float, float],
    weight: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], float]:
    x = np.asarray(x_wavelengths, float)
    w = np.ones(len(x)) if weight is None else np.asarray(weight, float)
    centre = np.average(x, weights=w)
    spread = float(np.sqrt(np.average((x - centre) ** 2, weights=w)))
    a = 2 * np.pi * spread * np.diff(np.atleast_2d(sector_u), axis=1)[:, 0]
    band = float(np.sqrt((n_subcarriers**2 - 1) / 12))
    return a, 2 * np.pi * spacing_hz * band * (window_s[1] - window_s[0])


def _tail(eta: float, a: NDArray[np.float64], b: float) -> NDArray[np.float64]:
    return np.exp(-eta) * (1 + (a + b) * np.sqrt(eta / np.pi) + a * b * (2 * eta - 1) / (2 * np.pi))
