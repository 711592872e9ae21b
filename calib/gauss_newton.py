"""One Gauss-Newton step on gains, phases and positions with every source's angle projected out.

The residual of a null is P a (P: projector on the block's noise subspace). Its Jacobian columns are
P d a/d x; the angle of each source is eliminated exactly (variable projection), so the step sees how the
score changes when all angles follow. Unknowns: N log-gains, N phases, D x N positions (wavelengths).
Directions that no data can show (common phase and shift; ramp and scale on a line; rotation on a plane)
are pinned: left free they drift in weakly damped steps and take the sources out of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.model import TWO_PI, Model, null_depth
from calib.observations import Subspaces


@dataclass(frozen=True, slots=True)
class NormalEquations:
    """H (P, P) and gradient (P,) of sum_k w_k ||P a||^2 / 2, unknowns (log-gain, phase, position axes)."""

    hessian: NDArray[np.float64]
    gradient: NDArray[np.float64]
    total_weight: float


def normal_equations(
    model: Model, sub: Subspaces, theta: NDArray[np.float64], weight: NDArray[np.float64]
) -> NormalEquations:
    """Assemble for peaks theta (B, K) with weights (B, K)."""
    parts = [_part(model, piece, theta[at], weight[at]) for at, piece in sub.parts()]
    hessian = np.sum([part.hessian for part in parts], axis=0)
    gradient = np.sum([part.gradient for part in parts], axis=0)
    return NormalEquations((hessian + hessian.T) / 2, gradient, sum(part.total_weight for part in parts))


def _part(
    model: Model, sub: Subspaces, theta: NDArray[np.float64], weight: NDArray[np.float64]
) -> NormalEquations:
    n, dims = model.r.shape
    used = weight > 0
    if not used.any():
        size = (2 + dims) * n
        return NormalEquations(np.zeros((size, size)), np.zeros(size), 0.0)
    w = weight[used]
    a = model.steering(theta)
    a_conj = a.conj()
    rho = model.r[:, 0] if model.is_line else model.slope(theta) @ model.r.T
    g2 = np.abs(model.g) ** 2
    conjugate, transposed = sub.signal.conj(), sub.signal.transpose(0, 2, 1)
    ra = rho * a
    # conj(a) times what is left of a, and of its derivative, off the signal subspace
    q1 = (g2 - a_conj * ((a @ conjugate) @ transposed))[used]
    q = (g2 * rho - a_conj * ((ra @ conjugate) @ transposed))[used]
    rho = np.broadcast_to(rho, a.shape)[used]
    curvature = TWO_PI**2 * np.maximum(np.einsum("ln,ln->l", rho, q.real), 1e-12)
    d = model.direction(theta[used])
    factors = [np.ones_like(w)] + [TWO_PI * d[:, i] for i in range(dims)]

    size = (2 + dims) * n
    hessian = np.zeros((size, size))
    v = (a_conj[..., None] * sub.signal[:, None])[used]  # (L, N, K)
    flat = v.transpose(1, 0, 2).reshape(n, -1)
    flat_h = flat.conj().T.copy()
    pairs = [(i, j) for i in range(dims + 1) for j in range(i, dims + 1)]
    weights = np.array([w * factors[i] * factors[j] for i, j in pairs])
    spread = np.repeat(weights, sub.n_sources, axis=1)
    grams = (spread[:, None, :] * flat).reshape(-1, flat.shape[1]) @ flat_h
    for (i, j), gram, total in zip(pairs, grams.reshape(-1, n, n), weights.sum(axis=1), strict=True):
        full = np.diag(g2 * total) - gram
        rows, cols = slice((1 + i) * n, (2 + i) * n), slice((1 + j) * n, (2 + j) * n)
        hessian[rows, cols] = full.real
        hessian[cols, rows] = full.real.T
        if i == 0:
            hessian[:n, cols] = -full.imag
            hessian[cols, :n] = full.imag
            if j == 0:
                hessian[:n, :n] = full.real
    scale = 1 / np.sqrt(curvature)
    along = (
        np.concatenate([-TWO_PI * q.imag] + [TWO_PI * f[:, None] * q.real for f in factors], axis=1)
        * scale[:, None]
    )
    hessian -= (along * w[:, None]).T @ along
    angle_gradient = -TWO_PI * np.einsum("ln->l", q.imag) * scale
    gradient = np.concatenate([w @ q1.real] + [(w * f) @ q1.imag for f in factors])
    gradient -= (w * angle_gradient) @ along
    return NormalEquations(hessian, gradient, float(w.sum()))


def pins(model: Model, free_positions: bool) -> list[NDArray[np.float64]]:
    """Unit vectors of unknown space that no unlabelled data can show."""
    n, dims = model.r.shape
    size = (2 + dims) * n
    centred = model.r - model.r.mean(axis=0)

    def unit(block: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros(size)
        out[block * n : (block + 1) * n] = values
        return out / np.linalg.norm(out)

    out = [unit(0, np.abs(model.g) ** 2), unit(1, np.ones(n))]
    if model.is_line:
        out.append(unit(1, centred[:, 0]))
    if free_positions:
        out += [unit(2 + i, np.ones(n)) for i in range(dims)]
        if model.is_line:
            out.append(unit(2, centred[:, 0]))
        else:
            turn = np.zeros(size)
            turn[2 * n : 3 * n], turn[3 * n :] = centred[:, 1], -centred[:, 0]
            out.append(turn / np.linalg.norm(turn))
    return out


def solve_step(
    model: Model,
    equations: NormalEquations,
    nominal: NDArray[np.float64],
    tau: float | NDArray[np.float64],
    damping: float,
    free_positions: bool = True,
) -> Model:
    """The model after one damped step. nominal (N, D): centre of the position prior of weight tau."""
    n, dims = model.r.shape
    hessian, gradient = equations.hessian.copy(), equations.gradient.copy()
    position = np.arange(2 * n, (2 + dims) * n)
    hessian[position, position] += tau
    gradient[position] += tau * (model.r - nominal).T.ravel()
    for pin in pins(model, free_positions):
        hessian += equations.total_weight * np.outer(pin, pin)
    if not free_positions:
        hessian, gradient = hessian[: 2 * n, : 2 * n], gradient[: 2 * n]
    diagonal = np.arange(len(hessian))
    hessian[diagonal, diagonal] *= 1 + damping
    hessian[diagonal, diagonal] += 1e-12 * equations.total_weight
    x = -np.linalg.solve(hessian, gradient)
    largest = np.abs(x[: 2 * n]).max() / 0.5
    if free_positions:
        largest = max(largest, np.abs(x[2 * n :]).max() / 0.1)
    x /= max(largest, 1.0)
    g = model.g * np.exp(x[:n] + 1j * x[n : 2 * n])
    r = model.r + (x[2 * n :].reshape(dims, n).T if free_positions else 0.0)
    return Model(g, r).normalised()


def noise_variance(model: Model, sub: Subspaces, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance v (B, K) of each real component of P a: E D = v (2 (N - K) - 1) (cold start 3)."""
    _, _, s = null_depth(model, sub, theta)
    return np.einsum("bpk,bk->bp", np.abs(s) ** 2, sub.variance)
