"""The path that estimates directions: a small network that starts at the pseudo-labels, or the published ResNet-18.

Anchored: beams at and half a beam beside each pseudo-label make R small; a network reads their correlations and moves each
label by at most a beam. Its last layer starts at zero, so that it starts exactly at the labels.
"""

from __future__ import annotations

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

    def features(self, covariance: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, F) float32."""
        beam = self.array.beam_u
        steps = torch.tensor(_OFFSETS, dtype=labels.dtype) * beam
        u = (labels[..., None] + steps).flatten(-2)
        a = self.array.responses(u).to(covariance.dtype)
        seen = a.mH @ covariance @ a
        power = torch.diagonal(seen, dim1=-2, dim2=-1).real
        scale = power.mean(-1, keepdim=True)
        i, j = torch.triu_indices(len(_OFFSETS) * self.n_users, len(_OFFSETS) * self.n_users, 1)
        cross = seen[:, i, j] / scale
        gaps = torch.exp(-torch.diff(labels, dim=-1) / (2 * beam))
        return torch.cat((power / scale - 1, cross.real, cross.imag, gaps), dim=-1).float()

    def forward(self, covariance: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """u (B, K), of the labels' dtype."""
        x = functional.relu(self.first(self.features(covariance, labels)))
        move = torch.tanh(self.last(functional.relu(self.second(x)))).to(labels.dtype)
        return (labels + self.array.beam_u * move).clamp(-MAX_U, MAX_U)


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
