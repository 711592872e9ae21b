"""Errors of a learned array against the truth, free of what nobody can know.

The gauge is fitted first: on a line the best (al, be) of u' = al u + be, on a plane the best rotation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.steering import steering_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S

Steering = Callable[[NDArray[np.float64]], NDArray[np.complex128]]


@dataclass(frozen=True, slots=True)
class ManifoldError:
    """Outcome of a comparison.

    correlation : (G,) |a^H a_hat| normalised, after the gauge fit. error : 1 - its smallest value.
    al, be : the line's gauge, u_hat = (u - be) / al. rotation_rad : the plane's, azimuth_hat = azimuth - it.
    gauge_error_deg : rms over the field of view of the angle error that the gauge alone causes.
    """

    correlation: NDArray[np.float64]
    error: float
    al: float
    be: float
    rotation_rad: float
    gauge_error_deg: float


@dataclass(frozen=True, slots=True)
class ArrayManifold:
    """Steering function of angles in radians, (G,) -> (M, G), of gains (M,) and positions (M, 3) in metres."""

    gain: NDArray[np.complex128]
    positions_m: NDArray[np.float64]
    fc_hz: float

    def __call__(self, azimuth_rad: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(M, G) unnormalised."""
        return self.gain[:, None] * steering_vectors(self.positions_m, self.fc_hz, azimuth_rad)

    def at_u(self, u: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Line: the manifold as a function of u = sin(angle), which continues beyond endfire."""
        phase = 2 * np.pi * self.fc_hz / SPEED_OF_LIGHT_M_S * np.outer(self.positions_m[:, 0], u)
        return self.gain[:, None] * np.exp(1j * phase)


def steering_of(gain: ArrayLike, positions_m: ArrayLike, fc_hz: float) -> ArrayManifold:
    """The manifold of an array given by gains (M,) and positions (M, 3) in metres."""
    return ArrayManifold(np.asarray(gain, complex), np.asarray(positions_m, float), fc_hz)


def manifold_error(
    true: Steering, learned: Steering, *, is_line: bool, field_deg: tuple[float, float] | None = None
) -> ManifoldError:
    """Compare two manifolds given as functions of the angle in radians, (G,) -> (M, G) complex.

    field_deg : field of view, default -78.5..78.5 (|u| <= 0.98) for lines and the whole circle otherwise.
    """
    field = field_deg or ((-78.5, 78.5) if is_line else (-180.0, 180.0))
    if is_line:
        low, high = np.sin(np.deg2rad(field))
        u = np.linspace(low, high, 181)
        return _line_error(true, learned, u)
    return _plane_error(true, learned, np.deg2rad(np.linspace(*field, 181)))


def _unit(a: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return a / np.linalg.norm(a, axis=0)


def _line_error(true: Steering, learned: Steering, u: NDArray[np.float64]) -> ManifoldError:
    a = _unit(true(np.arcsin(u)))

    def at(v: NDArray[np.float64]) -> NDArray[np.complex128]:
        # a wrong gauge maps the field of view beyond endfire, where only formulas can follow
        if isinstance(learned, ArrayManifold):
            return _unit(learned.at_u(v))
        return _unit(learned(np.arcsin(np.clip(v, -1, 1))))

    reach = 1.5 if isinstance(learned, ArrayManifold) else 1.0
    grid = np.linspace(-reach, reach, 6001)
    match = np.abs(a.conj().T @ at(grid))
    v = grid[np.argmax(match, axis=1)]
    sharp = match.max(axis=1) > 0.9
    if sharp.sum() < 10:
        sharp[:] = True
    slope, offset = np.polyfit(u[sharp], v[sharp], 1)

    def residual(x: NDArray[np.float64]) -> NDArray[np.float64]:
        overlap = np.abs(np.sum(a.conj() * at(x[0] * u + x[1]), axis=0))
        return np.sqrt(np.maximum(1 - overlap**2, 0))

    start = residual(np.array([slope, offset]))
    from scipy.optimize import least_squares  # a tenth of the time until the window is there

    fit = least_squares(residual, [slope, offset], diff_step=1e-6, loss="soft_l1", f_scale=0.05)
    x = fit.x if np.max(residual(fit.x)) <= np.max(start) else np.array([slope, offset])
    correlation = np.abs(np.sum(a.conj() * at(x[0] * u + x[1]), axis=0))
    al, be = 1 / x[0], -x[1] / x[0]
    shift = np.rad2deg(np.arcsin(np.clip(x[0] * u + x[1], -1, 1)) - np.arcsin(u))
    weight = 1 / np.sqrt(np.maximum(1 - u**2, 1e-3))  # uniform in angle
    rms = float(np.sqrt(np.sum(weight * shift**2) / weight.sum()))
    return ManifoldError(correlation, float(1 - correlation.min()), float(al), float(be), 0.0, rms)


def _plane_error(true: Steering, learned: Steering, azimuth: NDArray[np.float64]) -> ManifoldError:
    a = _unit(true(azimuth))

    def overlap(delta: float) -> NDArray[np.float64]:
        return np.abs(np.sum(a.conj() * _unit(learned(azimuth + delta)), axis=0))

    coarse = np.linspace(-np.pi, np.pi, 361)[:-1]
    best = coarse[int(np.argmax([overlap(d).min() for d in coarse]))]
    from scipy.optimize import least_squares

    fit = least_squares(lambda x: np.sqrt(np.maximum(1 - overlap(x[0]) ** 2, 0)), [best], diff_step=1e-6)
    correlation = overlap(float(fit.x[0]))
    rotation = float((fit.x[0] + np.pi) % (2 * np.pi) - np.pi)
    return ManifoldError(
        correlation, float(1 - correlation.min()), 1.0, 0.0, rotation, abs(float(np.rad2deg(rotation)))
    )


def doa_rmspe_deg(estimate_deg: ArrayLike, true_deg: ArrayLike) -> float:
    """Mean over blocks of the root mean square error after the best assignment, degrees.

    estimate_deg, true_deg : (B, K). Differences of azimuths should be wrapped by the caller's choice of
    branch; blocks with NaN are left out.
    """
    estimate = np.atleast_2d(np.asarray(estimate_deg, float))
    true = np.atleast_2d(np.asarray(true_deg, float))
    good = np.isfinite(estimate).all(axis=1) & np.isfinite(true).all(axis=1)
    estimate, true = estimate[good], true[good]
    if len(true) == 0:
        return float("nan")
    best = np.full(len(true), np.inf)
    for order in permutations(range(true.shape[1])):
        best = np.minimum(best, np.mean((estimate - true[:, list(order)]) ** 2, axis=1))
    return float(np.mean(np.sqrt(best)))
