"""What a spectrum should look like, and what angle it shows."""

from __future__ import annotations

from typing import Literal

import torch

LabelKind = Literal["one-hot", "gaussian"]
_READ_WITHIN_DEG = 1.0
_FLOOR = 0.02  # of the maximum: what is lower is noise of the network


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


def gaussian_peak(
    spectrum: torch.Tensor, grid_deg: torch.Tensor, label_deg: float, within: float = 1.5
) -> torch.Tensor:
    """Angle (...) in degrees of spectra (..., L) that were trained on Gaussian labels of width label_deg.

    The parabola through the logarithm within `within` widths of the maximum, weighted by the squares: a centroid there
    sticks to the grid, by a tenth of a step. Where it opens upwards, `read_out`. grid_deg : evenly spaced.
    """
    step = float((grid_deg[..., -1] - grid_deg[..., 0]).flatten()[0]) / (grid_deg.shape[-1] - 1)
    reach = max(1, min(round(within * label_deg / step), (grid_deg.shape[-1] - 1) // 2))
    offset = torch.arange(-reach, reach + 1, device=spectrum.device)
    top = spectrum.argmax(-1, keepdim=True).clamp(reach, spectrum.shape[-1] - 1 - reach)
    near = spectrum.gather(-1, top + offset)
    floor = _FLOOR * near.amax(-1, keepdim=True).clamp_min(1e-12)
    height, weight = near.maximum(floor).log().double(), near.clamp_min(0).double() ** 2
    at = offset.double()
    moments = torch.stack([(weight * at**n).sum(-1) for n in range(5)], dim=-1)
    normal = moments[..., torch.arange(3)[:, None] + torch.arange(3)]
    right = torch.stack([(weight * at**n * height).sum(-1) for n in range(3)], dim=-1)
    ridge = (
        1e-12
        * moments[..., :1, None].clamp_min(1e-30)
        * torch.eye(3, dtype=torch.float64, device=spectrum.device)
    )
    slope, bend = torch.linalg.solve(normal + ridge, right[..., None])[..., 1:, 0].unbind(-1)
    shift = torch.where(bend < 0, -0.5 * slope / bend.clamp_max(-1e-12), torch.full_like(bend, torch.inf))
    found = grid_deg.expand_as(spectrum).gather(-1, top)[..., 0] + step * shift.to(spectrum.dtype)
    return torch.where(shift.abs() <= reach, found, read_out(spectrum, grid_deg))
