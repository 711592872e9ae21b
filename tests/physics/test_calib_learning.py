"""Learning from unlabelled blocks: arrays never seen before, every phase unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.learn import GaugeRequest, Prior, relearn_phase
from calib.registry import get_method
from calib.verdict import verify
from hil.core.calibration import Calibration, Validity
from tests.physics.array_scenes import FC_HZ, circle, make_scene, uniform_line

SUPPORT = GaugeRequest("support", (-60.0, 60.0))


@pytest.mark.parametrize(
    ("n", "k", "snr_db"),
    [(3, 1, 20), (4, 1, 20), (4, 2, 20), (8, 1, 20), (8, 2, 20), (8, 3, 20), (16, 3, 15)],
)
def test_lines_of_any_size_are_learned(n: int, k: int, snr_db: float) -> None:
    for seed in (7100, 7101, 7102):
        scene = make_scene(seed, uniform_line(n), k, snr_db=snr_db)
        result = scene.learn(SUPPORT)
        assert result.converged, (seed, result.reason)
        assert scene.compare(result).error < 1e-5
        assert scene.angle_error_deg(result) < 4 * result.gauge.angle_sigma_deg + 0.02


@pytest.mark.parametrize(
    "x", [(0, 0.5, 0.9, 1.6, 2.1, 2.5, 3.2, 3.6), (0, 0.5, 1.0, 2.0, 3.0, 3.5), (1.5, 0, 1.0, 0.5, 2.0, 2.5)]
)
def test_lines_with_unequal_spacing_or_swapped_ports_are_learned(x: tuple[float, ...]) -> None:
    nominal = np.column_stack((np.array(x) - np.mean(x), np.zeros(len(x))))
    for seed in (7110, 7111):
        scene = make_scene(seed, nominal)
        result = scene.learn(SUPPORT)
        assert result.converged, result.reason
        assert scene.compare(result).error < 1e-5


def test_equal_spacing_without_position_errors_stays_in_one_period() -> None:
    for seed in (7120, 7121):
        scene = make_scene(seed, uniform_line(8), position_std=0.0)
        for prior in (Prior(), Prior(0.0)):
            result = scene.learn(SUPPORT, prior=prior)
            assert result.converged, result.reason
            assert scene.compare(result).error < 1e-5
            assert scene.angle_error_deg(result) < 1.0


def test_straddling_and_empty_blocks_are_left_out() -> None:
    scene = make_scene(7130, uniform_line(8), n_blocks=600)
    rng = np.random.default_rng(1)
    whole = scene.covariance.copy()
    spoiled = rng.choice(599, 40, replace=False)
    for i in spoiled[:20]:
        scene.covariance[i] = 0.4 * whole[i] + 0.6 * whole[i + 1]
    for i in spoiled[20:]:
        scene.covariance[i] = 1e-2 * np.trace(whole[i]).real / 8 * np.eye(8)
    result = scene.learn(SUPPORT)
    assert result.converged, result.reason
    assert scene.compare(result).error < 1e-5
    assert np.all(np.isnan(result.peaks_deg[spoiled[20:]]))


def test_sources_of_unequal_power_and_unknown_number() -> None:
    scene = make_scene(7140, uniform_line(8), 2, power_db=(0.0, -10.0))
    result = scene.learn(SUPPORT, n_sources=None)
    assert result.n_sources == 2
    assert result.converged, result.reason
    assert scene.compare(result).error < 1e-5


def test_noise_that_differs_between_elements_is_whitened() -> None:
    scene = make_scene(7150, uniform_line(8), noise_per_element=np.linspace(0.5, 1.6, 8))
    result = scene.learn(SUPPORT)
    assert result.converged, result.reason
    assert scene.compare(result).error < 1e-5


@pytest.mark.parametrize(("k", "limits"), [(1, (-180.0, 180.0)), (2, (-180.0, 180.0)), (1, (-120.0, 120.0))])
def test_circles_are_learned_up_to_a_rotation(k: int, limits: tuple[float, float]) -> None:
    for seed in (7160, 7161):
        scene = make_scene(seed, circle(), k, limits_deg=limits, position_std=0.05)
        result = scene.learn(GaugeRequest("support", limits))
        assert result.converged, result.reason
        assert scene.compare(result).error < 1e-5
        full = limits[1] - limits[0] == 360
        assert ("rotation of the array" in result.not_identifiable) == full
        assert scene.compare(result).gauge_error_deg < 3 * result.gauge.angle_sigma_deg


def test_phases_between_groups_are_relearned_from_few_blocks() -> None:
    for seed, k in ((7170, 1), (7171, 2)):
        scene = make_scene(seed, uniform_line(8), k)
        result = scene.learn(SUPPORT)
        turn = np.exp(1j * np.repeat([0.0, 2.1], 4))
        retuned = scene.covariance[:40] * (turn[:, None] * turn.conj()[None, :])
        after = replace(scene.observations, covariance=retuned, time_s=None)
        calibration = Calibration(
            scene.geometry, result.impairments, result.sigma, result.gauge, FC_HZ, Validity(FC_HZ, FC_HZ),
            "cold-start", coherent_groups=((0, 1, 2, 3), (4, 5, 6, 7)),
        )  # fmt: skip
        assert not verify(after, result.impairments, scene.geometry, FC_HZ, k).verified
        again = relearn_phase(after, calibration, k)
        assert again.converged, again.reason
        expected = result.impairments.gain * turn
        error = np.rad2deg(np.angle(again.impairments.gain * expected.conj()))
        assert np.abs(error).max() < 1.0
        assert verify(after, again.impairments, scene.geometry, FC_HZ, k).verified


def test_diffmusic_agrees_with_the_cold_start() -> None:
    scene = make_scene(7180, uniform_line(4), n_blocks=300)
    result = get_method("diffmusic")(scene.observations, scene.geometry, FC_HZ, 1, SUPPORT)
    assert result.converged, result.reason
    assert scene.compare(result).error < 1e-4
