"""Simulated uplink of Guo, Xiao and Chen in their own sign: K users, N antennas, block-fading channels.

    Y = A(theta) H + noise,   a_n(theta) = exp(-j 2 pi n d sin(theta) / lambda), n = 0..N-1,   h_m ~ CN(mean, Sigma)

Nothing here uses a learner's manifold or likelihood; `believed` is what methods may believe: element n at x = -n d, data as
they are (never conjugated), so that users, channels and path angles are the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.methods.dual_path_vae.decoder import KnownArray

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
SECTOR_DEG = (-60.0, 60.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """n antennas `spacing` wavelengths apart, k users in `field_deg` at least separation_deg apart, m snapshots.

    snr_db : of a user, antenna and snapshot. rho : correlation of neighbouring users, rho^|i - j|. mean : of every channel.
    """

    n: int = 32
    k: int = 3
    snr_db: float = 10.0
    separation_deg: float = 5.0
    rho: float = 0.0
    m: int = 40
    spacing: float = 0.5
    mean: float = 0.0
    field_deg: tuple[float, float] = SECTOR_DEG

    @property
    def covariance(self) -> Complex:
        """Sigma (K, K)."""
        index = np.arange(self.k)
        return (float(self.rho) ** np.abs(np.subtract.outer(index, index))).astype(complex)

    @property
    def noise(self) -> float:
        """sigma^2."""
        return 10 ** (-self.snr_db / 10)


@dataclass(frozen=True, slots=True)
class Errors:
    """Of the array. gain (N,) complex: its factor of every antenna. shift (N,): along the line in wavelengths, in the paper's
    direction of n."""

    gain: Complex
    shift: Real


@dataclass(frozen=True, slots=True)
class Recordings:
    """theta_deg (B, K) ascending. h (B, K, M). y (B, N, M)."""

    theta_deg: Real
    h: Complex
    y: Complex

    @property
    def u(self) -> Real:
        """sin(theta) (B, K)."""
        return np.sin(np.deg2rad(self.theta_deg))

    @property
    def covariance(self) -> Complex:
        """R (B, N, N)."""
        return self.y @ self.y.conj().swapaxes(1, 2) / self.y.shape[2]


def steering(setting: Setting, theta_deg: Real, errors: Errors | None = None) -> Complex:
    """A (..., N, K) of directions (..., K), as printed."""
    place = setting.spacing * np.arange(setting.n)
    gain = np.ones(setting.n, complex)
    if errors is not None:
        place, gain = place + errors.shift, errors.gain
    phase = place[:, None] * np.sin(np.deg2rad(theta_deg))[..., None, :]
    return gain[:, None] * np.exp(-2j * np.pi * phase)


def draw(setting: Setting, count: int, rng: np.random.Generator, errors: Errors | None = None) -> Recordings:
    """`count` recordings: uniform directions, sorted, drawn anew where two users are too near."""
    theta = _directions(setting, count, rng)
    root = np.linalg.cholesky(setting.covariance)
    h = setting.mean + root @ _unit(rng, (count, setting.k, setting.m))
    y = steering(setting, theta, errors) @ h
    return Recordings(theta, h, y + np.sqrt(setting.noise) * _unit(rng, y.shape))


def drawn_errors(
    setting: Setting, rng: np.random.Generator, gain_db: float, phase_deg: float, shift: float
) -> Errors:
    """Normal errors of these standard deviations; shift in wavelengths."""
    size = 10 ** (gain_db * rng.standard_normal(setting.n) / 20)
    phase = np.deg2rad(phase_deg) * rng.standard_normal(setting.n)
    return Errors(size * np.exp(1j * phase), shift * rng.standard_normal(setting.n))


def believed(setting: Setting, errors: Errors | None = None) -> KnownArray:
    """The array in the project's sign: exp(+j 2 pi x u), x = -n d; with the errors if they are known."""
    x = -setting.spacing * np.arange(setting.n, dtype=float)
    return KnownArray(x) if errors is None else KnownArray(np.asarray(x - errors.shift, float), errors.gain)


def bound_deg(setting: Setting, theta_deg: Real, errors: Errors | None = None) -> Real:
    """Stochastic Cramer-Rao bound (B, K), standard deviations in degrees, Sigma and sigma^2 known or not (Stoica, Nehorai 1990)."""
    step = 1e-4
    a = steering(setting, theta_deg, errors)
    ahead, behind = (steering(setting, theta_deg + d, errors) for d in (step, -step))
    slope = (ahead - behind) / np.deg2rad(2 * step)
    left = np.eye(setting.n) - a @ np.linalg.pinv(a)
    sigma, noise = setting.covariance, setting.noise
    r = a @ sigma @ a.conj().swapaxes(1, 2) + noise * np.eye(setting.n)
    seen = sigma @ a.conj().swapaxes(1, 2) @ np.linalg.solve(r, a @ sigma)
    information = ((slope.conj().swapaxes(1, 2) @ left @ slope) * seen.swapaxes(1, 2)).real
    information = information * (2 * setting.m / noise) + 1e-9 * np.eye(setting.k)
    return np.rad2deg(np.sqrt(np.diagonal(np.linalg.inv(information), axis1=1, axis2=2).clip(0)))


def _directions(setting: Setting, count: int, rng: np.random.Generator) -> Real:
    kept: list[Real] = []
    have = 0
    while have < count:
        trial = np.sort(rng.uniform(*setting.field_deg, (2 * count, setting.k)), axis=1)
        near = np.diff(trial, axis=1).min(axis=1, initial=np.inf)
        kept.append(trial[near >= setting.separation_deg])
        have += len(kept[-1])
    return np.concatenate(kept)[:count]


def _unit(rng: np.random.Generator, shape: tuple[int, ...]) -> Complex:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * np.sqrt(0.5)
