"""Planar arrays with sources at free azimuth and elevation: the model, null depths and their search.

    a_n(d) = g_n exp(+j 2 pi r_n . d),   ||g|| = 1,   d = (sin az cos el, cos az cos el),   |d| <= 1

Elements lie in the x-y plane, r (N, 2) in wavelengths. The array sees d alone: the sign of the elevation is
not visible. A gain ramp and a linear map of the positions leave the manifold as a set unchanged:
d' = A d + b, r' = r A^-1, g' = g exp(-j 2 pi r' . b).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.observations import Subspaces

TWO_PI = 2 * np.pi
_POINTS_PER_BEAM = 7.0


@dataclass(frozen=True, slots=True)
class Plane:
    """Gains g (N,) complex128 with ||g|| = 1 and positions r (N, 2) float64 in wavelengths."""

    g: NDArray[np.complex128]
    r: NDArray[np.float64]

    @property
    def n_elements(self) -> int:
        """N."""
        return len(self.g)

    @property
    def aperture(self) -> float:
        """Largest extent along x or y in wavelengths."""
        return float(np.ptp(self.r, axis=0).max())

    def steering(self, d: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Unit-norm steering vectors (..., N) at d (..., 2)."""
        return self.g * np.exp(1j * TWO_PI * (d @ self.r.T))

    def normalised(self) -> Plane:
        """Unit-norm gains and centred positions."""
        return Plane(self.g / np.linalg.norm(self.g), self.r - self.r.mean(axis=0))

    def shifted(self, b: NDArray[np.float64]) -> Plane:
        """The same manifold with d' = d + b."""
        return replace(self, g=self.g * np.exp(-1j * TWO_PI * (self.r @ b)))

    def mapped(self, a: NDArray[np.float64]) -> Plane:
        """The same manifold with d' = A d, A (2, 2)."""
        return replace(self, r=self.r @ np.linalg.inv(a))


def directions(azimuth_rad: ArrayLike, elevation_rad: ArrayLike) -> NDArray[np.float64]:
    """d = (sin az cos el, cos az cos el), (..., 2) float64; azimuth from +y towards +x."""
    az, el = np.broadcast_arrays(np.asarray(azimuth_rad, float), np.asarray(elevation_rad, float))
    return np.stack((np.sin(az) * np.cos(el), np.cos(az) * np.cos(el)), axis=-1)


def azimuth_elevation(d: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Azimuth (-pi, pi] and elevation [0, pi/2] in radians of d (..., 2); |d| > 1 is taken as elevation 0."""
    azimuth = np.arctan2(d[..., 0], d[..., 1])
    return azimuth, np.arccos(np.clip(np.linalg.norm(d, axis=-1), 0.0, 1.0))


def null_depth(
    model: Plane, sub: Subspaces, d: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.complex128], NDArray[np.complex128]]:
    """D = 1 - ||U^H a||^2 (B, P), a (B, P, N), s = U^H a (B, P, K) at d (B, P, 2)."""
    a = model.steering(d)
    s = a @ sub.signal.conj()
    return np.maximum(1 - np.sum(np.abs(s) ** 2, axis=-1), 0.0), a, s


def disc_grid(model: Plane, radius: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Axis (n,) of a square grid over [-radius, radius] and mask (n, n) of its points inside the disc."""
    per_unit = _POINTS_PER_BEAM * max(model.aperture, 0.5)
    axis = np.linspace(-radius, radius, 2 * int(np.ceil(radius * per_unit)) + 1)
    return axis, np.hypot(axis[:, None], axis[None, :]) <= radius + 1e-12


def depth_map(
    model: Plane, sub: Subspaces, axis: NDArray[np.float64], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """D of every block on a grid, (B, n, n) float32, first index d_x; above 2 outside the mask (n, n).

    Single precision is enough to choose among minima; depths that count come from `refine_peaks`.
    """
    b, n, k = sub.signal.shape
    along = np.exp(1j * TWO_PI * np.multiply.outer(model.r, axis)).astype(np.complex64)  # (N, 2, n)
    first = model.g.astype(np.complex64)[:, None] * along[:, 0]
    steering = (first[:, :, None] * along[:, 1, None, :]).reshape(n, -1)
    signal = sub.signal.transpose(0, 2, 1).reshape(b * k, n)
    # one real product gives real and imaginary parts side by side; a complex one takes four times as long
    left = np.concatenate((signal.real, signal.imag), axis=1).astype(np.float32)
    right = np.block([[steering.real, steering.imag], [steering.imag, -steering.real]])
    response = left @ right
    np.square(response, out=response)
    half = steering.shape[1]
    power = response[:, :half] + response[:, half:]
    power = power.reshape(b, k, *mask.shape).sum(axis=1) if k > 1 else power.reshape(b, *mask.shape)
    return np.asarray(np.where(mask, 1.0, 3.0).astype(np.float32) - power, np.float32)


def find_peaks(
    model: Plane, sub: Subspaces, radius: float, n_newton: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The K deepest separate nulls of every block in |d| <= radius: d (B, K, 2) and D (B, K).

    K + 2 local minima of the grid are refined before the choice: on the grid alone aliases win by chance.
    """
    axis, mask = disc_grid(model, radius)
    step = float(axis[1] - axis[0])
    k = sub.n_sources
    n_candidates = min(k + 2, int(mask.sum()))
    pick = np.empty((len(sub), n_candidates), np.intp)
    for part in _chunks(len(sub), mask.size):  # keeps the map in the cache
        depth = depth_map(model, sub.select(part), axis, mask)
        ranked = np.where(_is_minimum(depth), depth, depth + 2.0).reshape(len(part), -1)
        pick[part] = np.argpartition(ranked, n_candidates - 1, axis=1)[:, :n_candidates]
    start = np.stack((axis[pick // len(axis)], axis[pick % len(axis)]), axis=-1)
    d, depth = refine_peaks(model, sub, start, step, n_newton)
    # a candidate pushed out of the disc is one that the next search cannot follow
    depth = np.where(np.hypot(d[..., 0], d[..., 1]) > radius + step, depth + 2.0, depth)
    return _separate(d, depth, k, 0.3 * step)


def refine_peaks(
    model: Plane, sub: Subspaces, d: NDArray[np.float64], max_step: float, n_newton: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Newton steps on d alone: d (B, P, 2) and D (B, P) there."""
    for _ in range(n_newton):
        _, a, s = null_depth(model, sub, d)
        curvature, gradient = curvature_and_gradient(model, sub, a, s)
        curvature = curvature + 1e-9 * np.eye(2)
        move = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        length = np.linalg.norm(move, axis=-1, keepdims=True)
        d = d - move * np.minimum(1.0, max_step / np.maximum(length, 1e-300))
    return d, null_depth(model, sub, d)[0]


def curvature_and_gradient(
    model: Plane, sub: Subspaces, a: NDArray[np.complex128], s: NDArray[np.complex128]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half the Gauss-Newton Hessian (B, P, 2, 2) and half the gradient (B, P, 2) of D along d."""
    conj = sub.signal.conj()
    pv = np.stack([(model.r[:, i] * a) @ conj for i in range(2)], axis=-2)  # (B, P, 2, K)
    power = np.abs(a) ** 2
    moment = (power @ (model.r[:, :, None] * model.r[:, None, :]).reshape(-1, 4)).reshape(
        *power.shape[:2], 2, 2
    )
    curvature = TWO_PI**2 * (moment - (pv.conj() @ pv.swapaxes(-1, -2)).real)
    return curvature, TWO_PI * (pv @ s.conj()[..., None])[..., 0].imag


def _chunks(count: int, points: int) -> list[NDArray[np.intp]]:
    size = max(1, 100_000 // points)
    return [np.arange(i, min(i + size, count)) for i in range(0, count, size)]


def _is_minimum(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Points not above any of their eight neighbours, (B, n, n)."""
    lowest = depth.copy()
    np.minimum(lowest[:, 1:], depth[:, :-1], out=lowest[:, 1:])
    np.minimum(lowest[:, :-1], depth[:, 1:], out=lowest[:, :-1])
    around = lowest.copy()
    np.minimum(around[:, :, 1:], lowest[:, :, :-1], out=around[:, :, 1:])
    np.minimum(around[:, :, :-1], lowest[:, :, 1:], out=around[:, :, :-1])
    return depth <= around


def _separate(
    d: NDArray[np.float64], depth: NDArray[np.float64], k: int, closest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k deepest candidates that did not fall into the same minimum, by ascending d_x."""
    order = np.argsort(depth, axis=1)
    d, depth = np.take_along_axis(d, order[..., None], 1), np.take_along_axis(depth, order, 1)
    for j in range(1, d.shape[1]):
        gap = np.linalg.norm(d[:, j : j + 1] - d[:, :j], axis=-1)
        depth[:, j] += np.where(np.any(gap < closest, axis=1), 3.0, 0.0)
    order = np.argsort(depth, axis=1)[:, :k]
    order = np.take_along_axis(order, np.argsort(np.take_along_axis(d[..., 0], order, 1), axis=1), 1)
    depth = np.take_along_axis(depth, order, 1)
    return np.take_along_axis(d, order[..., None], 1), np.where(depth > 1, 1.0, depth)
