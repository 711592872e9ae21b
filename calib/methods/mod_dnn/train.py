"""Training of MoD-DNN: the autoencoder first, then, with it frozen, the heads on samples of their own subregion.

Samples come from a source, fresh in every step: `source(angle_deg, rng)` returns normalised tones (n, K, M) of a source at
each angle (n,), noise included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from calib.methods.mod_dnn.autoencoder import autoencoder_loss
from calib.methods.mod_dnn.labels import annealed_sigma, label
from calib.methods.mod_dnn.network import MoDDNN

Source = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.complex64]]


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """gate_steps, gate_batch : of the autoencoder. steps : of the heads, with `batch` samples a head. lr : largest, of
    Adam under a one-cycle schedule with 10 % warm-up. overlap_deg : a head also learns angles so far beyond its edges."""

    gate_steps: int = 1500
    gate_batch: int = 256
    steps: int = 2500
    batch: int = 32
    lr: float = 1e-2
    overlap_deg: float = 2.0
    seed: int = 0


@dataclass(slots=True)
class Trained:
    """history : (stage, step, loss), every tenth step. finished : False if `stop` or the time limit ended it."""

    history: list[tuple[str, int, float]] = field(default_factory=list)
    seconds: float = 0.0
    finished: bool = True


def train(
    network: MoDDNN,
    source: Source,
    plan: TrainPlan,
    *,
    time_limit_s: float = float("inf"),
    on_step: Callable[[str, float, float], bool] = lambda stage, share, loss: False,
) -> Trained:
    """Train in place. on_step(stage, share done, loss) may return True to stop."""
    out = Trained()
    begin = time.monotonic()
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)

    def told(stage: str, step: int, steps: int, loss: float) -> bool:
        out.seconds = time.monotonic() - begin
        if step % 10 == 0 or step == steps - 1:
            out.history.append((stage, step, loss))
            out.finished = not on_step(stage, (step + 1) / steps, loss) and out.seconds < time_limit_s
        return not out.finished

    network.train()
    try:
        if _train_gate(network, source, plan, rng, told):
            return out
        _train_heads(network, source, plan, rng, told)
        return out
    finally:
        network.eval()


Told = Callable[[str, int, int, float], bool]


def _train_gate(
    network: MoDDNN, source: Source, plan: TrainPlan, rng: np.random.Generator, told: Told
) -> bool:
    regions = network.shape.regions
    weights = list(network.autoencoder.parameters())
    adam = torch.optim.Adam(weights, lr=plan.lr)
    pace = torch.optim.lr_scheduler.CosineAnnealingLR(adam, plan.gate_steps)
    for step in range(plan.gate_steps):
        angle = rng.uniform(*regions.field_deg, plan.gate_batch)
        tones = torch.as_tensor(source(angle, rng))
        loss = autoencoder_loss(network.autoencoder(tones), tones, torch.as_tensor(regions.of(angle)))
        adam.zero_grad()
        loss.backward()
        adam.step()
        pace.step()
        if told("gate", step, plan.gate_steps, float(loss.detach())):
            return True
    for weight in weights:
        weight.requires_grad_(False)
    return False


def _train_heads(
    network: MoDDNN, source: Source, plan: TrainPlan, rng: np.random.Generator, told: Told
) -> None:
    shape = network.shape
    edges = shape.regions.edges_deg
    low, high = edges[:-1] - plan.overlap_deg, edges[1:] + plan.overlap_deg
    field_low, field_high = shape.regions.field_deg
    low, high = np.maximum(low, field_low), np.minimum(high, field_high)
    weights = list(network.calibrator.parameters())
    adam = torch.optim.Adam(weights, lr=plan.lr)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, plan.lr, total_steps=plan.steps, pct_start=0.1)
    for step in range(plan.steps):
        sigma = annealed_sigma(step / plan.steps)
        angle = rng.uniform(low, high, (plan.batch, shape.regions.n))
        tones = torch.as_tensor(source(angle.ravel(), rng)).unflatten(0, angle.shape)
        if shape.mode == "paper":
            heads = torch.arange(shape.regions.n)
            heard = network.heard(tones.flatten(0, 1)).unflatten(0, angle.shape)
            tones = heard[:, heads, heads]
        want = label(network.grid_deg, torch.as_tensor(angle, dtype=torch.float32), shape.label, sigma)
        energy = want.square().sum(-1).mean()
        spectra = network.reconstruct(network.measured(tones), sigma)
        share = torch.full((len(spectra),), 0.3)
        share[-1] = 1.0
        losses = torch.stack([(eta - want).square().sum(-1).mean() / energy for eta in spectra])
        loss = (share * losses).sum()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        cycle.step()
        if told("heads", step, plan.steps, float(loss.detach())):
            return
