"""Training of MoD-DNN: the autoencoder first, then, with it frozen, the heads on samples of their own subregion.

Samples come from a source, fresh in every step: `source(angle_deg, rng)` returns normalised tones (n, K, M) of a source at
each angle (n,), noise included.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import smooth_l1_loss

from calib.methods.mod_dnn.autoencoder import autoencoder_loss
from calib.methods.mod_dnn.labels import annealed_sigma, label
from calib.methods.mod_dnn.network import MoDDNN
from calib.snapshot import Tensors, packed, part, unpack
from hil.core.errors import ConfigError

Source = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.complex64]]
_WARM_UP, _START, _END = 0.1, 1 / 25, 4e-6  # of the training; of the largest rate, twice
_HISTORY_EVERY = 10
_ENDFIRE_DEG = 89.0
_PATIENT = 0.5  # of the training: from there on patience counts
_EARLIER = 0.3  # of the last iteration's loss
#: From this part of the training on, when the rate has come down, the angle read from the spectrum counts as well.
#: Labels alone leave a bias of 0.05 degrees that depends on the angle: a spectrum close to its label may lean.
_ANGLES_FROM = 0.8
_ANGLE_WEIGHT = 4.0
#: Label widths from which on errors count by size and not by square: low SNR would decide all.
_ANGLE_BETA = 0.25
#: Label widths: what is read from a wrong hill says nothing about the lean of the right one.
_ANGLE_REACH = 5.0


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """gate_steps, gate_batch : of the autoencoder. steps : of the heads, with `batch` samples a head. lr : largest, of
    Adam under a one-cycle schedule with 10 % warm-up. overlap_deg : a head also learns angles so far beyond its edges, those of
    the field as well.
    checkpoint_every, validate_every : steps. patience : validations without a better one that end the training."""

    gate_steps: int = 1500
    gate_batch: int = 256
    steps: int = 6500
    batch: int = 32
    lr: float = 1e-2
    overlap_deg: float = 3.0
    seed: int = 0
    checkpoint_every: int = 100
    validate_every: int = 250
    patience: int = 8


@dataclass(frozen=True, slots=True)
class TrainState:
    """A run between two steps. tensors : weights, the best ones, and the optimiser's. card : the rest, as JSON can hold it."""

    tensors: Tensors
    card: dict[str, Any]


@dataclass(slots=True)
class Trained:
    """history : (stage, step, loss), every tenth step. validation : (step of the heads, error). finished : False if `on_step`
    or the time limit ended it. early : the validation error did. best_step : of the weights kept, None without validation."""

    history: list[tuple[str, int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    finished: bool = True
    early: bool = False
    best_step: int | None = None


def train(
    network: MoDDNN,
    source: Source,
    plan: TrainPlan,
    *,
    state: TrainState | None = None,
    device: str = "cpu",
    time_limit_s: float = float("inf"),
    validate: Callable[[MoDDNN], float] | None = None,
    on_step: Callable[[str, float, float], bool] = lambda stage, share, loss: False,
    on_checkpoint: Callable[[TrainState], None] | None = None,
) -> Trained:
    """Train in place; the network ends on the CPU in evaluation mode.

    state : of an earlier run with the same plan, network and source; on a CPU the run then ends with the weights it would
    have had uninterrupted. validate(network in evaluation mode, on the device) : an error; the weights with the smallest one
    are kept. on_step(stage, share done, loss), every tenth step, may return True to stop. on_checkpoint(state) : every
    `plan.checkpoint_every` steps, and when the run is stopped between two of them.

    Raises ConfigError for a state of another plan or network.
    """
    network.to(device)
    run = _Run(network, source, plan, device, validate)
    try:
        if state is not None:
            run.resume(state)
        run.go(time_limit_s, on_step, on_checkpoint)
        return run.out
    finally:
        network.eval()
        network.to("cpu")


class _Run:
    def __init__(
        self,
        network: MoDDNN,
        source: Source,
        plan: TrainPlan,
        device: str,
        validate: Callable[[MoDDNN], float] | None,
    ) -> None:
        self.network, self.source, self.plan, self.device = network, source, plan, device
        self.validate = validate
        self.rng = np.random.default_rng(plan.seed)
        self.out, self.before_s, self.begin = Trained(), 0.0, time.monotonic()
        self.stage, self.step = "gate", 0
        self.best, self.kept = math.inf, None
        self.adam = self._optimiser()
        edges = network.shape.regions.edges_deg
        # beyond the ends of the field too: what is never heard there pulls estimates near them inwards, by half a degree
        self.low = np.maximum(edges[:-1] - plan.overlap_deg, -_ENDFIRE_DEG)
        self.high = np.minimum(edges[1:] + plan.overlap_deg, _ENDFIRE_DEG)

    def go(
        self,
        time_limit_s: float,
        on_step: Callable[[str, float, float], bool],
        on_checkpoint: Callable[[TrainState], None] | None,
    ) -> None:
        plan, out = self.plan, self.out
        while self._enter():
            steps = self._steps()
            loss = float(self._gate_loss_step() if self.stage == "gate" else self._heads_loss_step())
            done, self.step = self.step, self.step + 1
            ends = self.step == steps
            if done % _HISTORY_EVERY == 0 or ends:
                out.seconds = self.before_s + time.monotonic() - self.begin
                out.history.append((self.stage, done, loss))
                over = time.monotonic() - self.begin >= time_limit_s
                out.finished = not on_step(self.stage, self.step / steps, loss) and not over
            if self.stage == "heads" and (ends or self.step % plan.validate_every == 0):
                self._validated()
            due = ends or self.step % plan.checkpoint_every == 0 or not out.finished
            if on_checkpoint is not None and due:
                on_checkpoint(self._state())
            if not out.finished:
                break
        if self.kept is not None:
            self.network.load_state_dict(self.kept)

    def _steps(self) -> int:
        return self.plan.gate_steps if self.stage == "gate" else self.plan.steps

    def _enter(self) -> bool:
        """Into the next stage where one is complete; False at the end."""
        if self.stage == "gate" and self.step >= self.plan.gate_steps:
            self.stage, self.step = "heads", 0
            self.adam = self._optimiser()
        return self.step < self._steps() and not self.out.early

    def _optimiser(self) -> torch.optim.Adam:
        net = self.network
        weights = net.autoencoder.parameters() if self.stage == "gate" else net.head_parameters()
        return torch.optim.Adam(weights, lr=self.plan.lr, foreach=True)

    def _gate_loss_step(self) -> torch.Tensor:
        plan, regions, net = self.plan, self.network.shape.regions, self.network
        net.train()
        self.adam.param_groups[0]["lr"] = plan.lr * (1 + math.cos(math.pi * self.step / plan.gate_steps)) / 2
        angle = self.rng.uniform(*regions.field_deg, plan.gate_batch)
        tones = torch.as_tensor(self.source(angle, self.rng)).to(self.device)
        region = torch.as_tensor(regions.of(angle)).to(self.device)
        loss = autoencoder_loss(net.autoencoder(tones), tones, region)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return loss.detach()

    def _heads_loss_step(self) -> torch.Tensor:
        plan, net = self.plan, self.network
        net.train()
        group = self.adam.param_groups[0]
        group["lr"], beta = learning_rate(self.step, plan.steps, plan.lr)
        group["betas"] = (beta, 0.999)
        sigma = annealed_sigma(self.step / plan.steps)
        angle = self.rng.uniform(self.low, self.high, (plan.batch, len(self.low)))
        tones = torch.as_tensor(self.source(angle.ravel(), self.rng)).to(self.device)
        wanted = torch.as_tensor(angle, dtype=torch.float32).to(self.device)
        loss, found = heads_loss(net, tones, wanted, sigma)
        total = loss
        if net.shape.label == "gaussian" and self.step >= _ANGLES_FROM * plan.steps:
            near = (found - wanted).abs() < _ANGLE_REACH * sigma
            error = smooth_l1_loss(found / sigma, wanted / sigma, beta=_ANGLE_BETA, reduction="none")
            total = loss + _ANGLE_WEIGHT * (error * near).mean()
        self.adam.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.head_parameters(), 1.0)
        self.adam.step()
        return loss.detach()

    def _validated(self) -> None:
        if self.validate is None:
            return
        self.network.eval()
        with torch.no_grad():
            error = float(self.validate(self.network))
        rows = self.out.validation
        rows.append((self.step, error))
        if error < self.best:
            self.best, self.out.best_step = error, self.step
            self.kept = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        # a better one before the rate comes down is luck, a worse one no reason to end
        since = self.step - max(self.out.best_step or 0, round(_PATIENT * self.plan.steps))
        self.out.early = since >= self.plan.patience * self.plan.validate_every

    def _state(self) -> TrainState:
        tensors = packed(self.network, self.adam)
        tensors |= {f"best.{name}": value.cpu() for name, value in (self.kept or {}).items()}
        out = self.out
        card = {
            "plan": asdict(self.plan), "stage": self.stage, "step": self.step, "random": self.rng.bit_generator.state,
            "history": [list(row) for row in out.history], "validation": [list(row) for row in out.validation],
            "seconds": self.before_s + time.monotonic() - self.begin, "early": out.early,
            "best_step": out.best_step,
        }  # fmt: skip
        return TrainState(tensors, card)

    def resume(self, state: TrainState) -> None:
        card = state.card
        try:
            if card["plan"] != asdict(self.plan):
                raise ConfigError(
                    "the checkpoint belongs to a training with other settings",
                    hint="resume with the settings it was started with",
                )
            self.stage, self.step = str(card["stage"]), int(card["step"])
            self.adam = self._optimiser()
            unpack(state.tensors, self.network, self.adam)
            self.rng.bit_generator.state = card["random"]
            self.out.history = [(str(stage), int(step), float(loss)) for stage, step, loss in card["history"]]
            self.out.validation = [(int(step), float(error)) for step, error in card["validation"]]
            self.out.best_step = None if card["best_step"] is None else int(card["best_step"])
            self.out.early, self.before_s = bool(card["early"]), float(card["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as err:
            raise ConfigError(
                "the checkpoint is damaged", hint="train again from the start, without --resume"
            ) from err
        self.out.seconds = self.before_s
        self.best = min((error for _, error in self.out.validation), default=math.inf)
        best = part(state.tensors, "best")
        self.kept = {name: value.to(self.device) for name, value in best.items()} or None


def heads_loss(
    network: MoDDNN, tones: torch.Tensor, angle_deg: torch.Tensor, sigma_deg: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared error against the labels over their energy, of the last iteration and in part of earlier ones; angles read (B, P).

    tones : (B P, K, M), each head's own samples. angle_deg : (B, P) of them. sigma_deg : of the labels.
    """
    shape = network.shape
    if network.hears_decoders:
        with torch.no_grad():
            heads = torch.arange(shape.regions.n, device=tones.device)
            tones = network.heard(tones).unflatten(0, angle_deg.shape)[:, heads, heads]
    else:
        tones = tones.unflatten(0, angle_deg.shape)
    want = label(network.grid_deg, angle_deg, shape.label, sigma_deg)
    spectra = network.reconstruct(network.measured(tones), sigma_deg)
    loss = sum(
        (_EARLIER if i < len(spectra) - 1 else 1.0) * (eta - want).square().sum()
        for i, eta in enumerate(spectra)
    )
    return torch.as_tensor(loss) / want.square().sum(), network.read(spectra[-1], network.grid_deg)


def learning_rate(step: int, steps: int, highest: float) -> tuple[float, float]:
    """Rate and first moment's decay of Adam at a step (Smith and Topin 2019; cosines, 10 % warm-up)."""
    up = max(_WARM_UP * steps - 1, 1e-9)
    if step <= up:
        share, (low, high) = step / up, (_START, 1.0)
    else:
        share, (low, high) = (step - up) / max(steps - 1 - up, 1e-9), (1.0, _END)
    turn = (1 - math.cos(math.pi * min(share, 1.0))) / 2
    beta = (0.95 - 0.1 * turn) if step <= up else (0.85 + 0.1 * turn)
    return highest * (low + (high - low) * turn), beta
