"""Unlabelled losses of differentiable MUSIC on stored signal subspaces.

Every loss takes the null depth D on windows of L grid points around each peak, (B, K, L), and returns a
scalar to minimise. Peaks are found without gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FLOOR = 1e-7


def jain(depth: torch.Tensor) -> torch.Tensor:
    """Mean Jain index of the pseudo-spectrum P = 1/D on each window (Chatelier et al. 2025, eq. 17).

    J = (sum P)^2 / (L sum P^2), between 1/L (one sharp point) and 1 (flat).
    """
    p = 1 / (depth + _FLOOR)
    p = p / p.detach().amax(dim=-1, keepdim=True)  # J does not depend on scale; floating point does
    return (p.sum(-1) ** 2 / (depth.shape[-1] * (p**2).sum(-1))).mean()


def log_peak(depth: torch.Tensor) -> torch.Tensor:
    """Mean log D at the deepest point of each window: scale free, and the angle's own motion costs nothing."""
    return (depth.amin(dim=-1) + _FLOOR).log().mean()


LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"log-peak": log_peak, "jain": jain}
