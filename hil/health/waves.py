"""Do K + 1 waves span a signal subspace that K do not? The mark of a coherent copy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv

from hil.health.manifold import Manifold, Signals

_MOST_WINDOWS = 12
_STEPS = 8
_STARTS = 4
_FEW_WINDOWS = 8
_CLOSE_STEPS = 6.0  # of the grid, 16 to a beam


def coherent_waves(manifold: Manifold, signals: Signals, allowance: float) -> bool:
    """True if in most windows K + 1 waves of the calibrated array explain all K signals.

    Signal subspace fitting, sum_i ||(I - A A^+) u_i||^2 / (2 v_i + e) (Viberg and Ottersten 1991).
    """
    m, k = manifold.n_elements, signals.u.shape[2]
    if k + 1 > m - 1:
        return False
    index = np.unique(np.linspace(0, len(signals) - 1, _MOST_WINDOWS).astype(int))
    fits = [_fits(manifold, signals.u[s], signals.variance[s], k + 1, allowance) for s in index]
    return float(np.mean(fits)) > 0.6


def resolved_waves(manifold: Manifold, signals: Signals, allowance: float) -> bool:
    """True if in most windows K waves do explain the K signals, as those of emitters closer than a beam do."""
    k = signals.u.shape[2]
    index = np.unique(np.linspace(0, len(signals) - 1, _FEW_WINDOWS).astype(int))
    fits = [_fits(manifold, signals.u[s], signals.variance[s], k, allowance) for s in index]
    return float(np.mean(fits)) > 0.4


def _fits(
    manifold: Manifold, u: NDArray[np.complex128], variance: NDArray[np.float64], count: int, allowance: float
) -> bool:
    m, k = u.shape
    freedom = max(2 * k * (m - count) - count, 1)
    limit = 1.6 * 2 * float(gammainccinv(freedom / 2, 1e-3))
    weighted = u / np.sqrt(variance + allowance / (2 * m))
    return any(_refined(manifold, weighted, start) < limit for start in _starts(manifold, weighted, count))


def _starts(manifold: Manifold, u: NDArray[np.complex128], count: int) -> list[NDArray[np.float64]]:
    """Grid places: the strongest wave, then with it projected out the best next ones."""
    out = []
    grid = np.arange(manifold.b.shape[1])
    power = np.sum(np.abs(u.conj().T @ manifold.b) ** 2, axis=0)
    order = [int(power.argmax())]
    firsts = [order[0], *(int(p) for p in np.argsort(power)[::-1][:: max(len(grid) // 40, 1)][1:_STARTS])]
    for first in firsts:
        chosen = [first]
        while len(chosen) < count:
            a = manifold.b[:, chosen]
            q = np.linalg.qr(a)[0]
            left = manifold.b - q @ (q.conj().T @ manifold.b)
            norm = np.sum(np.abs(left) ** 2, axis=0)
            rest = u - q @ (q.conj().T @ u)
            gain = np.sum(np.abs(rest.conj().T @ left) ** 2, axis=0) / np.maximum(norm, 0.02)
            chosen.append(int(gain.argmax()))
        out.append(np.array(chosen, float))
    # emitters closer than a beam have one peak between them
    spread = (np.arange(count) - (count - 1) / 2) * _CLOSE_STEPS
    out.append(np.clip(order[0] + spread, 0, len(grid) - 1))
    return out


def _refined(manifold: Manifold, u: NDArray[np.complex128], places: NDArray[np.float64]) -> float:
    """Least misfit from these places (in grid steps), Gauss-Newton with Kaufman's Jacobian."""
    best = np.inf
    top = manifold.b.shape[1] - 1
    for _ in range(_STEPS):
        index = np.clip(np.rint(places), 0, top).astype(int)
        d = (places - index) * manifold.step
        a = manifold.b[:, index] + d * manifold.b1[:, index] + d**2 / 2 * manifold.b2[:, index]
        slope = (manifold.b1[:, index] + d * manifold.b2[:, index]) * manifold.step
        pseudo = np.linalg.pinv(a, rcond=1e-5)
        x = pseudo @ u
        misfit = u - a @ x
        cost = float(np.sum(np.abs(misfit) ** 2))
        best = min(best, cost)
        slope = slope - a @ (pseudo @ slope)
        jacobian = (slope[:, :, None] * x[None]).transpose(0, 2, 1).reshape(-1, len(places))
        rows = np.concatenate((jacobian.real, jacobian.imag))
        flat = misfit.reshape(-1)
        change = np.linalg.lstsq(rows, np.concatenate((flat.real, flat.imag)), rcond=1e-8)[0]
        places = np.clip(places + np.clip(change, -2.0, 2.0), -0.5, top + 0.5)
    return best
