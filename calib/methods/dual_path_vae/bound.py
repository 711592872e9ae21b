"""What no unbiased estimator beats: directions of several users with unknown Gaussian channels, and their channels.

    var(u) >= sigma^2 / (2 M) { Re[(D^H P D) * (Sigma A^H R^-1 A Sigma)^T] }^-1,   P = I - A (A^H A)^-1 A^H

(Stoica and Nehorai 1990, stochastic signals; D holds the slopes of the responses in u.)
"""

from __future__ import annotations

import torch

from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.posterior import ChannelPrior, normal_matrix

_APART_BEAMS = 1e-3


def direction_bound_u(
    array: KnownArray, u: torch.Tensor, prior: ChannelPrior, n_snapshots: int
) -> torch.Tensor:
    """Standard deviations (B, K) of the bound on u (B, K), ascending, M snapshots; very large where users coincide."""
    # at one place exactly the formula would forget that it cannot tell them apart
    missing = (_APART_BEAMS * array.beam_u - torch.diff(u, dim=-1)).clamp_min(0)
    u = u + torch.nn.functional.pad(missing, (1, 0)).cumsum(-1)
    a, d = array.responses(u), array.slopes(u)
    gram = normal_matrix(a, ChannelPrior(prior.covariance, torch.zeros_like(prior.noise)))
    cross = a.mH @ d
    slope = d.mH @ d - cross.mH @ torch.linalg.solve(gram, cross)
    # Sigma A^H R^-1 A Sigma = Sigma A^H A G^-1, without a difference of nearly equal matrices
    seen = prior.covariance @ gram @ torch.linalg.inv(normal_matrix(a, prior))
    information = (slope * seen.mT).real * (2 * n_snapshots / prior.noise[..., None, None])
    scale = torch.diagonal(information, dim1=-2, dim2=-1).clamp_min(1e-300).rsqrt()
    values, vectors = torch.linalg.eigh(scale[..., :, None] * information * scale[..., None, :])
    whole = values.clamp_min(0)[..., None, :].reciprocal()
    return scale * (vectors.square() * whole).nan_to_num(nan=0.0, posinf=torch.inf).sum(-1).sqrt()


def channel_bound(array: KnownArray, u: torch.Tensor, prior: ChannelPrior) -> torch.Tensor:
    """Smallest mean squared error (B,) of the channels over their mean power, directions u (B, K) known."""
    error = prior.noise[..., None, None] * torch.linalg.inv(normal_matrix(array.responses(u), prior))
    return _trace(error) / _trace(prior.covariance)


def _trace(matrix: torch.Tensor) -> torch.Tensor:
    return torch.diagonal(matrix, dim1=-2, dim2=-1).real.sum(-1)
