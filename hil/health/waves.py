"""Do K + 1 waves span a signal subspace that K do not? The mark of a coherent copy.

Signal subspace fitting, sum_i ||(I - A A^+) u_i||^2 / (2 v_i + e) (Viberg and Ottersten 1991), for many windows
and starts at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv

from hil.health.manifold import Manifold, Signals

_MOST_WINDOWS = 12
_STEPS = 8
_STARTS = 4
_CLOSE_STEPS = 6.0  # of the grid, 16 to a beam


def coherent_waves(manifold: Manifold, signals: Signals, allowance: float) -> bool:
    """True if in most windows K + 1 waves of the calibrated array explain all K signals."""
    k = signals.u.shape[2]
    if k + 1 > manifold.n_elements - 1:
        return False
    index = np.unique(np.linspace(0, len(signals) - 1, _MOST_WINDOWS).astype(int))
    return float(explained(manifold, signals.select(index), k + 1, allowance).mean()) > 0.6


def explained(manifold: Manifold, signals: Signals, count: int, allowance: float) -> NDArray[np.bool_]:
    """(S,) which windows' signals `count` waves explain, those of emitters closer than a beam included."""
    m, k = signals.u.shape[1:]
    freedom = max(2 * k * (m - count) - count, 1)
    limit = 1.6 * 2 * float(gammainccinv(freedom / 2, 1e-3))
    u = signals.u / np.sqrt(signals.variance + allowance / (2 * m))[:, None, :]
    u = np.broadcast_to(u[:, None], (len(u), _STARTS + 1, m, k))
    return _least_misfit(manifold, u, _starts(manifold, u, count)).min(axis=1) < limit


def _starts(manifold: Manifold, u: NDArray[np.complex128], count: int) -> NDArray[np.float64]:
    """(S, P, count) grid places: strong waves, then with them projected out the best next ones, and two close ones."""
    b = manifold.b
    top = b.shape[1] - 1
    power = (np.abs(u[:, 0].conj().transpose(0, 2, 1) @ b) ** 2).sum(axis=1)
    order = np.argsort(power, axis=1)[:, ::-1]
    apart = max(b.shape[1] // 40, 1)
    chosen = order[:, 0 : apart * _STARTS : apart][:, :_STARTS, None]
    u = u[:, :_STARTS]
    while chosen.shape[2] < count:
        q = np.linalg.qr(_columns(b, chosen))[0]
        inside = q.conj().swapaxes(2, 3)
        rest = u - q @ (inside @ u)
        norm = 1 - (np.abs(inside @ b) ** 2).sum(axis=2)
        gain = (np.abs(rest.conj().swapaxes(2, 3) @ b) ** 2).sum(axis=2) / np.maximum(norm, 0.02)
        chosen = np.concatenate((chosen, gain.argmax(axis=2)[..., None]), axis=2)
    # emitters closer than a beam have one peak between them
    spread = (np.arange(count) - (count - 1) / 2) * _CLOSE_STEPS
    close = np.clip(order[:, :1] + spread, 0, top)
    return np.concatenate((chosen.astype(float), close[:, None]), axis=1)


def _columns(vectors: NDArray[np.complex128], index: NDArray[np.intp]) -> NDArray[np.complex128]:
    """(S, P, M, c) of (M, G) and (S, P, c)."""
    return vectors.T[index].swapaxes(2, 3)


def _least_misfit(
    manifold: Manifold, u: NDArray[np.complex128], places: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(S, P) least misfit from these places (in grid steps), Gauss-Newton with Kaufman's Jacobian."""
    best = np.full(places.shape[:2], np.inf)
    top, c = manifold.b.shape[1] - 1, places.shape[2]
    for _ in range(_STEPS):
        index = np.clip(np.rint(places), 0, top).astype(int)
        d = ((places - index) * manifold.step)[:, :, None, :]
        b1, b2 = _columns(manifold.b1, index), _columns(manifold.b2, index)
        a = _columns(manifold.b, index) + d * b1 + d**2 / 2 * b2
        slope = (b1 + d * b2) * manifold.step
        pseudo = np.linalg.pinv(a, rcond=1e-5)
        x = pseudo @ u
        misfit = u - a @ x
        best = np.minimum(best, (np.abs(misfit) ** 2).sum(axis=(2, 3)))
        slope = slope - a @ (pseudo @ slope)
        across = slope.conj().swapaxes(2, 3)
        normal = ((across @ slope) * (x.conj() @ x.swapaxes(2, 3))).real
        side = (x.conj() * (across @ misfit)).sum(axis=3).real
        # waves that have met turn alike: no more of a step than the data ask for
        normal = normal + (1e-9 + 1e-8 * np.trace(normal, axis1=2, axis2=3))[..., None, None] * np.eye(c)
        change = np.linalg.solve(normal, side[..., None])[..., 0]
        places = np.clip(places + np.clip(change, -2.0, 2.0), -0.5, top + 0.5)
    return best
