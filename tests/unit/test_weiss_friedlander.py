"""The classical baseline: its two steps, where it works and where it honestly does not."""

from __future__ import annotations

import numpy as np
import pytest

from calib.methods.weiss_friedlander import learn_weiss_friedlander
from calib.model import Model
from calib.observations import Subspaces
from calib.registry import get_method
from calib.result import GaugeRequest
from calib.weiss_friedlander import gains_for, iterate_gains
from tests.physics.array_scenes import FC_HZ, ArrayScene, make_scene, uniform_line

SUPPORT = GaugeRequest("support", (-60.0, 60.0))


def _clean(gain: np.ndarray, x: np.ndarray, u: np.ndarray) -> Subspaces:
    """Noise-free subspaces of one source a block."""
    a = gain * np.exp(2j * np.pi * np.outer(u, x))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    one = np.ones((len(u), 1))
    return Subspaces(a[:, :, None], 1e-6 * one, one, 1e-2 * one[:, 0])


def test_gains_follow_from_known_angles_by_hand() -> None:
    """Three elements, two angles, no noise: gamma is the gain itself with gamma_1 = 1."""
    gain = np.array([2.0, 1j, -0.5 + 0.5j])
    x = np.array([-0.5, 0.0, 0.5])
    u = np.array([0.3, -0.6])
    gamma = gains_for(_clean(gain, x, u), x[:, None], u[:, None])
    assert gamma == pytest.approx(gain / 2, abs=1e-6)


def test_cost_never_rises() -> None:
    rng = np.random.default_rng(2)
    x = uniform_line(6)[:, 0]
    gain = (1 + 0.2 * rng.standard_normal(6)) * np.exp(1j * 0.5 * rng.standard_normal(6))
    found = iterate_gains(_clean(gain, x, rng.uniform(-0.8, 0.8, 80)), x[:, None])
    assert np.all(np.diff(found.cost) <= 1e-12)
    ramp = found.fit.model.g / Model(gain.astype(complex), x[:, None]).normalised().g
    # what is left is the ramp that no method without labels can see
    assert np.ptp(np.abs(ramp)) < 1e-3
    assert np.ptp(np.diff(np.unwrap(np.angle(ramp)))) < 1e-2


def _mild(seed: int, phase_deg: float, position_std: float = 0.0) -> ArrayScene:
    scene = make_scene(seed, uniform_line(8), 1, 200, position_std=position_std)
    rng = np.random.default_rng(seed)
    # the scene's phases are uniform on the circle; take most of them back
    keep = np.deg2rad(phase_deg) * rng.standard_normal(8) - np.angle(scene.gain)
    turn = np.exp(1j * keep)
    scene.gain = scene.gain * turn
    scene.covariance = scene.covariance * (turn[:, None] * turn.conj())
    return scene


def test_small_phase_errors_and_exact_positions_are_learned() -> None:
    for seed in range(9100, 9105):
        scene = _mild(seed, 20.0)
        result = learn_weiss_friedlander(scene.observations, scene.geometry, FC_HZ, 1, SUPPORT)
        assert result.converged, result.reason
        assert scene.compare(result).error < 1e-5
        # the support's own tolerance of the scale, a ten-thousandth
        assert np.abs(result.impairments.position_error_m).max() < 1e-5


@pytest.mark.parametrize(("phase_deg", "position_std"), [(20.0, 0.1), (1000.0, 0.1), (20.0, 0.02)])
def test_position_errors_and_cold_starts_are_refused(phase_deg: float, position_std: float) -> None:
    for seed in range(9110, 9115):
        scene = _mild(seed, phase_deg, position_std)
        result = get_method("weiss-friedlander")(scene.observations, scene.geometry, FC_HZ, 1, SUPPORT)
        assert not result.converged
        assert "shallower" in result.reason
        assert any("positions were taken as nominal" in note for note in result.notes)


def test_no_silent_failure_from_unknown_phases() -> None:
    for seed in range(9120, 9128):
        scene = make_scene(seed, uniform_line(8), 1, 200, position_std=0.0)
        result = learn_weiss_friedlander(scene.observations, scene.geometry, FC_HZ, 1, SUPPORT)
        assert not result.converged or scene.compare(result).error < 1e-3
