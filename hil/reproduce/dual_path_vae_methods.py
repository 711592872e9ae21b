"""Every way from recordings to directions that the VAE experiment compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from calib.methods.dual_path_vae.aoa_path import AnchoredPath
from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.estimate import estimate
from calib.methods.dual_path_vae.kr_music import KrMusic
from calib.methods.dual_path_vae.labels import LabelKind, Labeller
from calib.methods.dual_path_vae.posterior import ChannelPrior, estimated_prior
from calib.methods.dual_path_vae.train import AoaData, AoaPlan, train_aoa
from hil.reproduce.dual_path_vae_data import SECTOR_DEG, Complex, Real, Recordings
from hil.reproduce.dual_path_vae_score import degrees

_CHUNK = 128
ML_STEPS = 20


@dataclass(frozen=True, slots=True)
class MusicGrid:
    """step_deg : of the grid. beyond_deg : how far it goes over the sector's edges. parabola : read between its points."""

    step_deg: float
    beyond_deg: float
    parabola: bool


WELL_BUILT = MusicGrid(0.05, 4.0, True)
EDGE_BLIND = MusicGrid(0.05, 0.0, True)
COARSE = MusicGrid(1.0, 0.0, False)


def music_deg(
    array: KnownArray,
    covariance: Complex,
    n_users: int,
    grid: MusicGrid,
    sector_deg: tuple[float, float] = SECTOR_DEG,
) -> Real:
    """Directions (B, K) of MUSIC's K deepest local minima of R (B, N, N); a missing one repeats the deepest."""
    low, high = sector_deg[0] - grid.beyond_deg, sector_deg[1] + grid.beyond_deg
    at = np.arange(low, high + grid.step_deg / 2, grid.step_deg)
    a = array.responses(torch.as_tensor(np.sin(np.deg2rad(at)))).numpy()
    rows = np.linalg.eigh(covariance)[1][:, :, -n_users:].conj().swapaxes(1, 2)
    size = np.sum(np.abs(a) ** 2, axis=0)
    out = [
        _lowest(1 - np.sum(np.abs(part @ a) ** 2, axis=1) / size, at, n_users, grid)
        for part in np.split(rows, range(_CHUNK, len(rows), _CHUNK))
    ]
    return np.sort(np.clip(np.concatenate(out), *sector_deg), axis=1)


def _lowest(depth: Real, at: Real, n_users: int, grid: MusicGrid) -> Real:
    left, mid, right = depth[:, :-2], depth[:, 1:-1], depth[:, 2:]
    ranked = np.where((mid < left) & (mid <= right), mid, np.inf)
    order = np.argpartition(ranked, n_users, axis=1)[:, :n_users]
    order = np.take_along_axis(order, np.argsort(np.take_along_axis(ranked, order, 1), axis=1), 1)
    missing = ~np.isfinite(np.take_along_axis(ranked, order, 1))
    order = np.where(missing, order[:, :1], order)
    found = at[order + 1]
    if not grid.parabola:
        return found
    before, here, after = (np.take_along_axis(part, order, 1) for part in (left, mid, right))
    bend = before - 2 * here + after
    shift = np.divide(0.5 * (before - after), bend, out=np.zeros_like(bend), where=bend > 0)
    return found + grid.step_deg * np.clip(shift, -0.5, 0.5)


def kr_music_deg(array: KnownArray, given: Recordings) -> Real:
    """Directions (B, K) of KR-MUSIC."""
    return degrees(KrMusic(array, given.h.shape[1], SECTOR_DEG).directions_u(given.y))


def estimated_deg(
    array: KnownArray,
    given: Recordings,
    path: AnchoredPath | None,
    ml_steps: int,
    labels: LabelKind = "best",
    sector_deg: tuple[float, float] = SECTOR_DEG,
) -> Real:
    """Directions (B, K) of the anchored VAE: labels, the path if there is one, likelihood steps if any."""
    found = estimate(
        array, given.y, given.h.shape[1], path, labels=labels, ml_steps=ml_steps, sector_deg=sector_deg
    )
    return degrees(found.u)


@dataclass(frozen=True, slots=True)
class Trained:
    """path : trained. epochs : up to the best validation loss. history : (epoch, loss, validation loss)."""

    path: AnchoredPath
    epochs: int
    history: list[tuple[int, float, float]]


def material(array: KnownArray, given: Recordings, labels: LabelKind = "best") -> AoaData:
    """Covariances, pseudo-labels and estimated priors of recordings; no truth."""
    k = given.h.shape[1]
    r = torch.as_tensor(given.covariance)
    prior = estimated_prior(r, k, array)
    u0 = torch.as_tensor(Labeller(array, k, SECTOR_DEG)(labels, given.y, prior))
    single = ChannelPrior(prior.covariance.to(torch.complex64), prior.noise.float())
    return AoaData(r.to(torch.complex64), u0.float(), single)


def trained(array: KnownArray, data: AoaData, epochs: int, seed: int, truth_u: Real | None = None) -> Trained:
    """The anchored path after `epochs`; supervised if it is told the truth (B, K)."""
    torch.manual_seed(seed)
    path = AnchoredPath(array, data.labels.shape[1])
    told = None if truth_u is None else torch.as_tensor(truth_u).float()
    given = AoaData(data.covariance, data.labels, data.prior, told)
    out = train_aoa(path, given, AoaPlan(epochs=epochs, seed=seed))
    return Trained(path, out.best_epoch, out.history)
