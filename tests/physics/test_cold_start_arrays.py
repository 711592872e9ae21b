"""The experiment's own arrays and its own comparison, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.reproduce.cold_start_arrays import Setting, draw, nominal_positions
from hil.reproduce.cold_start_compare import Learned, agreement


def test_the_sign_is_plus_and_a_circle_counts_azimuth_from_y() -> None:
    line = draw(Setting(n=4, gain_std=0.0, position_std=0.0, blocks=1), 3)
    ratio = line.manifold(np.array([np.pi / 6]))[0] / line.manifold(np.array([0.0]))[0]
    assert ratio[1:] / ratio[:-1] == pytest.approx(np.exp(1j * np.pi / 2))  # 2 pi (1/2) sin 30
    circle = draw(Setting(shape="circle", gain_std=0.0, position_std=0.0, blocks=1), 3)
    ratio = circle.manifold(np.array([np.pi / 2]))[0] / circle.manifold(np.array([0.0]))[0]
    r = nominal_positions(Setting(shape="circle"))
    assert ratio == pytest.approx(np.exp(2j * np.pi * (r[:, 0] - r[:, 1])))
    assert r[0] == pytest.approx([0.6, 0.0])


def test_covariances_have_the_stated_signal_and_noise() -> None:
    setting = Setting(
        k=2, snr_db=10.0, blocks=60, snapshots=2000, power_db=(0.0, -3.0), rho=0.5, noise_db=2.0
    )
    drawn = draw(setting, 1)
    a = drawn.manifold(drawn.angle_rad).transpose(0, 2, 1)
    noise, power = [], []
    for steering, r in zip(a, drawn.covariance, strict=True):
        off = np.linalg.qr(steering, mode="complete")[0][:, 2:]
        noise.append(np.real(np.diag(off @ off.conj().T @ r @ off @ off.conj().T)))
        inverse = np.linalg.pinv(steering)
        power.append(inverse @ r @ inverse.conj().T)
    mean_gain = np.mean(np.abs(np.diag(drawn.response)) ** 2)
    # 6 of 8 noise dimensions are left, spread over all elements
    assert np.sum(np.mean(noise, axis=0)) == pytest.approx(6 * mean_gain / 10, rel=0.1)
    p = np.array(power)
    assert np.median(np.real(p[:, 0, 0])) == pytest.approx(1.0, rel=0.05)
    assert np.median(np.real(p[:, 1, 1])) == pytest.approx(10**-0.3, rel=0.06)
    correlation = np.abs(p[:, 0, 1]) / np.sqrt(np.real(p[:, 0, 0] * p[:, 1, 1]))
    assert np.median(correlation) == pytest.approx(0.5, abs=0.05)


def test_the_same_seed_is_the_same_array_whatever_the_blocks() -> None:
    few, many = (draw(Setting(blocks=b), 7) for b in (5, 450))
    assert np.array_equal(few.response, many.response)
    assert np.array_equal(few.position, many.position)
    assert len(many.covariance) == 450
    assert not np.allclose(few.response, draw(Setting(blocks=5), 8).response)


def test_coupling_couples_neighbours_by_its_level() -> None:
    drawn = draw(Setting(coupling_db=-20.0, blocks=1), 2)
    gain = np.diag(drawn.response)
    coupling = drawn.response / gain[:, None]
    assert np.abs(np.diag(coupling, 1)) == pytest.approx(0.1)
    assert np.abs(np.diag(coupling, 2)) == pytest.approx(0.1 * 10**-0.3)
    assert np.all(np.diag(coupling, 3) == 0)


@pytest.mark.parametrize("how", ["emitter", "phase", "noise"])
def test_spoilt_blocks_are_as_many_as_stated_and_of_their_kind(how: str) -> None:
    setting = Setting(blocks=400, snapshots=64, bad=0.1, how=how, snr_db=30.0)
    values = np.linalg.eigvalsh(draw(setting, 4).covariance)
    threshold = 10 * np.median(values[:, -2])
    seen = np.sum(values > threshold, axis=1)
    odd = np.mean(seen != 1)
    if how == "phase":
        clean = draw(replace(setting, bad=0.0), 4)
        assert odd == 0
        assert len(clean.covariance) == 400
    else:
        assert 0.05 < odd < 0.16
        assert np.all(seen[seen != 1] == (2 if how == "emitter" else 0))


def test_few_places_and_dwells() -> None:
    drawn = draw(Setting(k=2, angles=6, blocks=100), 5)
    assert len(np.unique(drawn.angle_rad)) == 6
    assert np.all(drawn.angle_rad[:, 0] != drawn.angle_rad[:, 1])
    held = draw(Setting(dwell=4, blocks=10), 5).angle_rad[:, 0]
    assert np.array_equal(held[[0, 4, 8]].repeat(4)[:10], held)


@pytest.mark.parametrize(("al", "be"), [(1.0, 0.0), (1.05, 0.02), (0.9, -0.1)])
def test_the_line_gauge_costs_angle_but_no_correlation(al: float, be: float) -> None:
    drawn = draw(Setting(blocks=1), 11)
    # u_hat = al u + be: positions 1/al, and a ramp of phase that turns be back
    x = drawn.position[:, 0] / al
    learned = Learned(np.diag(drawn.response) * np.exp(-2j * np.pi * x * be), np.column_stack((x, 0 * x)))
    found = agreement(drawn, learned, (-60.0, 60.0))
    assert found.correlation > 1 - 1e-9
    angle = np.deg2rad(np.linspace(-60, 60, 1001))
    error = np.rad2deg(np.arcsin(np.clip(al * np.sin(angle) + be, -1, 1)) - angle)
    assert found.angle_error_deg == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-2, abs=1e-4)


def test_the_circle_gauge_is_a_rotation() -> None:
    drawn = draw(Setting(shape="circle", blocks=1), 12)
    c, s = np.cos(0.2), np.sin(0.2)
    turned = drawn.position @ np.array([[c, -s], [s, c]])
    found = agreement(drawn, Learned(np.diag(drawn.response), turned), (-180.0, 180.0))
    assert found.correlation > 1 - 1e-9
    assert found.angle_error_deg == pytest.approx(np.rad2deg(0.2), rel=1e-3)


def test_a_wrong_phase_costs_what_the_sum_says() -> None:
    drawn = draw(Setting(gain_std=0.0, position_std=0.0, n=4, blocks=1), 13)
    gain = np.diag(drawn.response).copy()
    gain[1] *= np.exp(0.1j)
    gain[2] *= np.exp(-0.1j)
    found = agreement(drawn, Learned(gain, drawn.position), (-60.0, 60.0))
    # phases +-0.1 on two of four, the best ramp takes 1/10 of their square away: b = 0.1 * 2 * 0.5 / 5
    x, phase = np.array([-1.5, -0.5, 0.5, 1.5]), np.array([0.0, 0.1, -0.1, 0.0])
    left = phase - x * (x @ phase) / (x @ x)
    assert 1 - found.correlation == pytest.approx(np.mean(left**2) / 2, rel=0.02)
