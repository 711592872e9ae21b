"""Peaks on a grid, coarse to fine, and the two peak policies."""

from __future__ import annotations

import numpy as np
import pytest

from calib.manifold import soft_angles as torch_soft_angles
from calib.model import Model
from calib.observations import Subspaces, subspaces
from calib.peaks import (
    AngleGrid,
    GridPeaks,
    choose_peaks,
    grid_peaks,
    soft_angles,
    window_depth,
    window_start,
    windows,
)
from hil.core.errors import ConfigError
from tests.physics.array_scenes import WAVELENGTH_M, make_scene, uniform_line


def _scene(seed: int, n: int, k: int, blocks: int) -> tuple[Model, Subspaces]:
    scene = make_scene(seed, uniform_line(n), k, blocks, limits_deg=(-80.0, 80.0), n_snapshots=100)
    truth = Model(scene.gain, scene.positions_m[:, :1] / WAVELENGTH_M).normalised()
    return truth, subspaces(scene.covariance, 100, k)


@pytest.mark.parametrize(("n", "k"), [(16, 5), (16, 1), (6, 2)])
@pytest.mark.parametrize("calibrated", [True, False])
def test_coarse_to_fine_finds_what_the_whole_fine_grid_shows(n: int, k: int, calibrated: bool) -> None:
    truth, sub = _scene(11, n, k, 500)
    model = truth if calibrated else Model(np.ones(n, complex), uniform_line(n)[:, :1]).normalised()
    whole = grid_peaks(model, sub, AngleGrid(0.02, stride=1))
    fast = grid_peaks(model, sub, AngleGrid(0.02, stride=10))
    np.testing.assert_array_equal(fast.index, whole.index)
    np.testing.assert_allclose(fast.depth, whole.depth, atol=1e-12)
    assert fast.n_short == whole.n_short


def test_peaks_are_strict_maxima_inside_the_grid() -> None:
    truth, sub = _scene(12, 8, 2, 50)
    grid = AngleGrid(0.1, stride=5)
    found = grid_peaks(truth, sub, grid)
    a = grid.steering(truth)
    for b in range(50):
        p = 1 / (1 - np.sum(np.abs(a @ sub.signal[b].conj()) ** 2, axis=1))
        maxima = 1 + np.flatnonzero((p[1:-1] > p[:-2]) & (p[1:-1] > p[2:]))
        best = maxima[np.argsort(-p[maxima])][:2]
        np.testing.assert_array_equal(found.index[b, : len(best)], best)


def test_policies() -> None:
    grid = AngleGrid(1.0, stride=1)
    index = np.array([[10, 20, 30], [10, 20, 30], [10, 20, -1]])
    depth = np.array([[1e-3, 1e-2, 0.6], [0.2, 0.3, 0.5], [1e-3, 2e-3, 2.0]])
    peaks = GridPeaks(index, depth, 1)
    paper = choose_peaks(peaks, "paper", grid)
    np.testing.assert_array_equal(paper[:2], index[:2])
    assert 0 < paper[2, 2] < len(grid.theta_rad) - 1
    dup = choose_peaks(peaks, "dup", grid)
    np.testing.assert_array_equal(dup, [[10, 20, 10], [10, 20, 30], [10, 20, 10]])
    with pytest.raises(ConfigError, match="policy"):
        choose_peaks(peaks, "both", grid)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="grid"):
        AngleGrid(-1.0)


def test_windows_stay_on_the_grid_and_hold_the_peak() -> None:
    grid = AngleGrid(1.0, stride=1)
    start = window_start(np.array([[0, 90, 180]]), 9, grid)
    np.testing.assert_array_equal(start, [[0, 86, 172]])
    truth, sub = _scene(13, 6, 1, 20)
    found = grid_peaks(truth, sub, grid)
    depth = window_depth(truth, sub, window_start(found.index, 9, grid), 9, grid)
    np.testing.assert_allclose(depth.min(axis=-1), found.depth, atol=1e-12)
    theta, best = windows(truth, sub, (-1.1, 1.1), 0.1, 1)
    assert theta.shape == (20, 1, 1)
    np.testing.assert_allclose(1 - np.sum(np.abs(np.einsum("bn,bnk->bk", truth.steering(theta[:, 0, 0]),
                                                           sub.signal.conj())) ** 2, axis=1)[:, None],
                               best, atol=1e-9)  # fmt: skip


def test_soft_angles_beat_the_grid_and_agree_with_torch() -> None:
    import torch

    theta = np.deg2rad(np.linspace(-0.2, 0.2, 21))[None, None]
    for true_deg in (0.0, 0.007, -0.009):
        depth = 1e-5 + (theta - np.deg2rad(true_deg)) ** 2
        estimate = np.rad2deg(soft_angles(theta, depth))
        assert abs(estimate[0, 0] - true_deg) < 0.004
        other = torch_soft_angles(torch.from_numpy(theta), torch.from_numpy(depth), 5.0).numpy()
        np.testing.assert_allclose(np.deg2rad(estimate), other, atol=1e-12)
