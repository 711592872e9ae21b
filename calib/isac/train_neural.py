"""Training of the neural baseline in the two steps of Mateos-Ramos et al. 2025, section V-A, for one target.

First beam, angle and range on the squared position error; then beam and detection on the cross-entropy, with
angle and range frozen. Adam; the learning rate halves when the loss has not fallen for `patience` steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calib.isac.losses import places, range_of
from calib.isac.neural import NeuralIsac
from calib.isac.source import Batch, Source
from hil.core.errors import ConfigError

_LEAST_RATE = 1e-6


@dataclass(frozen=True, slots=True)
class NeuralSettings:
    """n_steps, time_limit_s and lr of each of the two steps (positions, detection); batch; patience in steps.

    The paper: 100 000 steps of batch 3000, lr 1e-2 and 1e-3, patience 10 000. At small batches more than this lr
    switches all of the four neurons of a layer off for good.
    """

    n_steps: tuple[int, int] = (600, 600)
    time_limit_s: tuple[float, float] = (180.0, 120.0)
    lr: tuple[float, float] = (3e-3, 1e-3)
    batch: int = 16
    patience: int = 10_000


@dataclass(frozen=True, slots=True)
class NeuralHistory:
    """Losses of the two steps, one number a step: squared metres, nats."""

    position: list[float]
    detection: list[float]


def train_neural(
    network: NeuralIsac,
    positions: Source,
    detections: Source,
    settings: NeuralSettings,
    *,
    on_step: Callable[[int, float], bool] | None = None,
) -> NeuralHistory:
    """Train in place and leave the network ready for use (batch statistics frozen).

    Parameters
    ----------
    positions, detections : of the first and of the second step; one labelled target, in the second often absent.
    on_step(step, loss) : steps count through both parts; True ends the training.

    Raises
    ------
    ConfigError : a source has no labels.
    """
    moved = (network.beam, network.angle, network.range), (network.beam, network.detection)
    steps = (positions, position_loss), (detections, detection_loss)
    histories: tuple[list[float], list[float]] = ([], [])
    stopped = False
    for part in (0, 1):
        if stopped:
            break
        network.eval()
        for module in moved[part]:
            module.train()
        parameters = [p for module in moved[part] for p in module.parameters()]
        optimiser = torch.optim.Adam(parameters, lr=settings.lr[part])
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=0.5, patience=settings.patience, min_lr=_LEAST_RATE
        )
        source, loss_of = steps[part]
        deadline = time.monotonic() + settings.time_limit_s[part]
        for _ in range(settings.n_steps[part]):
            loss = loss_of(network, source(network.beam, settings.batch))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            histories[part].append(float(loss.detach()))
            schedule.step(histories[part][-1])
            done = len(histories[0]) + len(histories[1]) - 1
            stopped = on_step is not None and on_step(done, histories[part][-1])
            if stopped or time.monotonic() > deadline:
                break
    network.eval()
    return NeuralHistory(*histories)


def position_loss(network: NeuralIsac, batch: Batch) -> Tensor:
    """Mean squared position error of the targets that are there, square metres. ConfigError without labels."""
    theta, delay, present = _labels(batch)
    found_theta, found_delay = network.position(network.angle_delay_map(batch.taps), batch.sector_u)
    error = places(found_theta, range_of(found_delay)) - places(theta, range_of(delay))
    return error.square().sum(1)[present].mean()


def detection_loss(network: NeuralIsac, batch: Batch) -> Tensor:
    """Mean binary cross-entropy of presence, nats. ConfigError without labels."""
    present = _labels(batch)[2]
    logit = network.presence(network.angle_delay_map(batch.taps), batch.sector_u)
    return nn.functional.binary_cross_entropy_with_logits(logit, present.float())


def _labels(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """theta_rad, delay_s float32 and present bool, all (B,)."""
    theta, delay, present = batch.theta_rad, batch.delay_s, batch.present
    if theta is None or delay is None or present is None:
        raise ConfigError("the neural baseline needs labels", hint="train it on simulated scenes")
    return theta[:, 0].float(), delay[:, 0].float(), present[:, 0]
