"""Parts of the dual-path VAE against independent calculations: likelihood, posterior, pseudo-labels, steps, training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.methods.dual_path_vae.aoa_path import AnchoredPath, ResNet18
from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.labels import LABEL_KINDS, Labeller
from calib.methods.dual_path_vae.posterior import (
    ChannelPrior,
    Channels,
    channel_posterior,
    estimated_prior,
    marginal,
    negative_elbo,
    sampled_elbo,
)
from calib.methods.dual_path_vae.refine import refine
from calib.methods.dual_path_vae.train import AoaData, AoaPlan, train_aoa
from hil.core.errors import ConfigError, ShapeError

N, K, M = 16, 3, 40
X = (np.arange(N) - (N - 1) / 2) / 2
GAIN: NDArray[np.complex128] = np.asarray(
    np.exp(2j * np.pi * np.random.default_rng(7).random(N)) * np.linspace(0.8, 1.2, N), complex
)


def draw(
    count: int, seed: int, *, noise: float = 0.1, rho: float = 0.0, gain: NDArray[np.complex128] | None = None,
    apart: float = 0.15,
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:  # fmt: skip
    """u (B, K), ascending and `apart` at least, and samples (B, N, M), written without the code under test."""
    rng = np.random.default_rng(seed)
    u = np.sort(rng.uniform(-0.8, 0.8 - (K - 1) * apart, (count, K)), axis=1) + apart * np.arange(K)
    a = np.exp(2j * np.pi * X[:, None] * u[:, None, :]) * (1.0 if gain is None else gain[:, None])
    root = np.linalg.cholesky(
        rho ** np.abs(np.subtract.outer(np.arange(K), np.arange(K))) if rho else np.eye(K)
    )
    unit = lambda *shape: (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)  # noqa: E731
    return u, a @ (root @ unit(count, K, M)) + np.sqrt(noise) * unit(count, N, M)


def covariance(y: NDArray[np.complex128]) -> torch.Tensor:
    return torch.as_tensor(y @ y.conj().swapaxes(1, 2) / M)


def prior_of(rho: float = 0.0, noise: float = 0.1) -> ChannelPrior:
    sigma = np.eye(K) if not rho else rho ** np.abs(np.subtract.outer(np.arange(K), np.arange(K)))
    return ChannelPrior(torch.as_tensor(sigma + 0j), torch.tensor(noise, dtype=torch.float64))


def test_the_marginal_is_the_gaussian_likelihood_of_the_samples() -> None:
    _, y = draw(4, 0, rho=0.5, gain=GAIN)
    array, prior = KnownArray(X, GAIN), prior_of(0.5)
    slow = []
    for shift in (0.0, 0.01):
        u = torch.linspace(-0.3, 0.4, K, dtype=torch.float64).expand(4, K) + shift
        a = GAIN[:, None] * np.exp(2j * np.pi * X[:, None] * u[0].numpy())
        big = a @ prior.covariance.numpy() @ a.conj().T + 0.1 * np.eye(N)
        r = covariance(y).numpy()
        value = np.linalg.slogdet(big)[1] + np.trace(np.linalg.solve(big, r), axis1=1, axis2=2).real
        slow.append(0.1 * value - marginal(array, covariance(y), u, prior).numpy())
    assert np.allclose(slow[0], slow[1], atol=1e-9)  # they differ by what no direction changes


def test_the_elbo_is_tight_at_the_exact_posterior_and_nowhere_else() -> None:
    u, y = draw(3, 1, rho=0.5)
    array, prior = KnownArray(X), prior_of(0.5)
    at, seen = torch.as_tensor(u), torch.as_tensor(y)
    exact = channel_posterior(array, seen, at, prior)
    tight = negative_elbo(array, seen, at, exact, prior)
    shift = torch.as_tensor(u) + 0.01
    other = negative_elbo(array, seen, shift, channel_posterior(array, seen, shift, prior), prior)
    expected = M * (marginal(array, covariance(y), shift, prior) - marginal(array, covariance(y), at, prior))
    assert torch.allclose(other - tight, expected, atol=1e-8)
    for wrong in (
        Channels(exact.mean * 1.01, exact.covariance),
        Channels(exact.mean, exact.covariance * 1.2),
    ):
        assert (negative_elbo(array, seen, at, wrong, prior) > tight).all()
    rng = torch.Generator().manual_seed(0)
    draws = torch.stack([sampled_elbo(array, seen, at, exact, prior, rng) for _ in range(400)])
    assert torch.allclose(draws.mean(0), tight, atol=4 * float(draws.std(0).max()) / 20)


def test_the_posterior_mean_is_the_least_squares_channel_without_noise() -> None:
    u, y = draw(2, 2, noise=1e-12)
    array = KnownArray(X)
    found = channel_posterior(array, torch.as_tensor(y), torch.as_tensor(u), prior_of(noise=1e-12)).mean
    a = np.exp(2j * np.pi * X[:, None] * u[:, None, :])
    assert np.allclose(found.numpy(), np.linalg.pinv(a) @ y, atol=1e-6)
    assert torch.allclose(array.decode(torch.as_tensor(u), found), torch.as_tensor(y), atol=1e-4)


def test_noise_and_power_are_estimated() -> None:
    _, y = draw(200, 3, noise=0.05, gain=2 * GAIN)
    found = estimated_prior(covariance(y), K, KnownArray(X, 2 * GAIN))
    assert float(found.noise.mean()) == pytest.approx(0.05, rel=0.25)  # small eigenvalues are biased low
    assert float(found.covariance[:, 0, 0].real.mean()) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("gain", [None, GAIN], ids=["nominal", "calibrated"])
def test_pseudo_labels(gain: NDArray[np.complex128] | None) -> None:
    u, y = draw(150, 4, gain=gain)
    array = KnownArray(X, gain)
    labeller, prior = Labeller(array, K), estimated_prior(covariance(y), K, array)
    errors = {kind: np.abs(labeller(kind, y, prior) - u) for kind in LABEL_KINDS}
    assert np.sqrt(np.mean(errors["paper"] ** 2)) > 0.2  # neighbours of one peak
    assert np.mean(errors["matched-filter"].max(axis=1) > array.beam_u) > 0.1
    for kind in ("somp", "music", "best"):
        assert np.max(errors[kind]) < array.beam_u / 4
    with pytest.raises(ConfigError, match="pseudo-labels"):
        labeller("none", y, prior)  # type: ignore[arg-type]


def test_users_at_the_edge_of_the_sector_are_found() -> None:
    edge = np.sin(np.deg2rad(59.98))
    a = np.exp(2j * np.pi * X[:, None] * np.array([-edge, 0.1, edge]))
    rng = np.random.default_rng(5)
    h = rng.standard_normal((20, K, M)) + 1j * rng.standard_normal((20, K, M))
    y = a @ h + 0.1 * (rng.standard_normal((20, N, M)) + 1j * rng.standard_normal((20, N, M)))
    prior = estimated_prior(covariance(y), K, KnownArray(X))
    for kind in ("somp", "music"):
        assert np.max(np.abs(Labeller(KnownArray(X), K)(kind, y, prior) - [-edge, 0.1, edge])) < 0.01


def test_steps_on_the_likelihood_reach_the_bound_where_users_are_correlated() -> None:
    u, y = draw(300, 6, rho=0.9)
    array = KnownArray(X)
    prior = estimated_prior(covariance(y), K, array)
    start = torch.as_tensor(Labeller(array, K)("music", y, prior))
    found = refine(array, covariance(y), start, prior, n_steps=60)
    before, after = (np.sqrt(np.mean((v.numpy() - u) ** 2)) for v in (start, found))
    sigma = 0.9 ** np.abs(np.subtract.outer(np.arange(K), np.arange(K)))
    bound = np.sqrt(np.mean([_crb(v, sigma, 0.1) for v in u]))
    assert after < before
    assert after < 1.25 * bound
    assert (
        marginal(array, covariance(y), found, prior) <= marginal(array, covariance(y), start, prior) + 1e-9
    ).all()


def _crb(u: NDArray[np.float64], sigma: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Stochastic bound of u (Stoica and Nehorai 1990), variances (K,)."""
    a = np.exp(2j * np.pi * X[:, None] * u)
    d = 2j * np.pi * X[:, None] * a
    r = a @ sigma @ a.conj().T + noise * np.eye(N)
    away = np.eye(N) - a @ np.linalg.pinv(a)
    h = (d.conj().T @ away @ d) * (sigma @ a.conj().T @ np.linalg.solve(r, a) @ sigma).T
    return np.asarray(np.diag(noise / (2 * M) * np.linalg.inv(h.real)), float)


def test_the_path_starts_at_the_labels_and_learns_without_truth() -> None:
    u, y = draw(1600, 8, rho=0.9)
    array = KnownArray(X)
    r, prior = covariance(y), estimated_prior(covariance(y), K, array)
    rng = np.random.default_rng(9)
    start = np.sort(u + 0.15 * array.beam_u * rng.standard_normal(u.shape), axis=1)
    small = ChannelPrior(prior.covariance.to(torch.complex64), prior.noise.float())
    data = AoaData(r.to(torch.complex64), torch.as_tensor(start).float(), small)
    torch.manual_seed(0)
    path = AnchoredPath(array, K, hidden=64)
    assert torch.equal(path(data.covariance, data.labels), data.labels)
    done = train_aoa(path, data.part(slice(1400)), AoaPlan(epochs=15, batch=64))
    assert done.finished
    test = data.part(slice(1400, None))
    with torch.no_grad():
        found = path(test.covariance, test.labels).numpy()
    before, after = (np.sqrt(np.mean((v[-len(found) :] - u[1400:]) ** 2)) for v in (start, found))
    assert after < before / 2
    with pytest.raises(ConfigError, match="too few"):
        train_aoa(path, data.part(slice(50)), AoaPlan())


def test_sizes_of_the_published_networks() -> None:
    line = KnownArray(np.arange(32) / 2)
    assert line.beam_u == pytest.approx(2 / 32)
    assert sum(p.numel() for p in AnchoredPath(line, 3).parameters()) == 88067
    network = ResNet18(3).eval()
    assert sum(p.numel() for p in network.parameters()) == 11_174_915
    with torch.no_grad():
        assert network(torch.randn(2, 32, 32, dtype=torch.complex64)).shape == (2, 3)
    with pytest.raises(ShapeError, match="coupling"):
        KnownArray(X, coupling=np.eye(3, dtype=complex))
