"""The alternating eigen-scan: its algebra, with labels, without, and as a learning method."""

from __future__ import annotations

import numpy as np
import pytest

from calib.eigen_scan import ScanSettings, _bordered_top, scan_labelled, scan_unlabelled
from calib.metrics import manifold_error, steering_of
from calib.model import Model, null_depth
from calib.observations import subspaces
from calib.registry import get_method
from calib.result import GaugeRequest
from hil.core.units import SPEED_OF_LIGHT_M_S
from tests.physics.array_scenes import FC_HZ, WAVELENGTH_M, circle, make_scene, uniform_line


def _compare(a: Model, b: Model):
    def steering(model: Model):
        positions = np.column_stack((model.r, np.zeros((model.n_elements, 3 - model.r.shape[1]))))
        return steering_of(model.g, positions, SPEED_OF_LIGHT_M_S)

    return manifold_error(steering(a), steering(b), is_line=a.is_line)


def _truth(scene) -> Model:
    dims = 1 if scene.is_line else 2
    return Model(scene.gain, scene.positions_m[:, :dims] / WAVELENGTH_M).normalised()


def test_largest_eigenvalue_of_a_bordered_matrix() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((6, 9)) + 1j * rng.standard_normal((6, 9))
    inner = root @ root.conj().T
    border = rng.standard_normal((40, 6)) + 1j * rng.standard_normal((40, 6))
    border[0] = 0
    border[1] = 1e-9 * border[1]
    border[2] = np.linalg.eigh(inner)[1][:, 0]  # nothing along the top eigenvector
    for corner in (0.1, 20.0, 200.0):
        whole = np.zeros((40, 7, 7), complex)
        whole[:, :6, :6], whole[:, 6, 6] = inner, corner
        whole[:, :6, 6], whole[:, 6, :6] = border, border.conj()
        expected = np.linalg.eigvalsh(whole)[:, -1]
        np.testing.assert_allclose(_bordered_top(inner, border, corner), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("nominal", "n_sources"), [(uniform_line(8), 1), (uniform_line(8), 3), (circle(8), 1)]
)
def test_with_labels_nothing_but_scale_and_shift_stays_open(nominal, n_sources: int) -> None:
    scene = make_scene(3, nominal, n_sources, 200)
    sub = subspaces(scene.covariance, 256, n_sources)
    start = Model(np.ones(8, complex), nominal[:, :1] if scene.is_line else nominal).normalised()
    angle = np.deg2rad(scene.angle_deg)
    found = scan_labelled(start, sub, np.sin(angle) if scene.is_line else angle).model
    error = _compare(_truth(scene), found)
    assert error.error < 1e-4
    # no gauge left: angles are right as they stand
    np.testing.assert_allclose([error.al - 1, error.be, error.rotation_rad], 0, atol=1e-3)


def test_a_round_never_raises_the_null_depth() -> None:
    scene = make_scene(5, uniform_line(6), 1, 150)
    sub = subspaces(scene.covariance, 256, 1)
    u = np.sin(np.deg2rad(scene.angle_deg))
    start = Model(np.ones(6, complex), uniform_line(6)[:, :1]).normalised()
    history = scan_labelled(start, sub, u, ScanSettings(n_rounds=5, n_blocks=0)).history
    assert null_depth(start, sub, u)[0].mean() > history[0]
    assert np.all(np.diff(history) <= 1e-12)


@pytest.mark.parametrize(("n", "n_sources"), [(6, 1), (10, 3)])
def test_without_labels_from_phases_that_are_roughly_known(n: int, n_sources: int) -> None:
    scene = make_scene(7, uniform_line(n), n_sources, 300)
    sub = subspaces(scene.covariance, 256, n_sources)
    truth = _truth(scene)
    noise = 0.4 * np.random.default_rng(1).standard_normal(n)
    start = Model(truth.g * np.exp(1j * noise), uniform_line(n)[:, :1]).normalised()
    assert _compare(truth, start).error > 1e-2
    assert _compare(truth, scan_unlabelled(start, sub).model).error < 5e-4


def test_positions_that_are_exact_stay() -> None:
    scene = make_scene(9, uniform_line(6), 1, 150, position_std=0.0)
    sub = subspaces(scene.covariance, 256, 1)
    start = Model(np.ones(6, complex), uniform_line(6)[:, :1]).normalised()
    u = np.sin(np.deg2rad(scene.angle_deg))
    found = scan_labelled(start, sub, u, ScanSettings(n_rounds=2, n_blocks=0, free_positions=False)).model
    np.testing.assert_array_equal(found.r, start.r)
    assert _compare(_truth(scene), found).error < 1e-4


@pytest.mark.parametrize(
    ("nominal", "n_sources", "gauge"),
    [
        (uniform_line(4), 1, GaugeRequest("support", (-60.0, 60.0))),
        (uniform_line(8), 2, GaugeRequest("support", (-60.0, 60.0))),
        (circle(8), 1, GaugeRequest("prior")),
    ],
)
def test_method_learns_from_phases_all_unknown(nominal, n_sources: int, gauge: GaugeRequest) -> None:
    limits = (-60.0, 60.0) if gauge.kind == "support" else (-180.0, 180.0)
    std = 0.1 if len(nominal) == 8 and gauge.kind == "support" else 0.05
    for seed in (9100, 9101):
        scene = make_scene(seed, nominal, n_sources, 300, limits_deg=limits, position_std=std)
        result = get_method("eigen-scan")(scene.observations, scene.geometry, FC_HZ, n_sources, gauge)
        assert result.converged, result.reason
        assert scene.compare(result).error < 1e-4


def test_method_does_not_claim_success_on_a_wrong_number_of_sources() -> None:
    scene = make_scene(9102, uniform_line(6), 2, 200, coherent=True)
    result = get_method("eigen-scan")(
        scene.observations, scene.geometry, FC_HZ, 2, GaugeRequest("support", (-60.0, 60.0)), time_limit_s=2.0
    )
    assert not result.converged
    assert result.reason
