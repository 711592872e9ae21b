"""Errors of several estimators on the same rows, and in one sentence which is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.geometry import ArrayGeometry
from hil.dsp.doa import DoaFinder, assign_errors_deg

_MISSING_DEG = 90.0
_AS_GOOD = 1.05
_BATCH = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Of one estimator. error_deg : (R, K), found minus true; 90 where it found nothing. missed : share of rows in which it
    found less than there is."""

    name: str
    error_deg: NDArray[np.float64]
    missed: float = 0.0

    @property
    def rms_deg(self) -> float:
        """Over all rows and sources."""
        return rms(self.error_deg)

    @property
    def p80_deg(self) -> float:
        """80th percentile of the magnitude."""
        return float(np.quantile(np.abs(self.error_deg), 0.8)) if self.error_deg.size else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """For JSON and a network's card."""
        return {"name": self.name, "rms_deg": self.rms_deg, "p80_deg": self.p80_deg, "missed": self.missed}


def rms(error_deg: NDArray[np.float64]) -> float:
    """NaN of nothing."""
    return float(np.sqrt(np.mean(error_deg**2))) if error_deg.size else float("nan")


def score(
    name: str,
    found_deg: NDArray[np.float64],
    true_deg: NDArray[np.float64],
    whole: NDArray[np.bool_] | None = None,
) -> Score:
    """From directions (R, K) and true ones (R, K), both ascending; NaN: nothing found. whole : (R,) rows in which all
    sources were found, None: those without NaN."""
    error = (found_deg - true_deg + 180.0) % 360.0 - 180.0
    found = np.isfinite(error)
    complete = np.all(found, axis=1) if whole is None else whole
    missed = float(1 - np.mean(complete)) if len(error) else 0.0
    return Score(name, np.where(found, error, _MISSING_DEG), missed)


def held_out_scores(scores: Sequence[Score]) -> dict[str, Any]:
    """For the card of a network, whose own score is the first; empty if nothing was held out."""
    return scores[0].as_dict() | {"table": [s.as_dict() for s in scores]} if scores else {}


def music_deg(
    covariance: NDArray[np.complex128],
    true_deg: NDArray[np.float64],
    array: ArrayGeometry | Calibration,
    fc_hz: float,
    sector_deg: tuple[float, float] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Directions (R, K) by MUSIC, in the order of the true ones that they fit best, and whether all were found (R,).

    Where it shows fewer peaks than there are sources its highest stands for the missing ones, as a user would take it; NaN
    where it shows none.
    """
    finder = DoaFinder(array, fc_hz)
    if sector_deg is not None:
        grid = finder.grid_deg
        inside = (grid >= sector_deg[0] - 4.0) & (grid <= sector_deg[1] + 4.0)
        finder = DoaFinder(array, fc_hz, grid[inside])
    out, whole = np.full(true_deg.shape, np.nan), np.zeros(len(true_deg), np.bool_)
    for at in range(0, len(covariance), _BATCH):
        part = covariance[at : at + _BATCH]
        for row, found in enumerate(finder.find_many(part, true_deg.shape[1]), at):
            if not len(found) or not np.all(np.isfinite(found)):
                continue
            whole[row] = len(found) == true_deg.shape[1]
            filled = np.append(found, np.full(true_deg.shape[1] - len(found), found[0]))
            out[row] = true_deg[row] + assign_errors_deg(filled, true_deg[row])
    return out, whole


def best_words(scores: Sequence[Score]) -> str:
    """Which is best, and which are as good (within 5 %)."""
    if not scores or not scores[0].error_deg.size:
        return "nothing was held out: nothing can be said of angles that were not trained on"
    best = min(scores, key=lambda s: s.rms_deg)
    equals = [s.name for s in scores if s is not best and s.rms_deg <= _AS_GOOD * best.rms_deg]
    also = f"; as good within 5 %: {', '.join(equals)}" if equals else ""
    return f"best on these rows: {best.name} ({best.rms_deg:.3g} degrees rms){also}"
