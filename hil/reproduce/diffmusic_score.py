"""DoA errors of MUSIC and diffMUSIC with a given array, under each peak policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.losses import rmspe_deg
from calib.model import Model
from calib.observations import Subspaces
from calib.peaks import (
    POLICIES,
    AngleGrid,
    PeakPolicy,
    choose_peaks,
    grid_peaks,
    soft_angles,
    window_depth,
    window_start,
)

GRID = AngleGrid(0.02)
WIDTHS = (5, 9, 15, 31, 61, 121)


@dataclass(frozen=True, slots=True)
class Test:
    """Blocks to judge on: sub, theta_rad (B, M)."""

    sub: Subspaces
    theta_rad: NDArray[np.float64]


def estimates(
    model: Model, sub: Subspaces, width: int, policy: PeakPolicy
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """MUSIC's and diffMUSIC's angles (B, M) radians; width : points L of diffMUSIC's window."""
    index = choose_peaks(grid_peaks(model, sub, GRID), policy, GRID)
    return GRID.theta_rad[index], _soft(model, sub, index, width)


def _soft(model: Model, sub: Subspaces, index: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    start = window_start(index, width, GRID)
    depth = window_depth(model, sub, start, width, GRID)
    return soft_angles(GRID.theta_rad[start[:, :, None] + np.arange(width)], depth)


def score(model: Model, test: Test, width: int) -> dict[str, list[float]]:
    """{policy: [RMSPE of MUSIC, of diffMUSIC]} in degrees; with one source the policies agree."""
    found = grid_peaks(model, test.sub, GRID)
    out: dict[str, list[float]] = {}
    for policy in POLICIES if test.sub.n_sources > 1 else POLICIES[:1]:
        index = choose_peaks(found, policy, GRID)
        soft = _soft(model, test.sub, index, width)
        both = (GRID.theta_rad[index], soft)
        out[policy] = [float(rmspe_deg(estimate, test.theta_rad).mean()) for estimate in both]
    return out


def best_width(model: Model, sub: Subspaces, theta_rad: NDArray[np.float64], n_blocks: int = 250) -> int:
    """The window L with the smallest diffMUSIC error on the first labelled training blocks."""
    part, true = sub.select(np.arange(min(n_blocks, len(sub)))), theta_rad[:n_blocks]
    index = choose_peaks(grid_peaks(model, part, GRID), "dup", GRID)
    errors = [float(np.mean(rmspe_deg(_soft(model, part, index, width), true))) for width in WIDTHS]
    return WIDTHS[int(np.argmin(errors))]
