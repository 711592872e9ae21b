"""What the data determine of a plane: covariance of parameters, of directions and of the manifold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.fit_uncertainty import covariance_of, loss_bound
from calib.observations import Subspaces
from calib.planar2d.gauss_newton import noise_variance, normal_equations, pins
from calib.planar2d.model import Plane, curvature_and_gradient, null_depth
from calib.planar2d.refine import Fit


def parameter_covariance(fit: Fit, sub: Subspaces, free_positions: bool) -> NDArray[np.float64]:
    """(4N, 4N) covariance of (log-gain, phase, x, y) in the gauge of `calib.planar2d.gauss_newton.pins`.

    The inverse of the Gauss-Newton Hessian with weights 1/v (the Fisher information) on the space that the
    pins leave. Known positions have zero rows.
    """
    equations = normal_equations(fit.model, sub, fit.d, fit.weight)
    directions = pins(fit.model, free_positions)
    return covariance_of(equations, directions, fit.model.n_elements, fit.score.excess, free_positions)


def manifold_loss(
    model: Plane, covariance: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bound on 1 - |a^H a_hat| at d (G, 2) that the posterior exceeds in few of 1e4 cases, (G,).

    Second order: (1/2) ||P da||^2 with P the projector off a; mean plus five standard deviations of the
    quadratic form.
    """
    return loss_bound(model.steering(d), d, covariance)


def direction_covariance(model: Plane, sub: Subspaces, d: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B, K, 2, 2) covariance of each null's own direction d (B, K, 2)."""
    _, a, s = null_depth(model, sub, d)
    curvature, _ = curvature_and_gradient(model, sub, a, s)
    v = noise_variance(model, sub, d)
    return v[..., None, None] * np.linalg.inv(curvature + 1e-9 * np.eye(2))
