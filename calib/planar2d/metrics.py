"""Comparison of two planar manifolds free of what unlabelled data leave open.

d_hat = F d + c: four numbers of a linear map and two ramps, fitted first (the two ramps alone where the
positions are known). What remains is the error that no statement about directions could take away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.planar2d.model import TWO_PI, Plane
from hil.core.errors import ShapeError


@dataclass(frozen=True, slots=True)
class PlaneError:
    """Outcome of a comparison.

    correlation (G,): |a^H a_hat| at the directions d (G, 2). error: 1 - its smallest value. linear F (2, 2)
    and offset c (2,): d_hat = F d + c. direction_error_deg: root mean square over d of the angle between
    true and estimated direction that the gauge alone causes (elevations above 10 degrees).
    """

    correlation: NDArray[np.float64]
    error: float
    linear: NDArray[np.float64]
    offset: NDArray[np.float64]
    direction_error_deg: float


def plane_of(gain: ArrayLike, positions: ArrayLike) -> Plane:
    """The manifold of gains (N,) and positions (N, 2) in wavelengths. Raises ShapeError."""
    g, r = np.asarray(gain, complex), np.asarray(positions, float)
    if r.shape != (len(g), 2):
        raise ShapeError(f"positions: {r.shape} for {len(g)} gains; two columns are needed")
    return Plane(g, r).normalised()


def disc(radius: float = 0.98, count: int = 400) -> NDArray[np.float64]:
    """Directions (count, 2) that fill |d| <= radius evenly (a sunflower)."""
    i = np.arange(count) + 0.5
    rho, phi = radius * np.sqrt(i / count), np.pi * (1 + np.sqrt(5)) * i
    return np.column_stack((rho * np.cos(phi), rho * np.sin(phi)))


def compare_planes(
    true: Plane, learned: Plane, d: NDArray[np.float64] | None = None, *, free_positions: bool = True
) -> PlaneError:
    """Fit the gauge, then correlate the manifolds at d (G, 2), default the whole disc |d| <= 0.98.

    The start of the fit is in closed form: positions by affine least squares, ramps from the phases by a
    search on the disc. Raises ShapeError if the arrays differ in size.
    """
    if true.n_elements != learned.n_elements:
        raise ShapeError(f"{true.n_elements} elements against {learned.n_elements}")
    here = disc() if d is None else d
    a = true.steering(here)
    linear: NDArray[np.float64] = np.eye(2)
    if free_positions:
        # r . d = r_hat . d_hat up to a shift: r = r_hat F, so F is the regression of r on r_hat
        regression = np.linalg.lstsq(_centred(learned.r), _centred(true.r), rcond=None)[0]
        linear = np.asarray(regression, np.float64)
    offset = _ramp(true, learned.mapped(np.asarray(np.linalg.inv(linear), np.float64)), linear)

    def residual(x: NDArray[np.float64]) -> NDArray[np.float64]:
        f = x[2:].reshape(2, 2) if free_positions else linear
        overlap = np.sum(a.conj() * learned.steering(here @ f.T + x[:2]), axis=1)
        return np.sqrt(np.maximum(1 - np.abs(overlap) ** 2, 0))

    start = np.concatenate((offset, linear.ravel())) if free_positions else offset
    start = np.asarray(start, np.float64)
    from scipy.optimize import least_squares  # a tenth of the time until the window is there

    fit = least_squares(residual, start, diff_step=1e-6, loss="soft_l1", f_scale=0.05)
    x = np.asarray(fit.x if np.max(residual(fit.x)) <= np.max(residual(start)) else start, np.float64)
    f: NDArray[np.float64] = x[2:].reshape(2, 2) if free_positions else linear
    correlation = np.sqrt(np.maximum(1 - residual(x) ** 2, 0))
    estimated = here @ f.T + x[:2]
    return PlaneError(
        correlation, float(1 - correlation.min()), f, x[:2], direction_error_deg(estimated, here)
    )


def direction_error_deg(estimated: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Root mean square angle between directions d (G, 2) on the sphere, degrees; true elevation >= 10."""
    high = np.linalg.norm(true, axis=-1) <= np.cos(np.deg2rad(10.0))
    cosine = np.sum(on_sphere(estimated[high]) * on_sphere(true[high]), axis=-1)
    return float(np.rad2deg(np.sqrt(np.mean(np.arccos(np.clip(cosine, -1, 1)) ** 2))))


def on_sphere(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (..., 3) of d (..., 2); |d| > 1 is brought to the horizon."""
    size = np.linalg.norm(d, axis=-1, keepdims=True)
    flat = d / np.maximum(size, 1.0)
    return np.concatenate((flat, np.sqrt(np.maximum(1 - np.minimum(size, 1.0) ** 2, 0))), axis=-1)


def _centred(r: NDArray[np.float64]) -> NDArray[np.float64]:
    return r - r.mean(axis=0)


def _ramp(true: Plane, mapped: Plane, linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offset c of d_hat = F d + c: the largest match of phases once the positions agree."""
    product = true.g * mapped.g.conj()
    r = (_centred(true.r) + _centred(mapped.r)) / 2
    span, centre = 2.5, np.zeros(2)
    for points in (101, 21, 21):
        axis = np.linspace(-span, span, points)
        trial = centre + np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        match = np.abs(np.exp(-1j * TWO_PI * trial @ r.T) @ product)
        # equally spaced elements see a ramp of one period as no ramp at all: the smallest one is meant
        centre = trial[int(np.argmax(match - 0.002 * np.hypot(trial[:, 0], trial[:, 1])))]
        span = 4 * span / points
    return linear @ centre
