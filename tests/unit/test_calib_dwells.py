"""Independent angles from many blocks, and which edges a motion reached."""

from __future__ import annotations

import numpy as np
import pytest

from calib.dwells import edges_reached, find_dwells

SIGMA = 2e-4


def grouped(theta: np.ndarray, periodic: bool = False):
    theta = theta.reshape(len(theta), -1)
    noisy = theta + SIGMA * np.random.default_rng(0).standard_normal(theta.shape)
    return find_dwells(noisy, np.full(theta.shape, SIGMA), np.ones(theta.shape, bool), periodic)


@pytest.mark.parametrize("k", [1, 2])
def test_blocks_of_one_dwell_are_one_angle(k: int) -> None:
    hops = np.sort(np.random.default_rng(1).uniform(-0.8, 0.8, (60, k)), axis=1)
    dwells = grouped(hops.repeat(7, axis=0))
    assert len(dwells) == 60
    assert not dwells.continuous
    np.testing.assert_allclose(dwells.sigma, SIGMA / np.sqrt(7), rtol=1e-6)
    assert len(dwells.samples()[0]) == 60 * k


def test_an_emitter_that_stands_counts_once() -> None:
    rng = np.random.default_rng(2)
    theta = np.sort(np.column_stack((rng.uniform(-0.8, 0.8, 200), np.full(200, 0.3))), axis=1)
    count = len(grouped(theta).samples()[0])
    assert 195 <= count <= 201


def test_azimuths_across_the_seam_are_one_dwell() -> None:
    theta = np.tile([np.pi - 1e-5, -np.pi + 1e-5], 20)
    assert len(grouped(theta, periodic=True)) == 1


def test_missing_peaks_do_not_break_a_dwell() -> None:
    theta = np.tile([[-0.2, 0.4]], (10, 1))
    valid = np.ones((10, 2), bool)
    valid[3, 0] = valid[5] = False
    assert len(find_dwells(theta, np.full((10, 2), SIGMA), valid, False)) == 1


def test_edges_are_reached_only_where_the_motion_turns() -> None:
    up = np.linspace(-0.8, 0.7, 300)
    assert edges_reached(grouped(up)) == (False, False)
    assert edges_reached(grouped(np.concatenate((up[:150][::-1], up)))) == (True, False)
    assert edges_reached(grouped(np.concatenate((up[100:], up[::-1], up[:200])))) == (True, True)
    hops = np.random.default_rng(3).uniform(-0.8, 0.8, 100)
    assert edges_reached(grouped(hops)) == (True, True)
