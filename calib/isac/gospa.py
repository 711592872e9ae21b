"""The GOSPA metric between true and found targets (Mateos-Ramos et al. 2025, eq. 17; Rahmathullah et al. 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.units import SPEED_OF_LIGHT_M_S


def places_m(theta_rad: NDArray[np.float64], delay_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places (..., 2) in metres, along the line and away from it, of targets at round-trip delays."""
    distance = np.asarray(delay_s) * (SPEED_OF_LIGHT_M_S / 2)
    return np.stack((distance * np.sin(theta_rad), distance * np.cos(theta_rad)), axis=-1)


def assignment(cost: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the cheapest pairing of a cost matrix (n, m) (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(cost)


def gospa(
    true_m: NDArray[np.float64],
    found_m: NDArray[np.float64],
    cutoff_m: float,
    mu: float = 2.0,
    p: float = 2.0,
) -> float:
    """(min over pairings of sum min(d, cutoff)^p + cutoff^p/mu per missed or false target)^(1/p), metres.

    true_m : (n, 2). found_m : (m, 2). Two empty sets: 0.
    """
    fewer = min(len(true_m), len(found_m))
    total = cutoff_m**p / mu * (max(len(true_m), len(found_m)) - fewer)
    if fewer:
        distance = np.linalg.norm(true_m[:, None] - found_m[None], axis=2)
        cost = np.minimum(distance, cutoff_m) ** p
        total += float(cost[assignment(cost)].sum())
    return float(total ** (1 / p))


def gospa_of_blocks(
    true_m: NDArray[np.float64],
    n_true: NDArray[np.intp],
    found_m: NDArray[np.float64],
    n_found: NDArray[np.intp],
    cutoff_m: float,
    mu: float = 2.0,
    p: float = 2.0,
) -> NDArray[np.float64]:
    """GOSPA of every block (B,) in metres; of places (B, T, 2) the first n (B,) count."""
    return np.array(
        [
            gospa(a[:n], b[:m], cutoff_m, mu, p)
            for a, n, b, m in zip(true_m, n_true, found_m, n_found, strict=True)
        ]
    )
