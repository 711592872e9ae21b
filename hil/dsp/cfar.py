"""Constant false-alarm rate detection on power maps (CA-CFAR and OS-CFAR).

A cell is compared with its surroundings (training cells outside a guard region). For exponentially distributed noise
cells that are independent of each other the false-alarm probability of each cell is exactly

    CA:  alpha = N (Pfa^(-1/N) - 1), threshold = alpha mean(training)           (Finn and Johnson 1968)
    OS:  Pfa = prod_(i<k) (N - i)/(N - i + alpha), threshold = alpha x_(k)      (Rohling 1983, eq. 11)

whatever the noise power. OS takes the k-th smallest training cell and so is not blinded by a few strong neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.checks import array
from hil.core.errors import ConfigError

_RANK = 0.75


@dataclass(frozen=True, slots=True)
class CfarResult:
    """detected (A, D) bool: over the threshold. threshold (A, D) float64, infinite where nothing surrounds a cell."""

    detected: NDArray[np.bool_]
    threshold: NDArray[np.float64]


def ca_factor(n_training: int, false_alarm: float) -> float:
    """alpha of CA-CFAR for N independent exponential training cells."""
    return n_training * (false_alarm ** (-1 / n_training) - 1)


@lru_cache(maxsize=4096)
def os_factor(n_training: int, rank: int, false_alarm: float) -> float:
    """alpha of OS-CFAR for the `rank`-th smallest of N independent exponential training cells."""
    free = n_training - np.arange(rank)

    def log_rate(alpha: float) -> float:
        return float(np.sum(np.log(free / (free + alpha))))

    low, high = 0.0, 1.0
    while log_rate(high) > np.log(false_alarm):
        high *= 2
        if high > 1e15:
            return float("inf")
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if log_rate(middle) > np.log(false_alarm) else (low, middle)
    return high


def cfar(
    power: ArrayLike,
    *,
    kind: Literal["ca", "os"] = "os",
    guard: tuple[int, int] = (1, 1),
    training: tuple[int, int] = (2, 6),
    false_alarm: float = 1e-4,
    wrap: tuple[bool, bool] = (False, True),
) -> CfarResult:
    """Cells of a power map that stand out of their surroundings.

    Parameters
    ----------
    power : (A, D) linear power; cells about one resolution apart, else the false-alarm rate is not the stated one.
    guard, training : cells on each side, (angles, delays). wrap : the axis is periodic (delay: one period).
    false_alarm : probability per cell without a source.

    Raises
    ------
    ShapeError : not a map. ConfigError : unknown kind, rate outside 0..1, no training cell.
    """
    cells = array("power", power, np.float64, (None, None))
    if kind not in ("ca", "os"):
        raise ConfigError(f"cfar {kind!r} is not one of ca, os")
    if not 0 < false_alarm < 1:
        raise ConfigError(f"false-alarm rate {false_alarm:g} does not lie in 0..1")
    if min(*guard, *training) < 0 or max(training) < 1:
        raise ConfigError("cfar: needs training cells, and no negative numbers")
    reach = guard[0] + training[0], guard[1] + training[1]
    offsets = [
        (i, j)
        for i in range(-reach[0], reach[0] + 1)
        for j in range(-reach[1], reach[1] + 1)
        if abs(i) > guard[0] or abs(j) > guard[1]
    ]
    padded = cells
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (reach[axis], reach[axis])
        if wrap[axis] and 2 * reach[axis] + 1 <= cells.shape[axis]:
            padded = np.pad(padded, width, mode="wrap")
        else:
            padded = np.pad(padded, width, constant_values=np.nan)
    a, d = cells.shape
    around = np.stack(
        [padded[reach[0] + i : reach[0] + i + a, reach[1] + j : reach[1] + j + d] for i, j in offsets]
    )
    count = np.count_nonzero(~np.isnan(around), axis=0)
    threshold = np.full((a, d), np.inf)
    if kind == "ca":
        mean = np.nansum(around, axis=0) / np.maximum(count, 1)
        for n in np.unique(count[count > 0]):
            threshold[count == n] = ca_factor(int(n), false_alarm) * mean[count == n]
    else:
        around.sort(axis=0)  # NaN last
        for n in np.unique(count[count > 0]):
            rank = max(1, round(_RANK * int(n)))
            here = count == n
            threshold[here] = os_factor(int(n), rank, false_alarm) * around[rank - 1][here]
    return CfarResult(cells > threshold, threshold)
