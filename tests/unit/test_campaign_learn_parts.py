"""Parts of learning from a campaign: coupling patterns, epochs, response tables, bias tables, held-out angles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.pilot.calibrate import sorted_blocks
from calib.pilot.fit import Labelled, Unknowns, attach, equations, nulls, weights
from calib.pilot.labels import labels_of_blocks
from calib.pilot.model import CoupledModel, free_patterns, toeplitz_patterns
from calib.response.bias import bias_table
from calib.response.measured import MeasuredResponse
from calib.response.table import response_table
from calib.result import Prior
from hil.campaign.folder import CampaignPoint
from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.errors import CalibrationMismatch, ConfigError
from hil.core.gauge import Gauge
from hil.core.geometry import parse_array
from hil.core.impairments import ideal
from hil.evaluation.held_angles import angle_errors, bounds_deg, seen_directions_deg
from hil.jobs.learn_campaign_labels import response_kind
from hil.jobs.learn_campaign_points import epochs_of, held_out_points
from tests.physics.array_scenes import make_scene, uniform_line


def _point(index: int, table_deg: float, epoch: str = "a", t_utc_ns: int = 0) -> CampaignPoint:
    return CampaignPoint(index, table_deg, table_deg, 0.01, (0.0,), "r", 0, 1000, epoch, 0, 20.0, t_utc_ns)


def test_free_patterns_hold_every_entry_off_the_diagonal_once() -> None:
    patterns = free_patterns(4)
    assert patterns.shape == (12, 4, 4)
    assert np.array_equal(patterns.sum(axis=0), 1 - np.eye(4))
    assert np.array_equal(toeplitz_patterns(4, 3).sum(axis=0), 1 - np.eye(4))


def test_jacobian_of_free_coupling_agrees_with_central_differences() -> None:
    rng = np.random.default_rng(1)
    n, h = 3, 1e-6
    patterns = free_patterns(n)
    c = 0.1 * (rng.standard_normal(6) + 1j * rng.standard_normal(6))
    g = np.exp(1j * rng.uniform(0, 6, n)) / np.sqrt(n)
    model = CoupledModel(g, rng.standard_normal((n, 1)), c, patterns)
    d = np.array([[-0.4], [0.2]])
    jacobian = model.jacobian(d)
    for i in range(6):
        for part, step in ((0, h), (6, 1j * h)):
            change = step * (np.arange(6) == i)
            ahead, back = (replace(model, c=c + s * change).steering(d) for s in (1, -1))
            assert np.allclose(jacobian[:, :, 3 * n + part + i], (ahead - back) / (2 * h), atol=1e-8)


def _two_epochs(turn_rad: float) -> tuple[CoupledModel, Labelled]:
    """Labelled blocks of a known array; the last two elements are turned in the second half."""
    angle = np.linspace(-50, 50, 12).repeat(6)
    scene = make_scene(3, uniform_line(4), 1, len(angle), angle_deg=angle[:, None])
    epoch = (np.arange(len(angle)) >= len(angle) // 2).astype(np.intp)
    factor = np.where(epoch[:, None] == 1, np.exp(1j * turn_rad * np.array([0, 0, 1, 1])), 1.0)
    covariance = scene.covariance * factor[:, :, None] * factor.conj()[:, None, :]
    obs = replace(scene.observations, covariance=covariance)
    _, prepared = sorted_blocks(obs, scene.geometry, 2.45e9, Prior(), 1)
    labels = labels_of_blocks(angle, len(angle), sigma_deg=0.0)
    lab, lost = attach(labels, prepared, line=True, epoch=epoch, parts=np.array([[0.0, 0, 1, 1]]))
    assert not lost
    wavelength = 299_792_458.0 / 2.45e9
    r = scene.positions_m[:, :1] / wavelength
    model = CoupledModel(scene.gain / np.linalg.norm(scene.gain), r - r.mean(axis=0), np.zeros(0, complex))
    return model, lab


def test_nulls_are_deep_once_the_turn_of_an_epoch_is_taken_back() -> None:
    model, lab = _two_epochs(1.1)
    wrong = np.median(nulls(replace(model, turn=np.zeros((2, 1))), lab).depth)
    right = np.median(nulls(replace(model, turn=np.array([[0.0], [1.1]])), lab).depth)
    assert wrong > 0.05
    assert right < 1e-3


def test_equations_give_the_turn_of_an_epoch_back() -> None:
    """From a turn that is off by 0.02, with everything else right, one step finds it."""
    model, lab = _two_epochs(1.1)
    near = replace(model, turn=np.array([[0.0], [1.08]]))
    sigma = np.zeros(len(lab))
    found = equations(near, lab, weights(near, lab, sigma, soft=False), sigma)
    stepped = found.turned(near, np.zeros(near.size))
    assert stepped.turn is not None
    assert abs(stepped.turn[1, 0] - 1.1) < 0.003
    assert stepped.turn[0, 0] == 0


def test_eliminated_turns_lower_the_information() -> None:
    model, lab = _two_epochs(0.0)
    sigma = np.zeros(len(lab))
    unknowns = Unknowns(model.r, 0.1)
    basis = unknowns.basis(model)
    turned = replace(model, turn=np.zeros((2, 1)))
    weight = weights(model, lab, sigma, soft=False)
    alone = basis.T @ equations(model, lab, weight, sigma).hessian @ basis
    shared = basis.T @ equations(turned, lab, weight, sigma).hessian @ basis
    values = np.linalg.eigvalsh(alone - shared)
    assert values.min() > -1e-6 * values.max()
    assert values.max() > 0.01 * np.linalg.eigvalsh(alone).max()


def _measured(
    phase: NDArray[np.float64], angle: NDArray[np.float64], noise: float = 1e-3
) -> MeasuredResponse:
    """An ideal line whose elements have these phases (M, A)."""
    rng = np.random.default_rng(0)
    m = len(phase)
    wave = np.exp(1j * np.pi * np.arange(m)[:, None] * np.sin(np.deg2rad(angle)))
    error = noise * (rng.standard_normal(phase.shape) + 1j * rng.standard_normal(phase.shape))
    ratio = np.exp(1j * phase) * (1 + error)
    seen = wave * ratio / np.linalg.norm(wave * ratio, axis=0)
    floor = np.full(len(angle), 2 * noise**2 * (m - 1) / m)
    sigma = np.full(phase.shape, noise)
    return MeasuredResponse(
        angle, ratio, sigma, 0 * sigma, wave, np.eye(m, dtype=complex), np.ones(m), seen, floor, 10 * floor
    )


def test_a_table_follows_the_phases_between_its_angles_and_not_beyond() -> None:
    angle = np.arange(-60.0, 61.0, 2.0)
    rise = np.array([0.0, 0.1, -0.2, 0.15])[:, None]

    def phase(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return rise * np.sin(np.deg2rad(6 * at))

    table = response_table(_measured(phase(angle), angle))
    assert table is not None
    assert table.explains
    assert table.unit
    assert np.allclose(np.abs(table.response), 1)
    assert (table.angle_deg[0], table.angle_deg[-1]) == (-60, 60)
    error = np.angle(table.response * np.exp(-1j * phase(table.angle_deg)))
    assert np.sqrt(np.mean(error**2)) < 1e-3
    calibration = _calibration(table.angle_deg, table.response)
    inside = calibration.steering([-59.3, 0.4])
    wanted = np.exp(1j * phase(np.array([-59.3, 0.4])))
    assert np.allclose(np.abs(np.sum(inside.conj() * _ideal([-59.3, 0.4]) * wanted, axis=0)), 4, atol=1e-4)
    with pytest.raises(CalibrationMismatch, match="outside the learned table"):
        calibration.steering(60.5)


def _ideal(angle_deg: list[float]) -> NDArray[np.complex128]:
    return _calibration(None, None).steering(angle_deg)


def _calibration(table: NDArray[np.float64] | None, response: NDArray[np.complex128] | None) -> Calibration:
    impairments = replace(ideal(4), angle_table_deg=table, angle_response=response)
    geometry = parse_array("ula:4:0.5", 2.45e9)
    return Calibration(geometry, impairments, unknown_sigma(4), Gauge(), 2.45e9, Validity(2e9, 3e9), "pilot")


def test_no_table_where_noise_is_all_there_is() -> None:
    angle = np.arange(-60.0, 61.0, 2.0)
    assert response_table(_measured(np.zeros((4, len(angle))), angle)) is None
    scattered = np.random.default_rng(2).normal(0, 0.1, (4, len(angle)))
    assert response_table(_measured(scattered, angle)) is None


def test_a_hole_in_the_sweep_is_not_bridged() -> None:
    angle = np.concatenate((np.arange(-60.0, -19.0, 1.0), np.arange(0.0, 21.0, 1.0)))
    phase = np.array([0.0, 0.3, -0.3, 0.2])[:, None] * np.sin(np.deg2rad(6 * angle))
    table = response_table(_measured(phase, angle))
    assert table is not None
    assert (table.angle_deg[0], table.angle_deg[-1]) == (-60, -20)


def test_a_bias_table_undoes_what_it_measured_and_nothing_outside() -> None:
    angle = np.arange(-60.0, 61.0, 5.0)
    seen = angle + 2 * np.sin(np.deg2rad(3 * angle))
    table = bias_table(angle.repeat(3), seen.repeat(3))
    assert table is not None
    between = np.linspace(-58, 58, 200)
    read = between + 2 * np.sin(np.deg2rad(3 * between))
    assert np.max(np.abs(table.corrected(read) - between)) < 0.05
    assert np.all(np.isnan(table.corrected(np.array([seen[0] - 0.1, seen[-1] + 0.1]))))
    assert table.to_csv().startswith("angle_deg,bias_deg,sigma_deg\n-60.000000,")
    assert bias_table(angle, np.sin(angle)) is None  # readings go to and fro: nothing to turn round


def test_held_out_angles_never_are_the_ends() -> None:
    points = [_point(i, a) for i, a in enumerate(range(-60, 61))]
    held = held_out_points(points, 5)
    assert [p.table_deg for p in held[:2]] == [-58, -53]
    assert len(held) == 24
    assert not {-60.0, 60.0} & {p.table_deg for p in held}
    assert held_out_points(points, 0) == ()
    assert held_out_points(points[:2], 2) == ()


def test_the_newest_epoch_comes_first() -> None:
    points = [_point(0, 0, "a", 10), _point(1, 1, "b", 30), _point(2, 2, "a", 20)]
    assert epochs_of(points) == ("b", "a")


def test_angle_errors_count_missing_readings() -> None:
    true = np.array([[10.0], [10.0], [20.0]])
    read = np.array([[10.1], [9.9], [np.nan]])
    found = angle_errors(read, true, np.array([0, 0, 1]))
    assert np.allclose(found.residual_deg, [0, 90])
    assert np.allclose(found.spread_deg, [0.1, 90])
    assert found.doa_rmspe_deg == pytest.approx((0.1 + 0.1 + 90) / 3)


def test_the_bound_of_one_source_is_the_textbook_one() -> None:
    """var(u) = 6 / (4 pi^2 d^2 T SNR N (N^2 - 1)) (1 + 1 / (N SNR)) for one source, N elements d wavelengths apart."""
    calibration, n, t, snr = _calibration(None, None), 4, 256, 100.0
    sigma_u = np.sqrt(6 / (np.pi**2 * t * snr * n * (n * n - 1)) * (1 + 1 / (n * snr)))
    found = bounds_deg(calibration, np.array([[0.0], [40.0]]), np.array([20.0, 20.0]), t)
    assert np.allclose(found, np.rad2deg(sigma_u / np.cos(np.deg2rad([0, 40]))), rtol=2e-3)


def test_a_line_sees_no_difference_between_front_and_back() -> None:
    assert np.allclose(seen_directions_deg(np.array([120.0, -170.0]), line=True), [60.0, -10.0])
    assert np.allclose(seen_directions_deg(np.array([120.0]), line=False), [120.0])


def test_kinds_of_tables_are_checked() -> None:
    assert response_kind(None) == "auto"
    assert response_kind("phase") == "phase"
    with pytest.raises(ConfigError, match="spline"):
        response_kind("spline")
