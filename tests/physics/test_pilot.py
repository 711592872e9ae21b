"""Known angles: gains, positions and coupling by maximum likelihood, wrong labels found, sigma that is true."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.metrics import ManifoldError, manifold_error, steering_of
from calib.pilot.calibrate import pilot_calibrate
from calib.pilot.model import CoupledModel
from calib.result import LearnResult, Prior
from hil.core.errors import ConfigError, NotIdentifiable
from tests.physics.array_scenes import FC_HZ, WAVELENGTH_M, ArrayScene, circle, make_scene, uniform_line

NAN = float("nan")


def _labelled(
    seed: int,
    angles_deg: NDArray[np.float64],
    blocks: int = 10,
    nominal: NDArray[np.float64] | None = None,
    **options,
) -> tuple[ArrayScene, NDArray[np.float64]]:
    """Every angle (G,) or (G, K) for `blocks` blocks."""
    angle = np.asarray(angles_deg, float).reshape(len(angles_deg), -1).repeat(blocks, axis=0)
    scene = make_scene(
        seed,
        uniform_line(8) if nominal is None else nominal,
        angle.shape[1],
        len(angle),
        angle_deg=angle,
        **options,
    )
    return scene, angle


def _field_error(scene: ArrayScene, result: LearnResult) -> ManifoldError:
    """Over +-60 degrees (the circle): gauge_error_deg is the absolute angle error, nothing is fitted away."""
    learned = scene.geometry.positions_m + result.impairments.position_error_m
    return manifold_error(
        steering_of(scene.gain, scene.positions_m, FC_HZ), steering_of(result.impairments.gain, learned, FC_HZ),
        is_line=scene.is_line, field_deg=(-60, 60) if scene.is_line else None,
    )  # fmt: skip


def _with_manifold(scene: ArrayScene, a: NDArray[np.complex128], seed: int) -> None:
    """Replace the blocks by those of steering vectors a (B, N) at 20 dB."""
    rng = np.random.default_rng(seed)
    b, n = a.shape
    s = (rng.standard_normal((b, 1, 256)) + 1j * rng.standard_normal((b, 1, 256))) / np.sqrt(2)
    sigma = np.sqrt(0.01 * np.mean(np.abs(scene.gain) ** 2) / 2)
    x = a[:, :, None] * s + sigma * (rng.standard_normal((b, n, 256)) + 1j * rng.standard_normal((b, n, 256)))
    scene.covariance = x @ x.conj().transpose(0, 2, 1) / 256


@pytest.mark.parametrize("dims", [1, 2])
def test_jacobian_agrees_with_central_differences(dims: int) -> None:
    rng = np.random.default_rng(5)
    n = 5
    g = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    r = rng.standard_normal((n, dims))
    model = CoupledModel(g / np.linalg.norm(g), r - r.mean(axis=0), np.array([0.1 + 0.05j, -0.02j]))
    d = rng.uniform(-0.7, 0.7, (3, dims))
    jacobian, h = model.jacobian(d), 1e-6

    def moved(i: int, step: float) -> NDArray[np.complex128]:
        x = np.zeros(model.size)
        x[i] = step
        gain = model.g * np.exp(x[:n] + 1j * x[n : 2 * n])
        place = model.r + x[2 * n : (2 + dims) * n].reshape(dims, n).T
        tail = x[(2 + dims) * n :]
        return CoupledModel(gain, place, model.c + tail[:2] + 1j * tail[2:]).steering(d)

    for i in range(model.size):
        assert np.allclose(jacobian[:, :, i], (moved(i, h) - moved(i, -h)) / (2 * h), atol=1e-8)
    slope = rng.standard_normal((3, dims, 2))
    for q in range(2):
        ahead, back = (model.steering(d + s * slope[:, :, q]) for s in (h, -h))
        assert np.allclose(model.along(d, slope)[:, :, q], (ahead - back) / (2 * h), atol=1e-7)


@pytest.mark.parametrize(("n", "angles"), [(8, (-50, 5, 48)), (4, (-40, 30)), (16, (-55, -20, 10, 50))])
def test_a_few_known_angles_determine_a_line(n: int, angles: tuple[float, ...]) -> None:
    for seed in range(8000, 8003):
        scene, known = _labelled(seed, np.array(angles), nominal=uniform_line(n))
        result = pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ)
        assert result.converged, result.reason
        error = _field_error(scene, result)
        assert error.error < 1e-5
        assert error.gauge_error_deg < 0.06
        assert result.gauge.kind == "anchor"
        assert not result.not_identifiable


def test_sigmas_are_those_of_a_monte_carlo() -> None:
    """One array, 30 draws of noise: spread of every estimate over the stated sigma."""
    angles = np.array([-50.0, -15.0, 20.0, 45.0])
    gains, places, sigma = [], [], None
    scene, known = _labelled(8100, angles, nominal=uniform_line(4))
    a = scene.gain * np.exp(2j * np.pi * np.sin(np.deg2rad(known)) * scene.positions_m[:, 0] / WAVELENGTH_M)
    for draw in range(30):
        _with_manifold(scene, a, draw)
        result = pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ, angle_sigma_deg=0.0)
        gains.append(result.impairments.gain)
        places.append(result.impairments.position_error_m[:, 0])
        sigma = result.sigma
    assert sigma is not None
    phase = np.rad2deg(np.angle(gains / np.mean(gains, axis=0)))
    ratio = np.concatenate(
        (phase.std(axis=0)[1:] / sigma.phase_deg[1:], np.std(places, axis=0) / sigma.position_m[:, 0])
    )
    assert 0.85 < np.sqrt(np.mean(ratio**2)) < 1.15
    bias = np.mean(places, axis=0) - (scene.positions_m - scene.geometry.positions_m)[:, 0]
    bias -= bias.mean()
    assert np.all(np.abs(bias) < 4 * sigma.position_m[:, 0] / np.sqrt(30))


@pytest.mark.parametrize(
    ("n_angles", "n_wrong", "off"), [(4, 1, 15.0), (5, 1, 2.0), (6, 2, 20.0), (9, 3, 12.0)]
)
def test_wrong_labels_are_named_and_left_out(n_angles: int, n_wrong: int, off: float) -> None:
    for seed in range(8200, 8203):
        rng = np.random.default_rng(seed)
        angles = np.linspace(-50, 50, n_angles) + rng.uniform(-3, 3, n_angles)
        scene, _ = _labelled(seed, angles)
        stated = angles.copy()
        wrong = rng.choice(n_angles, n_wrong, replace=False)
        stated[wrong] += off * rng.choice([-1, 1], n_wrong)
        result = pilot_calibrate(scene.observations, stated.repeat(10), scene.geometry, FC_HZ)
        assert result.converged, result.reason
        left_out = [note for note in result.notes if "left out" in note]
        assert len(left_out) == n_wrong
        for g in wrong:
            mine = [note for note in left_out if note.startswith(f"label {stated[g]:g} degrees")]
            seen = float(mine[0].split("seen at ")[1].split(" degrees")[0])
            assert seen == pytest.approx(angles[g], abs=0.11)
        assert _field_error(scene, result).gauge_error_deg < 0.05


def test_contradiction_that_cannot_be_resolved_is_not_converged() -> None:
    for seed in range(8210, 8214):
        scene, _ = _labelled(seed, np.array([-50.0, 0.0, 50.0]))
        result = pilot_calibrate(
            scene.observations, np.repeat([-50.0, 10.0, 50.0], 10), scene.geometry, FC_HZ
        )
        assert not result.converged
        assert "contradict" in result.reason


def test_uncertain_labels_are_stated_as_uncertain() -> None:
    """Labels wrong by 0.3 degrees rms: the sigma covers the angle error, stated or found out."""
    for given in (None, 0.3):
        covered = []
        for seed in range(8300, 8310):
            rng = np.random.default_rng(seed)
            angles = np.linspace(-50, 50, 7)
            scene, _ = _labelled(seed, angles, 5)
            stated = (angles + 0.3 * rng.standard_normal(7)).repeat(5)
            result = pilot_calibrate(scene.observations, stated, scene.geometry, FC_HZ, angle_sigma_deg=given)
            assert result.converged, result.reason
            assert 0.08 < result.gauge.angle_sigma_deg < 0.8
            covered.append(_field_error(scene, result).gauge_error_deg < result.gauge.angle_sigma_deg)
        assert np.mean(covered) >= 0.8


def test_too_few_angles_are_refused_with_counts() -> None:
    scene, known = _labelled(8400, np.array([20.0]))
    with pytest.raises(NotIdentifiable, match="needs 2 different known angles, there is 1") as caught:
        pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ)
    assert "21 numbers" in str(caught.value)  # 7 gains, 7 phases, 7 positions
    result = pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ, positions=False)
    assert not result.impairments.position_error_m.any()
    scene, known = _labelled(8401, np.array([20.0, 40.0]), nominal=circle())
    with pytest.raises(NotIdentifiable, match="needs 3 different known angles, there are 2"):
        pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ)
    with pytest.raises(ConfigError, match="planar"):
        pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ, coupling_bands=1)


def test_known_positions_need_one_angle() -> None:
    scene, known = _labelled(8410, np.array([20.0]), 40, position_std=0.0)
    result = pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ, positions=False)
    assert result.converged, result.reason
    assert _field_error(scene, result).gauge_error_deg < 0.05


@pytest.mark.parametrize("tilt_deg", [0.0, 25.0])
def test_planar_arrays_with_azimuth_and_elevation(tilt_deg: float) -> None:
    azimuth = np.linspace(-150, 150, 6)
    tilt = np.where(np.arange(6) % 2, tilt_deg, 0.0)
    for seed in range(8500, 8503):
        scene, known = _labelled(seed, azimuth, nominal=circle(), position_std=0.05)
        el = np.deg2rad(tilt).repeat(10)
        az = np.deg2rad(known[:, 0])
        d = np.column_stack((np.sin(az) * np.cos(el), np.cos(az) * np.cos(el)))
        _with_manifold(
            scene, scene.gain * np.exp(2j * np.pi * d @ (scene.positions_m[:, :2] / WAVELENGTH_M).T), seed
        )
        result = pilot_calibrate(
            scene.observations, known[:, 0], scene.geometry, FC_HZ, elevation_deg=np.rad2deg(el),
            prior=Prior(0.05 * WAVELENGTH_M),
        )  # fmt: skip
        assert result.converged, result.reason
        error = _field_error(scene, result)
        assert error.error < 1e-5
        assert error.gauge_error_deg < 0.05


def test_coupling_is_learned_where_asked_for_and_noticed_where_not() -> None:
    coefficient = 0.1 * np.exp(0.7j)
    for seed in range(8600, 8602):
        scene, known = _labelled(seed, np.linspace(-55, 55, 9))
        mixing = np.eye(8) + coefficient * (np.eye(8, k=1) + np.eye(8, k=-1))
        wave = np.exp(2j * np.pi * np.sin(np.deg2rad(known)) * scene.positions_m[:, 0] / WAVELENGTH_M)
        _with_manifold(scene, scene.gain * (wave @ mixing.T), seed)
        result = pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ, coupling_bands=1)
        assert result.converged, result.reason
        assert abs(result.impairments.coupling[0, 1] - coefficient) < 2e-3
        assert result.impairments.coupling[0, 2] == 0
        without = pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ)
        assert not without.converged


def test_two_sources_with_one_known() -> None:
    """The label says which null is known; the other source may be anywhere."""
    for seed in range(8700, 8703):
        rng = np.random.default_rng(seed)
        known = np.linspace(-50, 50, 6).repeat(10)
        both = np.column_stack((known, rng.uniform(-60, 60, 60)))
        scene = make_scene(seed, uniform_line(8), 2, 60, angle_deg=both)
        result = pilot_calibrate(scene.observations, known, scene.geometry, FC_HZ, n_sources=2)
        assert result.converged, result.reason
        assert _field_error(scene, result).gauge_error_deg < 0.05
