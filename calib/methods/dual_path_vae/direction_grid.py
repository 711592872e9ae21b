"""A grid in u over a sector, and the maxima of spectra on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.methods.dual_path_vae.decoder import KnownArray

_GUARD_DEG = 4.0


class DirectionGrid:
    """u (G,), `per_beam` points a beam, 4 degrees beyond the sector: a maximum at its edge would not be one.

    sector_deg : (low, high). edges : the same as u.
    """

    def __init__(self, array: KnownArray, sector_deg: tuple[float, float], per_beam: float = 16.0) -> None:
        low, high = np.sin(
            np.deg2rad(np.clip([sector_deg[0] - _GUARD_DEG, sector_deg[1] + _GUARD_DEG], -89.9, 89.9))
        )
        self.edges: tuple[float, float] = tuple(np.sin(np.deg2rad(sector_deg)))
        self.beam_u = array.beam_u
        self.u = np.linspace(low, high, int(np.ceil((high - low) / array.beam_u * per_beam)) + 1)

    def peaks(
        self, spectrum: NDArray[np.floating], n: int, instead: NDArray[np.floating] | None = None
    ) -> NDArray[np.float64]:
        """The n largest local maxima (B, n) of spectra (B, G), ascending; missing ones are taken beside the strongest of
        `instead`."""
        inner = spectrum[:, 1:-1]
        is_peak = (inner > spectrum[:, :-2]) & (inner >= spectrum[:, 2:])
        ranked = np.where(is_peak, inner, -np.inf)
        order = np.argsort(-ranked, axis=1)[:, :n] + 1
        u = self.between(spectrum, order)
        missing = ~np.isfinite(np.take_along_axis(ranked, order - 1, axis=1))
        if np.any(missing):
            backup = spectrum if instead is None else instead
            top = self.u[backup.argmax(axis=1)]
            beside = top[:, None] + self.beam_u / 4 * np.arange(1, n + 1)
            u = np.where(missing, np.clip(beside, self.u[0], self.u[-1]), u)
        return self.inside(u)

    def between(self, spectrum: NDArray[np.floating], at: NDArray[np.intp]) -> NDArray[np.float64]:
        """u (B, n) of maxima at grid indices (B, n), by a parabola that stays within half a step."""
        left, top, right = (np.take_along_axis(spectrum, at + d, axis=1) for d in (-1, 0, 1))
        bend = left - 2 * top + right
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(bend < 0, 0.5 * (left - right) / bend, 0.0)
        return self.u[at] + (self.u[1] - self.u[0]) * np.clip(shift, -0.5, 0.5)

    def inside(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """u (B, n), within the sector and ascending."""
        return np.sort(np.clip(u, *self.edges), axis=1)
