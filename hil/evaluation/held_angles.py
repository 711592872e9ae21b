"""Direction errors at the angles of a sweep that were kept out of learning, against angle."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.geometry import ArrayGeometry
from hil.dsp.doa import assign_errors_deg
from hil.dsp.doa_accuracy import doa_crb_deg
from hil.evaluation.scoring import score_directions
from hil.learning.observe import CovarianceBatch

_UNBOUNDED_DEG = 90.0


@dataclass(frozen=True, slots=True)
class AngleErrors:
    """Errors of one description of the array.

    doa_rmspe_deg : as everywhere (mean over blocks of the rms after assignment). rms_deg : over all blocks and sources.
    residual_deg, spread_deg : (A,) mean error at each angle, and rms around zero.
    """

    doa_rmspe_deg: float
    rms_deg: float
    residual_deg: NDArray[np.float64]
    spread_deg: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeldOutAngles:
    """angle_deg : (A, K) true directions, ascending. errors : by name of the description. crb_deg : (A,) bound of one block's
    rms error with the array known. n_snapshots, n_blocks : of a block, of all."""

    angle_deg: NDArray[np.float64]
    errors: Mapping[str, AngleErrors]
    crb_deg: NDArray[np.float64]
    n_snapshots: int
    n_blocks: int

    @property
    def crb_rms_deg(self) -> float:
        """The bound over all angles, rms."""
        seen = self.crb_deg[np.isfinite(self.crb_deg)]
        return float(np.sqrt(np.mean(seen**2))) if len(seen) else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "angle_deg": self.angle_deg, "blocks": self.n_blocks, "snapshots": self.n_snapshots,
            "crb_deg": self.crb_deg, "crb_rms_deg": self.crb_rms_deg,
            "errors": {
                name: {
                    "doa_rmspe_deg": e.doa_rmspe_deg, "rms_deg": e.rms_deg, "residual_deg": e.residual_deg,
                    "spread_deg": e.spread_deg,
                }
                for name, e in self.errors.items()
            },
        }  # fmt: skip


def seen_directions_deg(truth_deg: NDArray[np.float64], *, line: bool) -> NDArray[np.float64]:
    """What an array can see of directions: a line does not tell front from back."""
    folded = np.rad2deg(np.arcsin(np.sin(np.deg2rad(truth_deg))))
    return np.where(np.abs(truth_deg) > 90, folded, truth_deg) if line else truth_deg


def readings_deg(
    batch: CovarianceBatch, true_deg: NDArray[np.float64], array: ArrayGeometry | Calibration, fc_hz: float
) -> NDArray[np.float64]:
    """(B, K) MUSIC directions with an array, in the order of the true ones (B, K) that they fit best; NaN: none found."""
    score = score_directions(batch, true_deg, array, fc_hz)
    out = np.full(true_deg.shape, np.nan)
    for b, found in enumerate(score.estimates_deg):
        if np.all(np.isfinite(found)):
            out[b] = true_deg[b] + assign_errors_deg(found, true_deg[b])
    return out


def angle_errors(
    readings: NDArray[np.float64], true_deg: NDArray[np.float64], angle: NDArray[np.intp]
) -> AngleErrors:
    """From readings (B, K). angle : (B,) which angle, 0..A-1. A missing reading counts as 90 degrees wrong."""
    error = (readings - true_deg + 180.0) % 360.0 - 180.0
    error = np.where(np.isfinite(error), error, 90.0)
    block = np.sqrt(np.mean(error**2, axis=1))
    count = np.bincount(angle)
    return AngleErrors(
        float(np.mean(block)),
        float(np.sqrt(np.mean(error**2))),
        np.bincount(angle, error.mean(axis=1)) / count,
        np.sqrt(np.bincount(angle, block**2) / count),
    )


def bounds_deg(
    array: Calibration, true_deg: NDArray[np.float64], snr_db: NDArray[np.float64], n_snapshots: int
) -> NDArray[np.float64]:
    """(A,) Cramer-Rao bound, rms over the sources; NaN where there is none (endfire, no SNR). true_deg : (A, K). snr_db : (A,) in one channel, all sources together."""
    k = true_deg.shape[1]
    out = np.full(len(true_deg), np.nan)
    for i, (angles, snr) in enumerate(zip(true_deg, snr_db, strict=True)):
        # at endfire of a line no angle is bounded
        with contextlib.suppress(np.linalg.LinAlgError):
            bound = doa_crb_deg(array, array.fc_hz, angles, snr - 10 * np.log10(k), n_snapshots)
            out[i] = float(np.sqrt(np.mean(bound**2))) if np.all(bound < _UNBOUNDED_DEG) else np.nan
    return out
