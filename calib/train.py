"""The one training loop: Adam on gains and positions of a model, on blocks drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calib.losses import LOSSES
from calib.manifold import null_depth, require_torch, steering
from calib.model import Model
from calib.observations import Subspaces
from calib.peaks import windows
from hil.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """loss: name in calib.losses. n_steps, batch, lr (gains; positions take lr/2, wavelengths), cosine to 0.

    width, n_points : window of the loss. sharp : peaks shallower than this are left out. limit : u range.
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


@dataclass(frozen=True, slots=True)
class Trained:
    """model with the smallest loss over the last windows; history of the loss; steps made."""

    model: Model
    history: list[float]
    steps: int


def train(
    model: Model,
    sub: Subspaces,
    settings: TrainSettings,
    *,
    seed: int = 0,
    on_step: Callable[[int, float], bool] | None = None,
) -> Trained:
    """Minimise an unlabelled loss. on_step(step, loss) may return True to stop.

    The ramp and scale of a line, and the rotation of a plane, are not seen by the loss: the caller fixes
    them afterwards. Raises ConfigError for an unknown loss, HilError without torch.
    """
    require_torch()
    import torch

    if settings.loss not in LOSSES:
        raise ConfigError(f"unknown loss {settings.loss!r}", hint=f"one of {', '.join(LOSSES)}")
    loss_of = LOSSES[settings.loss]
    rng = np.random.default_rng(seed)
    n = model.n_elements
    # gains around 1 for one learning rate
    gain = torch.tensor(model.g * np.sqrt(n), dtype=torch.complex128, requires_grad=True)
    positions = torch.tensor(model.r, dtype=torch.float64, requires_grad=settings.free_positions)
    groups = [{"params": [gain], "lr": settings.lr}]
    if settings.free_positions:
        groups.append({"params": [positions], "lr": settings.lr / 2})
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.n_steps)
    history: list[float] = []
    for step in range(settings.n_steps):
        index = rng.choice(len(sub), min(settings.batch, len(sub)), replace=False)
        part = sub.select(index)
        now = Model(gain.detach().numpy(), positions.detach().numpy()).normalised()
        theta, depth = windows(now, part, settings.limit, settings.width, settings.n_points)
        sharp = depth < settings.sharp
        if not sharp.any():
            sharp = depth <= np.median(depth)
        block = np.broadcast_to(np.arange(len(index))[:, None], depth.shape)[sharp]
        # one row per peak: its block's subspace and its window
        a = steering(gain, positions, torch.from_numpy(theta[sharp]))
        d = null_depth(torch.from_numpy(part.signal[block]), a)
        loss = loss_of(d[:, None, :])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        history.append(float(loss.detach()))
        if on_step is not None and on_step(step, history[-1]):
            break
    final = Model(gain.detach().numpy().copy(), positions.detach().numpy().copy()).normalised()
    return Trained(final, history, len(history))
