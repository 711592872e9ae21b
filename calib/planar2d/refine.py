"""Gauss-Newton iterations of a plane with peaks found anew at every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.observations import Subspaces
from calib.planar2d.gauss_newton import noise_variance, normal_equations, solve_step
from calib.planar2d.model import Plane, find_peaks, refine_peaks
from calib.planar2d.score import degrees_of_freedom, score_peaks
from calib.score import Score, chi2_gate


@dataclass(frozen=True, slots=True)
class Schedule:
    """How one round of iterations runs.

    eps: D below which a null counts as perfect, geometric. radius: of the disc that is searched. tau: weight
    of the position prior. recentre_every: steps between shifts of the sources' middle to d = 0, 0 never.
    """

    n_steps: int
    eps: tuple[float, float]
    radius: float = 1.15
    tau: float = 1.0
    damping: float = 1e-2
    free_positions: bool = True
    recentre_every: int = 0


def iterate(model: Plane, sub: Subspaces, nominal: NDArray[np.float64], plan: Schedule) -> Plane:
    """Run a round with weights 1 / (D + eps) on nulls in |d| <= plan.radius."""
    eps = np.geomspace(*plan.eps, plan.n_steps)
    for step in range(plan.n_steps):
        d, depth = find_peaks(model, sub, plan.radius, n_newton=2)
        if plan.recentre_every and step % plan.recentre_every == 0 and step:
            offset = -middle(d, depth)
            model, d = model.shifted(offset), d + offset
        weight = np.where(depth < 0.999, 1 / (depth + eps[step]), 0.0)
        equations = normal_equations(model, sub, d, weight)
        model = solve_step(model, equations, nominal, plan.tau, plan.damping, plan.free_positions)
    return model


def middle(d: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middle (2,) of the box that holds the sharper half of the nulls, but for 1 % at either side."""
    sharp = d[depth <= np.quantile(depth, 0.5)]
    return np.quantile(sharp, [0.01, 0.99], axis=0).mean(axis=0)


def reach(d: NDArray[np.float64], depth: NDArray[np.float64]) -> float:
    """Radius about d = 0 that holds 99.5 % of the sharper 70 % of the nulls, with a margin."""
    sharp = d[depth <= np.quantile(depth, 0.7)]
    return float(np.quantile(np.hypot(sharp[:, 0], sharp[:, 1]), 0.995)) * 1.05 + 0.05


@dataclass(frozen=True, slots=True)
class Fit:
    """A polished model with its peaks. weight (B, K): 1/v of the peaks that were believed, else 0."""

    model: Plane
    d: NDArray[np.float64]
    depth: NDArray[np.float64]
    weight: NDArray[np.float64]
    score: Score


def polish(
    model: Plane, sub: Subspaces, nominal: NDArray[np.float64], *, free_positions: bool, n_steps: int = 8
) -> Fit:
    """Maximum likelihood from a nearly converged model: weights 1/v, peaks beyond the chi2 gate left out."""
    gate = chi2_gate(degrees_of_freedom(model.n_elements, sub.n_sources))
    d, depth = find_peaks(model, sub, 1.15)
    for step in range(n_steps):
        if step in (1, 2, 4):
            d, depth = find_peaks(model, sub, min(reach(d, depth), 1.3))
        else:
            d, depth = refine_peaks(model, sub, d, 0.02, 1)
        weight = _weights(model, sub, d, depth, gate, soft=step < 4)
        equations = normal_equations(model, sub, d, weight)
        model = solve_step(model, equations, nominal, 0.0, 1e-6, free_positions)
    return judged(model, sub, min(reach(d, depth), 1.3))


def judged(model: Plane, sub: Subspaces, radius: float) -> Fit:
    """The model as it is, with its peaks in |d| <= radius and their score."""
    gate = chi2_gate(degrees_of_freedom(model.n_elements, sub.n_sources))
    d, depth = find_peaks(model, sub, radius)
    weight = _weights(model, sub, d, depth, gate, soft=False)
    return Fit(model, d, depth, weight, score_peaks(model, sub, d, depth))


def _weights(
    model: Plane,
    sub: Subspaces,
    d: NDArray[np.float64],
    depth: NDArray[np.float64],
    gate: float,
    *,
    soft: bool,
) -> NDArray[np.float64]:
    """1/v inside the gate; while `soft`, 1/(v nu + D), which leaves no peak out."""
    nu = degrees_of_freedom(model.n_elements, sub.n_sources)
    v = noise_variance(model, sub, d)
    if soft:
        return np.where(depth < 0.999, nu / (nu * v + depth), 0.0)
    score = score_peaks(model, sub, d, depth)
    # a common misfit (excess > 0) must not close the gate on everything
    return np.where(score.per_peak < gate + max(score.excess, 0.0), 1 / v, 0.0)
