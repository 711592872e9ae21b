"""Weiss and Friedlander's eigenstructure method: unknown gains and phases, positions taken as nominal.

    J = sum_b sum_k || U_n,b^H Gamma a(theta_bk) ||^2,   Gamma = diag(gamma)

1. With Gamma fixed, the angles are the K highest peaks of each block's MUSIC spectrum.
2. With the angles fixed, J = gamma^H Q gamma with Q = sum diag(a)^H U_n U_n^H diag(a); its minimum under the
   constraint gamma_1 = 1 is gamma = Q^-1 w / (w^H Q^-1 w), w = (1, 0, .., 0).
Repeated until J no longer falls. The published form has one covariance of K sources; here Q is summed over
blocks. It starts at nominal gains and walks downhill: from unknown phases it ends in a wrong minimum for most
arrays, and position errors are outside its model. The verdict says so.

Source: Weiss and Friedlander 1990, "Eigenstructure methods for direction finding with sensor gain and phase
uncertainties", Circuits Systems Signal Process. 9, eq. 14-23.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gauss_newton import noise_variance
from calib.model import Model, find_peaks
from calib.observations import Subspaces
from calib.refine import Fit
from calib.score import chi2_gate, degrees_of_freedom, score_peaks

_MAX_ROUNDS = 100
_STEADY = 1e-4  # relative fall of J below which it has converged
_LIMIT = (-1.02, 1.02)


@dataclass(frozen=True, slots=True)
class Iterated:
    """The model with its peaks, the course of J per peak, and rounds made."""

    fit: Fit
    cost: list[float]
    rounds: int


def iterate_gains(
    sub: Subspaces,
    nominal: NDArray[np.float64],
    *,
    max_rounds: int = _MAX_ROUNDS,
    on_round: Callable[[int, Model], bool] | None = None,
) -> Iterated:
    """Alternate angles and gains from nominal gains.

    sub : subspaces of the blocks. nominal (N, D) positions in wavelengths. on_round(number, model) may return
    True to stop.
    """
    n = len(nominal)
    model = Model(np.ones(n, complex), nominal).normalised()
    cost: list[float] = []
    rounds = 0
    for rounds in range(1, max_rounds + 1):
        theta, depth = find_peaks(model, sub, _LIMIT)
        cost.append(float(depth.mean()))
        if len(cost) > 2 and cost[-2] - cost[-1] < _STEADY * cost[-2]:
            break
        model = Model(gains_for(sub, nominal, theta), nominal).normalised()
        if on_round is not None and on_round(rounds, model):
            break
    theta, depth = find_peaks(model, sub, _LIMIT)
    score = score_peaks(model, sub, theta, depth)
    gate = chi2_gate(degrees_of_freedom(n, sub.n_sources))
    weight = np.where(
        score.per_peak < gate + max(score.excess, 0.0), 1 / noise_variance(model, sub, theta), 0.0
    )
    return Iterated(Fit(model, theta, depth, weight, score), cost, rounds)


def gains_for(
    sub: Subspaces, nominal: NDArray[np.float64], theta: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Step 2: gamma (N,) for angles theta (B, K)."""
    n = len(nominal)
    wave = Model(np.ones(n, complex), nominal).steering(theta)  # (B, K, N), modulus 1
    z = wave.conj()[..., None] * sub.signal[:, None]  # (B, K, N, K)
    flat = z.transpose(2, 0, 1, 3).reshape(n, -1)
    q = np.eye(n) * theta.size - flat @ flat.conj().T
    q += 1e-12 * theta.size * np.eye(n)
    gamma = np.linalg.solve(q, np.eye(n)[:, 0])
    return gamma / gamma[0]
