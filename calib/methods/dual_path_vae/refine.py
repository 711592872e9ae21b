"""Maximum likelihood of one recording at a time: steps on the marginal likelihood from a start, no training."""

from __future__ import annotations

import torch

from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.posterior import ChannelPrior, marginal

MAX_U = 0.999


def refine(
    array: KnownArray,
    covariance: torch.Tensor,
    u: torch.Tensor,
    prior: ChannelPrior,
    *,
    n_steps: int = 20,
    reach: float | None = None,
) -> torch.Tensor:
    """u (B, K), ascending, after Adam steps on l(u), each within `reach` of its start (default half a beam).

    covariance : R (B, N, N) complex128 or complex64. u : (B, K) start. The best of all steps is kept, block by block.
    """
    beam = array.beam_u
    half = beam / 2 if reach is None else reach
    start = u.detach()
    shift = torch.zeros_like(start, requires_grad=True)
    adam = torch.optim.Adam([shift], lr=0.03, betas=(0.8, 0.95))
    pace = torch.optim.lr_scheduler.CosineAnnealingLR(adam, n_steps, eta_min=3e-4)
    best, best_u = torch.full(start.shape[:1], torch.inf, dtype=start.dtype), start
    for step in range(n_steps + 1):
        now = (start + half * torch.tanh(shift)).clamp(-MAX_U, MAX_U)
        value = marginal(array, covariance, now, prior)
        better = value.detach() < best
        best = torch.where(better, value.detach(), best)
        best_u = torch.where(better[:, None], now.detach(), best_u)
        if step == n_steps:
            break
        adam.zero_grad()
        (value / prior.noise).sum().backward()
        adam.step()
        pace.step()
    return best_u.sort(dim=-1).values
