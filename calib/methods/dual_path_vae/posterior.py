"""What is left once the channels are integrated out: exact posterior, ELBO and marginal likelihood.

Given directions, the channels' posterior is Gaussian and known in closed form,

    G = A^H A + sigma^2 Sigma_h^-1,   mu_m = G^-1 A^H y_m,   S = sigma^2 G^-1

(mean zero; Guo et al. print A^H A h_m for A^H y_m in eq. 15, which needs the unknown h, and in eq. 7 the trace with both
covariances swapped). With it the ELBO is the log marginal likelihood, of which only K x K matrices remain.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from calib.methods.dual_path_vae.decoder import KnownArray


@dataclass(frozen=True, slots=True)
class ChannelPrior:
    """covariance : (K, K) or (B, K, K) complex, of the users' channels. noise : sigma^2, () or (B,) real."""

    covariance: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True, slots=True)
class Channels:
    """mean : (B, K, M) complex. covariance : (B, K, K), the same in every snapshot."""

    mean: torch.Tensor
    covariance: torch.Tensor


def _normal(a: torch.Tensor, prior: ChannelPrior) -> torch.Tensor:
    return a.mH @ a + prior.noise[..., None, None] * torch.linalg.inv(prior.covariance)


def channel_posterior(array: KnownArray, y: torch.Tensor, u: torch.Tensor, prior: ChannelPrior) -> Channels:
    """Exact posterior of the channels of y (B, N, M) given directions u (B, K)."""
    a = array.responses(u).to(y.dtype)
    normal = _normal(a, prior)
    return Channels(
        torch.linalg.solve(normal, a.mH @ y), prior.noise[..., None, None] * torch.linalg.inv(normal)
    )


def negative_elbo(
    array: KnownArray, y: torch.Tensor, u: torch.Tensor, channels: Channels, prior: ChannelPrior
) -> torch.Tensor:
    """-ELBO (B,) times sigma^2, constants dropped, expectation over the channels done exactly (Guo et al., eq. 7, corrected)."""
    a = array.responses(u).to(y.dtype)
    n_snapshots = y.shape[-1]
    s, mean = channels.covariance, channels.mean
    inverse = torch.linalg.inv(prior.covariance)
    spread = _trace(inverse @ s) - torch.linalg.slogdet(s)[1]
    pull = _trace(mean.mH @ inverse @ mean)
    misfit = (y - a @ mean).abs().square().sum((-1, -2)) + n_snapshots * _trace(a @ s @ a.mH)
    return prior.noise * (n_snapshots * spread + pull) + misfit


def sampled_elbo(
    array: KnownArray,
    y: torch.Tensor,
    u: torch.Tensor,
    channels: Channels,
    prior: ChannelPrior,
    rng: torch.Generator,
) -> torch.Tensor:
    """The same with one draw of the channels in place of the expectation, as published (reparametrisation, eq. 12: the
    factor is a root of the covariance, not itself)."""
    mean, s = channels.mean, channels.covariance
    noise = torch.randn(mean.shape, dtype=mean.dtype, generator=rng)
    h = mean + torch.linalg.cholesky(s) @ noise
    inverse = torch.linalg.inv(prior.covariance)
    spread = _trace(inverse @ s) - torch.linalg.slogdet(s)[1]
    pull = _trace(mean.mH @ inverse @ mean)
    misfit = (y - array.responses(u).to(y.dtype) @ h).abs().square().sum((-1, -2))
    return prior.noise * (y.shape[-1] * spread + pull) + misfit


def marginal(
    array: KnownArray, covariance: torch.Tensor, u: torch.Tensor, prior: ChannelPrior
) -> torch.Tensor:
    """Negative log marginal likelihood (B,) of a snapshot, times sigma^2, constants dropped.

        l(u) = sigma^2 log det(G) - tr(G^-1 A^H R A)

    covariance : R (B, N, N), sample covariances. u : (B, K).
    """
    a = array.responses(u).to(covariance.dtype)
    normal = _normal(a, prior)
    factor = torch.linalg.cholesky(normal)
    log_det = 2 * torch.diagonal(factor, dim1=-2, dim2=-1).real.log().sum(-1)
    seen = a.mH @ covariance @ a
    return prior.noise * log_det - _trace(torch.cholesky_solve(seen, factor))


def estimated_prior(covariance: torch.Tensor, n_users: int, array: KnownArray) -> ChannelPrior:
    """Noise from the N - K smallest eigenvalues of R (B, N, N), equal powers from the rest, users uncorrelated."""
    values = torch.linalg.eigvalsh(covariance)
    noise = values[..., :-n_users].mean(-1)
    size = float(array.mixing.abs().square().sum()) / array.n_elements
    power = (values[..., -n_users:] - noise[..., None]).sum(-1) / (n_users * array.n_elements * size)
    power = torch.maximum(power, 1e-3 * noise / array.n_elements)
    eye = torch.eye(n_users, dtype=covariance.dtype)
    return ChannelPrior(power[..., None, None].to(covariance.dtype) * eye, noise)


def _trace(matrix: torch.Tensor) -> torch.Tensor:
    return torch.diagonal(matrix, dim1=-2, dim2=-1).real.sum(-1)
