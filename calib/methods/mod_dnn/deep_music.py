"""Baseline DeepMUSIC (after Elbir 2020), small: a network for each part of the field draws MUSIC's spectrum.

Its labels are MUSIC's spectra with the ideal array, whatever the true angle: it learns MUSIC's answers, faster than MUSIC
gives them, with their errors. By construction it cannot calibrate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calib.methods.mod_dnn.labels import read_out
from calib.methods.mod_dnn.regions import Regions
from calib.methods.mod_dnn.supervised import Told, silent, supervise
from calib.methods.mod_dnn.train import Source

_CHANNELS = 64
_WIDTH = 256
_KERNEL = 2
_LAYERS = 3
_REGIONS = Regions(guard_deg=0.0, step_deg=0.1)


class DeepMusic(nn.Module):
    """manifold : angles (G,) in degrees to steering vectors (M, G) complex128 of the ideal array.

    Input: real part, imaginary part and phase of the covariance, (B, 3, M, M). Three convolutions and a dense layer in
    common, then a dense layer of 301 points for each of four parts.
    """

    manifold: torch.Tensor
    grid_deg: torch.Tensor

    def __init__(
        self, manifold: Callable[[NDArray[np.float64]], NDArray[np.complex128]], regions: Regions = _REGIONS
    ):
        super().__init__()
        grid = regions.grid_deg
        steering = np.asarray(manifold(grid.ravel()), np.complex128)
        self.field_deg = regions.field_deg
        self.register_buffer("grid_deg", torch.as_tensor(grid, dtype=torch.float32))
        unit = steering / np.linalg.norm(steering, axis=0)
        self.register_buffer("manifold", torch.as_tensor(unit, dtype=torch.complex64))
        sizes = [3, *[_CHANNELS] * _LAYERS]
        trunk: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            trunk += [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(a, b, _KERNEL), nn.BatchNorm2d(b), nn.ReLU()]
        flat = _CHANNELS * len(steering) ** 2
        self.trunk = nn.Sequential(*trunk, nn.Flatten(), nn.Linear(flat, _WIDTH), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(_WIDTH, grid.shape[1]) for _ in range(len(grid)))

    def forward(self, tones: torch.Tensor) -> torch.Tensor:
        """Spectra (B, P, L) of normalised tones (B, K, M) complex64."""
        r = _covariance(tones)
        x = self.trunk(torch.stack((r.real, r.imag, r.angle()), dim=1))
        return torch.stack([head(x) for head in self.heads], dim=1)

    def label(self, tones: torch.Tensor) -> torch.Tensor:
        """MUSIC's spectra (B, P, L) of the same tones over their largest value, of the ideal array."""
        top = torch.linalg.eigh(_covariance(tones))[1][..., -1]
        seen = (top.conj() @ self.manifold).abs().square()
        spectrum = 1 / (1 - seen).clamp_min(1e-5)
        over = spectrum / spectrum.amax(-1, keepdim=True)
        return over.unflatten(-1, tuple(self.grid_deg.shape))

    def spectrum(self, tones: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Spectra (B, L) of the part with the highest peak, and its angles (B, L) in degrees."""
        out = self(tones)
        part = out.amax(-1).argmax(-1)
        return out[torch.arange(len(out), device=out.device), part], self.grid_deg[part]

    def angles_deg(self, tones: torch.Tensor) -> torch.Tensor:
        """Directions (B,) in degrees of normalised tones (B, K, M) complex64."""
        return read_out(*self.spectrum(tones))


def _covariance(tones: torch.Tensor) -> torch.Tensor:
    return tones.mT @ tones.conj() / tones.shape[-2]


def train_deep_music(
    net: DeepMusic,
    source: Source,
    *,
    steps: int = 1000,
    batch: int = 128,
    seed: int = 0,
    on_step: Told = silent,
    device: str | torch.device = "cpu",
) -> None:
    """Train in place on MUSIC's spectra of fresh samples, the angle of which is not used. on_step(stage, share done, loss)
    every tenth step may return True to stop."""

    def loss(tones: torch.Tensor, angle_deg: torch.Tensor) -> torch.Tensor:
        want = net.label(tones)
        return (net(tones) - want).square().sum() / want.square().sum()

    supervise(net, source, loss, net.field_deg, "deep-music", steps, batch, seed, on_step, device, lr=2e-3)
