"""The one way from samples to directions: pseudo-labels, the trained path if there is one, likelihood steps, bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from calib.methods.dual_path_vae.aoa_path import AnchoredPath
from calib.methods.dual_path_vae.bound import direction_bound_u
from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.labels import LabelKind, Labeller
from calib.methods.dual_path_vae.posterior import ChannelPrior, estimated_prior, fitted_prior, marginal
from calib.methods.dual_path_vae.refine import refine
from calib.methods.dual_path_vae.resolve import resolve
from hil.core.errors import ConfigError, ShapeError


@dataclass(frozen=True, slots=True)
class Directions:
    """u : (B, K) float64, ascending. sigma_u : (B, K), standard deviation of the bound at u with the powers found there, at
    most that of a guess. prior : noise and covariance of the channels found there, for `channel_posterior`."""

    u: torch.Tensor
    sigma_u: torch.Tensor
    prior: ChannelPrior


def estimate(
    array: KnownArray,
    data: NDArray[np.complexfloating] | torch.Tensor,
    n_users: int,
    path: AnchoredPath | None = None,
    *,
    n_snapshots: int | None = None,
    sector_deg: tuple[float, float] = (-60.0, 60.0),
    labels: LabelKind = "best",
    ml_steps: int = 20,
) -> Directions:
    """Directions of `n_users` users from each recording.

    data : samples (B, N, M) complex, or, with n_snapshots given, their sample covariances (B, N, N), M = n_snapshots.
    path : trained for this line and number of users; `array` may hold another calibration of it. labels : as in its
    training. ml_steps : 0 gives the path's own answer, else the likelier of it and the labels is refined.

    Raises ShapeError for data of another shape, ConfigError for too many users, values that are not finite, or labels
    that need samples.
    """
    covariance, samples, count = _checked(array, data, n_users, path, n_snapshots)
    with torch.no_grad():
        prior = estimated_prior(covariance, n_users, array)
        found = _labels(array, n_users, sector_deg, labels, covariance, samples, prior)
        if path is not None:
            moved = path(covariance, found, array).sort(dim=-1).values
            found = _likelier(array, covariance, moved, found, prior) if ml_steps else moved
        if ml_steps:
            found = refine(array, covariance, found, prior, n_steps=ml_steps)
            found = resolve(array, covariance, found, prior, count, ml_steps)
        there = fitted_prior(array, covariance, found)
        low, high = np.sin(np.deg2rad(sector_deg))
        sigma = direction_bound_u(array, found, there, count)
        return Directions(found, sigma.clamp_max((high - low) / math.sqrt(12)), there)


def _checked(
    array: KnownArray,
    data: NDArray[np.complexfloating] | torch.Tensor,
    n_users: int,
    path: AnchoredPath | None,
    n_snapshots: int | None,
) -> tuple[torch.Tensor, torch.Tensor | None, int]:
    """R (B, N, N) complex128, the samples if there are, and M."""
    n = array.n_elements
    values = torch.as_tensor(data).to(torch.complex128)
    square = n_snapshots is not None
    if values.dim() != 3 or values.shape[1] != n or (square and values.shape[2] != n):
        want = f"covariances (B, {n}, {n})" if square else f"samples (B, {n}, M)"
        raise ShapeError(f"dual-path VAE: {want} expected, got {tuple(values.shape)}")
    if not 1 <= n_users < n:
        raise ConfigError(
            f"{n_users} sources cannot be told apart with {n} elements", hint=f"ask for 1 to {n - 1}"
        )
    if path is not None and (path.n_users != n_users or path.array.n_elements != n):
        raise ConfigError(
            f"the network was trained for {path.n_users} sources and {path.array.n_elements} elements, "
            f"not {n_users} and {n}",
            hint="use it as it was trained, or train another",
        )
    if not bool(torch.isfinite(torch.view_as_real(values.resolve_conj())).all()):
        raise ConfigError("the samples hold values that are not finite", hint="leave such blocks out")
    if n_snapshots is not None:
        return values, None, n_snapshots
    return values @ values.mH / values.shape[2], values, values.shape[2]


def _labels(
    array: KnownArray, n_users: int, sector_deg: tuple[float, float], kind: LabelKind,
    covariance: torch.Tensor, samples: torch.Tensor | None, prior: ChannelPrior,
) -> torch.Tensor:  # fmt: skip
    labeller = _labeller(array, n_users, sector_deg)
    known = ChannelPrior(prior.covariance.cpu(), prior.noise.cpu())
    if samples is None:
        found = labeller.of_covariance(kind, covariance.cpu().numpy(), known)
    else:
        found = labeller(kind, samples.cpu().numpy(), known)
    return torch.as_tensor(found).to(covariance.device)


@lru_cache(maxsize=8)
def _labeller(array: KnownArray, n_users: int, sector_deg: tuple[float, float]) -> Labeller:
    """Its grids are kept from one recording to the next."""
    return Labeller(array, n_users, sector_deg)


def _likelier(
    array: KnownArray, covariance: torch.Tensor, one: torch.Tensor, other: torch.Tensor, prior: ChannelPrior
) -> torch.Tensor:
    better = marginal(array, covariance, one, prior) < marginal(array, covariance, other, prior)
    return torch.where(better[:, None], one, other)
