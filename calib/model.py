"""The array model of the cold start in wavelengths, for a line or a plane.

    a_n(theta) = g_n exp(+j 2 pi r_n . d(theta)),   ||g|| = 1

On a line `theta` is u = sin(broadside angle), r is (N, 1) and d = u. On a plane with the sources in it
`theta` is the azimuth from +y towards +x, r is (N, 2) and d = (sin, cos). Element n's own phase factor
and its derivative along theta are all that the solver needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.observations import Subspaces

TWO_PI = 2 * np.pi


@dataclass(frozen=True, slots=True)
class Model:
    """Gains g (N,) complex128 with ||g|| = 1 and positions r (N, D) in wavelengths; D = 1 line, 2 plane."""

    g: NDArray[np.complex128]
    r: NDArray[np.float64]

    @property
    def n_elements(self) -> int:
        """N."""
        return len(self.g)

    @property
    def is_line(self) -> bool:
        """True if D = 1."""
        return self.r.shape[1] == 1

    @property
    def aperture(self) -> float:
        """Largest extent in wavelengths."""
        return float(np.linalg.norm(np.ptp(self.r, axis=0)))

    def direction(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """d(theta), (..., D)."""
        return theta[..., None] if self.is_line else np.stack((np.sin(theta), np.cos(theta)), axis=-1)

    def slope(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """d'(theta), (..., D)."""
        if self.is_line:
            return np.ones((*theta.shape, 1))
        return np.stack((np.cos(theta), -np.sin(theta)), axis=-1)

    def steering(self, theta: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Unit-norm steering vectors (..., N)."""
        phase = TWO_PI * (self.direction(theta) @ self.r.T)
        a = np.empty(phase.shape, np.complex128)
        # half the time of exp of an imaginary number
        np.cos(phase, out=a.real)
        np.sin(phase, out=a.imag)
        a *= self.g
        return a

    def grid(self, limit: tuple[float, float]) -> NDArray[np.float64]:
        """Grid fine enough for one local minimum per source: on u in `limit`, or the full circle."""
        if self.is_line:
            count = int(np.ceil((limit[1] - limit[0]) * max(18 * self.aperture, 36))) + 1
            return np.linspace(limit[0], limit[1], count)
        count = max(72, int(np.ceil(TWO_PI * 12 * self.aperture)))
        return np.linspace(-np.pi, np.pi, count, endpoint=False)

    def normalised(self) -> Model:
        """Unit-norm gains and centred positions (a common shift is a phase ramp that no score sees)."""
        return replace(self, g=self.g / np.linalg.norm(self.g), r=self.r - self.r.mean(axis=0))

    def shifted(self, offset: float) -> Model:
        """Line: the same manifold with every u larger by `offset`. Plane: every azimuth larger."""
        if self.is_line:
            return replace(self, g=self.g * np.exp(-1j * TWO_PI * self.r[:, 0] * offset))
        c, s = np.cos(offset), np.sin(offset)
        return replace(self, r=self.r @ np.array([[c, -s], [s, c]]))

    def scaled(self, al: float) -> Model:
        """Line: the same manifold with u' = al u."""
        return replace(self, r=self.r / al)


def null_depth(
    model: Model, sub: Subspaces, theta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.complex128], NDArray[np.complex128]]:
    """D = 1 - ||U^H a||^2 (B, P), a (B, P, N), s = U^H a (B, P, K) at theta (B, P)."""
    a = model.steering(theta)
    s = a @ sub.signal.conj()
    return np.maximum(1 - _squared(s), 0.0), a, s


def _squared(x: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Sum of |x|^2 over the last axis; einsum, because numpy's sums over short axes are slow."""
    flat = x.view(np.float64)
    return np.einsum("...i,...i->...", flat, flat)


def find_peaks(
    model: Model, sub: Subspaces, limit: tuple[float, float], n_newton: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The K deepest separate nulls of every block: theta (B, K) ascending and D (B, K).

    K + 2 local minima of a grid are refined before the choice: on the grid alone aliases win by chance.
    """
    grid = model.grid(limit)
    steering = np.ascontiguousarray(model.steering(grid).T)
    found = [_find_peaks(model, piece, grid, steering, limit, n_newton) for _, piece in sub.parts()]
    return np.concatenate([theta for theta, _ in found]), np.concatenate([d for _, d in found])


def _find_peaks(
    model: Model,
    sub: Subspaces,
    grid: NDArray[np.float64],
    steering: NDArray[np.complex128],
    limit: tuple[float, float],
    n_newton: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    b, n, k = sub.signal.shape
    response = sub.signal.conj().transpose(0, 2, 1).reshape(b * k, n) @ steering
    power = response.real**2 + response.imag**2
    depth = 1 - power.reshape(b, k, -1).sum(axis=1)
    is_minimum = np.empty(depth.shape, bool)
    is_minimum[:, 1:-1] = (depth[:, 1:-1] <= depth[:, :-2]) & (depth[:, 1:-1] < depth[:, 2:])
    if model.is_line:
        is_minimum[:, 0] = depth[:, 0] < depth[:, 1]
        is_minimum[:, -1] = depth[:, -1] <= depth[:, -2]
    else:
        is_minimum[:, 0] = (depth[:, 0] <= depth[:, -1]) & (depth[:, 0] < depth[:, 1])
        is_minimum[:, -1] = (depth[:, -1] <= depth[:, -2]) & (depth[:, -1] < depth[:, 0])
    n_candidates = min(k + 2, len(grid))
    depth[~is_minimum] += 2.0
    pick = np.argpartition(depth, n_candidates - 1, axis=1)[:, :n_candidates]
    step = grid[1] - grid[0]
    theta, d = refine_peaks(model, sub, grid[pick], step, n_newton)
    if model.is_line:
        # a candidate pushed out of the grid is one that the next grid cannot follow
        d = np.where((theta < limit[0] - step) | (theta > limit[1] + step), d + 2.0, d)
    theta, d = _separate(theta, d, k, step, periodic=not model.is_line)
    row = np.arange(b)[:, None]
    order = np.argsort(theta, axis=1)
    return theta[row, order], d[row, order]


def refine_peaks(
    model: Model, sub: Subspaces, theta: NDArray[np.float64], max_step: float, n_newton: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Newton steps on theta alone: theta (B, P) and D there."""
    conjugate = sub.signal.conj()
    rho, g2 = model.r[:, 0], np.abs(model.g) ** 2
    length = rho**2 @ g2
    for _ in range(n_newton):
        a = model.steering(theta)
        if not model.is_line:
            rho = model.slope(theta) @ model.r.T
            length = rho**2 @ g2
        s = a @ conjugate
        a *= rho
        pv = a @ conjugate
        curvature = TWO_PI**2 * (length - _squared(pv))
        gradient = TWO_PI * np.einsum("...k,...k->...", s.conj(), pv).imag
        theta = theta - np.clip(gradient / np.maximum(curvature, 1e-9), -max_step, max_step)
    if not model.is_line:
        theta = (theta + np.pi) % TWO_PI - np.pi
    return theta, null_depth(model, sub, theta)[0]


def _separate(
    theta: NDArray[np.float64], d: NDArray[np.float64], k: int, step: float, periodic: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k deepest candidates that did not fall into the same minimum."""
    row = np.arange(len(d))[:, None]
    order = np.argsort(d, axis=1)
    theta, d = theta[row, order], d[row, order]
    for j in range(1, theta.shape[1]):
        gap = np.abs(theta[:, j : j + 1] - theta[:, :j])
        if periodic:
            gap = np.minimum(gap, TWO_PI - gap)
        d[:, j] += 3.0 * np.any(gap < 0.3 * step, axis=1)
    order = np.argsort(d, axis=1)[:, :k]
    d = d[row, order]
    return theta[row, order], np.where(d > 1, 1.0, d)
