"""Unsupervised-CNN: a network turns the Bartlett spectrum into a sparse one, and learns without labels that R fits it.

    loss = || R - sum_g p_g a_g a_g^H ||^2 + tau sum_g p_g,   p >= 0 on a grid of directions

Multiplied out only the spectrum b_g = a_g^H R a_g and the products |a_g^H a_h|^2 of the grid are left of it, so any array will do.
(After Yuan et al. 2021.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.direction_grid import DirectionGrid

_PER_BEAM = 6.0
_WIDTH, _KERNEL = 32, 13


class UnsupervisedCnn(nn.Module):
    """p (B, G) from R (B, N, N). sector_deg : (low, high) of the users."""

    a: torch.Tensor
    overlap: torch.Tensor

    def __init__(
        self, array: KnownArray, n_users: int, sector_deg: tuple[float, float] = (-60.0, 60.0)
    ) -> None:
        super().__init__()
        self.n_users = n_users
        self.grid = DirectionGrid(array, sector_deg, _PER_BEAM)
        a = array.responses(torch.as_tensor(self.grid.u))
        self.register_buffer("a", a.to(torch.complex64), persistent=False)
        size = a.abs().square().sum(0).mean()
        self.register_buffer("overlap", ((a.mH @ a).abs().square() / size**2).float(), persistent=False)
        self.size = float(size)
        channels = (1, _WIDTH, _WIDTH, _WIDTH, 1)
        self.layers = nn.ModuleList(
            nn.Conv1d(n_in, n_out, _KERNEL, padding=_KERNEL // 2) for n_in, n_out in pairwise(channels)
        )

    def seen(self, covariance: torch.Tensor) -> torch.Tensor:
        """Bartlett spectra (B, G) without the noise floor, of mean power one."""
        r = covariance.to(self.a.dtype)
        power = torch.einsum("ng,bng->bg", self.a.conj(), r @ self.a).real / self.size
        noise = torch.linalg.eigvalsh(r)[:, : -self.n_users].mean(-1)
        total = torch.diagonal(r, dim1=-2, dim2=-1).real.sum(-1) - r.shape[-1] * noise
        return (power - noise[:, None]) / total.clamp_min(1e-6 * power.amax(-1))[:, None]

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """p (B, G), not negative, of spectra (B, G): a share of each point, which starts small so that the sum is not too large."""
        x = seen[:, None]
        for layer in self.layers[:-1]:
            x = functional.leaky_relu(layer(x))
        return seen.clamp_min(0) * torch.sigmoid(self.layers[-1](x)[:, 0] - 2.0)

    @torch.no_grad()
    def directions_u(self, covariance: torch.Tensor) -> NDArray[np.float64]:
        """u (B, K), ascending, of covariances (B, N, N)."""
        return self.grid.peaks(self(self.seen(covariance)).double().cpu().numpy(), self.n_users)


@dataclass(frozen=True, slots=True)
class CnnPlan:
    """Adam at a constant rate. sparsity : tau, relative to the power of all users."""

    epochs: int = 15
    batch: int = 128
    lr: float = 1e-3
    sparsity: float = 0.02
    seed: int = 0


def cnn_loss(network: UnsupervisedCnn, seen: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Mean of || R - A diag(p) A^H ||^2 + tau |p|, R normalised, what no weight changes dropped."""
    p = network(seen)
    return ((p @ network.overlap - 2 * seen) * p).sum(-1).mean() + sparsity * p.sum(-1).mean()


def train_cnn(
    network: UnsupervisedCnn,
    covariance: torch.Tensor,
    plan: CnnPlan,
    *,
    device: str = "cpu",
    on_epoch: Callable[[int, float], bool] = lambda epoch, loss: False,
) -> list[float]:
    """Train in place on covariances (B, N, N), without labels; the loss of every epoch. on_epoch may return True to stop."""
    network.to(device)
    rng = torch.Generator().manual_seed(plan.seed)
    adam = torch.optim.Adam(network.parameters(), lr=plan.lr)
    seen = torch.cat([network.seen(part.to(device)) for part in covariance.split(256)])
    history: list[float] = []
    for epoch in range(1, plan.epochs + 1):
        total, batches = 0.0, torch.randperm(len(seen), generator=rng).split(plan.batch)
        for index in batches:
            loss = cnn_loss(network, seen[index], plan.sparsity)
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += float(loss.detach())
        history.append(total / len(batches))
        if on_epoch(epoch, history[-1]):
            break
    network.to("cpu")
    return history
