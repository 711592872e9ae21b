"""Missed targets and false alarms of target lists, for every threshold from one run.

A list of strengths (B, T_max) ends at the first one that is not above the threshold (Algorithm 1), so the number of
targets found is the number of leading strengths above it.
Mateos-Ramos et al. 2025: p_md eq. 20, p_fa eq. 21.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError


def counts(strength: NDArray[np.float64], threshold: float) -> NDArray[np.intp]:
    """Number of targets found (B,) from strengths (B, T_max) in the order found."""
    return np.sum(_running_minimum(strength) > threshold, axis=1)


def p_md(true: NDArray[np.intp], found: NDArray[np.intp]) -> float:
    """1 - sum min(T, T^)/sum T for true and found numbers (B,); NaN without any target."""
    total = int(np.sum(true))
    return 1 - float(np.sum(np.minimum(true, found))) / total if total else float("nan")


def p_fa(true: NDArray[np.intp], found: NDArray[np.intp], t_max: int) -> float:
    """sum (max(T, T^) - T)/sum (T_max - T) for true and found numbers (B,); NaN if all blocks are full."""
    room = int(np.sum(t_max - true))
    return float(np.sum(np.maximum(true, found) - true)) / room if room else float("nan")


def threshold_for(strength: NDArray[np.float64], true: NDArray[np.intp], wanted_p_fa: float) -> float:
    """The smallest threshold with p_fa at most wanted, exactly: a false alarm is a strength beyond the true number.

    strength : (B, T_max) in the order found. true : (B,) true numbers.

    Raises
    ------
    ConfigError : all blocks hold T_max targets, so no false alarm is possible.
    """
    t_max = strength.shape[1]
    beyond = np.arange(t_max) >= np.asarray(true)[:, None]
    false = np.sort(_running_minimum(strength)[beyond])[::-1]
    if not len(false):
        raise ConfigError(
            f"p_fa needs blocks with fewer than {t_max} targets", hint="draw 0 to T_max targets per block"
        )
    allowed = int(np.floor(wanted_p_fa * len(false) * (1 + 1e-12)))
    return float(false[allowed]) if allowed < len(false) else float("-inf")


@dataclass(frozen=True, slots=True)
class Sweep:
    """Thresholds and the rates reached at them, each (N,) float64."""

    threshold: NDArray[np.float64]
    p_fa: NDArray[np.float64]
    p_md: NDArray[np.float64]


def sweep(strength: NDArray[np.float64], true: NDArray[np.intp], wanted_p_fa: NDArray[np.float64]) -> Sweep:
    """Rates at the thresholds of several p_fa (N,)."""
    thresholds = np.array([threshold_for(strength, true, rate) for rate in wanted_p_fa])
    found = [counts(strength, threshold) for threshold in thresholds]
    return Sweep(
        thresholds,
        np.array([p_fa(true, n, strength.shape[1]) for n in found]),
        np.array([p_md(true, n) for n in found]),
    )


def _running_minimum(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum.accumulate(strength, axis=1)
