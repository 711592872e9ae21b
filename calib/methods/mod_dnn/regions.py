"""Subregions of the field of view, each with a grid of its own that reaches over its edges.

A head whose region was chosen wrongly near an edge still has the source on its grid: the guard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError

FIELD_DEG = (-60.0, 60.0)


@dataclass(frozen=True, slots=True)
class Regions:
    """n equal parts of field_deg; grids of step_deg reach guard_deg over both edges of each part."""

    n: int = 4
    field_deg: tuple[float, float] = FIELD_DEG
    guard_deg: float = 4.0
    step_deg: float = 0.2

    def __post_init__(self) -> None:
        low, high = self.field_deg
        if not (self.n >= 1 and -90 <= low < high <= 90 and self.step_deg > 0 and self.guard_deg >= 0):
            raise ConfigError(f"subregions: {self} are not parts of a field of view")

    @property
    def edges_deg(self) -> NDArray[np.float64]:
        """(n + 1,) edges."""
        return np.linspace(*self.field_deg, self.n + 1)

    @property
    def grid_deg(self) -> NDArray[np.float64]:
        """(n, L) grids."""
        edges = self.edges_deg
        half = (edges[1] - edges[0]) / 2 + self.guard_deg
        count = round(2 * half / self.step_deg) + 1
        return (edges[:-1] + edges[1:])[:, None] / 2 + np.linspace(-half, half, count)

    def of(self, angle_deg: NDArray[np.float64]) -> NDArray[np.intp]:
        """Index of the region that holds each angle; angles outside belong to the nearest one."""
        inner = self.edges_deg[1:-1]
        return np.searchsorted(inner, angle_deg, side="right")
