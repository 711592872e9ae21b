"""Angle-delay maps against a slow reference in double precision, and CFAR against its stated rates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.errors import CalibrationMismatch, ConfigError, ShapeError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry, uca, ula
from hil.core.impairments import ideal
from hil.dsp import angle_delay
from hil.dsp.angle_delay import angle_delay_map, angle_delay_map_fft, zoom
from hil.dsp.angle_delay_direct import delay_profile, noise_deviation
from hil.dsp.angle_delay_phase import aligned, merged
from hil.dsp.angle_delay_threshold import angle_length, axis_length, exceedance, threshold
from hil.dsp.cfar import ca_factor, cfar, os_factor

C, FC, SPACING = 299_792_458.0, 2.45e9, 30e3
RNG = np.random.default_rng(5)


def reference(csi, positions, angles_deg, delays_s, gain=None, coupling=None, skew=None):
    """|a^H Y b^*|^2/(|a|^2 S)^2 cell by cell."""
    blocks = csi[None] if csi.ndim == 2 else csi
    m, s = blocks.shape[1:]
    f = (np.arange(s) - s // 2) * SPACING
    out = np.zeros((len(angles_deg), len(delays_s)))
    for i, angle in enumerate(np.deg2rad(angles_deg)):
        u = np.array([np.sin(angle), np.cos(angle), 0.0])
        a = np.exp(2j * np.pi * FC / C * positions @ u)
        a = (np.eye(m) if coupling is None else coupling) @ a
        a = a * (1 if gain is None else gain)
        for j, tau in enumerate(delays_s):
            b = np.exp(-2j * np.pi * f * tau)
            for y in blocks:
                y = y * (1 if skew is None else np.exp(2j * np.pi * np.outer(skew, f)))
                out[i, j] += abs(a.conj() @ y @ b.conj()) ** 2 / (np.vdot(a, a).real * s) ** 2 / len(blocks)
    return out


def noisy(*shape):
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


@pytest.mark.parametrize("shape", [(8, 40), (3, 8, 64)])
@pytest.mark.parametrize("geometry", [ula(8, 0.06), uca(8, 0.07)], ids=["line", "circle"])
@pytest.mark.parametrize("longest", [0.9, 0.05], ids=["all delays", "few delays: subspace"])
def test_equals_a_slow_reference(shape, geometry, longest):
    csi = noisy(*shape)
    angles, delays = np.linspace(-80, 80, 23), np.linspace(0, longest / SPACING, 50)
    found = angle_delay_map(csi, geometry.positions_m, FC, SPACING, angles, delays)
    assert found.shape == (23, 50)
    assert found.dtype == np.float32
    want = reference(csi, geometry.positions_m, angles, delays)
    assert np.max(np.abs(found - want)) < 1e-4 * want.max()


@pytest.mark.parametrize("points", [1, 50, 7 * 50, 23 * 50])
@pytest.mark.parametrize("n_delays", [50, 5], ids=["delays last", "delays first"])
def test_pieces_make_the_whole_map(monkeypatch: pytest.MonkeyPatch, points: int, n_delays: int):
    parts = np.random.default_rng(6).standard_normal((2, 2, 8, 40))
    csi = parts[0] + 1j * parts[1]
    angles, delays = np.linspace(-80, 80, 23), np.linspace(0, 0.9 / SPACING, n_delays)
    monkeypatch.setattr(angle_delay, "_CACHED_POINTS", points)
    found = angle_delay_map(csi, ula(8, 0.06).positions_m, FC, SPACING, angles, delays)
    want = reference(csi, ula(8, 0.06).positions_m, angles, delays)
    assert np.max(np.abs(found - want)) < 1e-4 * want.max()


def test_calibrated_map_uses_gain_coupling_positions_and_delays():
    geometry = ula(6, 0.06)
    coupling = np.eye(6) + 0.1j * np.eye(6, k=1) + 0.1j * np.eye(6, k=-1)
    moved = np.zeros((6, 3))
    moved[:, 0] = RNG.normal(0, 0.004, 6)
    errors = replace(
        ideal(6), gain=noisy(6), coupling=coupling, position_error_m=moved, delay_s=RNG.normal(0, 2e-8, 6)
    )
    valid = Validity(FC - 1e6, FC + 1e6)
    calibration = Calibration(geometry, errors, unknown_sigma(6), Gauge(), FC, valid, "test")
    csi = noisy(6, 48)
    angles, delays = np.linspace(-60, 60, 13), np.linspace(0, 2e-5, 21)
    found = angle_delay_map(csi, geometry.positions_m, FC, SPACING, angles, delays, calibration)
    want = reference(csi, calibration.positions_m, angles, delays, errors.gain, coupling, errors.delay_s)
    assert np.max(np.abs(found - want)) < 1e-4 * want.max()
    with pytest.raises(CalibrationMismatch):
        angle_delay_map(csi, uca(6, 0.1).positions_m, FC, SPACING, angles, delays, calibration)


def test_a_path_of_unit_amplitude_gives_one_where_it_is():
    geometry = ula(8, 0.06)
    f = (np.arange(64) - 32) * SPACING
    a = np.exp(2j * np.pi * FC / C * geometry.positions_m[:, 0] * np.sin(np.deg2rad(20.0)))
    csi = np.outer(a, np.exp(-2j * np.pi * f * 7e-6))
    found = angle_delay_map(csi, geometry.positions_m, FC, SPACING, [20.0, -20.0], [7e-6, 12e-6])
    assert found[0, 0] == pytest.approx(1.0, abs=1e-5)
    assert np.max(np.delete(found.ravel(), 0)) < 0.1
    power, angles, delays = zoom(csi, geometry.positions_m, FC, SPACING, (18.0, 6.6e-6), (10.0, 4e-6))
    i, j = np.unravel_index(np.argmax(power), power.shape)
    assert abs(angles[i] - 20.0) <= 0.13
    assert abs(delays[j] - 7e-6) <= 0.05e-6


def test_fft_engine_equals_the_reference_on_its_grid():
    geometry, gain, csi = ula(8, 0.055), noisy(8), noisy(2, 8, 32)
    power, angles, delays = angle_delay_map_fft(csi, geometry.positions_m, FC, SPACING, 31, 70, gain)
    assert np.all(np.diff(angles) > 0)
    want = reference(csi, geometry.positions_m, angles, delays, gain)
    assert np.max(np.abs(power - want)) < 1e-4 * want.max()
    with pytest.raises(ShapeError, match="equally spaced"):
        angle_delay_map_fft(csi, uca(8, 0.1).positions_m, FC, SPACING)


def test_blocks_are_summed_in_power_or_in_amplitude():
    geometry, csi = ula(4, 0.06), noisy(4, 32)
    opposite = np.stack((csi, -csi))
    grid = (np.linspace(-60, 60, 9), np.linspace(0, 1e-5, 9))
    one = angle_delay_map(csi, geometry.positions_m, FC, SPACING, *grid)
    np.testing.assert_allclose(
        angle_delay_map(opposite, geometry.positions_m, FC, SPACING, *grid), one, rtol=1e-4
    )
    gone = angle_delay_map(opposite, geometry.positions_m, FC, SPACING, *grid, coherent=True)
    assert np.max(gone) < 1e-10 * np.max(one)


@pytest.mark.parametrize(
    ("csi", "text"),
    [
        (np.ones(4), "csi: shape"),
        (np.ones((5, 8)), "5 elements"),
        (np.full((4, 8), np.nan), "finite"),
        (np.full((4, 8), 1e300), "finite"),
        (np.ones((0, 4, 8)), "csi: shape"),
    ],
)
def test_wrong_responses_are_named(csi, text):
    with pytest.raises(ShapeError, match=text):
        angle_delay_map(csi, ula(4, 0.06).positions_m, FC, SPACING, [0.0], [0.0])


def test_wrong_spacing_and_frequencies_are_named():
    csi = np.ones((4, 8))
    with pytest.raises(ShapeError, match="spacing"):
        angle_delay_map(csi, ula(4, 0.06).positions_m, FC, 0.0, [0.0], [0.0])
    with pytest.raises(ShapeError, match="frequency_hz"):
        angle_delay_map(csi, ula(4, 0.06).positions_m, FC, SPACING, [0.0], [0.0], frequency_hz=np.ones(7))


@pytest.mark.parametrize("kind", ["ca", "os"])
@pytest.mark.parametrize("wrap", [(False, True), (False, False)])
def test_cfar_keeps_its_false_alarm_rate(kind, wrap):
    rng = np.random.default_rng(3)
    rate, cells, hits = 2e-3, 0, 0
    for scale in (1e-9, 1.0, 1e6, 1.0, 1.0, 1.0):
        power = scale * rng.exponential(size=(60, 200))
        found = cfar(power, kind=kind, false_alarm=rate, wrap=wrap)
        cells, hits = cells + power.size, hits + int(found.detected.sum())
    # neighbouring tests share training cells: twice the binomial deviation
    assert abs(hits - cells * rate) < 4 * 2 * np.sqrt(cells * rate)


def test_cfar_finds_a_cell_and_order_statistics_survive_a_neighbour():
    power = np.random.default_rng(1).exponential(size=(40, 100))
    power[20, 50], power[20, 53] = 60.0, 4000.0
    assert cfar(power, kind="os", false_alarm=1e-4).detected[20, 50]
    assert not cfar(power, kind="ca", false_alarm=1e-4).detected[20, 50]
    assert ca_factor(20, 1e-3) == pytest.approx(20 * (1e3 ** (1 / 20) - 1))
    assert np.prod([(16 - i) / (16 - i + os_factor(16, 12, 1e-3)) for i in range(12)]) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "wrong", [{"kind": "x"}, {"false_alarm": 0.0}, {"training": (0, 0)}, {"guard": (-1, 0)}]
)
def test_cfar_refuses(wrong):
    with pytest.raises(ConfigError):
        cfar(np.ones((9, 9)), **wrong)


def test_threshold_of_a_map_against_noise():
    rng = np.random.default_rng(4)
    m, s, n = 6, 24, 1500
    f = np.arange(s, dtype=np.float64)
    u = np.linspace(-0.5, 0.5, 31)
    x = np.arange(m) / 2
    a = np.exp(2j * np.pi * np.outer(x, u))
    tau = np.linspace(0, 0.5, 70)
    b = np.exp(2j * np.pi * np.outer(f, tau)) / np.sqrt(m * s)
    lengths = (angle_length(a), axis_length(f, 0.5))
    noise = (rng.standard_normal((n, m, s)) + 1j * rng.standard_normal((n, m, s))) / np.sqrt(2)
    largest = np.array([np.max(np.abs(a.conj().T @ y @ b) ** 2) for y in noise])
    for rate in (0.2, 0.05):
        seen = np.mean(largest > threshold(rate, lengths))
        assert seen == pytest.approx(rate, abs=0.02 + 0.1 * rate)
    assert exceedance(threshold(1e-3, (9.0, 40.0, 20.0)), (9.0, 40.0, 20.0)) == pytest.approx(1e-3, rel=1e-6)
    with pytest.raises(ConfigError):
        threshold(0.9, lengths)


def test_elements_in_any_order_give_the_same_map():
    geometry, csi = ula(5, 0.06), noisy(5, 16)
    order = RNG.permutation(5)
    grid = (np.linspace(-60, 60, 7), np.linspace(0, 1e-5, 5))
    one = angle_delay_map(csi, geometry.positions_m, FC, SPACING, *grid)
    shuffled = ArrayGeometry(geometry.positions_m[order])
    np.testing.assert_allclose(
        angle_delay_map(csi[order], shuffled.positions_m, FC, SPACING, *grid), one, rtol=1e-4
    )


def test_the_common_phase_of_many_blocks_takes_time_in_proportion():
    phases = RNG.uniform(-np.pi, np.pi, 6000)
    pattern = noisy(1, 3, 8)
    csi = pattern * np.exp(1j * phases)[:, None, None] + 0.01 * noisy(6000, 3, 8)
    turned, scatter, common = aligned(csi)
    assert common
    assert scatter > 1.0
    left = np.angle(np.einsum("bms,ms->b", turned, pattern[0].conj()))
    assert np.std(np.angle(np.exp(1j * (left - left[0])))) < 0.01
    one = merged(csi)
    assert one.shape == (1, 3, 8)
    ratio = one[0] / pattern[0]
    assert np.max(np.abs(ratio / ratio.mean() - 1)) < 0.01


def test_the_power_over_delay_of_many_rows_is_that_of_their_sum():
    rows, f = noisy(50, 12), np.sort(RNG.uniform(-1e6, 1e6, 12))
    delays = np.linspace(0, 3e-6, 7)
    want = [np.sum(np.abs(rows @ np.exp(2j * np.pi * f * d)) ** 2) / 12 for d in delays]
    assert delay_profile(rows, f, delays) == pytest.approx(want, rel=1e-9)


def test_a_block_without_signal_has_no_phase():
    csi = noisy(1, 3, 8) * np.exp(0.4j * np.arange(12))[:, None, None] + 1e-3 * noisy(12, 3, 8)
    csi[5] = 0.0
    turned, scatter, common = aligned(csi)
    assert common
    assert scatter == 0.0  # the even turn is a Doppler shift, and stays
    assert np.array_equal(turned, csi.astype(np.complex64))


def test_an_element_that_hears_nothing_does_not_count_for_more_than_the_others():
    csi = noisy(6, 4, 64)
    with_all = noise_deviation(csi)
    csi[:, 2] = 0.0
    found = noise_deviation(csi)
    assert found == pytest.approx(with_all, rel=0.1)
    assert noise_deviation(0 * csi).shape == (4,)
