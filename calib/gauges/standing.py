"""Angles that stand still while a turntable rests at known headings, with their joint uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.fit_uncertainty import parameter_covariance
from calib.model import TWO_PI, Model
from calib.observations import Subspaces
from calib.refine import Fit
from hil.core.errors import ConfigError

#: An angle stands if this share of a position's usable blocks shows it (several emitters may take turns).
_SHARE = 0.15
_FEWEST = 2
_MOST_PER_POSITION = 12


@dataclass(frozen=True, slots=True)
class Sightings:
    """Standing angles at the positions of a table.

    angle : (n,) in the frame of the fit (u on a line, azimuth in radians on a plane). covariance : (n, n), of
    the blocks' noise and of the array learned from the same blocks. heading_rad : (n,) clockwise.
    position : (n,) index of the table position. n_positions : with usable blocks. n_given : all.
    """

    angle: NDArray[np.float64]
    covariance: NDArray[np.float64]
    heading_rad: NDArray[np.float64]
    position: NDArray[np.intp]
    n_positions: int
    n_given: int

    def __len__(self) -> int:
        return len(self.angle)


def standing_angles(
    rotations: tuple[tuple[float, float, float], ...],
    theta: NDArray[np.float64],
    sigma: NDArray[np.float64],
    valid: NDArray[np.bool_],
    time_s: NDArray[np.float64] | None,
    *,
    periodic: bool,
    fit: Fit | None = None,
    sub: Subspaces | None = None,
    free_positions: bool = True,
) -> Sightings:
    """Angles that many blocks of one table position share.

    theta, sigma, valid : (B, K) peaks. time_s : (B,). rotations : (heading degrees, t0_s, t1_s). With `fit` and
    `sub` (B blocks) the covariance includes what the array's own uncertainty does to the angles: blocks of
    one direction share that part of their error, however many they are.

    Raises ConfigError if the blocks carry no times.
    """
    if time_s is None:
        raise ConfigError("table positions with times: the observations carry no times")
    found: list[tuple[float, float, int, NDArray[np.intp]]] = []
    n_positions = 0
    for index, (_, t0_s, t1_s) in enumerate(rotations):
        blocks = np.flatnonzero((time_s >= t0_s) & (time_s <= t1_s) & valid.any(axis=1))
        n_positions += len(blocks) > 0
        found += [
            (angle, spread, index, members)
            for angle, spread, members in _standing(theta, sigma, valid, blocks, periodic=periodic)
        ]
    angle = np.array([f[0] for f in found])
    covariance = np.diag(np.array([f[1] ** 2 for f in found])) if found else np.zeros((0, 0))
    if fit is not None and sub is not None and found:
        sensitivity = np.array([_sensitivity(fit.model, sub, theta, f[3]) for f in found])
        shared = parameter_covariance(fit, sub, free_positions)
        covariance = covariance + sensitivity @ shared @ sensitivity.T
    position = np.array([f[2] for f in found], dtype=np.intp)
    heading = np.deg2rad([r[0] for r in rotations])
    return Sightings(angle, covariance, heading[position], position, n_positions, len(rotations))


def _standing(
    theta: NDArray[np.float64],
    sigma: NDArray[np.float64],
    valid: NDArray[np.bool_],
    blocks: NDArray[np.intp],
    *,
    periodic: bool,
) -> list[tuple[float, float, NDArray[np.intp]]]:
    """(mean, sigma, flat indices of its peaks) of every angle that enough of the blocks share."""
    flat = (blocks[:, None] * theta.shape[1] + np.arange(theta.shape[1])).ravel()
    flat = flat[valid.ravel()[flat]]
    angle, noise = theta.ravel()[flat], sigma.ravel()[flat]
    enough = max(_FEWEST, _SHARE * len(blocks)) if len(blocks) > 1 else 1
    out: list[tuple[float, float, NDArray[np.intp]]] = []
    while len(angle) >= enough and len(out) < _MOST_PER_POSITION:
        candidates = np.unique(angle[:: max(1, len(angle) // 80)])
        gap = angle - candidates[:, None]
        if periodic:
            gap = (gap + np.pi) % TWO_PI - np.pi
        near = np.abs(gap) < 4 * np.maximum(noise, np.median(noise))
        best = int(np.argmax(near.sum(axis=1)))
        mine = near[best]
        if mine.sum() < enough:
            break
        weight = 1 / noise[mine] ** 2
        mean = float(candidates[best] + gap[best, mine] @ weight / weight.sum())
        out.append((mean, float(1 / np.sqrt(weight.sum())), flat[mine]))
        # what the gate cut off a standing angle must not come back as another one
        keep = np.abs(gap[best]) > 8 * np.maximum(noise, np.median(noise))
        angle, noise, flat = angle[keep], noise[keep], flat[keep]
    return out


def _sensitivity(
    model: Model, sub: Subspaces, theta: NDArray[np.float64], members: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Mean derivative (P,) of these peaks with respect to (log-gain, phase, position axes)."""
    members = members[:: max(1, len(members) // 20)]
    block = members // theta.shape[1]
    at = theta.ravel()[members]
    a = model.steering(at)  # (L, N)
    rho = model.slope(at) @ model.r.T
    d = model.direction(at)
    v = a.conj()[:, :, None] * sub.signal[block]  # (L, N, K)
    pv_conj = np.einsum("ln,lnk->lk", rho, v)
    q = np.abs(model.g) ** 2 * rho - np.einsum("lnk,lk->ln", v, pv_conj.conj())
    curvature = TWO_PI**2 * np.maximum(np.sum(rho * q.real, axis=1), 1e-12)
    factors = [np.ones(len(at))] + [TWO_PI * d[:, i] for i in range(model.r.shape[1])]
    along = np.concatenate([-TWO_PI * q.imag] + [TWO_PI * f[:, None] * q.real for f in factors], axis=1)
    return -np.mean(along / curvature[:, None], axis=0)
