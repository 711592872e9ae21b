"""Orthogonal matching pursuit on a covariance: directions picked one after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gui.doa_sources import NOTHING, Look, Setup, relative_db, sigma_deg
from hil.dsp.doa_search import unit_columns, wrapped_deg


class Greedy:
    """The strongest match, then the strongest in what it leaves, and so on.

        theta_k = argmax ||R^1/2 P_k a(theta)||^2 / ||a||^2,   P_k the projector off the directions before

    (simultaneous OMP: Tropp, Gilbert, Strauss 2006, on the covariance of all snapshots). It needs no rank, so that echoes of
    one signal are found as well. Each pick leans towards its neighbours, so that a standard deviation is stated for
    one source alone. The spectrum is the highest of the matches before each pick.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._grid = setup.grid_deg
        self._atoms = unit_columns(setup.response.steering(self._grid))
        low, high = setup.response.limits_deg
        span = float(self._grid[-1] - self._grid[0])
        self._round = high - low >= 360.0 and span > 359.0
        self._n = len(self._grid) - 1 if self._round and span > 360.0 - 1e-9 else len(self._grid)

    def spectrum_db(self, look: Look) -> NDArray[np.float64] | None:
        """(G,) dB."""
        return relative_db(self._run(look)[0]) if look.n_sources else None

    def find(self, look: Look) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Directions and standard deviations, degrees."""
        if not look.n_sources:
            return NOTHING
        doa = self._run(look)[1]
        return doa, sigma_deg(self._setup, look, doa) if look.n_sources == 1 else np.full(len(doa), np.nan)

    def _run(self, look: Look) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Envelope of the matches (G,), directions."""
        values, vectors = np.linalg.eigh(look.covariance)
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.conj().T
        rest, envelope, picked = root, np.zeros(len(self._grid)), np.zeros(0)
        for _ in range(min(look.n_sources, len(values) - 1)):
            product = rest @ self._atoms
            match = np.sum(product.real**2 + product.imag**2, axis=0)
            envelope = np.maximum(envelope, match)
            picked = np.append(picked, self._peak(match))
            span = np.linalg.qr(self._setup.response.steering(picked))[0]
            rest = root - (root @ span) @ span.conj().T
        return envelope, picked

    def _peak(self, match: NDArray[np.float64]) -> float:
        """Between the grid's angles, by a parabola."""
        match, grid = match[: self._n], self._grid
        i, step = int(np.argmax(match)), float(grid[1] - grid[0])
        if self._round:
            left, right = match[i - 1], match[(i + 1) % self._n]
        elif 0 < i < self._n - 1:
            left, right = match[i - 1], match[i + 1]
        else:
            return float(grid[i])
        bend = left - 2 * match[i] + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
        angle = grid[i] + step * float(np.clip(shift, -0.5, 0.5))
        return float(wrapped_deg(np.array([angle]))[0]) if self._round else float(angle)
