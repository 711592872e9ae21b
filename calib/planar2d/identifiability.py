"""What the data determine of a plane: covariance of parameters, of directions and of the manifold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from calib.observations import Subspaces
from calib.planar2d.gauss_newton import noise_variance, normal_equations, pins
from calib.planar2d.model import TWO_PI, Plane, curvature_and_gradient, null_depth
from calib.planar2d.refine import Fit

_WEAK_POSITION_STD = 0.5  # wavelengths: keeps the inverse finite, decides nothing


def parameter_covariance(fit: Fit, sub: Subspaces, free_positions: bool) -> NDArray[np.float64]:
    """(4N, 4N) covariance of (log-gain, phase, x, y) in the gauge of `planar2d_gauss_newton.pins`.

    The inverse of the Gauss-Newton Hessian with weights 1/v (the Fisher information) on the space that the
    pins leave. Known positions have zero rows.
    """
    n = fit.model.n_elements
    equations = normal_equations(fit.model, sub, fit.d, fit.weight)
    # what noise does not explain counts as more noise
    information = equations.hessian * np.exp(-max(fit.score.excess - 0.1, 0.0))
    position = np.arange(2 * n, 4 * n)
    information[position, position] += 1 / _WEAK_POSITION_STD**2
    size = 4 * n if free_positions else 2 * n
    basis = null_space(pins(fit.model, free_positions)[:, :size])
    inner = basis.T @ information[:size, :size] @ basis
    inner[np.diag_indices_from(inner)] += 1e-9 * np.trace(inner) / len(inner)
    out = np.zeros((4 * n, 4 * n))
    out[:size, :size] = basis @ np.linalg.inv(inner) @ basis.T
    return out


def manifold_loss(
    model: Plane, covariance: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bound on 1 - |a^H a_hat| at d (G, 2) that the posterior exceeds in few of 1e4 cases, (G,).

    Second order: (1/2) ||P da||^2 with P the projector off a; mean plus five standard deviations of the
    quadratic form.
    """
    a = model.steering(d)
    out = np.empty(len(d))
    for i in range(len(d)):
        diagonal = np.diag(a[i])
        parts = [diagonal, 1j * diagonal] + [1j * TWO_PI * d[i, k] * diagonal for k in range(2)]
        jacobian = np.concatenate(parts, axis=1)
        jacobian -= np.outer(a[i], a[i].conj() @ jacobian)
        real = np.concatenate((np.real(jacobian), np.imag(jacobian)))
        spread = real @ covariance @ real.T
        out[i] = 0.5 * (np.trace(spread) + 5 * np.sqrt(2 * np.sum(spread**2)))
    return out


def direction_covariance(model: Plane, sub: Subspaces, d: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B, K, 2, 2) covariance of each null's own direction d (B, K, 2)."""
    _, a, s = null_depth(model, sub, d)
    curvature, _ = curvature_and_gradient(model, sub, a, s)
    v = noise_variance(model, sub, d)
    return v[..., None, None] * np.linalg.inv(curvature + 1e-9 * np.eye(2))
