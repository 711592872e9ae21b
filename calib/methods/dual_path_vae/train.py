"""Training of the path that estimates directions, with the channel path solved exactly in every step.

Solved exactly, the alternation of the two paths is at its limit, and the negative ELBO is the marginal likelihood
(`posterior.marginal`): that is the loss. No label is used unless `truth_u` is given, which makes it the supervised method.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from calib.methods.dual_path_vae.aoa_path import AnchoredPath
from calib.methods.dual_path_vae.posterior import ChannelPrior, marginal
from hil.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class AoaPlan:
    """Adam with a cosine over `epochs`. patience : epochs without a better validation loss that end it. held_out : share of
    the samples, the last ones, that only validate."""

    epochs: int = 15
    batch: int = 128
    lr: float = 2e-3
    patience: int = 5
    held_out: float = 0.1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class AoaData:
    """covariance : R (B, N, N) complex64. labels : u0 (B, K) float32, ascending. prior : of each sample. truth_u : (B, K) or None."""

    covariance: torch.Tensor
    labels: torch.Tensor
    prior: ChannelPrior
    truth_u: torch.Tensor | None = None

    def part(self, index: torch.Tensor | slice) -> AoaData:
        """Some of the samples."""
        prior = ChannelPrior(self.prior.covariance[index], self.prior.noise[index])
        truth = None if self.truth_u is None else self.truth_u[index]
        return AoaData(self.covariance[index], self.labels[index], prior, truth)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(slots=True)
class AoaTrained:
    """history : (epoch, training loss, validation loss). finished : False if `stop` or the time limit ended it."""

    history: list[tuple[int, float, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0
    finished: bool = True


def aoa_loss(path: AnchoredPath, data: AoaData) -> torch.Tensor:
    """Mean negative log likelihood of a snapshot; with the truth, mean squared error in beams."""
    u = path(data.covariance, data.labels)
    if data.truth_u is not None:
        return ((u - data.truth_u) / path.array.beam_u).square().mean()
    return (marginal(path.array, data.covariance, u, data.prior) / data.prior.noise).mean()


def train_aoa(
    path: AnchoredPath,
    data: AoaData,
    plan: AoaPlan,
    *,
    time_limit_s: float = float("inf"),
    on_epoch: Callable[[int, float, float], bool] = lambda epoch, loss, validation: False,
) -> AoaTrained:
    """Train in place; the weights of the best validation loss are kept, those before the first step included.

    on_epoch(epoch, loss, validation loss) may return True to stop. Raises ConfigError for too few samples.
    """
    count = int(len(data) * (1 - plan.held_out))
    if count < plan.batch or count == len(data):
        raise ConfigError(f"{len(data)} samples are too few to train with batches of {plan.batch}")
    begin, out = time.monotonic(), AoaTrained()
    training, validation = data.part(slice(count)), data.part(slice(count, None))
    rng = torch.Generator().manual_seed(plan.seed)
    adam = torch.optim.Adam(path.parameters(), lr=plan.lr)
    pace = torch.optim.lr_scheduler.CosineAnnealingLR(adam, plan.epochs * (count // plan.batch))
    best, kept = _validated(path, validation), _copied(path)
    for epoch in range(1, plan.epochs + 1):
        total, order = 0.0, torch.randperm(count, generator=rng)
        batches = order[: count - count % plan.batch].split(plan.batch)
        for index in batches:
            loss = aoa_loss(path, training.part(index))
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(path.parameters(), 1.0)
            adam.step()
            pace.step()
            total += float(loss.detach())
        now = _validated(path, validation)
        out.seconds = time.monotonic() - begin
        out.history.append((epoch, total / len(batches), now))
        if now < best:
            best, kept, out.best_epoch = now, _copied(path), epoch
        if on_epoch(epoch, total / len(batches), now) or out.seconds > time_limit_s:
            out.finished = False
            break
        if epoch - out.best_epoch >= plan.patience:
            break
    path.load_state_dict(kept)
    return out


@torch.no_grad()
def _validated(path: AnchoredPath, data: AoaData) -> float:
    return float(aoa_loss(path, data))


def _copied(path: AnchoredPath) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in path.state_dict().items()}
