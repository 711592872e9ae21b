"""How right directions and manifolds are where the truth is known (contract.md, definitions)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.geometry import ArrayGeometry
from hil.dsp.doa import DoaFinder, assign_errors_deg
from hil.learning.observe import CovarianceBatch


@dataclass(frozen=True, slots=True)
class Score:
    """Directions of one array description on held-out blocks.

    doa_rmspe_deg : mean over blocks of the root mean square error after assignment. estimates_deg : (B, K).
    """

    doa_rmspe_deg: float
    estimates_deg: NDArray[np.float64]
    block_errors_deg: NDArray[np.float64]


def score_directions(
    batch: CovarianceBatch,
    true_deg: NDArray[np.float64],
    array: ArrayGeometry | Calibration | Any,
    fc_hz: float,
    grid_deg: NDArray[np.float64] | None = None,
) -> Score:
    """MUSIC with refined peaks on every block against the truth (B, K) in degrees.

    The K highest peaks count, whatever they are. Where a spectrum has fewer, the highest stands for the missing
    ones; without any peak the block counts as 90 degrees wrong.
    """
    n_sources = true_deg.shape[1]
    finder = DoaFinder(array, fc_hz, grid_deg)
    estimates = np.full(true_deg.shape, np.nan)
    errors = np.full(len(batch), 90.0)
    for b, found in enumerate(finder.find_many(batch.covariance, n_sources)):
        if not len(found):
            continue
        filled = np.concatenate((found, np.full(n_sources - len(found), found[0])))
        estimates[b] = filled
        errors[b] = np.sqrt(np.mean(assign_errors_deg(filled, true_deg[b]) ** 2))
    return Score(float(np.mean(errors)), estimates, errors)


def single_direction_blocks(
    batch: CovarianceBatch, angles_at: Any, scene_offset: int
) -> tuple[CovarianceBatch, NDArray[np.float64]]:
    """The blocks during which no emitter hops, with their directions (B', K).

    A block that straddles a hop has no single truth; one in a hundred does at 10 ms hops. `angles_at` maps scene
    samples (n,) to degrees (n, K); scene_offset is the scene sample of sample 0.
    """
    first = batch.first_sample + scene_offset
    start, end = angles_at(first), angles_at(first + batch.n_snapshots - 1)
    # a track may move by a thousandth of a degree inside a block; a hop moves further
    steady = np.all(np.abs(start - end) < 0.02, axis=1)
    if not steady.any():
        raise ConfigError("no block with a single true direction", hint="is this truth file of this capture?")
    return batch.part(steady), (0.5 * (start + end))[steady]


def held_out(n_samples: int, first_sample: int = 0) -> int:
    """Absolute index from which the last fifth begins."""
    return first_sample + n_samples - n_samples // 5


def field_of_view_deg(
    geometry: ArrayGeometry, support_deg: tuple[float, float] | None
) -> tuple[float, float]:
    """Angles over which manifolds are compared: the support, or +-60 degrees of a line, or all round."""
    if support_deg is not None:
        return support_deg
    return (-60.0, 60.0) if geometry.kind == "line" else (-180.0, 180.0)
