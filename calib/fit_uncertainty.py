"""How exact a fit is: covariance of its parameters, loss of its manifold, spread of its peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from calib.gauss_newton import NormalEquations, noise_variance, normal_equations, pins
from calib.model import TWO_PI, Model
from calib.observations import Subspaces
from calib.refine import Fit

_WEAK_POSITION_STD = 0.5  # wavelengths: keeps the inverse finite, decides nothing


def parameter_covariance(fit: Fit, sub: Subspaces, free_positions: bool) -> NDArray[np.float64]:
    """(P, P) covariance of (log-gain, phase, position axes) in the gauge of `gauss_newton.pins`.

    The inverse of the Gauss-Newton Hessian at the noise's own scale (weights 1/v make it the Fisher
    information), on the space that the pins leave. Fixed positions have zero rows.
    """
    equations = normal_equations(fit.model, sub, fit.theta, fit.weight)
    directions = np.array(pins(fit.model, free_positions))
    return covariance_of(equations, directions, fit.model.n_elements, fit.score.excess, free_positions)


def covariance_of(
    equations: NormalEquations,
    pins: NDArray[np.float64],
    n_elements: int,
    excess: float,
    free_positions: bool,
) -> NDArray[np.float64]:
    """(P, P) inverse of the information on the space that the pins (G, P) leave; see `parameter_covariance`.

    The first 2 N unknowns are gains and phases, the others positions. excess : of the fit.
    """
    n = n_elements
    # what noise does not explain counts as more noise
    information = equations.hessian * np.exp(-max(excess - 0.1, 0.0))
    position = np.arange(2 * n, len(information))
    information[position, position] += 1 / _WEAK_POSITION_STD**2
    size = len(information) if free_positions else 2 * n
    basis = null_space(pins[:, :size])
    inner = basis.T @ information[:size, :size] @ basis
    inner[np.diag_indices_from(inner)] += 1e-9 * np.trace(inner) / len(inner)
    out = np.zeros_like(information)
    out[:size, :size] = basis @ np.linalg.inv(inner) @ basis.T
    return out


def manifold_loss(
    model: Model, covariance: NDArray[np.float64], theta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bound on 1 - |a^H a_hat| at theta (G,) that the posterior exceeds in few of 1e4 cases.

    Second order: (1/2) ||P da||^2 with P the projector off a; mean plus five standard deviations of the
    quadratic form.
    """
    return loss_bound(model.steering(theta), model.direction(theta), covariance)


def loss_bound(
    a: NDArray[np.complex128], d: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(G,) the bound of `manifold_loss` for unit-norm steering vectors a (G, N) towards d (G, D)."""
    out = np.empty(len(a))
    for i in range(len(a)):
        diagonal = np.diag(a[i])
        parts = [diagonal, 1j * diagonal] + [1j * TWO_PI * along * diagonal for along in d[i]]
        jacobian = np.concatenate(parts, axis=1)
        jacobian -= np.outer(a[i], a[i].conj() @ jacobian)
        real = np.concatenate((np.real(jacobian), np.imag(jacobian)))
        spread = real @ covariance @ real.T
        out[i] = 0.5 * (np.trace(spread) + 5 * np.sqrt(2 * np.sum(spread**2)))
    return out


def peak_sigma(model: Model, sub: Subspaces, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """One standard deviation of each peak's own angle (u on a line, radians on a plane), (B, K)."""
    a = model.steering(theta)
    rho = model.slope(theta) @ model.r.T
    pv = (rho * a) @ sub.signal.conj()
    curvature = TWO_PI**2 * (np.sum(np.abs(rho * a) ** 2, -1) - np.sum(np.abs(pv) ** 2, -1))
    return np.sqrt(noise_variance(model, sub, theta) / np.maximum(curvature, 1e-9))


def subspace_motion(sub: Subspaces) -> float:
    """Mean squared distance of the blocks' subspaces from a common one, over what noise alone explains.

    About 1 for emitters that stand still; hundreds and more for emitters that move.
    """
    k = sub.n_sources
    projector = np.einsum("bnk,bmk->nm", sub.signal, sub.signal.conj()) / len(sub)
    common = np.linalg.eigvalsh(projector)[-k:].sum()
    n = sub.signal.shape[1]
    noise = 2 * (n - k) * sub.variance.sum(axis=1).mean()
    return float((k - common) / max(noise, 1e-300))
