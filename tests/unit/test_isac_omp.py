"""Batched matching pursuit against Algorithm 1 over all subcarriers in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from calib.isac.omp import omp
from tests.unit.isac_full_scene import SPACING_HZ, WINDOW_S, line, scene


def algorithm_1(y, x, theta, delay, n_targets):
    """Mateos-Ramos et al. 2025, Algorithm 1, for one block: maps, angles, delays, strengths, gains."""
    a = np.exp(2j * np.pi * np.outer(x, np.sin(theta)))
    rho = np.exp(-2j * np.pi * SPACING_HZ * np.outer(np.arange(y.shape[1]), delay))
    residual, atoms, out = y, [], []
    gain = np.empty(0)
    for _ in range(n_targets):
        power = np.abs(a.conj().T @ residual @ rho.conj()) ** 2 / y.size
        i, j = np.unravel_index(np.argmax(power), power.shape)
        out.append((theta[i], delay[j], power[i, j]))
        atoms.append(np.outer(a[:, i], rho[:, j]).ravel())
        gain = np.linalg.lstsq(np.array(atoms).T, y.ravel(), rcond=None)[0]
        residual = y - (np.array(atoms).T @ gain).reshape(y.shape)
    return np.array(out), gain


def random_scene(n_blocks, n_targets, amplitude, seed, x):
    rng = np.random.default_rng(seed)
    gain = amplitude * (
        rng.standard_normal((n_blocks, n_targets)) + 1j * rng.standard_normal((n_blocks, n_targets))
    )
    return scene(
        x, rng.uniform(-40, -20, (n_blocks, n_targets)), rng.uniform(10, 190, (n_blocks, n_targets)), gain,
        seed=seed + 1,
    )  # fmt: skip


@pytest.mark.parametrize("model", ["cum", "mult"])
def test_equals_algorithm_1_over_all_subcarriers(model):
    x = line(model)
    drawn = random_scene(8, 4, 0.15, 11, x)
    found = omp(drawn.reduced(), x, drawn.sector_u, n_targets=3)
    theta, delay = np.deg2rad(np.linspace(-40, -20, 720)), np.linspace(*WINDOW_S, 200)
    for b in range(8):
        want, gain = algorithm_1(drawn.y[b], x, theta, delay, 3)
        np.testing.assert_allclose(found.theta_rad[b], want[:, 0], atol=1e-9)
        np.testing.assert_allclose(found.delay_s[b], want[:, 1], rtol=1e-9)
        np.testing.assert_allclose(found.strength[b], want[:, 2], rtol=1e-3)
        np.testing.assert_allclose(found.gain[b], gain, rtol=2e-3, atol=1e-4)


def test_each_block_is_searched_in_its_own_sector():
    x = line()
    parts = [
        scene(x, np.array([[mid]]), np.array([[60.0]]), np.array([[0.5 + 0j]]), noise=0.1)
        for mid in (-50, 10, 33)
    ]
    data = scene(
        x, np.array([[-50.0], [10], [33]]), np.full((3, 1), 60.0), np.full((3, 1), 0.5), noise=0.1
    ).reduced()
    sectors = np.sin(np.deg2rad([[-60, -45], [5, 15], [20, 40.0]]))
    found = omp(data, x, sectors, n_targets=1)
    np.testing.assert_allclose(np.rad2deg(found.theta_rad[:, 0]), [-50, 10, 33], atol=0.1)
    for b, part in enumerate(parts):
        alone = omp(part.reduced(), x, sectors[b : b + 1], n_targets=1)
        assert alone.theta_rad[0, 0] == pytest.approx(found.theta_rad[b, 0], abs=2e-3)


def test_five_targets_are_resolved():
    x = line()
    angles, ranges = np.array([[-38.0, -34.1, -30.2, -26.3, -22.4]]), np.array([[30.0, 55, 90, 130, 170]])
    drawn = scene(x, angles, ranges, np.array([[0.5, 0.45j, -0.4, -0.35j, 0.3]]))
    found = omp(drawn.reduced(), x, drawn.sector_u)
    order = np.argsort(found.delay_s[0])
    np.testing.assert_allclose(np.rad2deg(found.theta_rad[0, order]), angles[0], atol=0.1)
    np.testing.assert_allclose(found.delay_s[0, order], drawn.delay_s[0], atol=4e-9)
    np.testing.assert_allclose(np.abs(found.gain[0, order]), [0.5, 0.45, 0.4, 0.35, 0.3], rtol=0.06)


def test_noise_alone_stays_weak():
    x = line(n_elements=16)
    drawn = scene(x, np.zeros((200, 1)), np.full((200, 1), 50.0), np.zeros((200, 1)))
    first = omp(drawn.reduced(), x, drawn.sector_u, n_targets=1).strength[:, 0]
    # the maximum of about 150 independent exponentials of mean 1
    assert 4.0 < np.median(first) < 8.0
    assert first.max() < 18
