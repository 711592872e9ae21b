"""What is learned of the array: spacings, from which every steering vector follows, or the steering vectors themselves.

Mateos-Ramos et al. 2025, section IV-A. Transmitter and receiver use the same dictionary.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calib.isac.grid import SearchGrid
from calib.isac.spacings import ArrayModel, positions
from calib.isac.steering import steering

LearnedModel = ArrayModel | Literal["positions"]


class LearnedArray(Protocol):
    """A dictionary of steering vectors with parameters. grid : of its columns."""

    grid: SearchGrid

    def parameters(self) -> list[Tensor]:
        """Leaves that the optimiser moves."""
        ...

    def dictionary(self) -> Tensor:
        """(K, G) complex128, columns a(u) on the grid; carries the gradient."""
        ...

    def x(self) -> Tensor | None:
        """Positions (K,) float64 in wavelengths with gradient; None where there are none."""
        ...


class LearnedSpacings:
    """K real numbers: impairment learning. What is learned starts at 0.

    Parameters
    ----------
    x_wavelengths : (K,) nominal positions. grid : of the search.
    model : what the numbers are, in wavelengths. "mult", "cum": errors of the spacings as in `calib.isac.spacings`;
    "positions": errors of the positions, where a step moves an outer element of a "mult" array no farther than an
    inner one.
    """

    def __init__(self, x_wavelengths: NDArray[np.float64], grid: SearchGrid, model: LearnedModel) -> None:
        self.model: LearnedModel = model
        self.grid = grid
        self._start = torch.tensor(x_wavelengths, dtype=torch.float64)
        self._error = torch.zeros(len(x_wavelengths), dtype=torch.float64, requires_grad=True)
        self._u = torch.from_numpy(grid.u)

    def parameters(self) -> list[Tensor]:
        """One leaf (K,)."""
        return [self._error]

    def dictionary(self) -> Tensor:
        """(K, G) complex128 from the spacings as they are now."""
        return steering(self.x(), self._u)

    def x(self) -> Tensor:
        """Positions (K,) float64 in wavelengths."""
        if self.model == "positions":
            return self._start + self._error
        zero = torch.zeros_like(self._error)
        return self._start + positions(self.model, self._error) - positions(self.model, zero)


class LearnedDictionary:
    """K x N_theta complex numbers: dictionary learning, without any model of the array.

    Columns are used at norm sqrt(K), which the paper leaves free: a longer one would win every maximum.

    Parameters
    ----------
    x_wavelengths : (K,) nominal positions, of the first columns. grid : one column an angle; the paper has 720, and
    156 under limited complexity.
    """

    def __init__(self, x_wavelengths: NDArray[np.float64], grid: SearchGrid) -> None:
        self.grid = grid
        columns = steering(torch.tensor(x_wavelengths, dtype=torch.float64), torch.from_numpy(grid.u))
        self._columns = torch.view_as_real(columns).clone().requires_grad_()

    def parameters(self) -> list[Tensor]:
        """One leaf (K, N_theta, 2): real and imaginary parts."""
        return [self._columns]

    def dictionary(self) -> Tensor:
        """(K, N_theta) complex128 as it is now, columns of norm sqrt(K)."""
        columns = torch.view_as_complex(self._columns)
        return columns * (len(columns) ** 0.5 / torch.linalg.vector_norm(columns, dim=0))

    def x(self) -> None:
        """A dictionary has no positions."""
        return
