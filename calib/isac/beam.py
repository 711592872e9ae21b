"""Transmit beams: least squares on a sector, and the mixture of sensing and communication.

Mateos-Ramos et al. 2025, eq. 5 to 7. The element pattern of a transmit vector f is a(u)^T f by reciprocity.
For arrays with wrong spacings A^* A^T is near singular and the plain least squares point nowhere; a ridge keeps
the gain inside the sector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calib.isac.grid import SearchGrid
from calib.isac.steering import steering
from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

RIDGE = 0.05
_GRID = SearchGrid((0.0, 1.0))


def sector_beams(dictionary: Tensor, grid_u: Tensor, sector_u: Tensor, ridge: float = RIDGE) -> Tensor:
    """f = (A^* A^T + ridge G I)^-1 A^* b, ||f|| = 1, with b = K inside the sector and 0 elsewhere (eq. 6, 7).

    dictionary : (K, G) complex, columns a(u_g); the gradient goes through it. grid_u : (G,) ascending.
    sector_u : (B, 2). Returns (B, K) of the dictionary's type. A sector between two grid points gets the nearest.
    """
    import torch

    n_elements, n_grid = dictionary.shape
    low, high = sector_u[:, :1], sector_u[:, 1:]
    inside = (grid_u >= low - 1e-9) & (grid_u <= high + 1e-9)
    nearest = torch.argmin((grid_u - (low + high) / 2).abs(), dim=1, keepdim=True)
    inside = inside | (torch.zeros_like(inside).scatter(1, nearest, True) & ~inside.any(1, keepdim=True))
    target = dictionary.conj() @ (n_elements * inside.T.to(dictionary.dtype))
    matrix = dictionary.conj() @ dictionary.T
    identity = torch.eye(n_elements, dtype=dictionary.dtype, device=dictionary.device)
    f = torch.linalg.solve(matrix + ridge * n_grid * identity, target).T
    return f / torch.linalg.vector_norm(f, dim=1, keepdim=True)


def isac_beams(
    sensing: Tensor, communication: Tensor, eta: float, phi_rad: float = 0.0, power: float = 1.0
) -> Tensor:
    """sqrt(P) (sqrt(eta) f_r + sqrt(1-eta) exp(j phi) f_c)/||.|| (eq. 5), (B, K).

    sensing : (B, K). communication : (B or 1, K). eta : 1 is sensing only.

    Raises
    ------
    ConfigError : eta outside 0 to 1.
    """
    import torch

    if not 0 <= eta <= 1:
        raise ConfigError(
            f"eta {eta:g} is not between 0 and 1", hint="1 is sensing only, 0 communication only"
        )
    turn = complex(np.sqrt(1 - eta) * np.exp(1j * phi_rad))
    f = float(np.sqrt(eta)) * sensing + turn * communication
    return float(np.sqrt(power)) * f / torch.linalg.vector_norm(f, dim=1, keepdim=True)


def beams_of(
    x: NDArray[np.float64], sector_u: NDArray[np.float64], ridge: float = RIDGE
) -> NDArray[np.complex128]:
    """Beams (B, K) complex128 of unit norm for positions x (K,) in wavelengths and sectors (B, 2) of u.

    On the paper's grid of 720 angles over [-90, 90] degrees.
    """
    import torch

    u = torch.from_numpy(_GRID.u)
    sectors, which = np.unique(np.asarray(sector_u, float), axis=0, return_inverse=True)
    dictionary = steering(torch.tensor(np.asarray(x, float)), u)
    return sector_beams(dictionary, u, torch.from_numpy(sectors), ridge).numpy()[which.reshape(-1)]
