"""Users closer than any spectrum shows: one label between them, and one lost in the noise.

The lost one, the weakest found, is laid beside each of the others in turn, and what then is likeliest under users of equal
power stays. Where users are not equal the weakest may be real: so it is only moved if the samples, under the powers that fit them
best, hardly need it where it was.
"""

from __future__ import annotations

import math

import torch

from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.posterior import ChannelPrior, fitted_loss, fitted_prior, marginal
from calib.methods.dual_path_vae.refine import refine

_BESIDE_BEAMS = 0.3
# the best of the places in noise explains the samples by so much, and the logarithm of their number, better once in a
# thousand recordings (8 to 64 elements, 40 snapshots)
_NOISE_NATS = 9.0
# and a place between leaked sidelobes by less than this; beyond, nothing is tried
_DOUBT_NATS = 100.0


def resolve(
    array: KnownArray,
    covariance: torch.Tensor,
    u: torch.Tensor,
    prior: ChannelPrior,
    n_snapshots: int,
    n_steps: int = 20,
) -> torch.Tensor:
    """u (B, K), ascending: as given, or refined with the weakest user moved beside another.

    covariance : R (B, N, N) of n_snapshots. u : (B, K), refined. prior : users of equal power (`estimated_prior`).
    """
    if u.shape[1] == 1:
        return u
    weakest = _weakest(array, covariance, u)
    others = u[~weakest].view(len(u), -1)
    loss = fitted_loss(array, covariance, u)
    limit = loss + (_NOISE_NATS + math.log(array.n_elements)) / n_snapshots
    doubtful = torch.where(fitted_loss(array, covariance, others) < loss + _DOUBT_NATS / n_snapshots)[0]
    if not len(doubtful):
        return u
    r, was, limit = covariance[doubtful], u[doubtful], limit[doubtful]
    prior = ChannelPrior(prior.covariance[doubtful], prior.noise[doubtful])
    best, value = was, marginal(array, r, was, prior)
    for k in range(u.shape[1]):
        trial = refine(array, r, _moved(array, was, weakest[doubtful], k), prior, n_steps=n_steps)
        now = marginal(array, r, trial, prior)
        better = (now < value) & (fitted_loss(array, r, trial) < limit)
        best, value = torch.where(better[:, None], trial, best), torch.where(better, now, value)
    return u.index_copy(0, doubtful, best)


def _weakest(array: KnownArray, covariance: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """(B, K) bool."""
    powers = torch.diagonal(fitted_prior(array, covariance, u).covariance, dim1=-2, dim2=-1).real
    return torch.eye(u.shape[-1], dtype=torch.bool, device=u.device)[powers.argmin(-1)]


def _moved(array: KnownArray, u: torch.Tensor, weakest: torch.Tensor, k: int) -> torch.Tensor:
    """The weakest beside user k, which moves to the other side; unchanged where they are the same."""
    aside = _BESIDE_BEAMS * array.beam_u
    trial = torch.where(weakest, u[:, k : k + 1] + aside, u)
    return torch.cat(
        (trial[:, :k], torch.where(weakest, u, u - aside)[:, k : k + 1], trial[:, k + 1 :]), dim=1
    )
