"""One Gauss-Newton step on the gains, phases and positions of a plane with each source's d projected out.

The residual of a null is P a (P: projector on the block's noise subspace). The two real parameters of every
source are eliminated exactly (variable projection), so the step sees how the score changes when all
directions follow. Unknowns: N log-gains, N phases, x (N,), y (N,) in wavelengths. Directions that no data
can show (common phase, scale and shift; two ramps; any linear map of the positions) are pinned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.gauss_newton import NormalEquations
from calib.observations import Subspaces
from calib.planar2d.model import TWO_PI, Plane, null_depth


def normal_equations(
    model: Plane, sub: Subspaces, d: NDArray[np.float64], weight: NDArray[np.float64]
) -> NormalEquations:
    """Assemble for peaks d (B, K, 2) with weights (B, K)."""
    n, k_sub = model.n_elements, sub.n_sources
    used = weight > 0
    here, w = d[used], weight[used]
    signal = sub.signal[np.nonzero(used)[0]]
    v = model.steering(here).conj()[:, :, None] * signal  # (L, N, K)
    g2 = np.abs(model.g) ** 2
    q1 = g2 - np.einsum("lnk,lk->ln", v, v.sum(axis=1).conj())
    q = []
    for i in range(2):
        inside = np.einsum("n,lnk->lk", model.r[:, i], v)
        q.append(g2 * model.r[:, i] - np.einsum("lnk,lk->ln", v, inside.conj()))
    factors = [np.ones_like(w), TWO_PI * here[:, 0], TWO_PI * here[:, 1]]

    hessian = np.zeros((4 * n, 4 * n))
    flat = v.transpose(1, 0, 2).reshape(n, -1)
    flat_h = flat.conj().T.copy()

    def gram(f: NDArray[np.float64]) -> NDArray[np.complex128]:
        wf = w * f
        return np.diag(g2 * wf.sum()) - (flat * np.repeat(wf, k_sub)) @ flat_h

    hessian[:n, :n] = gram(factors[0]).real
    for i, fi in enumerate(factors):
        rows = slice((1 + i) * n, (2 + i) * n)
        cross = gram(fi)
        hessian[:n, rows] = -cross.imag
        hessian[rows, :n] = cross.imag
        for j in range(i, 3):
            block = cross.real if j == 0 else gram(fi * factors[j]).real
            cols = slice((1 + j) * n, (2 + j) * n)
            hessian[rows, cols] = block
            hessian[cols, rows] = block.T
    gradient = np.concatenate([w @ q1.real] + [(w * f) @ q1.imag for f in factors])
    # whiten the two directions of every source: along_2 is orthogonal to along_1 in the metric of P
    c11 = TWO_PI**2 * np.maximum(q[0].real @ model.r[:, 0], 1e-12)
    q[0] = q[0] / np.sqrt(c11)[:, None]
    slope = -TWO_PI * q[0].imag.sum(axis=1)
    mix = TWO_PI**2 * (q[0].real @ model.r[:, 1])
    q[1] = q[1] - mix[:, None] * q[0]
    c22 = TWO_PI**2 * np.maximum(np.einsum("ln,n->l", q[1].real, model.r[:, 1]), 1e-12)
    q[1] = q[1] / np.sqrt(c22)[:, None]
    for qi, angle_gradient in ((q[0], slope), (q[1], -TWO_PI * q[1].imag.sum(axis=1))):
        along = np.concatenate([-TWO_PI * qi.imag] + [TWO_PI * f[:, None] * qi.real for f in factors], axis=1)
        hessian -= (along * w[:, None]).T @ along
        gradient -= (w * angle_gradient) @ along
    return NormalEquations((hessian + hessian.T) / 2, gradient, float(w.sum()))


def pins(model: Plane, free_positions: bool) -> NDArray[np.float64]:
    """Orthonormal rows (P, 4N) that span what no unlabelled data can show; P = 10, or 4 if r is known."""
    n = model.n_elements
    x, y = (model.r - model.r.mean(axis=0)).T
    g2, one, zero = np.abs(model.g) ** 2, np.ones(n), np.zeros(n)
    rows = [(g2, zero, zero, zero), (zero, one, zero, zero), (zero, x, zero, zero), (zero, y, zero, zero)]
    if free_positions:
        for along in (one, x, y):
            rows += [(zero, zero, along, zero), (zero, zero, zero, along)]
    return np.linalg.qr(np.array([np.concatenate(row) for row in rows]).T)[0].T


def solve_step(
    model: Plane,
    equations: NormalEquations,
    nominal: NDArray[np.float64],
    tau: float,
    damping: float,
    free_positions: bool = True,
) -> Plane:
    """The model after one damped step. nominal (N, 2): centre of the position prior of weight tau."""
    n = model.n_elements
    hessian, gradient = equations.hessian.copy(), equations.gradient.copy()
    position = np.arange(2 * n, 4 * n)
    hessian[position, position] += tau
    gradient[position] += tau * (model.r - nominal).T.ravel()
    basis = pins(model, free_positions)
    hessian += equations.total_weight * basis.T @ basis
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
    r = model.r + (x[2 * n :].reshape(2, n).T if free_positions else 0.0)
    return Plane(g, r).normalised()


def noise_variance(model: Plane, sub: Subspaces, d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance v (B, K) of each real component of P a: E D = v (2 (N - K) - 2) at the fitted d."""
    _, _, s = null_depth(model, sub, d)
    return np.einsum("bpk,bk->bp", np.abs(s) ** 2, sub.variance)
