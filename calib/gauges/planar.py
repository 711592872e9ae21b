"""The one number no unlabelled data can show on a plane: azimuth_true = azimuth_hat + delta.

Posterior over delta on a grid, from a sector that the sources are known to stay in, anchors, and the
positions' own closeness to the nominal ones. The mirror image is excluded by the nominal positions: it
reverses the order of the elements, which small errors cannot do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr

from calib.gauges.line import Anchor

_PRIOR_DOF = 6.0
_COVERAGE = 0.95


@dataclass(frozen=True, slots=True)
class Rotation:
    """azimuth_true = azimuth_hat + delta. angle_sigma_rad covers the error with probability 0.9."""

    delta: float
    delta_sigma: float
    angle_sigma_rad: float
    tension: float


def rotation_log_prior(
    learned: NDArray[np.float64],
    nominal: NDArray[np.float64],
    position_std: float,
    delta: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Student-t log density of a rotation by delta (G,) of the learned positions (N, 2), wavelengths."""
    r, x = learned - learned.mean(axis=0), nominal - nominal.mean(axis=0)
    z, w = r[:, 1] + 1j * r[:, 0], x[:, 1] + 1j * x[:, 0]
    square = np.sum(np.abs(z) ** 2) + np.sum(np.abs(w) ** 2)
    square = square - 2 * np.real(np.exp(1j * delta) * np.sum(z * w.conj()))
    n = 2 * len(r) - 2
    return -0.5 * (_PRIOR_DOF + n) * np.log(_PRIOR_DOF * position_std**2 + np.maximum(square, 0))


def fit_rotation(
    learned: NDArray[np.float64],
    nominal: NDArray[np.float64],
    position_std: float,
    *,
    azimuth: NDArray[np.float64] | None = None,
    sigma: NDArray[np.float64] | None = None,
    sector_rad: tuple[float, float] | None = None,
    anchors: tuple[Anchor, ...] = (),
) -> Rotation:
    """Posterior of the rotation. azimuth (n,) and sigma (n,): independent samples, used with a sector."""
    prior_delta = _prior_grid(learned, nominal, position_std)
    p = _posterior(rotation_log_prior(learned, nominal, position_std, prior_delta))
    mean, std = _moments(prior_delta, p)
    tension = 0.0
    delta = prior_delta
    log_like = np.zeros_like(delta)
    if anchors:
        weight = np.array([1 / (a.sigma**2 + a.sigma_true**2) for a in anchors])
        offset = _wrap([a.u_true - a.u_hat for a in anchors])
        centre = float(offset[0]) + float(_wrap(offset - offset[0]) @ weight / weight.sum())
        width = 1 / np.sqrt(weight.sum())
        delta = centre + np.linspace(-6, 6, 401) * width
        log_like = -0.5 * ((delta - centre) / width) ** 2
        tension = float(_wrap(centre - mean) / np.hypot(std, width))
    elif sector_rad is not None and azimuth is not None and sigma is not None and len(azimuth):
        delta, log_like, tension = _sector(azimuth, sigma, sector_rad, mean, std)
    p = _posterior(log_like + rotation_log_prior(learned, nominal, position_std, delta))
    best, spread = _moments(delta, p)
    error = np.abs(delta - best)
    order = np.argsort(error)
    at = int(np.searchsorted(np.cumsum(p[order]), _COVERAGE))
    return Rotation(best, spread, float(error[order[min(at, len(order) - 1)]]), tension)


def _sector(
    azimuth: NDArray[np.float64],
    sigma: NDArray[np.float64],
    sector_rad: tuple[float, float],
    mean: float,
    std: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Rotations that keep every sample inside the sector: between two one-sided bounds."""
    centre = (sector_rad[0] + sector_rad[1]) / 2
    relative = np.sort(_wrap(azimuth + mean - centre)) - mean + centre
    noise = float(np.median(sigma))
    lowest = sector_rad[0] - relative[0]  # delta must not be smaller
    highest = sector_rad[1] - relative[-1]  # nor larger
    tension = max(lowest - highest - 6 * noise, 0.0) / noise / 3
    inner_low, inner_high = min(lowest, highest), max(lowest, highest)
    tension = max(tension, (inner_low - mean) / std if inner_low > mean else (mean - inner_high) / std)
    margin = 6 * noise + 1e-9
    delta = np.linspace(inner_low - margin, inner_high + margin, 4001)
    log_like = np.zeros_like(delta)
    for i in range(min(8, len(relative))):
        log_like += log_ndtr((relative[i] + delta - sector_rad[0]) / noise)
        log_like += log_ndtr((sector_rad[1] - relative[-1 - i] - delta) / noise)
    return delta, log_like, float(tension)


def _prior_grid(
    learned: NDArray[np.float64], nominal: NDArray[np.float64], position_std: float
) -> NDArray[np.float64]:
    coarse = np.linspace(-np.pi, np.pi, 1441)
    log_p = rotation_log_prior(learned, nominal, max(position_std, 1e-4), coarse)
    best = coarse[int(np.argmax(log_p))]
    return best + np.linspace(-0.8, 0.8, 6401)


def _posterior(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.exp(log_p - log_p.max())
    return p / p.sum()


def _moments(delta: NDArray[np.float64], p: NDArray[np.float64]) -> tuple[float, float]:
    mean = float(p @ delta)
    return mean, float(np.sqrt(p @ (delta - mean) ** 2))


def _wrap(angle: ArrayLike) -> NDArray[np.float64]:
    angle = np.asarray(angle, dtype=np.float64)
    return (angle + np.pi) % (2 * np.pi) - np.pi
