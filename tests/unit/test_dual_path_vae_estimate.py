"""From samples to directions: against the bound, a MUSIC of its own, and in awkward places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.methods.dual_path_vae.aoa_path import AnchoredPath
from calib.methods.dual_path_vae.bound import channel_bound, direction_bound_u
from calib.methods.dual_path_vae.channels import channel_errors, least_squares
from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.estimate import estimate
from calib.methods.dual_path_vae.posterior import ChannelPrior, channel_posterior, marginal
from hil.core.errors import ConfigError, ShapeError

M = 40
Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Drawn:
    """angle_deg (B, K) ascending, h (B, K, M), y (B, N, M), sigma (K, K) of the channels, noise, wave(u) -> (..., N, K)."""

    angle_deg: Real
    h: Complex
    y: Complex
    sigma: Real
    noise: float
    x: Real
    mixing: Complex

    @property
    def u(self) -> Real:
        return np.sin(np.deg2rad(self.angle_deg))

    @property
    def covariance(self) -> Complex:
        return self.y @ self.y.conj().swapaxes(1, 2) / self.y.shape[2]

    @property
    def array(self) -> KnownArray:
        return KnownArray(self.x, coupling=self.mixing)

    @property
    def prior(self) -> ChannelPrior:
        return ChannelPrior(torch.as_tensor(self.sigma + 0j), torch.tensor(self.noise, dtype=torch.float64))


def line(n: int) -> Real:
    return (np.arange(n) - (n - 1) / 2) / 2


def unit(rng: np.random.Generator, *shape: int) -> Complex:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def waves(x: Real, mixing: Complex, u: Real) -> Complex:
    return mixing @ np.exp(2j * np.pi * x[:, None] * u[..., None, :])


def draw(
    count: int, seed: int, *, n: int = 32, k: int = 3, snr_db: float = 10.0, rho: float = 0.0, apart_deg: float = 5.0,
    x: Real | None = None, mixing: Complex | None = None, powers: Real | None = None, m: int = M,
) -> Drawn:  # fmt: skip
    """Written without the code under test."""
    rng = np.random.default_rng(seed)
    free = 120 - (k - 1) * apart_deg
    angle = np.sort(rng.uniform(0, free, (count, k)), axis=1) - 60 + apart_deg * np.arange(k)
    x = line(n) if x is None else x
    mixing = np.eye(n, dtype=complex) if mixing is None else mixing
    sigma = np.eye(k) if not rho else rho ** np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    sigma = sigma if powers is None else np.diag(powers)
    h = np.linalg.cholesky(sigma) @ unit(rng, count, k, m)
    noise = 10 ** (-snr_db / 10)
    y = waves(x, mixing, np.sin(np.deg2rad(angle))) @ h + np.sqrt(noise) * unit(rng, count, n, m)
    return Drawn(angle, h, y, sigma, noise, x, mixing)


def crb_u(d: Drawn) -> Real:
    """Standard deviations (B, K) of the stochastic bound (Stoica and Nehorai 1990)."""
    out = []
    for u in d.u:
        a = waves(d.x, d.mixing, u)
        slope = d.mixing @ (2j * np.pi * d.x[:, None] * np.exp(2j * np.pi * d.x[:, None] * u))
        r = a @ d.sigma @ a.conj().T + d.noise * np.eye(len(d.x))
        away = np.eye(len(d.x)) - a @ np.linalg.pinv(a)
        seen = d.sigma @ a.conj().T @ np.linalg.solve(r, a) @ d.sigma
        h = (slope.conj().T @ away @ slope) * seen.T
        out.append(np.sqrt(np.diag(d.noise / (2 * d.y.shape[2]) * np.linalg.inv(h.real))))
    return np.array(out)


def music_deg(d: Drawn) -> Real:
    """A well-built one: 0.05 degree grid that reaches beyond the sector, local maxima, parabola."""
    k, grid = d.angle_deg.shape[1], np.arange(-64, 64.01, 0.05)
    a = waves(d.x, d.mixing, np.sin(np.deg2rad(grid)))
    vectors = np.linalg.eigh(d.covariance)[1][:, :, -k:]
    inside = np.sum(np.abs(vectors.conj().swapaxes(1, 2) @ a) ** 2, axis=1) / np.sum(np.abs(a) ** 2, axis=0)
    out = np.empty_like(d.angle_deg)
    for row, p in zip(out, inside, strict=True):
        top = np.where((p[1:-1] > p[:-2]) & (p[1:-1] >= p[2:]))[0] + 1
        top = top[np.argsort(-p[top])][:k]
        shift = 0.5 * (p[top - 1] - p[top + 1]) / (p[top - 1] - 2 * p[top] + p[top + 1])
        found = grid[top] + 0.05 * np.clip(shift, -0.5, 0.5)
        row[:] = np.sort(np.append(found, np.full(k - len(found), found[0] + 1)))
    return out


def degrees(u: torch.Tensor) -> Real:
    return np.rad2deg(np.arcsin(u.numpy()))


def rms(error: Real) -> float:
    return float(np.sqrt(np.mean(error**2)))


def rms_bound_deg(d: Drawn) -> float:
    return rms(np.rad2deg(crb_u(d) / np.sqrt(1 - d.u**2)))


def mixed(n: int, seed: int) -> Complex:
    """Gains and coupling of neighbours."""
    rng = np.random.default_rng(seed)
    gain = np.exp(2j * np.pi * rng.random(n)) * rng.uniform(0.7, 1.3, n)
    near = 0.2 * np.exp(1j) * (np.eye(n, k=1) + np.eye(n, k=-1))
    return np.asarray(gain[:, None] * (np.eye(n) + near), complex)


def test_bounds_are_those_of_an_independent_calculation() -> None:
    rng = np.random.default_rng(0)
    d = draw(20, 1, n=10, k=3, rho=0.7, x=line(10) + 0.05 * rng.standard_normal(10), mixing=mixed(10, 2))
    found = direction_bound_u(d.array, torch.as_tensor(d.u), d.prior, M).numpy()
    assert np.allclose(found, crb_u(d), rtol=1e-6)
    at = torch.as_tensor(d.u)
    best = channel_posterior(d.array, torch.as_tensor(d.y), at, d.prior).mean
    error = (best - torch.as_tensor(d.h)).abs().square().mean((0, 1, 2))
    assert float(error) == pytest.approx(float(channel_bound(d.array, at, d.prior).mean()), rel=0.06)
    together = torch.tensor([[0.2, 0.2, 0.5]], dtype=torch.float64)
    assert direction_bound_u(d.array, together, d.prior, M).amax() > 1


@pytest.mark.parametrize(
    ("n", "k", "apart_deg", "snr_db", "rho", "limit"),
    [(32, 3, 5, 10, 0.0, 1.1), (32, 3, 5, 10, 0.8, 1.15), (32, 3, 5, 0, 0.0, 1.1), (16, 3, 10, 20, 0.0, 1.1),
     (8, 2, 20, 10, 0.8, 1.15), (4, 2, 40, 20, 0.0, 1.15)],
)  # fmt: skip
def test_separate_users_are_at_the_bound_and_never_worse_than_music(
    n: int, k: int, apart_deg: float, snr_db: float, rho: float, limit: float
) -> None:
    d = draw(200, 3, n=n, k=k, apart_deg=apart_deg, snr_db=snr_db, rho=rho)
    found = estimate(d.array, d.y, k)
    error = degrees(found.u) - d.angle_deg
    assert rms(error) < limit * rms_bound_deg(d)
    assert rms(error) <= 1.01 * rms(music_deg(d) - d.angle_deg)
    z = (found.u.numpy() - d.u) / found.sigma_u.numpy()
    assert 0.85 < rms(z) < 1.2
    again = estimate(d.array, d.covariance, k, n_snapshots=M)
    assert torch.allclose(again.u, found.u, atol=1e-8)


def test_channels_are_within_a_fraction_of_a_decibel_of_the_bound() -> None:
    d = draw(150, 4)
    found, y, truth = estimate(d.array, d.y, 3), torch.as_tensor(d.y), torch.as_tensor(d.h)
    errors = channel_errors(channel_posterior(d.array, y, found.u, found.prior).mean, truth)
    known = channel_posterior(d.array, y, torch.as_tensor(d.u), d.prior).mean
    at_best = channel_errors(known, truth)
    bound = float(channel_bound(d.array, torch.as_tensor(d.u), d.prior).mean())
    assert 10 * np.log10(errors.nmse / bound) < 0.3
    assert errors.gain < 1.05 * at_best.gain
    assert errors.phase_rad2 < 1.05 * at_best.phase_rad2
    lost = channel_errors(least_squares(d.array, y, found.u), truth)
    assert errors.nmse <= lost.nmse < 1.1 * errors.nmse


@pytest.mark.parametrize(("n", "k", "snr_db"), [(32, 3, 20), (32, 3, 10), (8, 2, 20)])
def test_users_closer_than_any_spectrum_shows(n: int, k: int, snr_db: float) -> None:
    d = draw(300, 5, n=n, k=k, snr_db=snr_db, apart_deg=0)
    error = degrees(estimate(d.array, d.y, k).u) - d.angle_deg
    assert np.mean(np.abs(error).max(axis=1) > 1) < 0.01
    assert np.mean((music_deg(d) - d.angle_deg) ** 2) > 20 * np.mean(error**2)


def test_a_weak_user_is_not_given_up_for_two_at_one_place() -> None:
    d = draw(100, 6, n=8, k=2, snr_db=0, apart_deg=25, powers=np.array([1000.0, 2.0]))
    assert np.abs(degrees(estimate(d.array, d.y, 2).u) - d.angle_deg).max() < 6


def test_a_calibrated_uneven_array_serves_as_well() -> None:
    rng = np.random.default_rng(7)
    x = line(8) + 0.08 * rng.standard_normal(8)
    d = draw(200, 8, n=8, k=2, apart_deg=20, x=x, mixing=mixed(8, 9))
    error = degrees(estimate(d.array, d.y, 2).u) - d.angle_deg
    assert rms(error) < 1.1 * rms_bound_deg(d)
    blind = degrees(estimate(KnownArray(x), d.y, 2).u) - d.angle_deg
    assert rms(blind) > 20 * rms(error)


def test_users_at_the_edges_and_at_one_place() -> None:
    rng = np.random.default_rng(10)
    for angle in ([-59.99, 59.99], [-60.0, -60.0], [20.0, 20.0], [10.0, 10.5]):
        a = waves(line(8), np.eye(8, dtype=complex), np.sin(np.deg2rad(angle)))
        y = a @ unit(rng, 20, 2, M) + 0.1 * unit(rng, 20, 8, M)
        found = estimate(KnownArray(line(8)), y, 2)
        assert np.abs(degrees(found.u) - angle).max() < 5
        assert torch.isfinite(found.sigma_u).all()
        assert (found.sigma_u > 0).all()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_one_snapshot(k: int) -> None:
    d = draw(50, 11, n=16, k=k, snr_db=25, apart_deg=25, m=1, powers=np.ones(k))
    y = d.y + 0 * d.y
    found = estimate(d.array, y, k)
    assert torch.isfinite(found.u).all()
    close = np.abs(degrees(found.u) - d.angle_deg).max(axis=1) < 5
    assert close.mean() > (0.95, 0.8, 0.6)[k - 1]  # users may fade in the only snapshot


@pytest.mark.parametrize("size", [0.0, 1e-12, 1.0, 1e9])
def test_no_signal_is_said_so(size: float) -> None:
    rng = np.random.default_rng(12)
    r = np.zeros((5, 8, 8), complex)
    if size:
        y = np.sqrt(size) * unit(rng, 5, 8, M)
        r = y @ y.conj().swapaxes(1, 2) / M
    found = estimate(KnownArray(line(8)), r, 2, n_snapshots=M)
    assert torch.isfinite(found.u).all()
    assert (found.sigma_u > 0.02).all()
    assert (found.sigma_u < 0.51).all()


def test_scale_of_the_samples_does_not_matter() -> None:
    d = draw(20, 13, n=8, k=2, apart_deg=20)
    one = estimate(d.array, d.y, 2)
    for scale in (1e-6, 1e5):
        other = estimate(d.array, scale * d.y, 2)
        assert torch.allclose(one.u, other.u, atol=1e-6)
        assert torch.allclose(one.sigma_u, other.sigma_u, rtol=1e-3)


def test_a_path_is_used_with_the_calibration_of_the_day() -> None:
    d = draw(40, 14, n=8, k=2, apart_deg=20, mixing=mixed(8, 15))
    path = AnchoredPath(KnownArray(line(8)), 2)
    labels = estimate(d.array, d.y, 2, ml_steps=0)
    assert torch.equal(estimate(d.array, d.y, 2, path, ml_steps=0).u, labels.u)  # it starts at the labels
    torch.nn.init.constant_(path.last.bias, 2.0)
    off = estimate(d.array, d.y, 2, path, ml_steps=0)
    assert (off.u - labels.u).mean() > 0.2
    mended = estimate(d.array, d.y, 2, path)
    r = torch.as_tensor(d.covariance)
    prior = ChannelPrior(torch.eye(2, dtype=torch.complex128), torch.tensor(0.1, dtype=torch.float64))
    assert (marginal(d.array, r, mended.u, prior) < marginal(d.array, r, off.u, prior)).all()
    assert torch.allclose(mended.u, estimate(d.array, d.y, 2).u, atol=1e-6)


def test_bad_input_is_one_clear_line() -> None:
    d = draw(2, 16, n=4, k=2, apart_deg=40)
    array, path = d.array, AnchoredPath(KnownArray(line(4)), 1)
    with pytest.raises(ConfigError, match="4 sources cannot be told apart with 4 elements"):
        estimate(array, d.y, 4)
    with pytest.raises(ShapeError, match="covariances"):
        estimate(array, d.y, 2, n_snapshots=M)
    with pytest.raises(ShapeError, match="samples"):
        estimate(array, d.y[:, :3], 2)
    with pytest.raises(ConfigError, match="trained for 1 sources and 4 elements"):
        estimate(array, d.y, 2, path)
    with pytest.raises(ConfigError, match="need the samples"):
        estimate(array, d.covariance, 2, n_snapshots=M, labels="paper")
    with pytest.raises(ConfigError, match="not finite"):
        estimate(array, np.where(d.y == d.y[0, 0, 0], np.nan, d.y), 2)
