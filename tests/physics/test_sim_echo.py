"""Echoes of the simulated array's own transmissions against sums over tones computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.physics.echo_scenes import C_M_S, FS_HZ, IDEAL, QUIET, Model, heard, scene_text, start, tones

ONE = "[[target]]\nangle_deg = 30.0\nrange_m = 300.0\n"
PEAK = 10 ** (-12 / 20)


def worst(got, want):
    """Greatest difference relative to the RMS of what is wanted."""
    return np.abs(got - want).max() / np.sqrt(np.mean(np.abs(want) ** 2))


def phases(engine, board=0):
    """LO phase of every receive channel and of every transmit channel of one board."""
    chips = [engine.scene.board.chip_of(c) for c in range(engine.scene.board.n_channels)]
    rx, tx = engine._log.last(board).phase_rad, engine._timeline.state(board).phase_rad
    return np.array([rx[c] for c in chips]), np.array([tx[c] for c in chips])


def test_one_target_arrives_late_by_twice_its_range_and_ahead_by_the_elements_way():
    engine, wave = start(scene_text(ONE + "phase_deg = 40.0")), tones(64)
    engine.transmit(0, wave, 1000)
    want = Model(
        engine, wave, origin=1000, targets=[{"angle_deg": 30.0, "range_m": 300.0, "phase_deg": 40.0}]
    )
    for first in (2000, 50_000, 4096 * 300 - 20):
        assert worst(heard(engine, 100, first), want(first + np.arange(100))) < 3e-4
    # by hand, without the model: element spacing half a wavelength, sin 30 = 1/2
    x = heard(engine, 64, 1 << 16)
    assert np.angle(np.vdot(x[0], x[1])) == pytest.approx(np.pi / 2, abs=2e-4)


def test_every_error_of_the_array_acts_on_echoes_as_on_emitters():
    errors = """
    [impairments]
    gain_std = 0.3
    position_std_wavelengths = 0.1
    coupling_db = -15.0
    delay_std_s = 2e-8
    """
    text = scene_text(
        "[[target]]\nangle_deg = -40.0\nrange_m = 123.4\nelevation_deg = 25.0\nrcs_db = -3.0\n",
        more=errors, transmit="[transmit]\nleakage_db = -6.0\nleakage_delay_s = 1.1e-7\ngain_std = 0.2", top="seed = 5",
    )  # fmt: skip
    engine = start(text)
    wave = np.concatenate([tones(48, 1), 0 * tones(48), tones(48, 2)])
    engine.transmit(0, wave, 77)
    rx, tx = phases(engine)
    want = Model(
        engine, wave[[0, 2]], channels=(0, 2), origin=77, rx_phase=rx, tx_phase=tx,
        targets=[{"angle_deg": -40.0, "range_m": 123.4, "elevation_deg": 25.0, "rcs_db": -3.0}],
    )  # fmt: skip
    for first in (500, 20_000):
        assert worst(heard(engine, 96, first), want(first + np.arange(96))) < 5e-4


def test_angle_dependent_phase_acts_on_the_way_out_and_on_the_way_back():
    more = IDEAL + "angle_dependent_phase_deg = 30.0\n"
    engine, wave = start(scene_text("[[target]]\nangle_deg = 37.5\nrange_m = 60.0", more=more)), tones(32)
    engine.transmit(0, np.concatenate([0 * wave, wave]), 0)
    d = engine.drawn
    psi = np.array([np.interp(37.5, d.angle_table_deg, row) for row in d.angle_phase_rad])
    assert np.abs(psi[1:]).min() > 0.02
    plain = Model(engine, wave, channels=(1,), targets=[{"angle_deg": 37.5, "range_m": 60.0}])
    got, want = heard(engine, 64, 9000), plain(9000 + np.arange(64)) * np.exp(1j * (psi + psi[1]))[:, None]
    assert worst(got, want) < 3e-4


@pytest.mark.parametrize("speed", [0.0, 30.0, -30.0, 400.0])
def test_a_moving_target_turns_the_carrier_and_drifts_in_delay(speed):
    engine, wave = (
        start(scene_text(f"[[target]]\nangle_deg = 10.0\nrange_m = 5000.0\nspeed_m_s = {speed}\n")),
        tones(64),
    )
    engine.transmit(0, wave, 0)
    want = Model(engine, wave, targets=[{"angle_deg": 10.0, "range_m": 5000.0, "speed_m_s": speed}])
    for first in (4096, 2_500_000, 10_000_000):
        assert worst(heard(engine, 300, first), want(first + np.arange(300))) < 6e-3
    # Doppler by hand: -2 v f / c, seen as the turn of the carrier over exactly 1000 periods
    a, b = heard(engine, 64, 5_000_000), heard(engine, 64, 5_000_000 + 64_000)
    turn = np.angle(np.vdot(a[0], b[0])) / (2 * np.pi)
    cycles = -2 * speed * 2.45e9 / C_M_S * 64_000 / FS_HZ
    assert (turn - cycles + 0.5) % 1.0 - 0.5 == pytest.approx(0.0, abs=2e-3)


def test_an_approaching_target_turns_back_at_the_array():
    engine, wave = start(scene_text("[[target]]\nrange_m = 10.0\nspeed_m_s = -100.0\n")), tones(32)
    engine.transmit(0, wave, 0)
    want = Model(engine, wave, targets=[{"angle_deg": 0.0, "range_m": 10.0, "speed_m_s": -100.0}])
    for first in (250_000 - 150, 600_000):
        assert worst(heard(engine, 300, first), want(first + np.arange(300))) < 6e-3


@pytest.mark.parametrize(("rcs_db", "power_dbfs", "range_m", "peak_dbfs", "level_dbfs"), [
    (0.0, -12.0, 10.0, -12.0, -12.0), (0.0, -12.0, 9000.0, -12.0, -12.0), (-10.0, -12.0, 50.0, -12.0, -22.0),
    (0.0, -20.0, 50.0, -12.0, -20.0), (6.0, -30.0, 50.0, -20.0, -32.0),
])  # fmt: skip
def test_level_rule(rcs_db, power_dbfs, range_m, peak_dbfs, level_dbfs):
    text = scene_text(
        f"[[target]]\nrange_m = {range_m}\nrcs_db = {rcs_db}\n", receiver=f"peak_dbfs = {peak_dbfs}"
    )
    engine = start(text)
    engine.transmit(0, tones(256, power_dbfs=power_dbfs), 0)
    x = heard(engine, 2560, 40_960)
    assert 10 * np.log10(np.mean(np.abs(x) ** 2, axis=1)) == pytest.approx([level_dbfs] * 4, abs=0.01)


def test_an_echo_of_0_db_is_as_strong_as_an_emitter_of_0_db_and_gains_act_on_both():
    text = scene_text(ONE + "[[emitter]]\noffset_hz = 8e5\nwaveform = 'cw'\n")
    engine = start(text)
    engine.write_gain(0, 1, 46.0, 0)
    wave = PEAK * np.exp(2j * np.pi * np.arange(50) * 10 / 50)[None]  # a tone 500 kHz above the carrier
    engine.transmit(0, wave.astype(np.complex64), 0)
    power = np.abs(np.fft.fft(heard(engine, 2500, 50_000)) / 2500) ** 2
    assert 10 * np.log10(power[:, 500]) == pytest.approx([-12, -6, -12, -12], abs=0.01)
    assert 10 * np.log10(power[:, 800]) == pytest.approx([-12, -6, -12, -12], abs=0.01)


def test_echoes_add_up():
    def echo(targets, transmit=QUIET):
        engine = start(scene_text(targets, transmit=transmit, more="", receiver="peak_dbfs = -26.0"))
        clean = heard(engine, 3000, 30_000)
        engine.transmit(0, tones(100), 0)
        return heard(engine, 3000, 30_000) - clean

    two = "[[target]]\nangle_deg = -20.0\nrange_m = 777.0\nrcs_db = -6.0\n"
    fast = "[[target]]\nangle_deg = 50.0\nrange_m = 400.0\nspeed_m_s = 20.0\n"
    none = "[[target]]\nrcs_db = -200.0\n"
    leak = "[transmit]\nleakage_db = -3.0\n"
    parts = echo(ONE) + echo(two) + echo(fast) + echo(none, leak)
    assert np.abs(echo(ONE + two + fast, leak) - parts).max() < 1e-4  # three steps of the converter


def test_leakage_is_drawn_per_pair_within_its_spread_and_has_no_delay():
    engine = start(scene_text("[[target]]\nrcs_db = -200.0\n", transmit="[transmit]\nleakage_db = -10.0"))
    wave = tones(64, share=0.8)
    engine.transmit(0, wave, 500)
    x = heard(engine, 2000)
    assert np.abs(x[:, :500]).max() < 3e-4
    ratio = (x[:, 500:1780] @ np.tile(wave[0], 20).conj()) / np.sum(np.abs(wave) ** 2) / 20
    want = engine.tx_drawn.leakage[0] * engine.tx_drawn.gain[0]
    assert np.abs(ratio - want).max() < 1e-4
    level = 20 * np.log10(np.abs(engine.tx_drawn.leakage))
    assert -12 < level.min() < level.max() - 2 < -10
    assert np.ptp(np.angle(engine.tx_drawn.leakage)) > 3


def test_echoes_begin_and_end_with_the_transmission():
    text = scene_text("[[target]]\nrange_m = 30000.0\n[[target]]\nrange_m = 15000.0\nrcs_db = -40.0\n")
    engine = start(text)
    engine.transmit(0, np.full((1, 1), 0.25, np.complex64), 10_000)
    engine.transmit(0, None, 20_000)
    x = np.abs(heard(engine, 24_000)[0])
    near, far = 30_000 / C_M_S * FS_HZ, 60_000 / C_M_S * FS_HZ  # 250.2 and 500.3 samples
    edges = np.flatnonzero(np.diff((x > 0.125).astype(int))) + 1  # half of the far one's 0.25
    assert edges.tolist() == pytest.approx([10_000 + far, 20_000 + far], abs=1.0)
    weak = x[10_000 + int(near) + 30 : 10_000 + int(far) - 60]
    assert weak == pytest.approx(np.full(len(weak), 0.25 * 10 ** (-40 / 20)), rel=0.1)
    assert x[: 10_000 + int(near) - 110].max() < 3e-4
    assert x[20_000 + int(far) + 110 :].max() < 3e-4


@pytest.mark.parametrize("period", [1, 3, 100, 4096, 4097, 1 << 20])
def test_cyclic_waveforms_of_any_length_repeat_without_a_seam(period):
    engine = start(scene_text(ONE, n=2, board="pluto"))
    rng = np.random.default_rng(3)
    wave = (
        tones(period, 4)
        if period > 9
        else (0.25 * np.exp(2j * np.pi * rng.random((1, period)))).astype(np.complex64)
    )
    engine.transmit(0, wave, 17)
    first = 17 + 3 * period + 2000
    n = min(3 * period, 9000)
    x = heard(engine, n, first)
    spectrum = np.fft.fft(wave[0].astype(complex)) / period
    f = np.fft.fftfreq(period)
    used = np.flatnonzero(np.abs(spectrum) > 0)
    rng = np.random.default_rng(0)
    for i in rng.integers(n, size=12):
        tau = 600 / C_M_S
        t = (first + i - 17) - tau * FS_HZ + engine.drawn.positions_m[[0, 1], 0] * 0.5 / C_M_S * FS_HZ
        t = t + engine.drawn.positions_m[0, 0] * 0.5 / C_M_S * FS_HZ
        tau_all = tau - (engine.drawn.positions_m[:, 0] + engine.drawn.positions_m[0, 0]) * 0.5 / C_M_S
        carrier = np.exp(-2j * np.pi * 2.45e9 * tau_all) * engine.tx_drawn.gain[0]
        want = np.array([np.sum(spectrum[used] * np.exp(2j * np.pi * f[used] * tm)) for tm in t]) * carrier
        assert np.abs(x[:, i] - want).max() < 3e-4
