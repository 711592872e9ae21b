"""The six numbers no unlabelled data can show on a plane: d_true = A d_hat + b.

With known positions A = 1 and the two ramps b are open. What settles them: known directions (Gaussian least
squares together with the prior on A), or else only that positions are near the nominal ones (A) and that
every source stands above the horizon, |d| <= cos(lowest elevation) (b, and a bound on A).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, log_ndtr, ndtri

from calib.planar2d.metrics import on_sphere
from calib.planar2d.model import Plane

_PRIOR_DOF = 6.0
_COVERAGE = 0.95
_WALKERS, _MOVES = 120, 500


@dataclass(frozen=True, slots=True)
class DirectionAnchor:
    """A source seen at d_hat (2,) with covariance (2, 2) that stands at d_true (2,)."""

    d_hat: NDArray[np.float64]
    covariance: NDArray[np.float64]
    d_true: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlaneGauge:
    """d_true = linear d_hat + offset.

    covariance (6, 6) of (A_xx, A_xy, A_yx, A_yy, b_x, b_y). angle_sigma_rad: the root mean square angle
    error over the lit directions, from the gauge alone, stays below it in about 90 % of cases. tension: how
    many sigmas the statements contradict each other. settled: rank of what the anchors fix of
    (A row, b), 0 to 3.
    """

    linear: NDArray[np.float64]
    offset: NDArray[np.float64]
    covariance: NDArray[np.float64]
    angle_sigma_rad: float
    tension: float = 0.0
    settled: int = 0


def affine_prior(learned: Plane, nominal: NDArray[np.float64]) -> NDArray[np.float64]:
    """B (2, 2) of the regression r_hat = x B of the learned positions on the nominal ones x.

    `learned.mapped(B)` then has positions whose errors are uncorrelated with the nominal positions. (The
    regression of x on r_hat instead would shrink the array by the errors' own power.)
    """
    x = nominal - nominal.mean(axis=0)
    return np.asarray(np.linalg.lstsq(x, learned.r - learned.r.mean(axis=0), rcond=None)[0], np.float64)


def prior_covariance(
    learned: Plane, nominal: NDArray[np.float64], position_std: float
) -> NDArray[np.float64]:
    """(4, 4) covariance of A - 1 (row by row) after `affine_prior`: errors happen to look like a linear map.

    A = 1 - (x^T x)^-1 x^T e; the errors' size is the given one, corrected by what was seen.
    """
    x = nominal - nominal.mean(axis=0)
    residual = learned.r - learned.r.mean(axis=0) - x
    seen = 2 * max(len(x) - 3, 0)
    variance = (_PRIOR_DOF * position_std**2 + np.sum(residual**2)) / (_PRIOR_DOF + seen)
    return np.asarray(variance * np.kron(np.linalg.inv(x.T @ x), np.eye(2)), np.float64)


def fit_direction_anchors(
    anchors: tuple[DirectionAnchor, ...], prior: NDArray[np.float64] | None, lit: NDArray[np.float64]
) -> PlaneGauge:
    """Posterior of (A, b) from anchors; prior (4, 4) covariance of A - 1, None if A = 1 is known."""
    here = np.array([a.d_hat for a in anchors])
    design = np.column_stack((here, np.ones(len(here))))
    scale = np.linalg.svd(design, compute_uv=False)
    settled = int(np.sum(scale > 0.05 * np.sqrt(len(here))))
    information, right = np.zeros((6, 6)), np.zeros(6)
    for anchor in anchors:
        j = _jacobian(anchor.d_hat)
        weight = np.linalg.inv(anchor.covariance)
        information += j.T @ weight @ j
        right += j.T @ weight @ (anchor.d_true - anchor.d_hat)
    if prior is not None:
        information[:4, :4] += np.linalg.inv(prior)
        free = np.arange(6)
    else:
        free = np.array([4, 5])
    covariance = np.zeros((6, 6))
    covariance[np.ix_(free, free)] = np.linalg.inv(information[np.ix_(free, free)])
    x = covariance @ right
    misfit = x[:4] @ np.linalg.solve(prior, x[:4]) if prior is not None else 0.0
    for anchor in anchors:
        error = anchor.d_true - anchor.d_hat - _jacobian(anchor.d_hat) @ x
        misfit += error @ np.linalg.solve(anchor.covariance, error)
    dof = 2 * len(anchors) - 2
    tension = float(-ndtri(max(chdtrc(dof, misfit), 1e-300))) if dof else 0.0
    linear, offset = np.eye(2) + x[:4].reshape(2, 2), x[4:]
    draws = np.random.default_rng(0).multivariate_normal(x, covariance, 400, check_valid="ignore")
    angle = _angle_sigma(draws, x, lit)
    return PlaneGauge(linear, offset, covariance, angle, max(tension, 0.0), settled)


def fit_visible(
    samples: NDArray[np.float64],
    noise: float,
    prior: NDArray[np.float64] | None,
    *,
    lowest_elevation_rad: float = 0.0,
    seed: int = 0,
) -> PlaneGauge:
    """Posterior of (A, b) given that every sample d_hat (n, 2) stands above the lowest elevation.

    Stretch moves (Goodman and Weare 2010) on the prior of A times prod Phi((limit - |A d + b|) / noise) over
    the outer samples; b is flat. One outer sample in a thousand may be false.
    """
    rng = np.random.default_rng(seed)
    outer = samples[_outer_layers(samples)]
    limit = float(np.cos(lowest_elevation_rad))
    size = 2 if prior is None else 6
    inverse = np.zeros((4, 4)) if prior is None else np.linalg.inv(prior)

    def log_density(x: NDArray[np.float64], width: float) -> NDArray[np.float64]:
        linear = x[:, :4].reshape(-1, 2, 2)
        place = outer @ (np.eye(2) + linear).transpose(0, 2, 1) + x[:, None, 4:]
        inside = log_ndtr((limit - np.linalg.norm(place, axis=2)) / width)
        total = np.logaddexp(inside, np.log(1e-3) - 50 * np.log10(width / noise)).sum(axis=1)
        return total - 0.5 * np.einsum("wi,ij,wj->w", x[:, :4], inverse, x[:, :4])

    x = np.zeros((_WALKERS, 6))
    if prior is not None:
        x[:, :4] = rng.multivariate_normal(np.zeros(4), prior, _WALKERS)
    middle = (outer.min(axis=0) + outer.max(axis=0)) / 2 if len(outer) else np.zeros(2)
    x[:, 4:] = -middle + 0.1 * rng.standard_normal((_WALKERS, 2))
    kept: list[NDArray[np.float64]] = []
    half = _WALKERS // 2
    for move in range(_MOVES):
        width = max(noise, 0.1 * 0.96**move)
        for first in (0, half):
            mine, others = slice(first, first + half), slice(half - first, 2 * half - first)
            z = (1 + rng.random(half)) ** 2 / 2
            partner = x[others][rng.integers(half, size=half)]
            trial = partner + z[:, None] * (x[mine] - partner)
            gain = (size - 1) * np.log(z) + log_density(trial, width) - log_density(x[mine], width)
            accept = np.log(rng.random(half)) < gain
            x[mine] = np.where(accept[:, None], trial, x[mine])
        if move >= _MOVES // 2 and move % 5 == 0:
            kept.append(x.copy())
    draws = np.concatenate(kept)
    mean = draws.mean(axis=0)
    covariance = np.cov(draws.T)
    tension = 0.0
    if prior is not None:
        # the closest of what is possible, not the mean: that lies well inside a corner of the prior
        misfit = np.quantile(np.einsum("si,ij,sj->s", draws[:, :4], inverse, draws[:, :4]), 0.02)
        tension = float(max(-ndtri(max(chdtrc(4, misfit), 1e-300)), 0.0))
    place = outer @ (np.eye(2) + mean[:4].reshape(2, 2)).T + mean[4:]
    beyond = np.linalg.norm(place, axis=1).max(initial=0.0) - limit
    if prior is None:
        tension = max(beyond / max(noise, 1e-3) / 3, 0.0)
    linear = np.eye(2) + mean[:4].reshape(2, 2)
    angle = _angle_sigma(draws[:: max(len(draws) // 400, 1)], mean, samples)
    return PlaneGauge(linear, mean[4:], covariance, angle, tension)


def _jacobian(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivative (2, 6) of A d + b."""
    return np.asarray(np.column_stack((np.kron(np.eye(2), d), np.eye(2))), np.float64)


def _angle_sigma(draws: NDArray[np.float64], mean: NDArray[np.float64], lit: NDArray[np.float64]) -> float:
    """Quantile over draws (S, 6) of the rms angle to the mean's directions, elevations above 10 degrees."""
    some = lit[np.linspace(0, len(lit) - 1, min(len(lit), 200)).astype(int)]
    here = some @ (np.eye(2) + mean[:4].reshape(2, 2)).T + mean[4:]
    high = np.linalg.norm(here, axis=1) <= np.cos(np.deg2rad(10.0))
    if not high.any():
        return float(np.pi / 2)
    target = on_sphere(here[high])
    other = some[high] @ (np.eye(2) + draws[:, :4].reshape(-1, 2, 2)).transpose(0, 2, 1) + draws[:, None, 4:]
    cosine = np.sum(on_sphere(other) * target, axis=-1)
    rms = np.sqrt(np.mean(np.arccos(np.clip(cosine, -1, 1)) ** 2, axis=1))
    return float(np.quantile(rms, _COVERAGE))


def _outer_layers(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of samples that are extreme in some direction: the three outermost in each of 48."""
    phi = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    along = points @ np.stack((np.cos(phi), np.sin(phi)))
    count = min(3, len(points))
    return np.unique(np.argsort(along, axis=0)[-count:])
