"""The training loop of the baselines: fresh samples of random angles, Adam under a one-cycle schedule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from calib.methods.mod_dnn.train import Source

#: on_step(stage, share done, loss), true to stop.
Told = Callable[[str, float, float], bool]
#: loss(tones (B, K, M), angle_deg (B,)).
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def silent(stage: str, share: float, loss: float) -> bool:
    """Goes on."""
    return False


def supervise(
    net: nn.Module, source: Source, loss_of: Loss, field_deg: tuple[float, float], stage: str, steps: int, batch: int, seed: int,
    on_step: Told, device: str | torch.device, *, lr: float,
) -> None:  # fmt: skip
    """Train in place, and leave the network in evaluation mode."""
    rng = np.random.default_rng(seed)
    net.to(device).train()
    adam = torch.optim.Adam(net.parameters(), lr=lr)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, lr, total_steps=steps, pct_start=0.1)
    try:
        for step in range(steps):
            angle = rng.uniform(*field_deg, batch)
            tones = torch.as_tensor(source(angle, rng)).to(device)
            loss = loss_of(tones, torch.as_tensor(angle, dtype=torch.float32, device=device))
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            adam.step()
            cycle.step()
            told = step % 10 == 0 or step == steps - 1
            if told and on_step(stage, (step + 1) / steps, float(loss.detach())):
                return
    finally:
        net.eval()
