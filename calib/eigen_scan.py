"""Alternating eigen-scan: array calibration without gradients, with or without labels.

For given positions and angles the null depth sum_k w_k (1 - ||U_k^H a_k||^2) is smallest for the principal
eigenvector g of W = sum_k w_k Z_k Z_k^H, Z_k = diag(exp(-j 2 pi r . d_k)) U_k. So only positions are
searched: element by element, each place scored by the largest eigenvalue of W, of which one row and one
column change (a bordered matrix: one root of its secular equation per place, all places at once). Without
labels the angles are the peaks of the array found so far and the worst of them are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.model import TWO_PI, Model, find_peaks
from calib.observations import Subspaces

Regauge = Callable[[Model, NDArray[np.float64], NDArray[np.float64]], Model]


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """n_rounds of angles and positions; reach of the position scans in wavelengths, one after another.

    n_points places per axis and scan. drop : share of the peaks left out without labels. n_blocks : blocks
    drawn for a round (0: all). limit : half range of u in which peaks are sought; more than 1 because an
    array whose scale is still wrong sees sources near endfire beyond it. eps : null depth that counts as
    perfect, (first, last) round, geometric.
    """

    n_rounds: int = 12
    reach: tuple[float, ...] = (0.3, 0.06, 0.01)
    n_points: int = 25
    drop: float = 0.3
    n_blocks: int = 250
    limit: float = 1.15
    eps: tuple[float, float] = (1.0, 0.01)
    free_positions: bool = True


@dataclass(frozen=True, slots=True)
class Scanned:
    """model after the last round; history: mean weighted null depth of every round."""

    model: Model
    history: list[float]


def scan_labelled(
    model: Model,
    sub: Subspaces,
    theta: NDArray[np.float64],
    settings: ScanSettings | None = None,
) -> Scanned:
    """Eigen-scan with known angles: theta (B, K), u = sin(angle) on a line, azimuth in radians on a plane.

    Nothing is left open but scale and phase of g and a common shift of the positions.
    """
    plan = settings or ScanSettings(n_rounds=4, n_blocks=0)
    history: list[float] = []
    weight = np.ones(theta.shape)
    for round_ in range(plan.n_rounds):
        reach = plan.reach if round_ == 0 else tuple(min(r, 0.1 / 2**round_) for r in plan.reach)
        model, loss = _one_round(model, sub, theta, weight, plan, reach)
        history.append(loss)
    return Scanned(model.normalised(), history)


def scan_unlabelled(
    model: Model,
    sub: Subspaces,
    settings: ScanSettings | None = None,
    *,
    regauge: Regauge | None = None,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Scanned:
    """Eigen-scan with the angles taken from the array found so far.

    regauge(model, theta, depth) -> model fixes what the data do not show, after every round's peaks: a known
    support, or the prior. It must leave the manifold as a set of vectors alone (shift or scale of u).
    """
    plan = settings or ScanSettings()
    rng = np.random.default_rng(seed)
    history: list[float] = []
    eps = np.geomspace(*plan.eps, plan.n_rounds)
    for round_ in range(plan.n_rounds):
        part = sub
        if plan.n_blocks and plan.n_blocks < len(sub):
            part = sub.select(np.sort(rng.choice(len(sub), plan.n_blocks, replace=False)))
        theta, depth = find_peaks(model, part, (-plan.limit, plan.limit))
        if regauge is not None:
            model = regauge(model, theta, depth)
            theta, depth = find_peaks(model, part, (-plan.limit, plan.limit))
        worst = np.quantile(depth, 1 - plan.drop) if plan.drop > 0 else np.inf
        weight = np.where((depth <= worst) & (depth < 0.999), 1 / (depth + eps[round_]), 0.0)
        model, loss = _one_round(model, part, theta, weight, plan, plan.reach)
        history.append(loss)
        if stop():
            break
    return Scanned(model.normalised(), history)


def _one_round(
    model: Model,
    sub: Subspaces,
    theta: NDArray[np.float64],
    weight: NDArray[np.float64],
    plan: ScanSettings,
    reach: tuple[float, ...],
) -> tuple[Model, float]:
    """Scan every element at every reach, then take the best gains."""
    n = model.n_elements
    used = weight > 0
    w = np.sqrt(weight[used] / weight[used].sum())
    block = np.broadcast_to(np.arange(len(theta))[:, None], theta.shape)[used]
    direction = model.direction(theta[used])  # (P, D)
    u_rows = sub.signal[block] * w[:, None, None]  # (P, N, K)
    r = model.r.copy()
    z = np.exp(-1j * TWO_PI * (direction @ r.T))[:, :, None] * u_rows
    flat = z.transpose(1, 0, 2).reshape(n, -1)
    matrix = flat @ flat.conj().T
    for distance in reach if plan.free_positions else ():
        offsets = _offsets(distance, plan.n_points, r.shape[1])
        for i in range(n):
            bare = u_rows[:, i]
            others = np.delete(np.arange(n), i)
            cross = np.einsum("pnk,pk->pn", z, bare.conj())[:, others]  # (P, N-1)
            trial = r[i] + offsets
            border = np.exp(1j * TWO_PI * (trial @ direction.T)) @ cross  # (points, N-1)
            top = _bordered_top(matrix[np.ix_(others, others)], border, matrix[i, i].real)
            r[i] = trial[int(np.argmax(top))]
            column = border[int(np.argmax(top))]
            matrix[others, i], matrix[i, others] = column, column.conj()
            z[:, i] = np.exp(-1j * TWO_PI * (direction @ r[i]))[:, None] * bare
    values, vectors = np.linalg.eigh(matrix)
    return replace(model, g=vectors[:, -1], r=r), float(1 - values[-1])


def _offsets(distance: float, n_points: int, dims: int) -> NDArray[np.float64]:
    """(places, D) around 0, which is one of them."""
    axis = np.linspace(-distance, distance, n_points | 1)
    if dims == 1:
        return axis[:, None]
    coarse = np.linspace(-distance, distance, 13)
    return np.stack(np.meshgrid(coarse, coarse, indexing="ij"), axis=-1).reshape(-1, 2)


def _bordered_top(
    inner: NDArray[np.complex128], border: NDArray[np.complex128], corner: float
) -> NDArray[np.float64]:
    """Largest eigenvalue of [[inner, b], [b^H, corner]] for every row b of border (Q, N-1).

    The root above every pole of lambda - corner - sum |v_i^H b|^2 / (lambda - mu_i), which increases and is
    concave there: Newton's steps from the left rise to it and never pass it. Two trial vectors bound it from below.
    """
    mu, vectors = np.linalg.eigh(inner)
    power = np.abs(border @ vectors.conj()) ** 2
    total = np.maximum(power.sum(axis=1), 1e-300)
    mean = power @ mu / total
    value = np.maximum(_top_of_two(mean, total, corner), _top_of_two(mu[-1], power[:, -1], corner))
    for _ in range(40):
        gap = np.maximum(value[:, None] - mu, 1e-16)
        f = value - corner - np.sum(power / gap, axis=1)
        step = f / (1 + np.sum(power / gap**2, axis=1))
        # where b has no part along the top eigenvector there may be no root above mu: then mu is it
        value = np.maximum(value - step, mu[-1])
        if np.all(np.abs(step) < 1e-14):
            break
    return value


def _top_of_two(a: NDArray[np.float64] | float, b2: NDArray[np.float64], c: float) -> NDArray[np.float64]:
    """Larger eigenvalue of [[a, b], [b*, c]] with |b|^2 = b2."""
    return (a + c) / 2 + np.sqrt(((a - c) / 2) ** 2 + b2)
