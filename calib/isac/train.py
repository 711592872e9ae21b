"""Learning of the array by Adam through the differentiable matching pursuit (Mateos-Ramos et al. 2025, section IV).

The transmit beam is computed from the array as learned so far. End to end, the gradient goes through the beam too,
where the source simulates the channel; on hardware it stops there and the receiver alone teaches. With the unlabelled
loss it should stop in any case: a beam can be made stronger by an array that is not the true one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from calib.isac.beam import RIDGE, sector_beams
from calib.isac.differentiable_omp import DifferentiableOmp
from calib.isac.learned_array import LearnedArray
from calib.isac.losses import gospa_loss, log_error, max_map, mse, places, range_of
from calib.isac.source import Batch, Source
from hil.core.errors import ConfigError
from hil.core.units import SPEED_OF_LIGHT_M_S

LossName = Literal["max-map", "log", "mse", "gospa"]
Ended = Literal["steps", "time", "stopped"]
LR_SPACING = 1e-2
#: Of the errors of "mult", which move the outer elements 30 times as far.
LR_MULT = 1e-3
LR_DICTIONARY = 5e-3
#: The paper's learning rate of a spacing, 1e-7 m at 60 GHz, in wavelengths: 2000 steps for one standard deviation.
PAPER_LR_SPACING = 2e-5


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to learn.

    loss : "max-map" needs no labels; "log", "mse" and "gospa" compare positions. n_targets : in a block, at most.
    n_steps, batch, time_limit_s. lr : of Adam: LR_SPACING for "cum" and "positions", LR_MULT, LR_DICTIONARY.
    cosine : it falls to 0 over n_steps. end_to_end : gradient through the beam, as in the paper. ridge : of the beam.
    sector_mask : False searches +-90 degrees, as the paper. beta : of the softmax.
    """

    loss: LossName = "max-map"
    n_targets: int = 1
    n_steps: int = 300
    batch: int = 128
    time_limit_s: float = 60.0
    lr: float = LR_SPACING
    cosine: bool = True
    end_to_end: bool = False
    ridge: float = RIDGE
    sector_mask: bool = True
    beta: float = 20.0

    def __post_init__(self) -> None:
        if self.loss not in get_args(LossName):
            raise ConfigError(
                f"loss {self.loss!r} is not known", hint=f"one of {', '.join(get_args(LossName))}"
            )


@dataclass(frozen=True, slots=True)
class Trained:
    """history : loss of every step. seconds. ended : why, "steps", "time" or "stopped"."""

    history: list[float]
    seconds: float
    ended: Ended


def train(
    array: LearnedArray,
    source: Source,
    settings: TrainSettings,
    *,
    on_step: Callable[[int, float], bool] | None = None,
) -> Trained:
    """Learn in place.

    Parameters
    ----------
    source : of batches of at most n_targets; a labelled loss knows how many there are, as in the paper.
    on_step(step, loss) : True ends the training.

    Raises
    ------
    ConfigError : a loss on positions, but the source has no labels.
    """
    omp = DifferentiableOmp(
        array.grid, source.basis, source.spacing_hz, sector_mask=settings.sector_mask, beta=settings.beta
    )
    optimiser = torch.optim.Adam(array.parameters(), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(settings.n_steps, 1))
    history: list[float] = []
    begin = time.monotonic()
    ended: Ended = "steps"
    for step in range(settings.n_steps):
        loss = _loss(array, omp, source, settings)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if settings.cosine:
            schedule.step()
        history.append(float(loss.detach()))
        if on_step is not None and on_step(step, history[-1]):
            ended = "stopped"
            break
        if time.monotonic() - begin > settings.time_limit_s:
            ended = "time"
            break
    return Trained(history, time.monotonic() - begin, ended)


def _loss(array: LearnedArray, omp: DifferentiableOmp, source: Source, settings: TrainSettings) -> Tensor:
    """The loss of one new batch."""
    dictionary = array.dictionary()
    grid_u = torch.from_numpy(array.grid.u)

    def beam_of(sector_u: Tensor) -> Tensor:
        beams = sector_beams(dictionary, grid_u, sector_u, settings.ridge)
        return beams if settings.end_to_end else beams.detach()

    batch = source(beam_of, settings.batch)
    found = omp(batch.taps, dictionary, batch.sector_u, n_targets=settings.n_targets, x=array.x())
    if settings.loss == "max-map":
        return max_map(found.strength)
    true_m = _truth(batch)
    found_m = places(found.theta_rad, range_of(found.delay_s))
    if settings.loss == "gospa":
        low_s, high_s = source.window_s
        return gospa_loss(true_m, found_m, (high_s - low_s) * SPEED_OF_LIGHT_M_S / 4, batch.present)
    loss_of = log_error if settings.loss == "log" else mse
    return loss_of(true_m, found_m, batch.present)


def _truth(batch: Batch) -> Tensor:
    """(B, T, 2) metres."""
    if batch.theta_rad is None or batch.delay_s is None:
        raise ConfigError("this loss compares positions, but the data have no labels", hint="use max-map")
    return places(batch.theta_rad, range_of(batch.delay_s))
