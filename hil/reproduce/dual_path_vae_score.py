"""Errors of directions and channels as the VAE experiment states them."""

from __future__ import annotations

import numpy as np
import torch

from calib.methods.dual_path_vae.bound import channel_bound
from calib.methods.dual_path_vae.channels import channel_errors, least_squares
from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.posterior import ChannelPrior, channel_posterior, estimated_prior
from hil.reproduce.dual_path_vae_data import Real, Recordings, Setting

_OUTLIER_DEG = 1.0
_DRAWS = 501
Scores = dict[str, float]


def degrees(u: Real | torch.Tensor) -> Real:
    """Angles of sines."""
    return np.rad2deg(np.arcsin(np.clip(np.asarray(u, float), -1, 1)))


def scored(found_deg: Real, truth_deg: Real) -> Scores:
    """Of directions (B, K), both ascending. outliers : percent of recordings with an error above 1 degree."""
    error = np.abs(found_deg - truth_deg)
    mse = float(np.mean(error**2))
    return {
        "rmse": mse**0.5, "mse": mse, "mse_rad2": mse * np.deg2rad(1) ** 2,
        "median": float(np.median(error)), "p80": float(np.quantile(error, 0.8)),
        "outliers": 100 * float(np.mean(error.max(axis=1) > _OUTLIER_DEG)),
    }  # fmt: skip


def bound_scored(sigma_deg: Real) -> Scores:
    """The same of normal errors with these deviations: without separation the mean is that of the nearest pairs."""
    normal = np.abs(np.random.default_rng(0).standard_normal(_DRAWS))
    error = sigma_deg.ravel()[:, None] * normal
    return {
        "rmse": float(np.sqrt(np.mean(sigma_deg**2))),
        "median": float(np.median(error)),
        "p80": float(np.quantile(error, 0.8)),
    }


def channel_scored(array: KnownArray, given: Recordings, found_deg: Real, how: str) -> Scores:
    """Of the channels at directions found. how : "posterior", closed form with a prior from the samples, or "ls"."""
    y, u = torch.as_tensor(given.y), torch.as_tensor(np.sin(np.deg2rad(found_deg)))
    if how == "ls":
        return _of(least_squares(array, y, u), given)
    prior = estimated_prior(torch.as_tensor(given.covariance), u.shape[1], array)
    return _of(channel_posterior(array, y, u, prior).mean, given)


def channel_bound_scored(array: KnownArray, given: Recordings, setting: Setting) -> Scores:
    """True directions, noise and covariance: the exact posterior mean; NMSE also by formula."""
    prior = ChannelPrior(
        torch.as_tensor(setting.covariance), torch.tensor(setting.noise, dtype=torch.float64)
    )
    y, u = torch.as_tensor(given.y), torch.as_tensor(given.u)
    formula = 10 * np.log10(float(channel_bound(array, u, prior).mean()))
    return {**_of(channel_posterior(array, y, u, prior).mean, given), "formula_db": formula}


def _of(found: torch.Tensor, given: Recordings) -> Scores:
    errors = channel_errors(found, torch.as_tensor(given.h).to(found))
    return {
        "nmse_db": 10 * float(np.log10(errors.nmse)),
        "gain": errors.gain,
        "phase_rad2": errors.phase_rad2,
    }
