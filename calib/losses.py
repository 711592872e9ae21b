"""Losses of differentiable MUSIC on stored signal subspaces (Chatelier et al. 2025, eq. 14, 15, 17).

Unlabelled ones take the null depth D on windows of L points around each peak, (..., L); labelled ones take
angles or the null depth at the true angles. All return a scalar to minimise. No gradient passes through the
search for peaks, through an assignment or through an eigendecomposition.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ShapeError

if TYPE_CHECKING:
    import torch

_FLOOR = 1e-12
_MAX_PERMUTED = 5


def _spectrum(depth: torch.Tensor) -> torch.Tensor:
    """P = 1/D of each window over its largest value: no loss here depends on scale, floating point does."""
    p = 1 / (depth.clamp_min(0) + _FLOOR)
    return p / p.detach().amax(dim=-1, keepdim=True)


def jain(depth: torch.Tensor) -> torch.Tensor:
    """Mean Jain index of the pseudo-spectrum P = 1/D on each window (Chatelier et al. 2025, eq. 16, 17).

    J = (sum P)^2 / (L sum P^2), between 1/L (one sharp point) and 1 (flat). The paper sums over the sources
    and averages over blocks; the mean over both differs by the factor K.
    """
    p = _spectrum(depth)
    return (p.sum(-1) ** 2 / (depth.shape[-1] * (p**2).sum(-1))).mean()


def log_peak(depth: torch.Tensor) -> torch.Tensor:
    """Mean log D at the deepest point of each window: scale free, and the angle's own motion costs nothing."""
    return (depth.amin(dim=-1).clamp_min(0) + _FLOOR).log().mean()


def variation(depth: torch.Tensor) -> torch.Tensor:
    """Minus the mean coefficient of variation std(P)/mean(P), over its largest value: -1 sharp, 0 flat.

    Jain's index is 1/(1 + CV^2): the same order of windows, other weights between them.
    """
    p = _spectrum(depth)
    mean = p.mean(-1)
    spread = ((p - mean[..., None]) ** 2).mean(-1)
    return -((spread + 1e-30).sqrt() / mean).mean() / (depth.shape[-1] - 1) ** 0.5


def gini(depth: torch.Tensor) -> torch.Tensor:
    """1 minus the mean Gini coefficient of P, over its largest value: 0 sharp, 1 flat.

    G = 2 sum_i i P_(i) / (L sum P) - (L + 1)/L with P_(1) <= ... <= P_(L).
    """
    import torch

    p = _spectrum(depth).sort(dim=-1).values
    n = depth.shape[-1]
    rank = torch.arange(1, n + 1, dtype=p.dtype)
    coefficient = 2 * (rank * p).sum(-1) / (n * p.sum(-1)) - (n + 1) / n
    return 1 - coefficient.mean() * n / (n - 1)


def kurtosis(depth: torch.Tensor) -> torch.Tensor:
    """Minus the mean kurtosis m4/m2^2 of P over a window, per point: about -1 sharp, -1/L bimodal."""
    p = _spectrum(depth)
    centred = p - p.mean(-1, keepdim=True)
    second = (centred**2).mean(-1)
    return -((centred**4).mean(-1) / (second**2 + 1e-30)).mean() / depth.shape[-1]


def kl_uniform(depth: torch.Tensor) -> torch.Tensor:
    """1 minus the mean divergence KL(P/sum P || uniform)/log L: 0 sharp, 1 flat (the normalised entropy)."""
    p = _spectrum(depth)
    q = p / p.sum(-1, keepdim=True)
    entropy = -(q * (q + 1e-300).log()).sum(-1)
    return entropy.mean() / float(np.log(depth.shape[-1]))


#: Unlabelled losses of windows (..., L) of null depths.
LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "log-peak": log_peak,
    "jain": jain,
    "variation": variation,
    "gini": gini,
    "kurtosis": kurtosis,
    "kl-uniform": kl_uniform,
}


def spectrum(depth: torch.Tensor) -> torch.Tensor:
    """L_SL,P: minus the pseudo-spectrum at the true angles, -mean_b sum_k 1/D (eq. 15). depth (B, K)."""
    return -(1 / (depth.clamp_min(0) + _FLOOR)).sum(-1).mean()


def log_spectrum(depth: torch.Tensor) -> torch.Tensor:
    """Mean log D at the true angles: eq. (15) without its heavy tail. depth (B, K)."""
    return (depth.clamp_min(0) + _FLOOR).log().mean()


#: Labelled losses of null depths (B, K) at the true angles.
LABELLED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "spectrum": spectrum,
    "log-spectrum": log_spectrum,
}


def rmspe(estimate: torch.Tensor, theta: torch.Tensor, period: float = float(np.pi)) -> torch.Tensor:
    """L_SL,theta: mean over blocks of min_P ||wrap(theta - P theta_hat)||_2 / sqrt(K) (eq. 14), radians.

    Parameters
    ----------
    estimate, theta : (B, K) float64 radians, any order. period : of the wrap, pi for a line.

    The permutation is found without gradient. Raises ShapeError for different shapes.
    """
    if estimate.shape != theta.shape:
        raise ShapeError(f"rmspe: {tuple(estimate.shape)} estimates for {tuple(theta.shape)} angles")
    import torch

    with torch.no_grad():
        order = torch.from_numpy(assignment(estimate.detach().numpy(), theta.detach().numpy(), period))
    error = theta - torch.gather(estimate, 1, order)
    error = torch.remainder(error + period / 2, period) - period / 2
    # the root's slope at 0 is infinite
    return ((error**2).mean(-1) + 1e-30).sqrt().mean()


def assignment(
    estimate: NDArray[np.float64], theta: NDArray[np.float64], period: float = np.pi
) -> NDArray[np.int64]:
    """(B, K) indices that put `estimate` (B, K) closest to `theta` (B, K) in the wrapped rms sense."""
    k = theta.shape[1]
    cost = theta[:, :, None] - estimate[:, None, :]
    cost = ((cost + period / 2) % period - period / 2) ** 2
    if k <= _MAX_PERMUTED:
        orders = np.array(list(permutations(range(k))), dtype=np.int64)
        total = np.zeros((len(theta), len(orders)))
        for i in range(k):
            total += cost[:, i, orders[:, i]]
        return orders[np.argmin(total, axis=1)]
    from scipy.optimize import linear_sum_assignment

    return np.stack([linear_sum_assignment(c)[1] for c in cost]).astype(np.int64)


def rmspe_deg(
    estimate: NDArray[np.float64], theta: NDArray[np.float64], period: float = np.pi
) -> NDArray[np.float64]:
    """(B,) root mean square periodic error of every block in degrees; estimate, theta (B, K) radians."""
    order = assignment(estimate, theta, period)
    error = theta - np.take_along_axis(estimate, order, 1)
    error = (error + period / 2) % period - period / 2
    return np.rad2deg(np.sqrt(np.mean(error**2, axis=1)))
