"""The path that estimates directions: a small network that starts at the pseudo-labels, or the published ResNet-18.

Anchored: beams at and half a beam beside each pseudo-label make R small; a network reads their correlations and moves each
label by at most a beam. Its last layer starts at zero, so that it starts exactly at the labels.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.refine import MAX_U

_OFFSETS = (-0.5, 0.0, 0.5)


class AnchoredPath(nn.Module):
    """u (B, K) from R (B, N, N) and labels u0 (B, K)."""

    def __init__(self, array: KnownArray, n_users: int, hidden: int = 256):
        super().__init__()
        self.array, self.n_users = array, n_users
        beams = len(_OFFSETS) * n_users
        width = beams + beams * (beams - 1) + n_users - 1
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, n_users)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def features(
        self, covariance: torch.Tensor, labels: torch.Tensor, array: KnownArray | None = None
    ) -> torch.Tensor:
        """(B, F) float32."""
        beam = self.array.beam_u
        steps = torch.tensor(_OFFSETS, dtype=labels.dtype, device=labels.device) * beam
        u = (labels[..., None] + steps).flatten(-2)
        a = (array or self.array).responses(u).to(covariance.dtype)
        seen = a.mH @ covariance @ a
        power = torch.diagonal(seen, dim1=-2, dim2=-1).real
        scale = power.mean(-1, keepdim=True).clamp_min(torch.finfo(power.dtype).tiny)
        i, j = torch.triu_indices(u.shape[-1], u.shape[-1], 1)
        cross = seen[:, i, j] / scale
        gaps = torch.exp(-torch.diff(labels, dim=-1) / (2 * beam))
        return torch.cat((power / scale - 1, cross.real, cross.imag, gaps), dim=-1).float()

    def forward(
        self, covariance: torch.Tensor, labels: torch.Tensor, array: KnownArray | None = None
    ) -> torch.Tensor:
        """u (B, K), of the labels' dtype. array : another calibration of the line (default the one it was made with)."""
        x = functional.relu(self.first(self.features(covariance, labels, array)))
        move = torch.tanh(self.last(functional.relu(self.second(x)))).to(labels.dtype)
        return (labels + self.array.beam_u * move).clamp(-MAX_U, MAX_U)


class GenericPath(nn.Module):
    """u (B, K) from R (B, N, N) alone, as published: any network, bounded to a little more than the sector.

    resnet18 : the published one; otherwise two hidden layers.
    """

    def __init__(
        self, n_elements: int, n_users: int, sector_deg: tuple[float, float], *, resnet18: bool = False
    ) -> None:
        super().__init__()
        low, high = (math.radians(edge) for edge in sector_deg)
        self.centre = (low + high) / 2
        self.reach = min((high - low) / 2 * 1.05, math.radians(89.9) - abs(self.centre))
        self.body: nn.Module = ResNet18(n_users)
        if not resnet18:
            sizes = (2 * n_elements**2, 512, 256, n_users)
            layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
            self.body = nn.Sequential(_Planes(), *layers[:-1])

    def forward(self, covariance: torch.Tensor) -> torch.Tensor:
        """u (B, K) float32."""
        power = torch.diagonal(covariance, dim1=-2, dim2=-1).real.mean(-1).clamp_min(1e-20)
        return torch.sin(self.centre + self.reach * torch.tanh(self.body(covariance / power[:, None, None])))


class _Planes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 2 N N) of complex (B, N, N)."""
        return torch.cat((x.real, x.imag), dim=1).flatten(1).float()


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2016) with 2 input channels and `n_out` outputs, as published; hours on a CPU."""

    def __init__(self, n_out: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(2, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        widths = (64, 64, 128, 256, 512)
        blocks: list[nn.Module] = []
        for stage, (a, b) in enumerate(pairwise(widths)):
            blocks += [_Basic(a, b, 1 if stage == 0 else 2), _Basic(b, b, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(512, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, n_out) of complex matrices (B, R, C)."""
        planes = torch.stack((x.real, x.imag), dim=1).float()
        return self.head(self.blocks(self.stem(planes)).mean((-1, -2)))


class _Basic(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out),
        )  # fmt: skip
        same = stride == 1 and n_in == n_out
        self.past: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.past(x))
