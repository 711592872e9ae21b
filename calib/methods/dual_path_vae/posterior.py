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

# of the mean power of an element: far below any receiver's, far above rounding
NOISE_FLOOR = 1e-7


@dataclass(frozen=True, slots=True)
class ChannelPrior:
    """covariance : (K, K) or (B, K, K) complex, of the users' channels. noise : sigma^2, () or (B,) real."""

    covariance: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True, slots=True)
class Channels:
    """mean : (B, K, M) complex. covariance : (B, K, K), the same in every snapshot, or (B, M, K, K)."""

    mean: torch.Tensor
    covariance: torch.Tensor


def normal_matrix(a: torch.Tensor, prior: ChannelPrior) -> torch.Tensor:
    """G (B, K, K) of responses (B, N, K), positive definite also where users coincide or their channels are the same."""
    values, vectors = torch.linalg.eigh(prior.covariance)
    eps = torch.finfo(values.dtype).eps
    least = eps ** (2 / 3) * values[..., -1:]
    inverse = (vectors / torch.maximum(values, least)[..., None, :]) @ vectors.mH
    whole = a.mH @ a + prior.noise[..., None, None] * inverse
    size = torch.diagonal(whole, dim1=-2, dim2=-1).real.detach().amax(-1)
    eye = torch.eye(a.shape[-1], dtype=whole.dtype, device=whole.device)
    return whole + 4 * eps * a.shape[-1] * size[..., None, None] * eye


def channel_posterior(array: KnownArray, y: torch.Tensor, u: torch.Tensor, prior: ChannelPrior) -> Channels:
    """Exact posterior of the channels of y (B, N, M) given directions u (B, K)."""
    a = array.responses(u).to(y.dtype)
    normal = normal_matrix(a, prior)
    return Channels(
        torch.linalg.solve(normal, a.mH @ y), prior.noise[..., None, None] * torch.linalg.inv(normal)
    )


def negative_elbo(
    array: KnownArray, y: torch.Tensor, u: torch.Tensor, channels: Channels, prior: ChannelPrior
) -> torch.Tensor:
    """-ELBO (B,) times sigma^2, constants dropped, expectation over the channels done exactly (Guo et al., eq. 7, corrected)."""
    a = array.responses(u).to(y.dtype)
    misfit = (y - a @ channels.mean).abs().square().sum((-1, -2))
    fuzzy = _trace((a.mH @ a)[..., None, :, :] @ _each(channels)).mean(-1)
    return divergence(channels, prior) + misfit + y.shape[-1] * fuzzy


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
    h = sampled(channels, rng)
    misfit = (y - array.responses(u).to(y.dtype) @ h).abs().square().sum((-1, -2))
    return divergence(channels, prior) + misfit


def sampled(channels: Channels, rng: torch.Generator) -> torch.Tensor:
    """One draw (B, K, M) of the channels: mean + root of the covariance times unit noise."""
    mean = channels.mean
    noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=rng)
    return mean + (torch.linalg.cholesky(_each(channels)) @ noise.mT[..., None])[..., 0].mT


def divergence(channels: Channels, prior: ChannelPrior) -> torch.Tensor:
    """From the prior to the channels (B,), all snapshots, times sigma^2, constants dropped (Guo et al., eq. 7, corrected)."""
    s, mean = _each(channels), channels.mean
    inverse = torch.linalg.inv(prior.covariance)
    spread = _trace(inverse[..., None, :, :] @ s) - torch.linalg.slogdet(s)[1]
    pull = _trace(mean.mH @ inverse @ mean)
    return prior.noise * (mean.shape[-1] * spread.mean(-1) + pull)


def marginal(
    array: KnownArray, covariance: torch.Tensor, u: torch.Tensor, prior: ChannelPrior
) -> torch.Tensor:
    """Negative log marginal likelihood (B,) of a snapshot, times sigma^2, constants dropped.

        l(u) = sigma^2 log det(G) - tr(G^-1 A^H R A)

    covariance : R (B, N, N), sample covariances. u : (B, K).
    """
    a = array.responses(u).to(covariance.dtype)
    normal = normal_matrix(a, prior)
    factor = torch.linalg.cholesky(normal)
    log_det = 2 * torch.diagonal(factor, dim1=-2, dim2=-1).real.log().sum(-1)
    seen = a.mH @ covariance @ a
    return prior.noise * log_det - _trace(torch.cholesky_solve(seen, factor))


def estimated_prior(covariance: torch.Tensor, n_users: int, array: KnownArray) -> ChannelPrior:
    """Noise from the N - K smallest eigenvalues of R (B, N, N), equal powers from the rest, users uncorrelated.

    Never zero: from fewer snapshots than elements the smallest eigenvalues are, and so are those of no samples at all.
    """
    values = torch.linalg.eigvalsh(covariance)
    tiny = torch.finfo(values.dtype).tiny ** 0.5
    noise = values[..., :-n_users].mean(-1).clamp_min(0) + NOISE_FLOOR * values.mean(-1).clamp_min(0) + tiny
    size = float(array.mixing.abs().square().sum()) / array.n_elements
    power = (values[..., -n_users:] - noise[..., None]).sum(-1) / (n_users * array.n_elements * size)
    power = torch.maximum(power, 1e-3 * noise / array.n_elements)
    eye = torch.eye(n_users, dtype=covariance.dtype, device=covariance.device)
    return ChannelPrior(power[..., None, None].to(covariance.dtype) * eye, noise)


def fitted_prior(array: KnownArray, covariance: torch.Tensor, u: torch.Tensor) -> ChannelPrior:
    """Noise and covariance of the channels (B, K, K) that fit R (B, N, N) best at directions u (B, K).

    Noise from what the responses leave of R, unbiased for any number of snapshots; powers never zero.
    """
    a = array.responses(u).to(covariance.dtype)
    n, k = a.shape[-2:]
    # two users at one place: their sum is known, their difference need only stay finite
    gram = a.mH @ a + 1e-9 * n * torch.eye(k, dtype=a.dtype, device=a.device)
    inverse = torch.linalg.inv(gram)
    w = inverse @ a.mH
    total = _trace(covariance).clamp_min(0) / n
    tiny = torch.finfo(total.dtype).tiny ** 0.5
    noise = (
        ((_trace(covariance) - _trace(w @ covariance @ a)) / (n - k)).clamp_min(0)
        + NOISE_FLOOR * total
        + tiny
    )
    values, vectors = torch.linalg.eigh(w @ covariance @ w.mH - noise[..., None, None] * inverse)
    least = torch.maximum(1e-3 * noise / n, 1e-10 * values[..., -1])
    powers = torch.maximum(values, least[..., None]).to(vectors.dtype)
    return ChannelPrior((vectors * powers[..., None, :]) @ vectors.mH, noise)


def fitted_loss(array: KnownArray, covariance: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Negative log likelihood (B,) of a snapshot at directions u (B, K) with the noise and channel covariance that fit best."""
    prior = fitted_prior(array, covariance, u)
    free = array.n_elements - u.shape[-1]
    scale = free * prior.noise.log() + torch.linalg.slogdet(prior.covariance)[1]
    return scale + (_trace(covariance) + marginal(array, covariance, u, prior)) / prior.noise


def _each(channels: Channels) -> torch.Tensor:
    """Covariances (B, M or 1, K, K)."""
    s = channels.covariance
    return s if s.dim() == 4 else s[:, None]


def _trace(matrix: torch.Tensor) -> torch.Tensor:
    return torch.diagonal(matrix, dim1=-2, dim2=-1).real.sum(-1)
