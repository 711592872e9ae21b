"""What the learner is given: checks, source counting, noise that is not white."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from calib.fit_uncertainty import subspace_motion
from calib.judge import count_distinct
from calib.observations import Observations, mdl_sources, prepare
from hil.core.errors import ShapeError
from tests.physics.array_scenes import make_scene, uniform_line


@pytest.mark.parametrize(
    ("covariance", "n_snapshots", "time_s"),
    [
        (np.ones((4, 8, 7)), 256, None),
        (np.ones((4, 2, 2)), 256, None),
        (np.ones((4, 8, 8)), 8, None),
        (np.ones((2, 4, 4)), 64, [1.0, 0.5]),
        (np.ones((2, 4, 4)), 64, [1.0]),
        (np.full((2, 4, 4), np.inf), 64, None),
        (np.ones((0, 4, 4)), 64, None),
    ],
)
def test_observations_refuse_what_cannot_be(covariance, n_snapshots, time_s) -> None:
    with pytest.raises(ShapeError):
        Observations(covariance, n_snapshots, time_s)


def test_distinct_angles_are_counted_whatever_the_list_holds() -> None:
    assert count_distinct(np.array([0.0, 0.1, 0.2, 1.0, np.nan, np.inf]), 0.15) == 3
    assert count_distinct(np.array([]), 0.1) == 0
    assert count_distinct(np.array([1e16, 1e16 + 2]), 1e-3) == 2  # a step that rounding swallows


@pytest.mark.parametrize("k", [1, 2, 3])
def test_mdl_counts_sources(k: int) -> None:
    scene = make_scene(1, uniform_line(8), k, 300)
    rank = mdl_sources(np.linalg.eigvalsh(scene.covariance), 256)
    assert np.mean(rank == k) > 0.93


def test_unequal_noise_is_found_and_equal_noise_left_alone() -> None:
    uneven = np.linspace(0.5, 1.5, 8)
    scene = make_scene(2, uniform_line(8), noise_per_element=uneven)
    found = 1 / prepare(scene.observations, 1).whitening
    np.testing.assert_allclose(found / found.mean(), uneven / uneven.mean(), rtol=0.02)
    plain = prepare(make_scene(2, uniform_line(8)).observations, 1)
    assert np.all(plain.whitening == 1)
    assert plain.snapshots == 256


def test_filtered_noise_counts_as_fewer_snapshots() -> None:
    rng = np.random.default_rng(0)
    shape = (300, 8, 512)
    white = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    noise = lfilter([1, 0.7], [1.0], white)[:, :, 256:]
    # independent snapshots: (sum r)^2-free form T / sum |rho|^2 of the filter's correlation
    rho = 0.7 / (1 + 0.49)
    expected = 256 / (1 + 2 * rho**2)
    a = np.exp(1j * rng.uniform(-np.pi, np.pi, (300, 8, 1)))
    x = 10 * a * rng.standard_normal((300, 1, 256)) + noise
    prepared = prepare(Observations(x @ x.conj().transpose(0, 2, 1) / 256, 256), 1)
    assert prepared.snapshots == pytest.approx(expected, rel=0.08)


def test_motion_tells_standing_from_moving_emitters() -> None:
    still = make_scene(3, uniform_line(8), angle_deg=np.full((200, 1), 12.0))
    slow = make_scene(3, uniform_line(8), angle_deg=np.linspace(12, 13, 200)[:, None])
    assert subspace_motion(prepare(still.observations, 1).sub) < 1.5
    assert subspace_motion(prepare(slow.observations, 1).sub) > 10
