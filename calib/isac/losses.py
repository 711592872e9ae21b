"""What the learners minimise: distances to the true places, or nothing but the map's own maximum.

Mateos-Ramos et al. 2025: GOSPA with the true number of targets, eq. 18; mean squared error for one target, section V-C.
log(1 + e^2) and the unlabelled maximum are ours: rare estimates a hundred metres off make the gradient of e^2 useless.

All losses with labels take places (B, T, 2) in metres and `present` (B, T) bool, which true targets there are (None: all).
The T present targets of a block are paired with its first T found ones at the smallest cost; the pairing has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from calib.isac.gospa import assignment
from hil.core.units import SPEED_OF_LIGHT_M_S


def places(theta_rad: Tensor, range_m: Tensor) -> Tensor:
    """Places (..., 2) in metres: along the line, away from it."""
    return torch.stack((range_m * torch.sin(theta_rad), range_m * torch.cos(theta_rad)), dim=-1)


def range_of(delay_s: Tensor) -> Tensor:
    """Metres from round-trip delays."""
    return delay_s * (SPEED_OF_LIGHT_M_S / 2)


def mse(true_m: Tensor, found_m: Tensor, present: Tensor | None = None) -> Tensor:
    """Mean of e^2 over the targets, m^2."""
    cost, there = _paired(true_m, found_m, present, lambda squared: squared)
    return cost.sum() / there.sum().clamp(min=1)


def log_error(true_m: Tensor, found_m: Tensor, present: Tensor | None = None) -> Tensor:
    """Mean of log(1 + e^2) over the targets, e in metres."""
    cost, there = _paired(true_m, found_m, present, torch.log1p)
    return cost.sum() / there.sum().clamp(min=1)


def gospa_loss(
    true_m: Tensor, found_m: Tensor, cutoff_m: float, present: Tensor | None = None, p: float = 2.0
) -> Tensor:
    """Mean over the blocks with targets of (sum_t min(d_t, cutoff)^p)^(1/p), metres (eq. 18)."""

    def cost_of(squared: Tensor) -> Tensor:
        # a root of exactly zero has no gradient
        return squared.clamp(min=1e-12, max=cutoff_m**2) ** (p / 2)

    cost, there = _paired(true_m, found_m, present, cost_of)
    used = there.any(dim=1)
    return (cost[used].sum(dim=1) ** (1 / p)).sum() / used.sum().clamp(min=1)


def max_map(strength: Tensor) -> Tensor:
    """-mean log of the maxima of the maps (B, T): needs no label; smallest when the array is right."""
    return -torch.log(strength.clamp(min=1e-30)).mean()


def _paired(
    true_m: Tensor, found_m: Tensor, present: Tensor | None, cost_of: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Cost of each true target with its partner (B, T), 0 where none is, and the mask (B, T)."""
    there = torch.ones(true_m.shape[:2], dtype=torch.bool) if present is None else present
    cost = cost_of(((true_m[:, :, None] - found_m[:, None]) ** 2).sum(dim=3))
    partner = torch.zeros(true_m.shape[:2], dtype=torch.int64)
    values = cost.detach().numpy()
    # blocks with one target need no pairing
    for b in torch.nonzero(there.sum(dim=1) > 1)[:, 0].tolist():
        rows = torch.nonzero(there[b])[:, 0].numpy()
        which, column = assignment(values[b][rows][:, : len(rows)])
        partner[b, rows[which]] = torch.from_numpy(column)
    chosen = torch.gather(cost, 2, partner[:, :, None])[:, :, 0]
    return torch.where(there, chosen, torch.zeros_like(chosen)), there
