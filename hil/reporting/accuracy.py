"""Errors of directions on points whose truth is known, and their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Error of a block without any peak (contract.md).
NO_PEAK_DEG = 90.0
_WIDTHS_DEG = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
_MOST_SECTORS = 6
_EDGE = 0.05  # of a sector


@dataclass(frozen=True, slots=True)
class Accuracy:
    """P points, B blocks, K emitters.

    Attributes
    ----------
    true_deg : (P, K). table_error_deg : (P,) one sigma of the truth. crb_deg : (P, K) bound of one block, NaN where there
        is none. point : (B,) int, of each block. n_snapshots : of a block.
    error_deg : by name of the array, "nominal" first: (B, K) found minus true, NaN without a peak.
    """

    true_deg: NDArray[np.float64]
    table_error_deg: NDArray[np.float64]
    crb_deg: NDArray[np.float64]
    point: NDArray[np.intp]
    error_deg: Mapping[str, NDArray[np.float64]]
    n_snapshots: int

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of the calibrations."""
        return tuple(name for name in self.error_deg if name != "nominal")

    def sizes(self, name: str) -> NDArray[np.float64]:
        """(B, K) sizes of the errors in degrees; 90 without a peak."""
        return np.where(np.isnan(self.error_deg[name]), NO_PEAK_DEG, np.abs(self.error_deg[name]))

    def rmspe_deg(self, name: str) -> float:
        """Mean over blocks of the root mean square error (contract.md)."""
        return float(np.mean(np.sqrt(np.mean(self.sizes(name) ** 2, axis=1))))

    def rms_deg(self, name: str) -> float:
        """Root mean square of all errors: what the bound is to be compared with."""
        return float(np.sqrt(np.mean(self.sizes(name) ** 2)))

    def percentile_deg(self, name: str, percent: float) -> float:
        """That share of all errors is at most so large."""
        return float(np.percentile(self.sizes(name), percent))

    def bias_deg(self, name: str) -> NDArray[np.float64]:
        """(P, K) mean over the blocks of a point; NaN if no block of it has a peak."""
        return self._of_points(name)[0]

    def scatter_deg(self, name: str) -> NDArray[np.float64]:
        """(P, K) standard deviation of one block around the point's mean; NaN with fewer than two blocks."""
        return self._of_points(name)[1]

    def _of_points(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        error, p = self.error_deg[name], len(self.true_deg)
        good = np.isfinite(error)
        filled = np.where(good, error, 0.0)
        mean = np.full(self.true_deg.shape, np.nan)
        spread = np.full(self.true_deg.shape, np.nan)
        for k in range(error.shape[1]):
            n = np.bincount(self.point, good[:, k], p)
            np.divide(np.bincount(self.point, filled[:, k], p), n, out=mean[:, k], where=n > 0)
            rest = np.where(good[:, k], filled[:, k] - np.where(n > 0, mean[:, k], 0.0)[self.point], 0.0)
            square = np.bincount(self.point, rest**2, p)
            np.sqrt(np.divide(square, n - 1, where=n > 1, out=np.full(p, np.nan)), out=spread[:, k])
        return mean, spread

    def covered(self, name: str, angle_sigma_deg: float) -> float:
        """Share of the means within two stated standard deviations: the calibration's own, the table's, and what the
        number of blocks leaves."""
        blocks = np.maximum(np.bincount(self.point, minlength=len(self.true_deg)), 1)[:, None]
        statistical = np.nan_to_num(self.scatter_deg(name)) / np.sqrt(blocks)
        sigma = np.sqrt(angle_sigma_deg**2 + statistical**2 + self.table_error_deg[:, None] ** 2)
        bias = self.bias_deg(name)
        return float(np.mean(np.where(np.isnan(bias), np.inf, np.abs(bias)) <= 2 * sigma))

    def sectors(self) -> list[tuple[str, NDArray[np.bool_]]]:
        """Names, and masks (P, K) of the directions inside: at most seven of equal width, without empty ones."""
        low, high = float(self.true_deg.min()), float(self.true_deg.max())

        def ends(
            width: float,
        ) -> tuple[float, float]:  # what lies just outside of an edge makes no sector of its own
            return float(np.floor(low / width + _EDGE)), float(np.ceil(high / width - _EDGE)) - 1

        fitting = (w for w in _WIDTHS_DEG if ends(w)[1] - ends(w)[0] < _MOST_SECTORS)
        width = next(fitting, _WIDTHS_DEG[-1])
        first, last = ends(width)
        place = np.clip(np.floor(self.true_deg / width), first, max(first, last))
        return [
            (f"{i * width:g} to {(i + 1) * width:g}".replace("-", "\u2212"), place == i)
            for i in np.unique(place)
        ]


def rms(values: NDArray[np.float64]) -> float:
    """Root mean square of what is known; NaN if nothing is."""
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if len(known) else float("nan")
