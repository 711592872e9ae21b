"""Several targets by orthogonal matching pursuit on a grid (Mateos-Ramos et al. 2025, Algorithm 1), many blocks at once.

    L_ij = |a(theta_i)^H Y b(tau_j)^*|^2/(K S),   theta over each block's own sector, tau over the window

All of T targets are always searched for; the list of a block ends at the first strength below the threshold, so one run
serves every threshold (`calib.isac.rates`). Everything happens in the delay subspace, where Y b^* = taps conj(Q^H b).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.gpi.detect import angle_grid
from calib.gpi.search import abs2, conj_steering

_CHUNK = 128
_ROWS_PER_BEAM = 4.0
_DELAY_REACH = 2
_NEAR_TIE = 0.85
_LOADING = 1e-6


@dataclass(frozen=True, slots=True)
class Found:
    """T targets of B blocks in the order found.

    Attributes
    ----------
    theta_rad, delay_s : (B, T) float64.
    strength : (B, T) float64, the map's maximum that is compared with the threshold; for data with N0 = 1 one
        cell without a source is exponential of mean 1.
    gain : (B, T) complex128, alpha of Y = sum_t alpha_t a_t b_t^T, least squares of all T together.
    """

    theta_rad: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    strength: NDArray[np.float64]
    gain: NDArray[np.complex128]


def omp(
    data: Reduced,
    x: NDArray[np.float64],
    sector_u: NDArray[np.float64],
    *,
    n_targets: int = 5,
    n_angles: int = 720,
    n_delays: int = 200,
) -> Found:
    """Targets of every block on a grid of n_angles over its sector times n_delays over the window.

    The rows of the grid are looked at a quarter of a beam apart first, then all of them around the
    best and around every row that comes close to it.

    Parameters
    ----------
    data : in units of N0 = 1. x : (K,) positions in wavelengths. sector_u : (B, 2) limits of u.
    """
    sector_u = np.asarray(sector_u, float)
    theta = angle_grid(np.rad2deg(np.arcsin(np.clip(sector_u, -1, 1))), n_angles)
    width = float(np.max(sector_u[:, 1] - sector_u[:, 0])) * max(float(np.ptp(x)), 0.5)
    coarse = np.unique(
        np.linspace(0, n_angles - 1, max(3, int(np.ceil(width * _ROWS_PER_BEAM)) + 1)).astype(int)
    )
    delays = np.linspace(*data.window_s, n_delays)
    pursuit = _Pursuit(x, coarse, delays, data.filters(delays), data.n_subcarriers)
    parts = [
        pursuit.run(data.taps[i : i + _CHUNK], theta[i : i + _CHUNK], n_targets)
        for i in range(0, data.n_blocks, _CHUNK)
    ]
    return Found(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class _Pursuit:
    """The grids that all chunks share."""

    def __init__(
        self,
        x: NDArray[np.float64],
        coarse: NDArray[np.intp],
        delay_s: NDArray[np.float64],
        filters: NDArray[np.complex64],
        n_subcarriers: int,
    ) -> None:
        self.x, self.coarse, self.delay_s, self.filters = np.asarray(x, float), coarse, delay_s, filters
        self.scale = 1.0 / (len(self.x) * n_subcarriers)
        gap = int(np.max(np.diff(coarse), initial=1))
        self.around = np.arange(-(gap // 2) - 1, gap // 2 + 2)

    def run(
        self, taps: NDArray[np.complex64], theta: NDArray[np.float64], n_targets: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.complex128]]:
        """theta, delay, strength, gain, each (b, T), of one chunk."""
        block, count = np.arange(len(taps)), len(taps)
        same = bool(np.all(theta[:, [0, -1]] == theta[0, [0, -1]]))
        beams = conj_steering(self.x, np.sin(theta[: 1 if same else count, self.coarse]))
        angle, tap, strength = (np.empty((count, n_targets), kind) for kind in (np.intp, np.intp, float))
        columns = np.empty((count, n_targets, len(self.x)), np.complex64)
        filters = np.empty((count, n_targets, taps.shape[2]), np.complex64)
        gain, left = np.empty((count, 0), complex), taps
        for t in range(n_targets):
            angle[:, t], tap[:, t], strength[:, t] = self._maximum(left, theta, beams)
            columns[:, t] = conj_steering(self.x, np.sin(theta[block, angle[:, t]])).conj()
            filters[:, t] = self.filters.T[tap[:, t]]
            gain = least_squares(taps, columns[:, : t + 1], filters[:, : t + 1])
            left = taps - reconstruction(gain, columns[:, : t + 1], filters[:, : t + 1])
        return theta[block[:, None], angle], self.delay_s[tap], strength, gain

    def _maximum(
        self, taps: NDArray[np.complex64], theta: NDArray[np.float64], beams: NDArray[np.complex64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Angle and delay index and value of the maximum of each map."""
        summed = np.matmul(beams, taps)
        power = abs2(summed.reshape(-1, taps.shape[2]) @ self.filters)
        tap = np.argmax(power, axis=1)
        top = power[np.arange(len(power)), tap].reshape(summed.shape[:2])
        tap = tap.reshape(top.shape)
        # a row between two coarse ones may be the best although a third coarse row is above both
        candidates = np.argsort(-top, axis=1)
        floor = _NEAR_TIE * np.take_along_axis(top, candidates[:, :1], axis=1)[:, 0]
        best = np.full(len(taps), -1.0)
        angle, delay = np.zeros(len(taps), np.intp), np.zeros(len(taps), np.intp)
        for row in candidates.T:
            (live,) = np.nonzero(top[np.arange(len(taps)), row] >= floor)
            if not len(live):
                break
            i, j, value = self._refined(taps[live], theta[live], self.coarse[row[live]], tap[live, row[live]])
            better = value > best[live]
            keep = live[better]
            angle[keep], delay[keep], best[keep] = i[better], j[better], value[better]
        return angle, delay, best * self.scale

    def _refined(
        self,
        taps: NDArray[np.complex64],
        theta: NDArray[np.float64],
        angle: NDArray[np.intp],
        tap: NDArray[np.intp],
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """The maximum over all rows of the grid around one cell of each map."""
        block = np.arange(len(taps))
        rows = np.clip(angle[:, None] + self.around, 0, theta.shape[1] - 1)
        near = tap[:, None] + np.arange(-_DELAY_REACH, _DELAY_REACH + 1)
        near = np.clip(near, 0, len(self.delay_s) - 1)
        matched = np.matmul(taps, self.filters.T[near].swapaxes(1, 2))
        fine = conj_steering(self.x, np.sin(theta[block[:, None], rows]))
        power = abs2(np.matmul(fine, matched)).reshape(len(taps), -1)
        best = np.argmax(power, axis=1)
        row, column = np.divmod(best, near.shape[1])
        return rows[block, row], near[block, column], power[block, best].astype(float)


def least_squares(
    taps: NDArray[np.complex64], columns: NDArray[np.complex64], filters: NDArray[np.complex64]
) -> NDArray[np.complex128]:
    """Gains (B, t) complex128 that fit taps (B, K, r) by sum_t alpha_t a_t conj(f_t)^T (eq. 13).

    columns : (B, t, K), a_t. filters : (B, t, r), conj(Q^H b_t). Two equal targets share their gain.
    """
    right = np.sum(np.matmul(columns.conj(), taps) * filters, axis=2).astype(complex)
    elements = np.matmul(columns.conj(), columns.swapaxes(1, 2))
    delays = np.matmul(filters, filters.conj().swapaxes(1, 2))
    gram = (elements * delays).astype(complex)
    own = np.einsum("btt->bt", gram).real.max(axis=1)
    gram += _LOADING * own[:, None, None] * np.eye(gram.shape[1])
    return np.linalg.solve(gram, right[:, :, None])[:, :, 0]


def reconstruction(
    gain: NDArray[np.complex128], columns: NDArray[np.complex64], filters: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """sum_t alpha_t a_t conj(f_t)^T, (B, K, r) complex64 (eq. 14)."""
    weighted = (columns * gain[:, :, None]).astype(np.complex64)
    return np.matmul(weighted.swapaxes(1, 2), filters.conj())
