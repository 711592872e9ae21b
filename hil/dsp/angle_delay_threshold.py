"""The threshold of a set false-alarm rate for the maximum of a map over angle, delay and Doppler.

Without a source the matched-filter power in units of the noise is exponential of mean 1 at each place, and the map is
half the sum of squares of two smooth Gaussian fields. Far out its maximum follows the expected Euler characteristic
(Adler and Taylor 2007, Random Fields and Geometry, 15.10; Worsley 1994, chi-squared field with 2 degrees):

    P(max > eta) ~ exp(-eta) [1 + L1 sqrt(eta/pi) + L2 (2 eta - 1)/(2 pi) + L3 sqrt(2 eta) (2 eta - 3)/(2 pi)^1.5]

L1, L2, L3: sums over sides, pairs and the triple of the lengths of the three axes, each measured in correlation lengths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError


def axis_length(values: NDArray[np.float64], span: float) -> float:
    """Length of a delay or Doppler axis: 2 pi std(values) span, values the frequencies (Hz) or times (s) that are summed."""
    return float(2 * np.pi * np.std(values) * span)


def angle_length(steering: NDArray[np.complex128]) -> float:
    """Length of the angle axis, steering (M, G) on a fine grid: sum of sqrt(1 - |correlation of neighbours|^2)."""
    unit = steering / np.linalg.norm(steering, axis=0)
    close = np.abs(np.sum(unit[:, 1:].conj() * unit[:, :-1], axis=0)) ** 2
    return float(np.sum(np.sqrt(np.clip(1 - close, 0.0, None))))


def exceedance(eta: float, lengths: tuple[float, ...]) -> float:
    """P(max > eta) over a box with sides `lengths`, at most 1."""
    a, b, c = (*lengths, 0.0, 0.0, 0.0)[:3]
    eta = max(eta, 1.5)  # below that the expansion means nothing, and the probability is near 1
    density = (
        1.0
        + (a + b + c) * np.sqrt(eta / np.pi)
        + (a * b + b * c + a * c) * (2 * eta - 1) / (2 * np.pi)
        + a * b * c * np.sqrt(2 * eta) * (2 * eta - 3) / (2 * np.pi) ** 1.5
    )
    return float(min(density * np.exp(-eta), 1.0))


def threshold(false_alarm: float, lengths: tuple[float, ...]) -> float:
    """eta with P(max > eta) = false_alarm. Raises ConfigError unless 0 < false_alarm <= 0.5."""
    if not 0 < false_alarm <= 0.5:
        raise ConfigError(f"false-alarm rate {false_alarm:g} does not lie in 0..0.5")
    low, high = 1.5, 1000.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if exceedance(middle, lengths) > false_alarm else (low, middle)
    return high
