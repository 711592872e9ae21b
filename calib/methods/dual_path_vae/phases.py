"""The published training: networks for both paths, an initialisation phase on pseudo-labels, then one path after the other.

    initialisation   -ELBO with the pseudo-labels as directions + gamma || label - direction ||^2   (Guo et al., eq. 14)
    training         -ELBO, one epoch for the directions with the channels held, one for the channels with the directions held

In the first phase the paths share no weight and no term, so gamma, which makes the two terms equal at the first step, hardly matters
to Adam. The paper gives no schedule for the second.
Variants: what the paper compares with. The original VAE learns its decoder too, from the reconstruction, with no initialisation;
"aoa-labels" also gives it the true directions. "No sectors" is a path made for (-90, 90) degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from calib.methods.dual_path_vae.aoa_path import GenericPath
from calib.methods.dual_path_vae.channel_path import Architecture, ChannelPath
from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.posterior import (
    ChannelPrior,
    Channels,
    divergence,
    negative_elbo,
    sampled,
    sampled_elbo,
)
from hil.core.errors import ConfigError

Variant = Literal["proposed", "no-initialisation", "supervised", "learned-decoder", "aoa-labels"]
VARIANTS: tuple[Variant, ...] = (
    "proposed", "no-initialisation", "supervised", "learned-decoder", "aoa-labels",
)  # fmt: skip
Phase = Literal["initialisation", "directions", "channels", "both"]


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """Epochs of either phase, Adam at a constant rate, as published. elbo : one draw of the channels a step, or exact.

    init_lr : of the initialisation and of variants without phases; up to 1e-3 saves epochs there, while the second phase leaves its
    start at that rate (`lr`).
    """

    init_epochs: int = 200
    epochs: int = 800
    batch: int = 128
    init_lr: float = 1e-4
    lr: float = 1e-4
    elbo: Literal["sampled", "exact"] = "sampled"
    variant: Variant = "proposed"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PhaseData:
    """y : samples (B, N, M) complex64. labels : u (B, K) float32, ascending. prior : of every sample, (B, K, K) and (B,).
    truth_u (B, K), truth_h (B, K, M) : for the variants that are told."""

    y: torch.Tensor
    labels: torch.Tensor
    prior: ChannelPrior
    truth_u: torch.Tensor | None = None
    truth_h: torch.Tensor | None = None

    def part(self, index: torch.Tensor, device: str) -> PhaseData:
        """Some of the samples, on a device."""
        pick = lambda x: None if x is None else x[index].to(device)  # noqa: E731
        prior = ChannelPrior(self.prior.covariance[index].to(device), self.prior.noise[index].to(device))
        y, labels = self.y[index].to(device), self.labels[index].to(device)
        return PhaseData(y, labels, prior, pick(self.truth_u), pick(self.truth_h))


class LearnedDecoder(nn.Module):
    """Of the original VAE: y (B, N, M) from u (B, K) and h (B, K, M), snapshot by snapshot, nothing about the array in it."""

    def __init__(self, n_elements: int, n_users: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 * n_users, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 2 * n_elements),
        )  # fmt: skip

    def forward(self, u: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """y (B, N, M)."""
        same = u[:, None].expand(-1, h.shape[-1], -1)
        real, imag = self.layers(torch.cat((same, h.real.mT, h.imag.mT), dim=-1)).chunk(2, dim=-1)
        return torch.complex(real, imag).mT


class DualPath(nn.Module):
    """Both paths as networks. architecture : "small" for a CPU, "resnet18" as published."""

    def __init__(
        self,
        array: KnownArray,
        n_users: int,
        n_snapshots: int,
        *,
        sector_deg: tuple[float, float] = (-60.0, 60.0),
        architecture: Architecture = "small",
    ) -> None:
        super().__init__()
        self.array = array
        n = array.n_elements
        self.directions = GenericPath(n, n_users, sector_deg, resnet18=architecture == "resnet18")
        self.channels = ChannelPath(n, n_users, n_snapshots, architecture)
        self.learned = LearnedDecoder(n, n_users)

    def directions_of(self, y: torch.Tensor) -> torch.Tensor:
        """u (B, K) of samples y (B, N, M)."""
        return self.directions(y @ y.mH / y.shape[-1])

    @torch.no_grad()
    def estimate(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """u (B, K), ascending, and channels (B, K, M) of samples y (B, N, M)."""
        self.eval()
        u, order = self.directions_of(y).sort(dim=-1)
        mean = self.channels(y).mean
        return u, mean.gather(1, order[..., None].expand_as(mean))


def train_phases(
    model: DualPath,
    data: PhaseData,
    plan: PhasePlan,
    *,
    device: str = "cpu",
    on_epoch: Callable[[Phase, int, float], bool] = lambda phase, epoch, loss: False,
) -> list[tuple[Phase, int, float]]:
    """Train in place; (phase, epoch, mean loss of a snapshot times sigma^2) of every epoch. on_epoch may return True to stop.

    Raises ConfigError for a variant whose truth is missing.
    """
    if plan.variant in ("supervised", "aoa-labels") and data.truth_u is None:
        raise ConfigError(f"{plan.variant!r} needs the true directions")
    if plan.variant == "supervised" and data.truth_h is None:
        raise ConfigError("'supervised' needs the true channels")
    model.to(device).train()
    rng = torch.Generator().manual_seed(plan.seed)
    draws = torch.Generator(device).manual_seed(plan.seed)
    loss_of = _Loss(model, plan, draws)
    adams = {
        "directions": torch.optim.Adam(model.directions.parameters(), lr=plan.lr),
        "channels": torch.optim.Adam([*model.channels.parameters(), *model.learned.parameters()], lr=plan.lr),
    }
    history: list[tuple[Phase, int, float]] = []
    for epoch, phase in enumerate(_phases(plan), start=1):
        for adam in adams.values():
            adam.param_groups[0]["lr"] = plan.lr if phase in adams else plan.init_lr
        total, batches = 0.0, torch.randperm(len(data.y), generator=rng).split(plan.batch)
        for index in batches:
            loss = loss_of(phase, data.part(index, device))
            model.zero_grad()
            loss.backward()
            for name, adam in adams.items():
                if phase in (name, "initialisation", "both"):
                    adam.step()
            total += float(loss.detach()) * len(index)
        history.append((phase, epoch, total / len(data.y)))
        if on_epoch(*history[-1]):
            break
    model.to("cpu").eval()
    return history


def _phases(plan: PhasePlan) -> list[Phase]:
    both: list[Phase] = ["both"]
    if plan.variant in ("supervised", "learned-decoder", "aoa-labels"):
        return both * (plan.init_epochs + plan.epochs)
    first: list[Phase] = [] if plan.variant == "no-initialisation" else ["initialisation"]
    turns: list[Phase] = ["directions", "channels"]
    return first * plan.init_epochs + [turns[epoch % 2] for epoch in range(plan.epochs)]


class _Loss:
    """Mean loss of a snapshot, by variant and phase."""

    def __init__(self, model: DualPath, plan: PhasePlan, rng: torch.Generator) -> None:
        self.model, self.plan, self.rng = model, plan, rng
        self.gamma: float | None = None
        self.n_snapshots = 1

    def __call__(self, phase: Phase, data: PhaseData) -> torch.Tensor:
        model, variant = self.model, self.plan.variant
        self.n_snapshots = data.y.shape[-1]
        with torch.set_grad_enabled(phase != "channels"):
            u = model.directions_of(data.y)
        with torch.set_grad_enabled(phase != "directions"):
            channels = model.channels(data.y)
        if variant == "supervised":
            assert data.truth_u is not None
            assert data.truth_h is not None
            return _angle_error(u, data.truth_u) + (channels.mean - data.truth_h).abs().square().mean()
        if variant in ("learned-decoder", "aoa-labels"):
            seen = model.learned(u, sampled(channels, self.rng))
            loss = (data.y - seen).abs().square().sum((-1, -2)) + divergence(channels, data.prior)
            return self._with(loss, u, data.truth_u if variant == "aoa-labels" else None)
        if phase == "initialisation":
            return self._with(self._elbo(data, data.labels, channels), u, data.labels)
        return self._with(self._elbo(data, u, channels), u, None)

    def _elbo(self, data: PhaseData, u: torch.Tensor, channels: Channels) -> torch.Tensor:
        if self.plan.elbo == "exact":
            return negative_elbo(self.model.array, data.y, u, channels, data.prior)
        return sampled_elbo(self.model.array, data.y, u, channels, data.prior, self.rng)

    def _with(self, loss: torch.Tensor, u: torch.Tensor, target: torch.Tensor | None) -> torch.Tensor:
        """Plus gamma times the angles' error, where there is a target."""
        mean = loss.mean() / self.n_snapshots
        if target is None:
            return mean
        error = _angle_error(u, target)
        if self.gamma is None:
            self.gamma = abs(float(mean.detach())) / max(float(error.detach()), 1e-12)
        return mean + self.gamma * error


def _angle_error(u: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (torch.asin(u.clamp(-0.9999, 0.9999)) - torch.asin(target.clamp(-0.9999, 0.9999))).square().mean()
