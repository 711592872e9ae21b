"""Where the angle-delay map of each block has its maximum, between grid points, inside a sector of angles.

    M(u, tau) = |kappa^H z|^2,   z_n = conj(a_n(u)) [Y b(tau)^*]_n,   a_n(u) = exp(+j 2 pi x_n u)

x in wavelengths, u = sin(broadside angle). Coarse grid of at most half a beam and half a delay cell, a finer
delay grid at the best angle, then Newton steps on the angle alone; an angle stops at the edge of its sector.
For learning only: numbers that are compared with a paper use the full grid of `calib.gpi.detect`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced

TWO_PI = 2 * np.pi
_CHUNK = 256
_POINTS_PER_CELL = 2.5
_FINE_PER_COARSE = 8


@dataclass(frozen=True, slots=True)
class Peaks:
    """Maxima of B maps.

    u (B,) float64; delay_s (B,); z (B, N) complex64, matched in delay and angle, without kappa; statistic
    (B,) float64, M/(N S N0) in units of the noise: exponential of mean 1 at a fixed cell without a source.
    """

    u: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    z: NDArray[np.complex64]
    statistic: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.u)

    def select(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Peaks:
        """The same for some of the blocks."""
        return Peaks(self.u[index], self.delay_s[index], self.z[index], self.statistic[index])


class PeakSearch:
    """Search for maxima with grids made once.

    Parameters
    ----------
    data : in units of N0 = 1. x_wavelengths : (N,) positions. sector_u : (B, 2) limits of u.
    """

    def __init__(
        self, data: Reduced, x_wavelengths: NDArray[np.float64], sector_u: NDArray[np.float64]
    ) -> None:
        self.data = data
        self.x = np.asarray(x_wavelengths, float)
        self.sector_u = np.asarray(sector_u, float)
        self.n_angles = self._angles_for(self.sector_u)
        cells = (data.window_s[1] - data.window_s[0]) * data.spacing_hz * data.n_subcarriers
        n_delays = max(3, int(np.ceil(cells * _POINTS_PER_CELL)) + 1)
        self.fine_s = np.linspace(*data.window_s, (n_delays - 1) * _FINE_PER_COARSE + 1)
        self._fine = data.filters(self.fine_s)
        self._coarse = np.ascontiguousarray(self._fine[:, ::_FINE_PER_COARSE])

    def replace_data(self, data: Reduced, sector_u: NDArray[np.float64]) -> None:
        """Use other blocks of the same window and array; grids grow if a sector is wider than before."""
        self.data = data
        self.sector_u = np.asarray(sector_u, float)
        self.n_angles = max(self.n_angles, self._angles_for(self.sector_u))

    def _angles_for(self, sector_u: NDArray[np.float64]) -> int:
        aperture = max(float(np.ptp(self.x)), 0.5)
        width = float(np.max(sector_u[:, 1] - sector_u[:, 0]))
        return max(3, int(np.ceil(width * aperture * _POINTS_PER_CELL)) + 1)

    def __call__(self, kappa: NDArray[np.complex128], index: NDArray[np.intp] | None = None) -> Peaks:
        """Peaks of all blocks, or of those in `index`, for kappa (N,) of norm sqrt(N)."""
        blocks = np.arange(self.data.n_blocks) if index is None else index
        parts = [
            self._chunk(kappa.astype(np.complex64), blocks[i : i + _CHUNK])
            for i in range(0, len(blocks), _CHUNK)
        ]
        return Peaks(
            np.concatenate([p.u for p in parts]),
            np.concatenate([p.delay_s for p in parts]),
            np.concatenate([p.z for p in parts]),
            np.concatenate([p.statistic for p in parts]),
        )

    def _chunk(self, kappa: NDArray[np.complex64], blocks: NDArray[np.intp]) -> Peaks:
        taps = self.data.taps[blocks] * kappa.conj()[:, None]
        low, high = self.sector_u[blocks].T
        u = self._coarse_angle(taps, low, high)
        for newton in (2, 1):
            h = conj_steering(self.x, u)[:, None, :] @ taps
            power = abs2(h[:, 0] @ self._fine)
            tap = np.argmax(power, axis=1)
            matched = np.einsum("bnr,br->bn", taps, self._fine.T[tap])
            u = self._refine_angle(matched, u, low, high, newton)
        z = matched * conj_steering(self.x, u)
        statistic = abs2(z.sum(axis=1)) / (self.data.n_elements * self.data.n_subcarriers)
        return Peaks(u, self.fine_s[tap], (z / kappa.conj()).astype(np.complex64), statistic.astype(float))

    def _coarse_angle(
        self, taps: NDArray[np.complex64], low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        grid = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, self.n_angles)
        beams = conj_steering(self.x, grid) @ taps  # (b, A, r)
        count, rank = len(taps), taps.shape[2]
        power = abs2(beams.reshape(-1, rank) @ self._coarse).reshape(count, -1)
        best = np.argmax(power, axis=1) // self._coarse.shape[1]
        return grid[np.arange(count), best]

    def _refine_angle(
        self,
        matched: NDArray[np.complex64],
        u: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        steps: int,
    ) -> NDArray[np.float64]:
        # derivatives around the centre of the array: there angle and phase do not mix
        x = (self.x - self.x.mean()).astype(np.float32) * np.float32(TWO_PI)
        limit = 0.5 / (max(float(np.ptp(self.x)), 0.5) * _POINTS_PER_CELL)
        for _ in range(steps):
            z = matched * conj_steering(self.x, u)
            g, d1, d2 = z.sum(axis=1), -1j * (z @ x), -(z @ x**2)
            slope = 2 * np.real(g.conj() * d1)
            bend = 2 * np.real(g.conj() * d2) + 2 * abs2(d1)
            floor = -1e-6 * np.abs(slope) - 1e-30  # steps are clipped far below
            step = np.where(bend < 0, -slope / np.minimum(bend, floor), np.sign(slope) * limit)
            u = np.clip(u + np.clip(step, -limit, limit), low, high)
        return u


def any_ramp(x_wavelengths: NDArray[np.float64]) -> tuple[float, float]:
    """Limits of u that hold every source whatever phase ramp kappa still has: a period of the ramp and a bit more.

    On an even line of spacing d, kappa exp(-j 2 pi x/d) is kappa but for a common phase. At most twice the field of view.
    """
    x = np.sort(np.asarray(x_wavelengths, float))
    period = 1 / max(float(np.diff(x).min()), 1e-9)
    cell = 1 / max(float(np.ptp(x)), 0.5)
    half = min(max(period / 2, 1.0), 2.0) + cell / _POINTS_PER_CELL
    return -half, half


def abs2(z: NDArray[np.complexfloating]) -> NDArray[np.floating]:
    """|z|^2 without the square root."""
    return z.real**2 + z.imag**2


def conj_steering(x_wavelengths: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.complex64]:
    """conj(a(u)) = exp(-j 2 pi x u), (..., N) complex64, for u (...)."""
    turns = np.asarray(u)[..., None] * x_wavelengths
    # whole turns are dropped in double precision, so that far elements keep the accuracy of near ones
    phase = ((turns - np.rint(turns)) * -TWO_PI).astype(np.float32)
    out = np.empty(phase.shape, np.complex64)
    np.cos(phase, out=out.real)
    np.sin(phase, out=out.imag)
    return out
