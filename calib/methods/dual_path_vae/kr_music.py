"""KR-MUSIC: directions from how the powers of the users change, whatever the covariance of the noise is.

The covariance of one short frame, averaged over equal distances of elements, is a vector in which user k shows as

    b_l(u_k) = sqrt(c_l) exp(+j 2 pi delta_l u_k),   c_l pairs of elements the distance delta_l apart

times its power in that frame. Without the mean over frames, which takes the noise away, these vectors span K dimensions.
Users of steady power fade there only: on stationary Rayleigh channels it is far from the bound.
(Ma, Hsieh and Chi 2010; frames of one snapshot.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.direction_grid import DirectionGrid
from hil.core.errors import ConfigError

_PER_BEAM = 32.0
_SAME_DISTANCE = 6


class KrMusic:
    """KR-MUSIC for one array, number of users and sector (low, high) in degrees."""

    def __init__(
        self, array: KnownArray, n_users: int, sector_deg: tuple[float, float] = (-60.0, 60.0)
    ) -> None:
        self.n_users = n_users
        x = array.x.cpu().numpy()
        distance, self.lag, count = np.unique(
            np.round(x[:, None] - x, _SAME_DISTANCE), return_inverse=True, return_counts=True
        )
        self.lag = self.lag.ravel()
        self.weight = np.sqrt(count)
        self.undo = np.linalg.inv(array.mixing.cpu().numpy())
        # the pairs span twice the aperture, so the peaks are half as wide
        self.grid = DirectionGrid(array, sector_deg, _PER_BEAM)
        self.manifold = self.weight[:, None] * np.exp(2j * np.pi * distance[:, None] * self.grid.u)
        self.power = np.sum(self.weight**2)

    def directions_u(self, y: NDArray[np.complex128]) -> NDArray[np.float64]:
        """u (B, K), ascending, of samples y (B, N, M). Raises ConfigError for fewer than K + 1 snapshots."""
        if y.shape[2] <= self.n_users:
            raise ConfigError(
                f"KR-MUSIC needs {self.n_users + 1} snapshots for {self.n_users} sources, got {y.shape[2]}"
            )
        spectrum = np.stack([self._inside(self.undo @ one) for one in y])
        return self.grid.peaks(spectrum - 1.0, self.n_users)

    def _inside(self, y: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Share (G,) of b(u) in the signal space."""
        frames = (y[:, None] * y.conj()).reshape(-1, y.shape[1])
        sums = np.zeros((len(self.weight), y.shape[1]), complex)
        np.add.at(sums, self.lag, frames)
        sums /= self.weight[:, None]
        sums -= sums.mean(axis=1, keepdims=True)
        space = np.linalg.svd(sums, full_matrices=False)[0][:, : self.n_users]
        return np.sum(np.abs(space.conj().T @ self.manifold) ** 2, axis=0) / self.power
