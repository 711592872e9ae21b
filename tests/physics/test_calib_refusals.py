"""What the data cannot show is refused, and by its right name; nothing wrong is ever called converged."""

from __future__ import annotations

import numpy as np
import pytest

from calib.learn import GaugeRequest, Observations, learn
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.geometry import ArrayGeometry
from tests.physics.array_scenes import FC_HZ, circle, make_scene, uniform_line

SUPPORT = GaugeRequest("support", (-60.0, 60.0))


@pytest.mark.parametrize("angles", [[20.0], [20.0, -35.0]])
def test_emitters_that_stand_still(angles: list[float]) -> None:
    scene = make_scene(7200, uniform_line(8), angle_deg=np.tile(angles, (300, 1)))
    with pytest.raises(NotIdentifiable, match="same") as caught:
        scene.learn(SUPPORT)
    assert "move" in caught.value.hint


@pytest.mark.parametrize(("true", "said"), [(2, 1), (1, 2), (3, 2)])
def test_wrong_number_of_sources(true: int, said: int) -> None:
    scene = make_scene(7210, uniform_line(8), true, 300)
    result = scene.learn(SUPPORT, n_sources=said)
    assert not result.converged
    assert "source" in result.reason


def test_one_source_less_than_elements() -> None:
    """A noise subspace of one dimension: learned rightly, or refused; never wrong and silent."""
    for seed in range(7215, 7219):
        scene = make_scene(seed, uniform_line(4), 3, 300)
        result = scene.learn(SUPPORT, time_limit_s=3.0)
        assert scene.compare(result).error < 1e-3 if result.converged else result.reason


@pytest.mark.parametrize("said", [None, 2])
def test_coherent_sources(said: int | None) -> None:
    scene = make_scene(7220, uniform_line(8), 2, 300, coherent=True)
    result = scene.learn(SUPPORT, n_sources=said, time_limit_s=2.0)
    assert not result.converged
    assert result.reason


def test_mutual_coupling_does_not_pass_for_gains() -> None:
    scene = make_scene(7230, uniform_line(8))
    coupling = np.eye(8) + 0.15 * (np.eye(8, k=1) + np.eye(8, k=-1)) * np.exp(0.7j)
    white = np.eye(8) * 1e-2
    scene.covariance[:] = coupling @ (scene.covariance - white) @ coupling.conj().T + white
    result = scene.learn(SUPPORT, time_limit_s=3.0)
    assert not (result.converged and scene.compare(result).error > 1e-3)


@pytest.mark.parametrize(("degrees_per_minute", "usable"), [(10.0, True), (150.0, False)])
def test_drift_while_capturing_is_named_and_bounded(degrees_per_minute: float, usable: bool) -> None:
    scene = make_scene(7235, uniform_line(8), n_blocks=600)
    way = np.random.default_rng(2).choice([-1.0, 1.0], 8) * degrees_per_minute / 60
    turn = np.exp(1j * np.deg2rad(way * np.linspace(0, 5, 600)[:, None]))
    scene.covariance *= turn[:, :, None] * turn.conj()[:, None, :]
    result = scene.learn(SUPPORT, time_limit_s=2.0)
    assert result.converged == usable, result.reason
    if usable:
        assert any("drift" in note for note in result.notes)
        assert scene.compare(result).error < result.field_loss < 1e-3


def test_few_angles_are_not_enough() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform(-60, 60, 6)[rng.integers(0, 6, (300, 1))]
    scene = make_scene(7240, uniform_line(8), angle_deg=angles)
    result = scene.learn(SUPPORT)
    assert not result.converged
    assert "angles" in result.reason


def test_clusters_of_angles_do_not_support_the_edges() -> None:
    rng = np.random.default_rng(3)
    for seed in range(7250, 7254):
        centres = rng.uniform(-50, 50, 6)
        angles = centres[rng.integers(0, 6, (400, 1))] + rng.uniform(-1.5, 1.5, (400, 1))
        scene = make_scene(seed, uniform_line(8), angle_deg=angles)
        result = scene.learn(SUPPORT)
        assert not result.converged or result.gauge.angle_sigma_deg > 0.5
        if result.converged:
            assert scene.compare(result).error < 1e-3


def test_a_sector_narrower_than_the_support_is_a_tension() -> None:
    scene = make_scene(7260, uniform_line(8), limits_deg=(-30.0, 30.0))
    result = scene.learn(SUPPORT)
    assert not result.converged
    assert "disagrees" in result.reason
    assert "-60 to 60" in result.reason


def test_a_sweep_that_did_not_turn_is_no_edge() -> None:
    sweep = np.concatenate((np.linspace(-20, -60, 200), np.linspace(-60, 52, 560)))[:, None]
    scene = make_scene(7270, uniform_line(8), angle_deg=sweep)
    result = scene.learn(SUPPORT)
    assert result.gauge.angle_sigma_deg > 0.5
    assert any("upper edge" in note for note in result.notes)
    assert not any("lower edge" in note for note in result.notes)


def test_a_full_sweep_to_and_fro_reaches_both_edges() -> None:
    there = np.linspace(-60, 60, 600)
    sweep = np.concatenate((there[200:], there[::-1], there[:500]))[:, None]
    scene = make_scene(7280, uniform_line(8), angle_deg=sweep)
    result = scene.learn(SUPPORT)
    assert result.converged, result.reason
    assert result.gauge.angle_sigma_deg < 0.5
    assert scene.angle_error_deg(result) < 0.3


def test_a_circle_lit_from_a_narrow_sector_is_refused() -> None:
    scene = make_scene(7290, circle(), limits_deg=(-30.0, 30.0), position_std=0.05)
    result = scene.learn(GaugeRequest("support", (-30.0, 30.0)))
    assert not result.converged
    assert "undetermined" in result.reason


def test_unusable_inputs_are_named() -> None:
    scene = make_scene(7300, uniform_line(4), n_blocks=60)
    positions = scene.geometry.positions_m.copy()
    positions[1, 2], positions[2, 1] = 0.01, 0.02
    with pytest.raises(NotIdentifiable, match="plane"):
        learn(scene.observations, ArrayGeometry(positions), FC_HZ, 1, SUPPORT)
    with pytest.raises(ConfigError, match="sources"):
        scene.learn(SUPPORT, n_sources=4)
    with pytest.raises(ShapeError):
        learn(scene.observations, ArrayGeometry(positions[:3]), FC_HZ, 1, SUPPORT)
    with pytest.raises(ShapeError):
        Observations(np.full((3, 4, 4), np.nan), 256)
    noise = np.random.default_rng(0).standard_normal((60, 4, 512))
    silent = Observations(noise @ noise.transpose(0, 2, 1) / 512 + 0j, 256)
    result = learn(silent, scene.geometry, FC_HZ, None, SUPPORT)
    assert not result.converged
    assert "no source" in result.reason


def test_stop_ends_the_search_and_says_so() -> None:
    scene = make_scene(7310, uniform_line(8), 2, 200, coherent=True)
    result = scene.learn(SUPPORT, n_sources=1, stop=lambda: True)
    assert not result.converged
    assert result.seconds < 10
