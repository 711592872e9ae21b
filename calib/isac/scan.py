"""Positions of a line to full precision: maximum likelihood of angles, amplitudes and positions of many echoes.

    z_b = c_b a(u_b) + n,   a_k(u) = exp(+j 2 pi x_k u),    minimise sum_b w_b ||z_b - c_b a(u_b)||^2

Angles and amplitudes are profiled out block by block, then every element takes its own closed-form step. What all
blocks leave open, a common shift and a common scale of the positions, is held. Without these two the steps of
different elements are independent (every block hides the same two directions), so a few rounds settle it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.gpi.search import TWO_PI, abs2, conj_steering

_GRID_PER_BEAM = 4.0
_ANGLE_STEPS = 2
_LARGEST_STEP = 0.03
_CHUNK = 1024
_SETTLED = 0.02
_ROUNDS = 30
_LOST_DIRECTIONS = 1.5  # a complex amplitude and a real angle out of K complex numbers


@dataclass(frozen=True, slots=True)
class Fit:
    """Positions and what they make of the echoes.

    Attributes
    ----------
    x : (K,) wavelengths. sigma : (K,) of x from the Fisher information, shift and scale held.
    u : (B,). sigma_u : (B,). amplitude : (B,) complex. statistic : (B,) K |amplitude|^2. residual : (B,) noise per degree
    of freedom, mean 1 if the model is right. gain : (K,) complex, mean response of each element over the blocks,
    1 if its gain is. gain_sigma : standard deviation of its real and imaginary part.
    rounds : taken; settled : the last one moved nothing by more than a small part of sigma.
    """

    x: NDArray[np.float64]
    sigma: NDArray[np.float64]
    u: NDArray[np.float64]
    sigma_u: NDArray[np.float64]
    amplitude: NDArray[np.complex128]
    statistic: NDArray[np.float64]
    residual: NDArray[np.float64]
    gain: NDArray[np.complex128]
    gain_sigma: float
    rounds: int
    settled: bool

    def scaled(self, scale: float) -> Fit:
        """The same with every u times `scale`."""
        return replace(
            self, x=self.x / scale, sigma=self.sigma / scale, u=self.u * scale, sigma_u=self.sigma_u * scale
        )


def find_angles(
    z: NDArray[np.complex64], x: NDArray[np.float64], sector_u: NDArray[np.float64]
) -> NDArray[np.float64]:
    """u (B,) of the best point of a grid inside each sector (B, 2), for positions x (K,) in wavelengths."""
    low, high = float(sector_u[:, 0].min()), float(sector_u[:, 1].max())
    count = max(3, int(np.ceil((high - low) * max(float(np.ptp(x)), 1.0) * _GRID_PER_BEAM)) + 1)
    grid = np.linspace(low, high, count)
    half = (grid[1] - grid[0]) / 2
    beams = conj_steering(x, grid).T
    u = np.empty(len(z))
    for i in range(0, len(z), _CHUNK):
        power = abs2(z[i : i + _CHUNK] @ beams)
        part = sector_u[i : i + _CHUNK]
        power[(grid < part[:, :1] - half) | (grid > part[:, 1:] + half)] = -1
        u[i : i + _CHUNK] = grid[np.argmax(power, axis=1)]
    return u


def fit_positions(
    z: NDArray[np.complex64], u: NDArray[np.float64], x: NDArray[np.float64], *, angles_known: bool = False
) -> Fit:
    """Settle the positions from x (K,) and angles u (B,) near the truth; z (B, K) complex64, noise of variance 1.

    angles_known : u are labels and stay; then the scale of the positions is found too.
    """
    x, u = np.asarray(x, float).copy(), np.asarray(u, float).copy()
    rounds, settled = 0, False
    while True:
        matched, u = _matched(z, x, u, 0 if angles_known else _ANGLE_STEPS)
        c = matched.mean(axis=1)
        residual = np.sum(abs2(matched - c[:, None]), axis=1) / (len(x) - _LOST_DIRECTIONS)
        weight = 1 / np.maximum(residual, 1.0)
        drive = (weight * c.conj()) @ matched
        information = 2 * TWO_PI**2 * float(np.sum(weight * (abs2(c) - residual / len(x)).clip(0) * u**2))
        if settled or rounds == _ROUNDS:
            break
        slope = 2 * TWO_PI * ((weight * c.conj() * u) @ matched).imag
        bend = 2 * TWO_PI**2 * ((weight * c.conj() * u**2) @ matched).real
        step = np.clip(slope / np.maximum(bend, 1e-3 * information + 1e-12), -_LARGEST_STEP, _LARGEST_STEP)
        step = step - step.mean() if angles_known else _without(step, x)
        x += step
        rounds += 1
        settled = float(np.max(np.abs(step))) < _SETTLED / np.sqrt(information + 1e-12)
    centered = x - x.mean()
    leverage = 1 / len(x) + (0 if angles_known else centered**2 / np.sum(centered**2))
    total = float(np.sum(weight * abs2(c)))
    return Fit(
        x, np.sqrt((1 - leverage) / (information + 1e-12)), u,
        np.sqrt(residual / (2 * TWO_PI**2 * np.sum(centered**2) * np.maximum(abs2(c), 1e-9))),
        c, (len(x) * abs2(c)).astype(float), residual.astype(float), drive / total,
        float(1 / np.sqrt(2 * total)), rounds, settled,
    )  # fmt: skip


def _matched(
    z: NDArray[np.complex64], x: NDArray[np.float64], u: NDArray[np.float64], steps: int
) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    """conj(a(u)) z after Newton steps on u, with these u."""
    # derivatives around the centre of the array: there angle and phase do not mix
    rate = (TWO_PI * (x - x.mean())).astype(np.float32)
    limit = 0.25 / max(float(np.ptp(x)), 0.5)
    matched = z * conj_steering(x, u)
    for _ in range(steps):
        g, d1, d2 = matched.sum(axis=1), -1j * (matched @ rate), -(matched @ rate**2)
        slope = 2 * np.real(g.conj() * d1)
        bend = 2 * np.real(g.conj() * d2) + 2 * abs2(d1)
        move = np.where(bend < 0, -slope / np.minimum(bend, -1e-9), np.sign(slope) * limit)
        u = u + np.clip(move, -limit, limit)
        matched = z * conj_steering(x, u)
    return matched, u


def _without(step: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The step without its common shift and its part along the positions."""
    centered = x - x.mean()
    step = step - step.mean()
    return step - centered * float(centered @ step) / float(centered @ centered)
