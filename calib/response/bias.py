"""The bias table: what MUSIC reads at known angles, turned round. The baseline that a calibration must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEWEST = 4


@dataclass(frozen=True, slots=True)
class BiasTable:
    """angle_deg : (A,) true angles, ascending. seen_deg : (A,) what MUSIC reads there, ascending. sigma_deg : (A,) of its mean."""

    angle_deg: NDArray[np.float64]
    seen_deg: NDArray[np.float64]
    sigma_deg: NDArray[np.float64]

    def corrected(self, seen_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """True angles of readings, any shape, by a monotone spline (Fritsch and Carlson 1980); NaN outside the table."""
        from scipy.interpolate import PchipInterpolator

        return PchipInterpolator(self.seen_deg, self.angle_deg, extrapolate=False)(seen_deg)

    def to_csv(self) -> str:
        """angle_deg, bias_deg (reading minus angle), sigma_deg."""
        rows = zip(self.angle_deg, self.seen_deg - self.angle_deg, self.sigma_deg, strict=True)
        return "angle_deg,bias_deg,sigma_deg\n" + "".join(f"{a:.6f},{b:.6f},{s:.6f}\n" for a, b, s in rows)


def bias_table(angle_deg: NDArray[np.float64], readings_deg: NDArray[np.float64]) -> BiasTable | None:
    """From readings (B,) at true angles (B,), several at each; None if means do not grow with the angle everywhere."""
    usable = np.isfinite(readings_deg)
    angle_deg, readings_deg = angle_deg[usable], readings_deg[usable]
    angles, index = np.unique(np.round(angle_deg, 6), return_inverse=True)
    if len(angles) < _FEWEST:
        return None
    groups = [readings_deg[index == i] for i in range(len(angles))]
    seen = np.array([float(np.mean(g)) for g in groups])
    sigma = np.array([float(np.std(g)) / np.sqrt(max(len(g) - 1, 1)) for g in groups])
    return BiasTable(angles, seen, sigma) if np.all(np.diff(seen) > 0) else None
