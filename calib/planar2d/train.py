"""Log-peak loss of a plane by Adam: mean log D at the nulls of unlabelled blocks, in torch.

The direction of a null is where D is smallest, so its own motion costs nothing to first order (envelope
theorem): nulls are found without gradient and the loss is taken at them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calib.manifold import require_torch
from calib.observations import Subspaces
from calib.planar2d.model import Plane, find_peaks, refine_peaks

_SEARCH_EVERY = 25  # steps; in between the nulls are followed


@dataclass(frozen=True, slots=True)
class PlaneTrainSettings:
    """n_steps, batch, lr (gains around 1; positions take lr / 2, wavelengths), cosine to 0.

    sharp: nulls shallower than this are left out. radius: of the disc that is searched.
    """

    n_steps: int = 150
    batch: int = 100
    lr: float = 3e-3
    sharp: float = 0.05
    radius: float = 1.1
    free_positions: bool = True


@dataclass(frozen=True, slots=True)
class TrainedPlane:
    """The model after the last step, the loss of every step and the number of steps."""

    model: Plane
    history: list[float]
    steps: int


def train_plane(
    model: Plane,
    sub: Subspaces,
    settings: PlaneTrainSettings,
    *,
    seed: int = 0,
    on_step: Callable[[int, float], bool] | None = None,
) -> TrainedPlane:
    """Minimise the log-peak loss. on_step(step, loss) may return True to stop. HilError without torch."""
    require_torch()
    import torch

    rng = np.random.default_rng(seed)
    gain = torch.tensor(model.g * np.sqrt(model.n_elements), dtype=torch.complex128, requires_grad=True)
    positions = torch.tensor(model.r, dtype=torch.float64, requires_grad=settings.free_positions)
    groups = [{"params": [gain], "lr": settings.lr}]
    if settings.free_positions:
        groups.append({"params": [positions], "lr": settings.lr / 2})
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(settings.n_steps, 1))
    history: list[float] = []

    def snapshot() -> Plane:
        return Plane(gain.detach().numpy().copy(), positions.detach().numpy().copy()).normalised()

    everywhere, _ = find_peaks(snapshot(), sub, settings.radius)
    for step in range(settings.n_steps):
        if step and step % _SEARCH_EVERY == 0:
            everywhere, _ = find_peaks(snapshot(), sub, settings.radius)
        index = rng.choice(len(sub), min(settings.batch, len(sub)), replace=False)
        part = sub.select(index)
        d, depth = refine_peaks(snapshot(), part, everywhere[index], 0.05, 2)
        everywhere[index] = d
        sharp = depth < settings.sharp
        if not sharp.any():
            sharp = depth <= np.median(depth)
        signal = torch.from_numpy(part.signal[np.nonzero(sharp)[0]])
        phase = 2 * torch.pi * torch.from_numpy(d[sharp]) @ positions.T
        a = gain / torch.linalg.vector_norm(gain) * torch.polar(torch.ones_like(phase), phase)
        response = torch.einsum("ln,lnk->lk", a, signal.conj())
        null = 1 - (response.real**2 + response.imag**2).sum(-1)
        loss = (null + 1e-7).log().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        history.append(float(loss.detach()))
        if on_step is not None and on_step(step, history[-1]):
            break
    return TrainedPlane(snapshot(), history, len(history))
