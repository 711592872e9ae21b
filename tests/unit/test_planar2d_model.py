"""Planar model: signs against hil.core.steering, gauge maps, peak search, Gauss-Newton, gauge comparison."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import null_space

from calib.observations import Subspaces, subspaces
from calib.planar2d.gauss_newton import normal_equations, pins
from calib.planar2d.metrics import compare_planes, disc, plane_of
from calib.planar2d.model import Plane, azimuth_elevation, directions, find_peaks, null_depth, refine_peaks
from calib.planar2d.starts import redundant_start
from calib.planar2d.torus import disc_centre, fold, lattice_of, periods
from hil.core.errors import ShapeError
from hil.core.steering import steering_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S
from tests.physics.planar2d_scenes import circle, irregular, make_plane, rectangle


def _wrong(seed: int, nominal: np.ndarray) -> Plane:
    rng = np.random.default_rng(seed)
    n = len(nominal)
    g = np.exp(rng.normal(0, 0.2, n) + 2j * np.pi * rng.random(n))
    return Plane(g, nominal + 0.05 * rng.standard_normal((n, 2))).normalised()


def _exact(model: Plane, d: np.ndarray) -> Subspaces:
    """Noise-free signal subspaces."""
    signal = np.linalg.qr(model.steering(d).transpose(0, 2, 1))[0]
    b, k = d.shape[:2]
    return Subspaces(signal, np.full((b, k), 1e-6), np.ones((b, k)), np.full(b, 1e-3))


def test_sign_is_that_of_the_project():
    az, el = np.deg2rad([30.0, -120.0]), np.deg2rad([10.0, 50.0])
    r = rectangle(2, 3)
    metres = np.column_stack((r, np.zeros(6)))  # one wavelength is one metre
    expected = steering_vectors(metres, SPEED_OF_LIGHT_M_S, az, el).T
    found = Plane(np.ones(6, complex), r).steering(directions(az, el))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    # by hand: azimuth 90, elevation 60 is d = (0.5, 0); an element at x = 0.5 sees exp(j 2 pi 0.25) = j
    one = Plane(np.ones(1, complex), np.array([[0.5, 0.0]])).steering(directions(np.pi / 2, np.pi / 3))
    np.testing.assert_allclose(one, [1j], atol=1e-12)


def test_angles_of_d_and_back():
    az, el = np.deg2rad([170.0, -45.0, 0.0]), np.deg2rad([0.0, 30.0, 89.0])
    az2, el2 = azimuth_elevation(directions(az, el))
    np.testing.assert_allclose(az2, az, atol=1e-9)
    np.testing.assert_allclose(el2, el, atol=1e-7)


def test_six_numbers_leave_the_manifold_alone():
    model = _wrong(0, rectangle(3, 3))
    a, b = np.array([[1.1, 0.2], [-0.1, 0.9]]), np.array([0.3, -0.2])
    d = disc(0.9, 50)
    other = model.mapped(a).shifted(b)
    np.testing.assert_allclose(np.abs(np.sum(model.steering(d).conj() * other.steering(d @ a.T + b), 1)), 1)


@pytest.mark.parametrize("n_sources", [1, 2])
def test_peaks_are_found_anywhere_on_the_disc(n_sources):
    rng = np.random.default_rng(1)
    model = _wrong(1, rectangle(4, 4))
    d = disc(0.97, 60)[rng.permutation(60)].reshape(-1, n_sources, 2)
    if n_sources == 2:
        d = d[np.linalg.norm(d[:, 0] - d[:, 1], axis=1) > 0.4]
    d = np.take_along_axis(d, np.argsort(d[..., 0], 1)[..., None], 1)
    found, depth = find_peaks(model, _exact(model, d), 1.05, n_newton=6)
    np.testing.assert_allclose(found, d, atol=1e-7)
    assert depth.max() < 1e-10


def _settled(model: Plane, sub: Subspaces, d: np.ndarray) -> np.ndarray:
    return refine_peaks(model, sub, d, 0.05, 15)[0]


def test_gradient_follows_the_directions():
    scene = make_plane(3, rectangle(3, 3), 2, 10)
    sub = subspaces(scene.covariance, scene.n_snapshots, 2)
    rng = np.random.default_rng(0)
    g = scene.gain * np.exp(0.02 * rng.standard_normal(9) + 0.02j * rng.standard_normal(9))
    model = Plane(g, scene.r + 0.003 * rng.standard_normal((9, 2))).normalised()
    d = _settled(model, sub, scene.d)
    depth = null_depth(model, sub, d)[0]
    weight = np.where(depth < 0.3, 1 / (depth + 0.01), 0.0)
    equations = normal_equations(model, sub, d, weight)

    def value(x: np.ndarray) -> float:
        trial = Plane(model.g * np.exp(x[:9] + 1j * x[9:18]), model.r + x[18:].reshape(2, 9).T)
        _, a, s = null_depth(trial, sub, _settled(trial, sub, d))
        return float(np.sum(weight * (np.sum(np.abs(a) ** 2, -1) - np.sum(np.abs(s) ** 2, -1))) / 2)

    step = 1e-5 * np.eye(36)
    numeric = np.array([(value(e) - value(-e)) / 2e-5 for e in step])
    np.testing.assert_allclose(equations.gradient, numeric, atol=1e-6 * np.abs(numeric).max())


@pytest.mark.parametrize(("free", "count"), [(True, 10), (False, 4)])
def test_exactly_the_pinned_directions_are_invisible(free, count):
    model = _wrong(2, irregular(9, 3))
    sub = _exact(model, disc(0.95, 80)[:, None])
    d = disc(0.95, 80)[:, None]
    hessian = normal_equations(model, sub, d, np.ones((80, 1))).hessian
    size = 36 if free else 18
    values = np.linalg.eigvalsh(hessian[:size, :size])
    # common scale, phase and shift (4), two ramps, four of the linear map; 2 + 2 with known positions
    assert np.sum(values < 1e-9 * values[-1]) == count
    pinned = pins(model, free)[:, :size]
    assert len(pinned) == count
    # what is left once the pins are held is seen by the data
    left = null_space(pinned)
    assert np.linalg.eigvalsh(left.T @ hessian[:size, :size] @ left)[0] > 1e-7 * values[-1]


def test_comparison_fits_the_gauge_and_nothing_else():
    model = _wrong(4, circle())
    moved = model.mapped(np.array([[1.05, 0.1], [-0.08, 0.95]])).shifted(np.array([0.2, -0.1]))
    same = compare_planes(model, moved)
    assert same.error < 1e-10
    np.testing.assert_allclose(same.linear, [[1.05, 0.1], [-0.08, 0.95]], atol=1e-5)
    np.testing.assert_allclose(same.offset, [0.2, -0.1], atol=1e-5)
    g = model.g.copy()
    g[3] *= np.exp(0.3j)
    bent = compare_planes(model, plane_of(g, model.r))
    assert bent.error > 1e-3
    # with known positions a linear map is an error, a ramp is not
    assert compare_planes(model, model.shifted(np.array([0.3, 0.1])), free_positions=False).error < 1e-10
    assert compare_planes(model, moved, free_positions=False).error > 1e-2
    with pytest.raises(ShapeError):
        compare_planes(model, _wrong(0, rectangle(3, 3)))


def test_lattices_and_their_torus():
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    basis = lattice_of(rectangle(3, 4) @ turn)
    assert basis is not None
    np.testing.assert_allclose(np.sort(np.linalg.norm(periods(basis), axis=0)), [2, 2])
    assert lattice_of(circle()) is None
    assert lattice_of(irregular(8, 5)) is None
    d = disc(0.99, 60)
    moved = d + (np.array([[1, 0], [-1, 2], [0, -1]])[np.arange(60) % 3]) @ periods(basis).T
    np.testing.assert_allclose(fold(moved, periods(basis)), d, atol=1e-12)
    shift = np.array([0.7, -0.4])
    np.testing.assert_allclose(disc_centre(disc(0.98, 400) + shift, basis), shift, atol=0.06)


@pytest.mark.parametrize("n_sources", [1, 3])
def test_redundant_spacings_show_the_phases_up_to_ramps(n_sources):
    scene = make_plane(5, rectangle(4, 4), n_sources, 200, position_std=0.0)
    basis = lattice_of(scene.nominal)
    assert basis is not None
    start = redundant_start(scene.covariance, scene.nominal, basis)
    assert start is not None
    true = plane_of(scene.gain, scene.r)
    assert compare_planes(true, start, free_positions=False).error < 1e-3


def test_neighbours_that_do_not_connect_give_no_start():
    line_and_point = np.array([[0, 0], [0.5, 0], [1, 0], [0, 1.0], [0, 0.5]])[[0, 1, 2, 3]]
    scene = make_plane(0, line_and_point, 1, 40)
    basis = lattice_of(line_and_point)
    assert basis is not None
    assert redundant_start(scene.covariance, scene.nominal, basis) is None
