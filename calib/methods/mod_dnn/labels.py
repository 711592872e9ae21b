"""What a spectrum should look like, and what angle it shows."""

from __future__ import annotations

from typing import Literal

import torch

LabelKind = Literal["one-hot", "gaussian"]
_READ_WITHIN_DEG = 1.0


def label(
    grid_deg: torch.Tensor, angle_deg: torch.Tensor, kind: LabelKind, sigma_deg: float = 0.4
) -> torch.Tensor:
    """(..., L) of height 1 at the angle (...): one grid point (Liu et al. 2025, eq. 31), or a Gaussian.

    grid_deg : (L,) or (..., L), evenly spaced. sigma_deg : of the Gaussian.
    """
    distance = grid_deg - angle_deg[..., None]
    if kind == "one-hot":
        near = distance.abs().argmin(-1, keepdim=True)
        return torch.zeros_like(distance).scatter(-1, near, 1.0)
    return torch.exp(-0.5 * (distance / sigma_deg) ** 2)


def annealed_sigma(progress: float, wide_deg: float = 1.5, narrow_deg: float = 0.4) -> float:
    """Width of the Gaussian label: falls geometrically over the first 60 % of the training."""
    share = min(max(progress, 0.0) / 0.6, 1.0)
    return wide_deg * (narrow_deg / wide_deg) ** share


def read_out(
    spectrum: torch.Tensor, grid_deg: torch.Tensor, within_deg: float = _READ_WITHIN_DEG
) -> torch.Tensor:
    """Angle (...) in degrees of spectra (..., L): centroid of their positive part within `within_deg` of the maximum."""
    grid = grid_deg.expand_as(spectrum)
    top = spectrum.argmax(-1, keepdim=True)
    peak = grid.gather(-1, top)
    weight = spectrum.clamp_min(0) * ((grid - peak).abs() <= within_deg + 1e-6)
    total = weight.sum(-1)
    centroid = (weight * grid).sum(-1) / total.clamp_min(1e-12)
    return torch.where(total > 0, centroid, peak.squeeze(-1))
