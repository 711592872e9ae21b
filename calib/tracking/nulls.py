"""The nulls of one block, and what they say about the phases: the inner loop of tracking, some 0.1 ms a block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.model import TWO_PI, Model
from calib.observations import Subspaces

_NEWTON_STEPS = 2


@dataclass(frozen=True, slots=True)
class Nulls:
    """K nulls: theta (u on a line, azimuth on a plane), depth and variance (K,), see `gauss_newton.noise_variance`.

    v : (K, N, K) conj(a) U. s : (K, K) U^H a. rho : (K, N) path along the angle.
    """

    theta: NDArray[np.float64]
    depth: NDArray[np.float64]
    variance: NDArray[np.float64]
    v: NDArray[np.complex128]
    s: NDArray[np.complex128]
    rho: NDArray[np.float64]

    def select(self, keep: NDArray[np.bool_]) -> Nulls:
        """Some of them."""
        if keep.all():
            return self
        return Nulls(
            self.theta[keep],
            self.depth[keep],
            self.variance[keep],
            self.v[keep],
            self.s[keep],
            self.rho[keep],
        )


class NullReader:
    """Finds the K deepest nulls of one block after another for an array whose positions stay as they are.

    Parameters
    ----------
    model : the array. n_sources : K. limit : range of u searched on a line.
    """

    def __init__(self, model: Model, n_sources: int, limit: tuple[float, float]) -> None:
        self._model, self._k = model, n_sources
        self._grid = model.grid(limit)
        self._step = float(self._grid[1] - self._grid[0])
        self._phasors = np.exp(1j * TWO_PI * (model.direction(self._grid) @ model.r.T))
        self._is_line = model.is_line
        self._along = np.repeat(model.r[:, :1].T, n_sources, axis=0)

    def read(self, sub: Subspaces, block: int, g: NDArray[np.complex128]) -> Nulls:
        """Nulls of one of the blocks for gains g (N,) of unit norm."""
        u, spread = sub.signal[block], sub.variance[block]
        response = self._phasors @ (u.conj() * g[:, None])
        found = (response.real**2 + response.imag**2).sum(axis=1)
        theta = self._refined(self._grid[self._maxima(found)], u, g)
        a, rho = self._steering(theta, g)
        v = a.conj()[:, :, None] * u
        s = v.sum(axis=1).conj()
        power = s.real**2 + s.imag**2
        variance = power @ spread
        return Nulls(theta, np.maximum(1 - power.sum(axis=1), 0.0), variance, v, s, rho)

    def _maxima(self, found: NDArray[np.float64]) -> NDArray[np.intp]:
        """Places of the K highest local maxima; the ends of a line's range count if they fall off."""
        rises = found[1:] > found[:-1]
        peak = np.empty(len(found), bool)
        peak[1:-1] = rises[:-1] & ~rises[1:]
        peak[0], peak[-1] = ~rises[0], rises[-1]
        if not self._is_line:
            wraps = found[0] > found[-1]
            peak[0] &= wraps
            peak[-1] &= not wraps
        places = np.flatnonzero(peak)
        if len(places) <= self._k:
            return places
        return places[np.argsort(found[places])[-self._k :]]

    def _refined(
        self, theta: NDArray[np.float64], u: NDArray[np.complex128], g: NDArray[np.complex128]
    ) -> NDArray[np.float64]:
        conj, g2 = u.conj(), g.real**2 + g.imag**2
        for _ in range(_NEWTON_STEPS):
            a, rho = self._steering(theta, g)
            curvature, gradient = self._slope(a, rho, conj, g2)
            step = gradient / np.maximum(curvature, 1e-9)
            theta = theta - np.minimum(np.maximum(step, -self._step), self._step)
        return theta if self._is_line else (theta + np.pi) % TWO_PI - np.pi

    def _steering(
        self, theta: NDArray[np.float64], g: NDArray[np.complex128]
    ) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        r = self._model.r
        if self._is_line:
            return g * np.exp(1j * TWO_PI * theta[:, None] * r[:, 0]), self._along[: len(theta)]
        a = g * np.exp(1j * TWO_PI * (self._model.direction(theta) @ r.T))
        return a, self._model.slope(theta) @ r.T

    @staticmethod
    def _slope(
        a: NDArray[np.complex128],
        rho: NDArray[np.float64],
        conj: NDArray[np.complex128],
        g2: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Curvature and gradient of D / 2 along theta; conj (N, K) is U^*, g2 (N,) |a|^2."""
        s, pv = a @ conj, (rho * a) @ conj
        cross = pv * s.conj()
        lost = pv.real**2 + pv.imag**2
        energy = rho**2 @ g2 - np.add.reduce(lost, axis=1)
        return TWO_PI**2 * energy, TWO_PI * np.add.reduce(cross.imag, axis=1)


def phase_equations(
    nulls: Nulls, g2: NDArray[np.float64], extra: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Information (N, N) and gradient (N,) of the phases, every source's own angle projected out; variance of
    the angles (K,) with the phases known.

    g2 : (N,) |g|^2. extra : variance added to each null's own, for what linear theory leaves out.
    """
    v, s, rho = nulls.v, nulls.s, nulls.rho
    weight = 1 / (nulls.variance + extra)
    q1 = (v @ s[:, :, None])[:, :, 0].imag
    pv = (rho[:, None, :] @ v).conj()  # (K, 1, K)
    q = g2 * rho - (v @ pv.transpose(0, 2, 1))[:, :, 0]
    curvature = np.maximum((rho * q.real).sum(axis=1), 1e-12)
    flat = (v * np.sqrt(weight)[:, None, None]).transpose(1, 0, 2).reshape(len(g2), -1)
    along = q.real * np.sqrt(weight / curvature)[:, None]
    both = np.concatenate((flat.real, flat.imag, along.T), axis=1)
    information = np.diag(g2 * weight.sum()) - both @ both.T
    slope = weight * q.imag.sum(axis=1) / curvature
    return information, slope @ q.real - weight @ q1, nulls.variance / (TWO_PI**2 * curvature)
