"""Maximum likelihood of one recording at a time: steps on the marginal likelihood from a start, no training.

With W = G^-1 A^H the slope of l and its scoring matrix are K x K expressions,

    dl/du_k = 2 Re [sigma^2 W D + W R W^H A^H D - W R D]_kk,   H = 2 Re [(D^H P D) * (W R W^H)^T]

so a step costs little more than the likelihood itself, and a handful of damped ones reach its minimum.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.posterior import ChannelPrior, normal_matrix

MAX_U = 0.999
_DAMPING = 1e-2
# nats a snapshot that one more step promises
_ENOUGH = 1e-6


class _Local(NamedTuple):
    """value (B,), slope (B, K) and scoring matrix (B, K, K) of l at u (B, K)."""

    u: torch.Tensor
    value: torch.Tensor
    slope: torch.Tensor
    bend: torch.Tensor


def refine(
    array: KnownArray,
    covariance: torch.Tensor,
    u: torch.Tensor,
    prior: ChannelPrior,
    *,
    n_steps: int = 20,
    reach: float | None = None,
) -> torch.Tensor:
    """u (B, K), ascending, after at most n_steps damped scoring steps on l(u), within `reach` of the start (default half a
    beam). l never grows.

    covariance : R (B, N, N) complex128 or complex64. u : (B, K) start.
    """
    half = array.beam_u / 2 if reach is None else reach
    low, high = (u - half).clamp_min(-MAX_U), (u + half).clamp_max(MAX_U)
    now = _local(array, covariance, u.clamp(-MAX_U, MAX_U), prior)
    damping = torch.full_like(now.value, _DAMPING)
    eye = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
    for _ in range(n_steps):
        size = torch.diagonal(now.bend, dim1=-2, dim2=-1).amax(-1).clamp_min(torch.finfo(u.dtype).tiny)
        matrix = now.bend / size[:, None, None] + damping[:, None, None] * eye
        move = -torch.linalg.solve(matrix, now.slope / size[:, None]).clamp(-half, half)
        to = (now.u + move).clamp(low, high)
        gain = -(now.slope * (to - now.u)).sum(-1)
        there = _local(array, covariance, to, prior)
        better = there.value < now.value
        damping = torch.where(better, damping / 4, damping * 8).clamp(1e-6, 1e6)
        done = bool((gain < _ENOUGH * prior.noise).all())
        now = _Local(
            *(
                torch.where(better.view(-1, *[1] * (a.dim() - 1)), a, b)
                for a, b in zip(there, now, strict=True)
            )
        )
        if done:
            break
    return now.u.sort(dim=-1).values


@torch.no_grad()
def _local(array: KnownArray, covariance: torch.Tensor, u: torch.Tensor, prior: ChannelPrior) -> _Local:
    a, d = (part.to(covariance.dtype) for part in (array.responses(u), array.slopes(u)))
    normal = normal_matrix(a, prior)
    factor = torch.linalg.cholesky(normal)
    w = torch.cholesky_solve(a.mH, factor)
    seen = w @ covariance
    power = seen @ w.mH
    cross = a.mH @ d
    noise = prior.noise[..., None]
    diagonal = torch.diagonal(factor, dim1=-2, dim2=-1).real
    value = prior.noise * 2 * diagonal.log().sum(-1) - torch.diagonal(seen @ a, dim1=-2, dim2=-1).real.sum(-1)
    slope = 2 * torch.diagonal(noise[..., None] * (w @ d) + power @ cross - seen @ d, dim1=-2, dim2=-1).real
    away = d.mH @ d - cross.mH @ torch.cholesky_solve(cross, factor)
    return _Local(u, value, slope, 2 * (away * power.mT).real)
