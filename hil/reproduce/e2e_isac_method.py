"""What a method has learned, as the transmitter and the receiver use it: one dictionary of steering vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from calib.isac.beam import isac_beams, sector_beams
from hil.reproduce.e2e_isac_data import LINK_SECTOR_DEG, N_ELEMENTS

N_ANGLES = 720
RIDGE = 0.05


@dataclass(frozen=True, slots=True)
class Method:
    """A dictionary (64, G) complex128 over grid_rad (G,), evenly from -90 to 90 degrees.

    x : (64,) positions in wavelengths that it was made of, None where there are none.
    """

    grid_rad: NDArray[np.float64]
    dictionary: NDArray[np.complex128]
    x: NDArray[np.float64] | None = None

    @property
    def pixels(self) -> int:
        """Half width of the resolution cell in grid points (16)."""
        return int((2 / N_ELEMENTS) / (np.pi / len(self.grid_rad)))

    def columns(self, sector_deg: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Angles (A,) and columns (64, A) inside a sector (2,)."""
        low, high = np.deg2rad(sector_deg)
        inside = (self.grid_rad >= low - 1e-9) & (self.grid_rad <= high + 1e-9)
        return self.grid_rad[inside], self.dictionary[:, inside]

    def sector_beam(self, sector_deg: NDArray[np.float64] | tuple[float, float]) -> NDArray[np.complex128]:
        """Least-squares beam (64,) of unit norm towards a sector (7)."""
        return self._beams(sector_deg).numpy()[0]

    def isac_beam(
        self, sector_deg: NDArray[np.float64] | tuple[float, float], eta: float, phi: float
    ) -> NDArray[np.complex128]:
        """Beam (64,) of unit norm towards a sector and the communication receiver (5)."""
        return isac_beams(self._beams(sector_deg), self._beams(LINK_SECTOR_DEG), eta, phi).numpy()[0]

    def _beams(self, sector_deg: NDArray[np.float64] | tuple[float, float]) -> torch.Tensor:
        sector_u = torch.as_tensor(np.sin(np.deg2rad(np.asarray(sector_deg, float)))[None])
        grid_u = torch.as_tensor(np.sin(self.grid_rad))
        return sector_beams(torch.as_tensor(self.dictionary), grid_u, sector_u, ridge=RIDGE)


def from_positions(x_wavelengths: NDArray[np.float64]) -> Method:
    """The dictionary of an array with elements at x (64,), in the program's sign exp(+j 2 pi x u)."""
    grid = np.deg2rad(np.linspace(-90, 90, N_ANGLES))
    return Method(grid, np.exp(2j * np.pi * np.outer(x_wavelengths, np.sin(grid))), x_wavelengths)
