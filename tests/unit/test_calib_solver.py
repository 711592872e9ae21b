"""The solver's algebra against numbers: derivatives, pinned directions, the score at the truth."""

from __future__ import annotations

import numpy as np
import pytest

from calib.gauss_newton import normal_equations, pins
from calib.model import Model, find_peaks, null_depth, refine_peaks
from calib.observations import subspaces
from calib.score import degrees_of_freedom, score_peaks
from hil.core.steering import steering_vectors
from tests.physics.array_scenes import WAVELENGTH_M, circle, make_scene, uniform_line


def truth_of(scene) -> Model:
    """The true model in the solver's units."""
    dims = 1 if scene.is_line else 2
    r = scene.positions_m[:, :dims] / WAVELENGTH_M
    return Model(scene.gain, r).normalised()


@pytest.mark.parametrize("nominal", [uniform_line(6), circle(7)])
def test_model_has_the_sign_of_the_core_steering(nominal) -> None:
    scene = make_scene(10, nominal)
    model = truth_of(scene)
    azimuth = np.array([-1.0, -0.2, 0.5, 1.3])
    theta = np.sin(azimuth) if scene.is_line else azimuth
    ours = model.steering(theta)
    core = (scene.gain[:, None] * steering_vectors(scene.positions_m, 2.45e9, azimuth)).T
    overlap = np.abs(np.sum(ours.conj() * core, axis=1)) / np.linalg.norm(core, axis=1)
    np.testing.assert_allclose(overlap, 1, atol=1e-10)


@pytest.mark.parametrize(("nominal", "k"), [(uniform_line(5), 1), (uniform_line(6), 2), (circle(6), 2)])
def test_gradient_matches_central_differences(nominal, k: int) -> None:
    scene = make_scene(11, nominal, k, 30)
    sub = subspaces(scene.covariance, 256, k)
    truth = truth_of(scene)
    rng = np.random.default_rng(0)
    n, dims = truth.r.shape
    wrong = Model(truth.g * np.exp(0.1j * rng.standard_normal(n)), truth.r + 0.01).normalised()
    theta, _ = find_peaks(wrong, sub, (-1.1, 1.1))
    weight = rng.uniform(0.5, 1.5, theta.shape)

    def cost(x: np.ndarray) -> float:
        model = Model(wrong.g * np.exp(x[:n] + 1j * x[n : 2 * n]), wrong.r + x[2 * n :].reshape(dims, n).T)
        a = model.steering(theta)
        a = a / np.linalg.norm(a, axis=-1, keepdims=True)
        s = a @ sub.signal.conj()
        best, depth = refine_peaks(Model(model.g / np.linalg.norm(model.g), model.r), sub, theta, 0.05, 12)
        assert np.all(np.abs(best - theta) < 0.05)
        assert s.shape[-1] == k
        return 0.5 * float(np.sum(weight * depth))

    # at the peaks of `wrong` the angle's own gradient is zero: envelope theorem
    theta, _ = refine_peaks(wrong, sub, theta, 0.05, 30)
    gradient = normal_equations(wrong, sub, theta, weight).gradient
    free = np.setdiff1d(np.arange((2 + dims) * n), np.arange(n))  # log-gains change ||g||: tested apart
    for i in free:
        step = np.zeros((2 + dims) * n)
        step[i] = 1e-5
        numeric = (cost(step) - cost(-step)) / 2e-5
        assert gradient[i] == pytest.approx(numeric, abs=2e-4 * np.abs(gradient).max() + 1e-7)


@pytest.mark.parametrize("nominal", [uniform_line(6), circle(6)])
def test_pinned_directions_are_exactly_what_data_cannot_show(nominal) -> None:
    limits = (-60.0, 60.0) if np.ptp(nominal[:, 1]) == 0 else (-180.0, 180.0)
    scene = make_scene(12, nominal, 1, 200, snr_db=60, limits_deg=limits)
    sub = subspaces(scene.covariance, 256, 1)
    model = truth_of(scene)
    theta, _ = find_peaks(model, sub, (-1.1, 1.1))
    hessian = normal_equations(model, sub, theta, np.ones_like(theta)).hessian
    values, vectors = np.linalg.eigh(hessian)
    pinned = np.array(pins(model, free_positions=True))
    null = values < 1e-4 * values[-1]
    assert null.sum() == len(pinned)
    inside = np.linalg.norm(vectors[:, null].T @ np.linalg.qr(pinned.T)[0], axis=0)
    # log-gain's pin fixes ||g||, whose null direction is a common log-gain
    assert np.sum(inside > 0.99) >= len(pinned) - 1


@pytest.mark.parametrize(
    ("n", "k", "snr_db", "t"), [(4, 1, 20, 256), (8, 1, 0, 256), (8, 2, 20, 64), (8, 3, 10, 256)]
)
def test_score_at_the_truth_is_zero(n: int, k: int, snr_db: float, t: int) -> None:
    scene = make_scene(13, uniform_line(n), k, 800, snr_db=snr_db, n_snapshots=t)
    sub = subspaces(scene.covariance, t, k)
    model = truth_of(scene)
    theta, depth = find_peaks(model, sub, (-1, 1))
    score = score_peaks(model, sub, theta, depth)
    assert abs(score.excess) < score.threshold
    assert score.threshold < 0.2
    assert score.outlier_fraction < (0.005 if k == 1 else 0.08)
    assert degrees_of_freedom(n, k) == 2 * (n - k) - 1


def test_score_of_a_slightly_wrong_array_is_far_beyond_its_threshold() -> None:
    scene = make_scene(14, uniform_line(8), 1, 400)
    sub = subspaces(scene.covariance, 256, 1)
    model = truth_of(scene)
    model.g[3] *= np.exp(0.1j)
    theta, depth = find_peaks(model, sub, (-1, 1))
    score = score_peaks(model, sub, theta, depth)
    assert score.excess > 1
    assert not score.fits


def test_peaks_are_found_where_the_sources_are() -> None:
    scene = make_scene(15, uniform_line(8), 2, 300, snr_db=30)
    sub = subspaces(scene.covariance, 256, 2)
    theta, depth = find_peaks(truth_of(scene), sub, (-1, 1))
    u = np.sort(np.sin(np.deg2rad(scene.angle_deg)), axis=1)
    apart = np.diff(u, axis=1)[:, 0] > 0.3
    assert np.abs(theta - u)[apart].max() < 5e-3
    assert np.all(np.diff(theta, axis=1) >= 0)
    again, _, _ = null_depth(truth_of(scene), sub, theta)
    np.testing.assert_allclose(again[apart], depth[apart], atol=1e-9)
