"""Gauss-Newton iterations with peaks found anew at every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gauss_newton import noise_variance, normal_equations, solve_step
from calib.model import Model, find_peaks, refine_peaks
from calib.observations import Subspaces
from calib.score import Score, chi2_gate, degrees_of_freedom, score_peaks


@dataclass(slots=True)
class Schedule:
    """How one round of iterations runs. eps: D below which a null counts as perfect, geometric.

    enough : stop once the median excess is below it.
    """

    n_steps: int
    eps: tuple[float, float]
    limit: float
    tau: float = 1.0
    damping: float = 1e-2
    free_positions: bool = True
    recentre_every: int = 0
    enough: float = -np.inf


def iterate(model: Model, sub: Subspaces, nominal: NDArray[np.float64], plan: Schedule) -> Model:
    """Run a round with weights 1 / (D + eps). On a line peaks are sought in |u| <= plan.limit."""
    eps = np.geomspace(*plan.eps, plan.n_steps)
    for step in range(plan.n_steps):
        theta, depth = find_peaks(model, sub, (-plan.limit, plan.limit), 1)
        if plan.recentre_every and model.is_line and step % plan.recentre_every == 0 and step:
            offset = -middle(theta, depth)
            model = model.shifted(offset)
            theta = theta + offset
        if plan.enough > -np.inf and step > 2 and score_peaks(model, sub, theta, depth).excess < plan.enough:
            break
        weight = np.where(depth < 0.999, 1 / (depth + eps[step]), 0.0)
        equations = normal_equations(model, sub, theta, weight)
        model = solve_step(model, equations, nominal, plan.tau, plan.damping, plan.free_positions)
    return model


def middle(theta: NDArray[np.float64], depth: NDArray[np.float64]) -> float:
    """Middle of the range of the sharp peaks' u (1 % and 99 % quantiles of the sharper half)."""
    low, high = span(theta, depth, 0.01, 0.5)
    return (low + high) / 2


def span(
    theta: NDArray[np.float64], depth: NDArray[np.float64], quantile: float, sharpest: float
) -> tuple[float, float]:
    """Quantile range of the u of the sharpest peaks."""
    sharp = theta[depth <= np.quantile(depth, sharpest)]
    low, high = np.quantile(sharp, [quantile, 1 - quantile])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Fit:
    """A polished model with its peaks. weight (B, K): 1/v of the peaks that were believed, else 0."""

    model: Model
    theta: NDArray[np.float64]
    depth: NDArray[np.float64]
    weight: NDArray[np.float64]
    score: Score


def limits(theta: NDArray[np.float64], depth: NDArray[np.float64]) -> tuple[float, float]:
    """Range of u in which the sources of a nearly converged line are sought: what is lit, with margin."""
    low, high = span(theta, depth, 0.005, 0.7)
    margin = 0.05 + 0.05 * (high - low)
    return low - margin, high + margin


def polish(
    model: Model,
    sub: Subspaces,
    nominal: NDArray[np.float64],
    limit: tuple[float, float],
    *,
    free_positions: bool = True,
    weak_prior: float = 0.0,
    n_steps: int = 8,
) -> Fit:
    """Maximum likelihood from a nearly converged model: weights 1/v, peaks beyond the chi2 gate left out."""
    nu = degrees_of_freedom(model.n_elements, sub.n_sources)
    gate = chi2_gate(nu)
    theta, depth = find_peaks(model, sub, limit)
    for step in range(n_steps):
        if step in (1, 2, 4):
            if model.is_line:
                limit = limits(theta, depth)
            theta, depth = find_peaks(model, sub, limit)
        else:
            theta, depth = refine_peaks(model, sub, theta, 0.02, 1)
        weight = _weights(model, sub, theta, depth, gate, soft=step < 4)
        equations = normal_equations(model, sub, theta, weight)
        model = solve_step(model, equations, nominal, weak_prior, 1e-6, free_positions)
    theta, depth = find_peaks(model, sub, limits(theta, depth) if model.is_line else limit)
    weight = _weights(model, sub, theta, depth, gate, soft=False)
    return Fit(model, theta, depth, weight, score_peaks(model, sub, theta, depth))


def some_blocks(sub: Subspaces) -> Subspaces:
    """Evenly spaced blocks with at least about 400 peaks: enough to polish on before all are used."""
    count = max(150, 400 // sub.n_sources)
    if len(sub) <= 2 * count:
        return sub
    return sub.select(np.unique(np.linspace(0, len(sub) - 1, count).astype(int)))


def settle(fit: Fit, sub: Subspaces, nominal: NDArray[np.float64], *, free_positions: bool = True) -> Fit:
    """Last steps of `polish` on all blocks, for a model that was polished on some of them."""
    if len(fit.theta) == len(sub):
        return fit
    model, limit = fit.model, (-np.pi, np.pi)
    if model.is_line:
        limit = limits(fit.theta, fit.depth)
    gate = chi2_gate(degrees_of_freedom(model.n_elements, sub.n_sources))
    theta, depth = find_peaks(model, sub, limit, 1)
    for _ in range(2):
        weight = _weights(model, sub, theta, depth, gate, soft=False)
        equations = normal_equations(model, sub, theta, weight)
        model = solve_step(model, equations, nominal, 0.0, 1e-6, free_positions)
        theta, depth = refine_peaks(model, sub, theta, 0.02, 1)
    weight = _weights(model, sub, theta, depth, gate, soft=False)
    return Fit(model, theta, depth, weight, score_peaks(model, sub, theta, depth))


def _weights(
    model: Model,
    sub: Subspaces,
    theta: NDArray[np.float64],
    depth: NDArray[np.float64],
    gate: float,
    *,
    soft: bool,
) -> NDArray[np.float64]:
    """1/v inside the gate; while `soft`, 1/(v nu + D), which leaves no peak out."""
    nu = degrees_of_freedom(model.n_elements, sub.n_sources)
    v = noise_variance(model, sub, theta)
    if soft:
        return np.where(depth < 0.999, nu / (nu * v + depth), 0.0)
    score = score_peaks(model, sub, theta, depth)
    # a common misfit (excess > 0) must not close the gate on everything
    return np.where(score.per_peak < gate + max(score.excess, 0.0), 1 / v, 0.0)
