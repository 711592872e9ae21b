"""The grid of angles and delays of the sensing receiver, and the window around a maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SearchGrid:
    """Angles uniform over [-90, 90] degrees, delays uniform over the window, end points included.

    Attributes
    ----------
    window_s : first and last delay. n_angles, n_delays : N_theta and N_tau.
    """

    window_s: tuple[float, float]
    n_angles: int = 720
    n_delays: int = 200

    def __post_init__(self) -> None:
        if self.n_angles < 2 or self.n_delays < 2 or not self.window_s[1] > self.window_s[0]:
            raise ConfigError(
                f"search grid of {self.n_angles} angles and {self.n_delays} delays over {self.window_s} s",
                hint="at least 2 angles and 2 delays, and a delay window that is not empty",
            )

    @property
    def theta_rad(self) -> NDArray[np.float64]:
        """(N_theta,) broadside angles."""
        return np.linspace(-np.pi / 2, np.pi / 2, self.n_angles)

    @property
    def u(self) -> NDArray[np.float64]:
        """(N_theta,) sines of the angles."""
        return np.sin(self.theta_rad)

    @property
    def delay_s(self) -> NDArray[np.float64]:
        """(N_tau,) delays."""
        return np.linspace(*self.window_s, self.n_delays)

    def reach(self, n_elements: int, n_subcarriers: int, spacing_hz: float) -> tuple[int, int]:
        """Cells on each side of a maximum within the resolution 2/K rad and 1/(S spacing) s, at least one.

        K = 64, 720 angles: 7. S = 256 at 120 kHz, 200 delays over 10 to 190 m: 5 (Mateos-Ramos et al. 2025, eq. 16).
        """
        angles = (2 / n_elements) / (np.pi / self.n_angles)
        delays = 1 / (n_subcarriers * spacing_hz) / ((self.window_s[1] - self.window_s[0]) / self.n_delays)
        return max(int(angles), 1), max(int(delays), 1)

    def rows(self, sector_u: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """First and last angle (B,), (B,) inside each sector (B, 2) of u; the nearest one for a sector between two."""
        u = self.u
        first = np.searchsorted(u, sector_u[:, 0] - 1e-9)
        last = np.searchsorted(u, sector_u[:, 1] + 1e-9) - 1
        nearest = np.clip(np.searchsorted((u[1:] + u[:-1]) / 2, sector_u.mean(axis=1)), 0, len(u) - 1)
        empty = first > last
        return np.where(empty, nearest, first), np.where(empty, nearest, last)
