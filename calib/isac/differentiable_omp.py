"""Orthogonal matching pursuit that passes gradients (Mateos-Ramos et al. 2025, section IV-B, fig. 4).

The maximum of the angle-delay map is found without gradient. Around it, within the resolution of array and band,

    w_ij = softmax(beta P_ij/P_max),   theta = sum w_ij theta_i,   tau = sum w_ij tau_j

Only these few cells (15 x 11 of 720 x 200) are computed with gradient: through the columns of the dictionary, hence
the positions, and through the data, hence the beam, where the caller's simulation is differentiable. Gains and
what is subtracted for the next target carry none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calib.gpi.delay import delay_vectors
from calib.isac.grid import SearchGrid
from calib.isac.omp import least_squares, reconstruction
from calib.isac.steering import steering
from hil.core.errors import ConfigError

Metric = Literal["power", "amplitude"]
_CHUNK = 32


@dataclass(frozen=True, slots=True)
class Estimates:
    """T targets of B blocks in the order found, tensors (B, T).

    theta_rad, delay_s : float64, with gradient. strength : float64, the map's maximum in units of K S N0, with
    gradient. gain : complex128, least squares of all T together, no gradient.
    """

    theta_rad: Tensor
    delay_s: Tensor
    strength: Tensor
    gain: Tensor


class DifferentiableOmp:
    """The receiver for one grid and one delay subspace.

    Parameters
    ----------
    grid : angles of the dictionary's columns, and delays. basis : (S, r), spacing_hz : as in `calib.gpi.delay.Reduced`.
    sector_mask : True: maximum and window stay inside the block's sector (the authors' program); False: all of
        +-90 degrees (the paper). beta : scale of the softmax, on the map divided by its maximum.
    metric : P = |.|^2 ("power", the paper) or |.| ("amplitude", the program).

    Raises
    ------
    ConfigError : unknown metric.
    """

    def __init__(
        self,
        grid: SearchGrid,
        basis: NDArray[np.complex128],
        spacing_hz: float,
        *,
        sector_mask: bool = True,
        beta: float = 20.0,
        metric: Metric = "power",
    ) -> None:
        if metric not in ("power", "amplitude"):
            raise ConfigError(f"metric {metric!r} is not one of power, amplitude")
        self.grid, self.basis, self.spacing_hz = grid, basis, spacing_hz
        self.sector_mask, self.beta, self.metric = sector_mask, beta, metric
        self.theta = torch.from_numpy(grid.theta_rad)
        self.delay = torch.from_numpy(grid.delay_s)
        self.filters = torch.from_numpy(self._filters(grid.delay_s))

    def __call__(
        self,
        taps: Tensor,
        dictionary: Tensor,
        sector_u: Tensor,
        *,
        n_targets: int = 1,
        x: Tensor | None = None,
    ) -> Estimates:
        """Targets of every block.

        Parameters
        ----------
        taps : (B, K, r) complex64 in units of N0 = 1. dictionary : (K, N_theta) complex, columns at the angles of
        the grid, of norm sqrt(K). sector_u : (B, 2). x : (K,) positions: what is subtracted is the vector at the
        estimated angle and delay (the paper); None: the column and delay of the maximum (the program; the only
        choice where the columns are free).
        """
        atoms = dictionary.T.to(torch.complex64)
        first, last = self._rows(sector_u)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        columns: list[NDArray[np.complex64]] = []
        filters: list[NDArray[np.complex64]] = []
        gain, left = np.empty((len(taps), 0), complex), taps
        for t in range(n_targets):
            row, tap = self._maximum(left.detach(), atoms.detach(), first, last)
            found.append(self._window(left, atoms, row, tap, first, last))
            if x is None:
                columns.append(atoms.detach()[row].numpy())
                filters.append(self.filters.T[tap].numpy())
            else:
                theta, delay, _ = (value.detach() for value in found[-1])
                columns.append(steering(x.detach(), torch.sin(theta)).T.to(torch.complex64).numpy())
                filters.append(self._filters(delay.numpy()).T)
            a, f = np.stack(columns, axis=1), np.stack(filters, axis=1)
            gain = least_squares(taps.detach().numpy(), a, f)
            if t + 1 < n_targets:
                left = taps - torch.from_numpy(reconstruction(gain, a, f))
        theta, delay, strength = (torch.stack(column, dim=1) for column in zip(*found, strict=True))
        return Estimates(theta, delay, strength, torch.from_numpy(gain))

    def _filters(self, delay_s: NDArray[np.float64]) -> NDArray[np.complex64]:
        """conj(Q^H b), (r, D)."""
        b = delay_vectors(len(self.basis), self.spacing_hz, delay_s)
        return np.conj(self.basis.conj().T @ b).astype(np.complex64)

    def _rows(self, sector_u: Tensor) -> tuple[Tensor, Tensor]:
        """First and last row of the map of each block."""
        if self.sector_mask:
            first, last = self.grid.rows(sector_u.detach().numpy())
            return torch.from_numpy(first), torch.from_numpy(last)
        first = torch.zeros(len(sector_u), dtype=torch.int64)
        return first, first + (self.grid.n_angles - 1)

    @torch.no_grad()
    def _maximum(self, taps: Tensor, atoms: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Row and delay of the maximum of each map, over the rows of its sector only."""
        rows = first[:, None] + torch.arange(int((last - first).max()) + 1)
        # rows past a sector's end repeat its last one, which changes no maximum
        rows = torch.minimum(rows, last[:, None])
        conj = atoms.conj().resolve_conj()
        best = torch.empty(len(taps), dtype=torch.int64)
        for i in range(0, len(taps), _CHUNK):
            beams = conj[rows[i : i + _CHUNK]] @ taps[i : i + _CHUNK]
            best[i : i + _CHUNK] = torch.argmax(_abs2(beams @ self.filters).flatten(1), dim=1)
        row = torch.gather(rows, 1, (best // self.grid.n_delays)[:, None])[:, 0]
        return row, best % self.grid.n_delays

    def _window(
        self, taps: Tensor, atoms: Tensor, row: Tensor, tap: Tensor, first: Tensor, last: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted angle and delay (B,) and the value of the maximum (B,), with gradient."""
        angles, delays = self.grid.reach(taps.shape[1], len(self.basis), self.spacing_hz)
        rows = row[:, None] + torch.arange(-angles, angles + 1)
        cols = tap[:, None] + torch.arange(-delays, delays + 1)
        inside = ((rows >= first[:, None]) & (rows <= last[:, None]))[:, :, None]
        inside = inside & ((cols >= 0) & (cols < self.grid.n_delays))[:, None, :]
        rows = rows.clamp(0, self.grid.n_angles - 1)
        cols = cols.clamp(0, self.grid.n_delays - 1)
        # index_select: its gradient is a plain sum, that of fancy indexing sorts first
        near = torch.index_select(atoms, 0, rows.flatten()).reshape(*rows.shape, -1)
        matched = taps @ self.filters.T[cols].swapaxes(1, 2)
        power = _abs2(near.conj() @ matched).double() / (taps.shape[1] * len(self.basis))
        top = power[:, angles, delays]
        shape = power / top.clamp(min=1e-30)[:, None, None]
        if self.metric == "amplitude":
            shape = torch.sqrt(shape.clamp(min=1e-12))
        score = torch.where(inside, self.beta * shape, -torch.inf)
        weight = torch.softmax(score.flatten(1), dim=1).reshape(score.shape)
        theta = (weight.sum(dim=2) * self.theta[rows]).sum(dim=1)
        delay = (weight.sum(dim=1) * self.delay[cols]).sum(dim=1)
        return theta, delay, top


def _abs2(z: Tensor) -> Tensor:
    return z.real**2 + z.imag**2
