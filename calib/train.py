"""The one training loop: Adam on gains and positions of a model, on blocks drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calib.losses import LABELLED, LOSSES, rmspe
from calib.manifold import null_depth, require_torch, soft_angles, steering
from calib.model import Model
from calib.observations import Subspaces
from calib.peaks import AngleGrid, PeakPolicy, choose_peaks, grid_peaks, window_start, windows
from hil.core.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    import torch

#: Every loss by name; "rmspe", "spectrum" and "log-spectrum" need the true angles.
LOSS_NAMES: tuple[str, ...] = (*LOSSES, *LABELLED, "rmspe")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """loss: a name in LOSS_NAMES. n_steps, batch, lr of the gains, lr_position (wavelengths, default lr/2), both
    falling to 0 along a cosine.

    grid : windows of n_points on this grid of angles, as published; None: windows of `width` in u (radians on
    a plane) around nulls refined off the grid, sought within `limit`. sharp : shallower nulls are left out of
    unlabelled losses; inf: every peak counts, as published. beta : of the softmax in "rmspe".
    """

    loss: str = "log-peak"
    n_steps: int = 150
    batch: int = 100
    lr: float = 3e-3
    width: float = 0.1
    n_points: int = 31
    sharp: float = 0.05
    limit: tuple[float, float] = (-1.1, 1.1)
    free_positions: bool = True
    lr_position: float | None = None
    grid: AngleGrid | None = None
    beta: float = 5.0
    policy: PeakPolicy = "paper"


@dataclass(frozen=True, slots=True)
class Trained:
    """model after the last step; history of the loss; steps made."""

    model: Model
    history: list[float]
    steps: int


def train(
    model: Model,
    sub: Subspaces,
    settings: TrainSettings,
    *,
    theta_rad: NDArray[np.float64] | None = None,
    seed: int = 0,
    on_step: Callable[[int, float], bool] | None = None,
) -> Trained:
    """Minimise a loss over gains and positions, in complex128.

    Parameters
    ----------
    model : start. sub : subspaces of B blocks, data to the gradient. theta_rad : (B, K) true angles (broadside
        angle of a line, azimuth of a plane) for the labelled losses. on_step(step, loss) may return True to
        stop.

    What unlabelled data do not show (ramp and scale of a line, rotation of a plane) is for the caller to fix
    afterwards.

    Raises
    ------
    ConfigError : unknown loss, or a labelled one without angles. ShapeError : angles of another shape.
    HilError : torch is missing.
    """
    require_torch()
    import torch

    _check(settings, sub, theta_rad)
    rng = np.random.default_rng(seed)
    n = model.n_elements
    # gains around 1 for one learning rate
    gain = torch.tensor(model.g * np.sqrt(n), dtype=torch.complex128, requires_grad=True)
    positions = torch.tensor(model.r, dtype=torch.float64, requires_grad=settings.free_positions)
    groups = [{"params": [gain], "lr": settings.lr}]
    if settings.free_positions:
        lr_position = settings.lr / 2 if settings.lr_position is None else settings.lr_position
        groups.append({"params": [positions], "lr": lr_position})
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.n_steps)
    history: list[float] = []
    for step in range(settings.n_steps):
        index = rng.choice(len(sub), min(settings.batch, len(sub)), replace=False)
        now = Model(gain.detach().numpy(), positions.detach().numpy()).normalised()
        angles = None if theta_rad is None else theta_rad[index]
        loss = _loss(settings, now, gain, positions, sub.select(index), angles, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        history.append(float(loss.detach()))
        if on_step is not None and on_step(step, history[-1]):
            break
    final = Model(gain.detach().numpy().copy(), positions.detach().numpy().copy()).normalised()
    return Trained(final, history, len(history))


def _check(settings: TrainSettings, sub: Subspaces, theta_rad: NDArray[np.float64] | None) -> None:
    if settings.loss not in LOSS_NAMES:
        raise ConfigError(f"unknown loss {settings.loss!r}", hint=f"one of {', '.join(LOSS_NAMES)}")
    if settings.loss in LOSSES:
        return
    if theta_rad is None:
        raise ConfigError(
            f"loss {settings.loss!r} needs the true angles", hint=f"or one of {', '.join(LOSSES)}"
        )
    if theta_rad.shape != (len(sub), sub.n_sources):
        raise ShapeError(f"theta_rad: {theta_rad.shape} for {len(sub)} blocks of {sub.n_sources} sources")


def _loss(
    settings: TrainSettings,
    now: Model,
    gain: torch.Tensor,
    positions: torch.Tensor,
    part: Subspaces,
    angles: NDArray[np.float64] | None,
    step: int,
) -> torch.Tensor:
    """The loss of a batch: peaks from `now` without gradient, depths from gain and positions with it."""
    import torch

    if settings.loss in LABELLED and angles is not None:
        at = np.sin(angles) if now.is_line else angles
        a = steering(gain, positions, torch.from_numpy(at))
        return LABELLED[settings.loss](null_depth(torch.from_numpy(part.signal), a))
    if settings.loss == "rmspe" and angles is not None:
        grid = settings.grid or AngleGrid(0.05, 90.0 if now.is_line else 180.0, 4)
        theta, _ = _grid_windows(now, part, settings, grid, step)
        b, k, n_points = theta.shape
        at = np.sin(theta) if now.is_line else theta
        a = steering(gain, positions, torch.from_numpy(at.reshape(b, k * n_points)))
        depth = null_depth(torch.from_numpy(part.signal), a).reshape(b, k, n_points)
        estimate = soft_angles(torch.from_numpy(theta), depth, settings.beta)
        return rmspe(estimate, torch.from_numpy(angles), np.pi if now.is_line else 2 * np.pi)
    if settings.grid is None:
        at, depth = windows(now, part, settings.limit, settings.width, settings.n_points)
    else:
        theta, depth = _grid_windows(now, part, settings, settings.grid, step)
        at = np.sin(theta) if now.is_line else theta
    sharp = depth < settings.sharp
    if not sharp.any():
        sharp = depth <= np.median(depth)
    block = np.broadcast_to(np.arange(len(part))[:, None], depth.shape)[sharp]
    # one row per peak: its block's subspace and its window
    a = steering(gain, positions, torch.from_numpy(at[sharp]))
    d = null_depth(torch.from_numpy(part.signal[block]), a)
    return LOSSES[settings.loss](d[:, None, :])


def _grid_windows(
    now: Model, part: Subspaces, settings: TrainSettings, grid: AngleGrid, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B, K, L) angles of the published windows and D (B, K) at the peaks."""
    found = grid_peaks(now, part, grid)
    start = window_start(choose_peaks(found, settings.policy, grid, seed), settings.n_points, grid)
    return grid.theta_rad[start[:, :, None] + np.arange(settings.n_points)], found.depth
