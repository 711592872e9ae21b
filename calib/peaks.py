"""Windows around the peaks of blocks, found without gradient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.model import Model, find_peaks
from calib.observations import Subspaces


def windows(
    model: Model, sub: Subspaces, limit: tuple[float, float], width: float, n_points: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B, K, L) angles around each of the K deepest nulls, the null itself in the middle, and D (B, K).

    width : of a window, in u on a line and radians on a plane; n_points : L, odd.
    """
    theta, depth = find_peaks(model, sub, limit)
    return theta[..., None] + np.linspace(-width / 2, width / 2, n_points | 1), depth
