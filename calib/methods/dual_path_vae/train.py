"""Training of the path that estimates directions, with the channel path solved exactly in every step.

Solved exactly, the alternation of the two paths is at its limit, and the negative ELBO is the marginal likelihood
(`posterior.marginal`): that is the loss. No label is used unless `truth_u` is given, which makes it the supervised method.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from calib.methods.dual_path_vae.aoa_path import AnchoredPath
from calib.methods.dual_path_vae.posterior import ChannelPrior, marginal
from calib.snapshot import Tensors, packed, part, unpack
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

    def to(self, device: torch.device | str) -> AoaData:
        """The same on another device."""
        prior = ChannelPrior(self.prior.covariance.to(device), self.prior.noise.to(device))
        truth = None if self.truth_u is None else self.truth_u.to(device)
        return AoaData(self.covariance.to(device), self.labels.to(device), prior, truth)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class AoaState:
    """A run at the end of an epoch. tensors : weights, best weights, optimiser, random numbers. card : the rest, as JSON can
    hold it."""

    tensors: Tensors
    card: dict[str, Any]


@dataclass(slots=True)
class AoaTrained:
    """history : (epoch, training loss, validation loss). finished : False if `on_epoch` or the time limit ended it."""

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
    state: AoaState | None = None,
    device: str = "cpu",
    time_limit_s: float = float("inf"),
    on_epoch: Callable[[int, float, float], bool] = lambda epoch, loss, validation: False,
    on_checkpoint: Callable[[AoaState], None] | None = None,
) -> AoaTrained:
    """Train in place; the weights of the best validation loss are kept, those before the first step included.

    state : of an earlier run with the same plan and data; on a CPU the run then ends with the weights it would have had
    uninterrupted. on_epoch(epoch, loss, validation loss) may return True to stop. on_checkpoint(state) hears of every epoch,
    before on_epoch. Raises ConfigError for too few samples or a state of another run.
    """
    count = int(len(data) * (1 - plan.held_out))
    if count < plan.batch or count == len(data):
        raise ConfigError(f"{len(data)} samples are too few to train with batches of {plan.batch}")
    path.to(device)
    try:
        return _Run(path, data.to(device), plan, count).go(state, time_limit_s, on_epoch, on_checkpoint)
    finally:
        path.to("cpu")


class _Run:
    def __init__(self, path: AnchoredPath, data: AoaData, plan: AoaPlan, count: int) -> None:
        self.path, self.plan, self.count = path, plan, count
        self.training, self.validation = data.part(slice(count)), data.part(slice(count, None))
        self.rng = torch.Generator().manual_seed(plan.seed)
        self.adam = torch.optim.Adam(path.parameters(), lr=plan.lr)
        self.out, self.before_s, self.begin = AoaTrained(), 0.0, time.monotonic()
        self.best, self.kept = self._validated(), self._copied()

    def go(
        self,
        state: AoaState | None,
        time_limit_s: float,
        on_epoch: Callable[[int, float, float], bool],
        on_checkpoint: Callable[[AoaState], None] | None,
    ) -> AoaTrained:
        if state is not None:
            self._resume(state)
        out = self.out
        while len(out.history) < self.plan.epochs and len(out.history) - out.best_epoch < self.plan.patience:
            row = self._epoch(len(out.history))
            if on_checkpoint is not None:
                on_checkpoint(self._state())
            if on_epoch(*row) or time.monotonic() - self.begin > time_limit_s:
                out.finished = False
                break
        self.path.load_state_dict(self.kept)
        return out

    def _epoch(self, done: int) -> tuple[int, float, float]:
        plan, total = self.plan, 0.0
        per_epoch = self.count // plan.batch
        order = torch.randperm(self.count, generator=self.rng)[: per_epoch * plan.batch]
        for i, index in enumerate(order.split(plan.batch)):
            turn = (done * per_epoch + i) / (plan.epochs * per_epoch)
            self.adam.param_groups[0]["lr"] = plan.lr * (1 + math.cos(math.pi * turn)) / 2
            loss = aoa_loss(self.path, self.training.part(index))
            self.adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.path.parameters(), 1.0)
            self.adam.step()
            total += float(loss.detach())
        row = (done + 1, total / per_epoch, self._validated())
        self.out.history.append(row)
        self.out.seconds = self.before_s + time.monotonic() - self.begin
        if row[2] < self.best:
            self.best, self.kept, self.out.best_epoch = row[2], self._copied(), done + 1
        return row

    def _state(self) -> AoaState:
        tensors = packed(self.path, self.adam) | {"random": self.rng.get_state()}
        tensors |= {f"best.{name}": value.cpu() for name, value in self.kept.items()}
        card = {
            "plan": asdict(self.plan), "samples": self.count, "best": self.best, "best_epoch": self.out.best_epoch,
            "history": [list(row) for row in self.out.history], "seconds": self.out.seconds,
        }  # fmt: skip
        return AoaState(tensors, card)

    def _resume(self, state: AoaState) -> None:
        card = state.card
        try:
            if card["plan"] != asdict(self.plan) or card["samples"] != self.count:
                raise ConfigError(
                    "the checkpoint belongs to a training with other settings or data",
                    hint="resume with the settings and the data set it was started with",
                )
            unpack(state.tensors, self.path, self.adam)
            self.rng.set_state(state.tensors["random"])
            self.best = float(card["best"])
            self.kept = {name: value.clone() for name, value in part(state.tensors, "best").items()}
            self.out.history = [(int(epoch), float(a), float(b)) for epoch, a, b in card["history"]]
            self.out.best_epoch, self.before_s = int(card["best_epoch"]), float(card["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as err:
            raise ConfigError(
                "the checkpoint is damaged", hint="train again from the start, without --resume"
            ) from err
        self.out.seconds = self.before_s

    @torch.no_grad()
    def _validated(self) -> float:
        return float(aoa_loss(self.path, self.validation))

    def _copied(self) -> Tensors:
        return {name: value.detach().clone() for name, value in self.path.state_dict().items()}
