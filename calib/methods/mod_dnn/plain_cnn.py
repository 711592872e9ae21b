"""Baseline: a plain convolutional network from tones to an angle, without any model of the array."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from calib.methods.mod_dnn.regions import FIELD_DEG
from calib.methods.mod_dnn.supervised import Told, silent, supervise
from calib.methods.mod_dnn.train import Source

_CHANNELS = 32
_WIDTH = 128


class PlainCnn(nn.Module):
    """Two convolutions over the tones, two dense layers; the answer in halves of the field. 69 697 weights for 16 tones of
    four elements."""

    def __init__(self, n_tones: int, n_elements: int, field_deg: tuple[float, float] = FIELD_DEG):
        super().__init__()
        self.field_deg = field_deg
        self.layers = nn.Sequential(
            nn.Conv1d(2 * n_elements, _CHANNELS, 3, padding=1), nn.ReLU(),
            nn.Conv1d(_CHANNELS, _CHANNELS, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(_CHANNELS * n_tones, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1),
        )  # fmt: skip

    def forward(self, tones: torch.Tensor) -> torch.Tensor:
        """Answer (B,), -1 to 1 over the field, of normalised tones (B, K, M) complex64."""
        return self.layers(torch.cat((tones.real, tones.imag), dim=-1).mT)[:, 0]

    def angles_deg(self, tones: torch.Tensor) -> torch.Tensor:
        """Directions (B,) in degrees of normalised tones (B, K, M) complex64."""
        low, high = self.field_deg
        return (low + high) / 2 + (high - low) / 2 * self(tones)


def train_plain_cnn(
    net: PlainCnn,
    source: Source,
    *,
    steps: int = 4000,
    batch: int = 128,
    seed: int = 0,
    on_step: Told = silent,
    device: str | torch.device = "cpu",
) -> None:
    """Train in place on fresh samples of random angles by the smooth L1 loss. on_step(stage, share done, loss) every tenth
    step may return True to stop."""
    half = (net.field_deg[1] - net.field_deg[0]) / 2

    def loss(tones: torch.Tensor, angle_deg: torch.Tensor) -> torch.Tensor:
        want = (angle_deg - sum(net.field_deg) / 2) / half
        return functional.smooth_l1_loss(net(tones), want)

    supervise(net, source, loss, net.field_deg, "cnn", steps, batch, seed, on_step, device, lr=4e-3)
