"""The convolutional calibrator of every subregion, all of them in one pass of grouped convolutions.

As published: four layers of kernel 32, channels 1-4-8-4-1, on the spectrum alone. A convolution moves with its input,
but the error to be mended is a shift that depends on the angle, and the spectrum is 27 degrees wide: in minutes such a
network does not converge. Fast: the same depth with a finer view, see `features`.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

Mode = Literal["fast", "paper"]
_SHARPNESS = (30.0, 300.0, 3000.0)
_PICK = 300.0
N_FEATURES = 11
CHANNELS = (4, 8, 4)


def features(spectrum: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    """(B, P, 11, L) of spectra (B, P, L): the iterate, the coordinate, the measured spectrum sharpened three times, and
    the position of its peak in a ramp and three harmonics."""
    length = spectrum.shape[-1]
    place = torch.linspace(-1, 1, length, dtype=spectrum.dtype, device=spectrum.device).expand_as(spectrum)
    below = measured - measured.amax(-1, keepdim=True)
    pick = torch.exp(_PICK * below)
    waves = [f(math.pi * j * place / 2) for j in (1, 2) for f in (torch.sin, torch.cos)]
    channels = [
        spectrum,
        place,
        *(torch.exp(k * below) for k in _SHARPNESS),
        pick * place,
        *(pick * w for w in waves),
        pick * place**2,
    ]
    return torch.stack(channels, dim=2)


class Calibrator(nn.Module):
    """z = C(eta): spectra (B, P, L) and the measured ones (B, P, L) to calibrated spectra (B, P, L)."""

    def __init__(self, n_regions: int, mode: Mode = "fast"):
        super().__init__()
        self.mode: Mode = mode
        kernel, first = (16, N_FEATURES) if mode == "fast" else (32, 1)
        sizes = (first, *CHANNELS, 1)
        self.pad = ((kernel - 1) // 2, kernel // 2)
        self.layers = nn.ModuleList(
            nn.Conv1d(n_regions * a, n_regions * b, kernel, groups=n_regions)
            for a, b in itertools.pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(n_regions * b) for b in sizes[1:-1])

    def forward(self, spectrum: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
        """One pass."""
        x = features(spectrum, measured) if self.mode == "fast" else spectrum[:, :, None]
        x = x.flatten(1, 2)
        for i, layer in enumerate(self.layers):
            x = layer(functional.pad(x, self.pad))
            if i < len(self.norms):
                x = functional.relu(self.norms[i](x))
        return x.unflatten(1, (spectrum.shape[1], -1))[:, :, 0]

    def one(self, region: int, spectrum: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
        """What `forward` gives for one region, with its statistics as trained: spectra (B, L) to (B, L)."""
        shown = spectrum[:, None], measured[:, None]
        x = features(*shown)[:, 0] if self.mode == "fast" else shown[0]
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Conv1d)
            assert layer.bias is not None
            width = layer.out_channels // layer.groups
            own = slice(region * width, (region + 1) * width)
            x = functional.conv1d(functional.pad(x, self.pad), layer.weight[own], layer.bias[own])
            if i < len(self.norms):
                norm = self.norms[i]
                assert isinstance(norm, nn.BatchNorm1d)
                assert norm.running_mean is not None
                assert norm.running_var is not None
                x = functional.relu(
                    functional.batch_norm(
                        x,
                        norm.running_mean[own],
                        norm.running_var[own],
                        norm.weight[own],
                        norm.bias[own],
                        eps=norm.eps,
                    )
                )
        return x[:, 0]
