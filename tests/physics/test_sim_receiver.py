"""Levels, noise, converter and time: what the front end and the clock of the simulated array do."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sim_backend import propagation
from sim_backend.drawn import draw, stream
from sim_backend.engine import ArrayEngine
from sim_backend.scene import Scene, load_scene, parse_scene

IDEAL = """
[impairments]
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
relock_phase = false
"""
STILL = '[[emitter]]\nangle_deg = 10.0\nwaveform = "cw"\noffset_hz = 0.0\n'


def engine_of(text: str) -> ArrayEngine:
    return ArrayEngine(parse_scene(text), free_running=True)


def to_complex(wire: np.ndarray) -> np.ndarray:
    """(C, n) complex128 of full scale 1 at 12 bits."""
    return (wire[:, 0::2] + 1j * wire[:, 1::2]).T / 2048.0


@pytest.mark.parametrize("snr_db", [-5.0, 10.0, 20.0])
def test_signal_level_and_snr(snr_db):
    x = to_complex(engine_of(f"receiver = {{snr_db = {snr_db}}}\n{STILL}{IDEAL}").read(0, 0, 1 << 20))
    signal = np.abs(x.mean(axis=1)) ** 2
    noise = np.var(x, axis=1) - 2 / 12 / 2048**2  # less the converter's own
    assert 10 * np.log10(signal) == pytest.approx(np.full(4, -12.0), abs=0.05)
    assert 10 * np.log10(signal / noise) == pytest.approx(np.full(4, snr_db), abs=0.05)


@pytest.mark.parametrize("waveform", ["qpsk", "noise", "ofdm", "srs"])
def test_every_waveform_has_the_level_asked_for(waveform):
    emitter = f'[[emitter]]\nwaveform = "{waveform}"\nangle_deg = 0.0\n'
    x = to_complex(engine_of(f"receiver = {{snr_db = 60.0}}\n{emitter}{IDEAL}").read(0, 0, 1 << 20))
    assert 10 * np.log10(np.mean(np.abs(x) ** 2)) == pytest.approx(-12.0, abs=0.1)


def test_a_weaker_emitter_is_weaker_and_independent():
    text = (
        "receiver = {snr_db = 60.0, fs_hz = 4e6}\n"
        '[[emitter]]\nwaveform = "cw"\noffset_hz = 0.0\n[[emitter]]\nwaveform = "cw"\noffset_hz = 1e6\npower_db = -10.0\n'
    )
    x = to_complex(engine_of(text + IDEAL).read(0, 0, 4096))[0]
    spectrum = np.abs(np.fft.fft(x)) ** 2
    assert 10 * np.log10(spectrum[1024] / spectrum[0]) == pytest.approx(-10.0, abs=0.05)


def test_noise_is_white_between_channels_boards_and_samples():
    engine = engine_of("emitter = []\nreceiver = {peak_dbfs = -10.0, snr_db = 0.0}")
    n = 1 << 20
    x = np.concatenate([to_complex(engine.read(b, 0, n)) for b in range(2)])
    r = x @ x.conj().T / n
    r /= np.mean(np.diag(r).real)
    assert np.max(np.abs(r - np.eye(8))) < 5 / np.sqrt(n)
    lag = [abs(np.vdot(row[:-k], row[k:])) / n for row in x for k in (1, 2, 17, 4096)]
    assert max(lag) < 5 / np.sqrt(n) * np.mean(np.abs(x) ** 2)
    flat = x[0].real / x[0].real.std()
    assert np.mean(flat**4) == pytest.approx(3.0, abs=0.03)  # Gaussian


def test_unused_channels_carry_noise_only():
    x = to_complex(engine_of(f"array = {{n_elements = 6}}\n{STILL}{IDEAL}").read(1, 0, 1 << 16))
    level = 10 * np.log10(np.mean(np.abs(x) ** 2, axis=1))
    assert np.all(level[:2] > -13)
    assert np.all(level[2:] == pytest.approx(-32.0, abs=0.2))


def test_the_gain_setting_acts_on_signal_and_noise():
    engine = engine_of(f"receiver = {{snr_db = 10.0, peak_dbfs = -30.0}}\n{STILL}{IDEAL}")
    nominal = engine.gain_db(0, 0)
    engine.write_gain(0, 1, nominal + 10.0, at=100_000)
    assert engine.gain_db(0, 1) == nominal + 10.0
    before, after = (to_complex(engine.read(0, first, 1 << 16)) for first in (0, 1 << 17))
    for channel, step in ((0, 0.0), (1, 10.0)):
        for measure in (lambda x: np.abs(x.mean()) ** 2, np.var):
            gained = 10 * np.log10(measure(after[channel]) / measure(before[channel]))
            assert gained == pytest.approx(step, abs=0.1)


@pytest.mark.parametrize(("board", "bits"), [("fmcomms5", 12), ("adrv9009", 16)])
def test_too_much_signal_clips_at_the_boards_bits(board, bits):
    wire = engine_of(f"receiver = {{board = '{board}', peak_dbfs = 10.0}}\n{STILL}").read(0, 0, 4096)
    assert wire.dtype == np.int16
    assert wire.flags.c_contiguous
    assert wire.min() == -(1 << (bits - 1)) or wire.max() == (1 << (bits - 1)) - 1
    assert wire.min() >= -(1 << (bits - 1))
    assert wire.max() <= (1 << (bits - 1)) - 1


def test_dc_and_iq_image_levels():
    text = (
        "receiver = {snr_db = 80.0, adc_bits = 16}\n"
        '[[emitter]]\nwaveform = "cw"\noffset_hz = 312500.0\n'  # an eighth of the rate
        + IDEAL.replace("[impairments]", "[impairments]\niq_image_db = -30.0\ndc_dbfs = -40.0")
    )
    engine = engine_of(text)
    x = to_complex(engine.read(0, 0, 8192)) / 16
    spectrum = np.fft.fft(x, axis=1) / 8192
    image = 20 * np.log10(np.abs(spectrum[:, -1024]) / np.abs(spectrum[:, 1024]))
    assert image == pytest.approx(np.full(4, -30.0), abs=0.05)
    assert 20 * np.log10(np.abs(spectrum[:, 0])) == pytest.approx(np.full(4, -40.0), abs=0.05)
    np.testing.assert_allclose(spectrum[:, 0], engine.drawn.dc_offset[:4], rtol=1e-2)
    turned = spectrum[:, -1024] / np.conj(spectrum[:, 1024])
    np.testing.assert_allclose(turned, engine.drawn.iq_image[:4], rtol=1e-2)


MOVING = """
receiver = { snr_db = 15.0 }
[[emitter]]
hop = { period_s = 0.00123 }
[[emitter]]
waveform = "noise"
offset_hz = 1234.567
track = { rate_deg_per_s = 300.0 }
[[emitter]]
waveform = "cw"
rf_hz = 2450200000.0
paths = [{ angle_deg = 44.0, delay_s = 1e-6 }]
[impairments]
delay_std_s = 1e-9
coupling_db = -15.0
iq_image_db = -35.0
dc_dbfs = -40.0
drift_deg_per_minute = 100.0
[faults]
slip_samples_at_s = [0.004, 0.009]
garbage_after_retune = 3000
"""


def with_events(engine: ArrayEngine) -> ArrayEngine:
    engine.write_gain(0, 2, 35.0, at=5_000)
    engine.write_lo(0, 1, 2.4501e9, at=12_345)
    engine.write_lo(1, 0, 2.4502e9, at=20_000)
    return engine


@pytest.mark.parametrize("board", [0, 1])
def test_samples_do_not_depend_on_the_pieces_or_the_thread(board):
    engine = with_events(engine_of(MOVING))
    whole = engine.read(board, 0, 40_000)
    rng = np.random.default_rng(3)
    pieces = [
        (int(a), int(n)) for a, n in zip(rng.integers(0, 35_000, 60), rng.integers(0, 5000, 60), strict=True)
    ]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda piece: engine.read(board, *piece), pieces))
    for (first, n), got in zip(pieces, answers, strict=True):
        np.testing.assert_array_equal(got, whole[first : first + n])
    again = with_events(engine_of(MOVING)).read(board, 777, 30_000)
    np.testing.assert_array_equal(again, whole[777:30_777])


def test_another_process_makes_the_same_samples():
    code = (
        "import hashlib\nfrom sim_backend.engine import ArrayEngine\nfrom sim_backend.scene import load_scene\n"
        "e = ArrayEngine(load_scene(None), free_running=True)\n"
        "print(hashlib.sha256(e.read(1, 123457, 50000).tobytes()).hexdigest())"
    )
    run = [sys.executable, "-c", code]
    answers = {subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(answers) == 1
    assert len(answers.pop()) == 65


def test_other_seeds_make_other_arrays_but_one_key_changes_one_field():
    first, other, changed = (
        engine_of(text).drawn for text in ("seed = 1", "seed = 2", "seed = 1\nimpairments = {gain_std = 0.1}")
    )
    assert not np.allclose(first.gain, other.gain)
    np.testing.assert_array_equal(first.position_error_m, changed.position_error_m)
    assert np.max(np.abs(changed.gain)) < np.max(np.abs(first.gain))
    # both are the same turn times 1 + std dg, with the same dg
    rng = stream(1, "gain")
    dg = (rng.standard_normal(8) + 1j * rng.standard_normal(8)) / np.sqrt(2)
    np.testing.assert_allclose(first.gain / (1 + 0.3 * dg), changed.gain / (1 + 0.1 * dg))


def test_draws_have_the_spread_that_the_scene_says():
    text = "seed = {}\narray = {{n_elements = 64}}\nimpairments = {{gain_std = 0.2, phase_std_deg = 20.0, delay_std_s = 1e-9}}"
    all_drawn = [engine_drawn(text.format(seed)) for seed in range(20)]
    lam = 299_792_458.0 / 2.45e9
    position = np.stack([d.position_error_m for d in all_drawn])
    assert position[..., 0].std() == pytest.approx(0.1 * lam, rel=0.06)
    assert not np.any(position[..., 1:])
    assert np.stack([d.delay_s for d in all_drawn]).std() == pytest.approx(1e-9, rel=0.06)
    gain = np.stack([d.gain for d in all_drawn])
    assert np.mean(np.abs(gain) ** 2) == pytest.approx(1 + 0.04, rel=0.02)
    # phase: 20 degrees of its own and about 0.2 / sqrt(2) rad from dg
    assert np.angle(gain).std() == pytest.approx(np.hypot(np.deg2rad(20), 0.2 / np.sqrt(2)), rel=0.06)


def engine_drawn(text: str):
    return draw(parse_scene(text))


def test_planar_arrays_are_misplaced_in_their_plane():
    d = engine_drawn("array = {kind = 'uca', n_elements = 16}")
    assert np.all(d.position_error_m[:, :2] != 0)
    assert not np.any(d.position_error_m[:, 2])


def test_ports_say_which_channel_an_element_is_on():
    text = f"array = {{n_elements = 4, ports = [2, 0, 3, 1]}}\nreceiver = {{snr_db = 80.0}}\n{STILL}{IDEAL}"
    straight = text.replace("ports = [2, 0, 3, 1]", "ports = [0, 1, 2, 3]")
    crossed, plain = (to_complex(engine_of(t).read(0, 0, 4096)) for t in (text, straight))
    for element, port in enumerate((2, 0, 3, 1)):
        assert crossed[port].mean() == pytest.approx(plain[element].mean(), rel=1e-2)


def test_drift_turns_every_element_at_its_own_even_rate():
    text = f"receiver = {{snr_db = 60.0}}\n{STILL}{IDEAL}drift_deg_per_minute = 60.0\n"
    engine = engine_of(text)
    x = [to_complex(engine.read(0, int(t * 2.5e6), 8192)).mean(axis=1) for t in (0, 10, 20)]
    turned = np.angle(x[1] / x[0])
    np.testing.assert_allclose(turned, 10 * engine.drawn.drift_rad_per_s[:4], atol=1e-3)
    np.testing.assert_allclose(np.angle(x[2] / x[0] * np.exp(-2j * turned)), 0, atol=1e-3)
    assert np.std(engine.drawn.drift_rad_per_s) > 0


def test_boards_share_one_time_that_correlation_finds():
    engine = engine_of("receiver = {snr_db = 10.0}")
    n, shift = 1 << 19, 123_456
    a = to_complex(engine.read(0, 500_000, n))[0]
    b = to_complex(engine.read(1, 500_000 + shift, n))[0]
    correlation = np.abs(np.fft.ifft(np.fft.fft(a, 2 * n) * np.conj(np.fft.fft(b, 2 * n))))
    assert np.argmax(correlation) == shift
    correlation[shift - 40 : shift + 40] = 0
    assert correlation.max() < 0.5 * np.abs(np.vdot(a[shift:], b[: n - shift]))


def test_the_free_running_clock_follows_the_reads_and_the_real_one_the_wall():
    free = engine_of("")
    assert free.now(0) == 0
    free.read(1, 1000, 234)
    assert free.now(0) == free.now(1) == 1234
    assert free.wait_until(0, 10**9, 0.0)
    real = ArrayEngine(load_scene(None))
    start = real.now(0)
    assert real.wait_until(0, start + 25_000, 5.0)
    assert real.now(1) >= start + 25_000
    assert not real.wait_until(0, real.now(0) + 10**9, 0.01)


def test_a_slip_moves_one_channel_against_the_others():
    text = f"receiver = {{snr_db = 0.0}}\n{STILL}{IDEAL}"
    clean = engine_of(text).read(0, 0, 30_000)
    slipped = engine_of(
        text + "[faults]\nslip_samples_at_s = 0.004\nslip_samples = 3\nslip_channel = 2\n"
    ).read(0, 0, 20_000)
    np.testing.assert_array_equal(slipped[:10_000], clean[:10_000])
    np.testing.assert_array_equal(slipped[10_000:, 4:6], clean[10_003:20_003, 4:6])
    np.testing.assert_array_equal(slipped[10_000:, :4], clean[10_000:20_000, :4])


def test_garbage_follows_a_retune():
    text = f"{STILL}{IDEAL}[faults]\ngarbage_after_retune = 2000\n"
    engine = engine_of(text)
    clean = engine.read(0, 0, 20_000)
    engine.write_gain(0, 0, engine.gain_db(0, 0), at=3000)
    engine.write_lo(0, 0, engine.fc_hz(0), at=10_000)
    after = engine.read(0, 0, 20_000)
    np.testing.assert_array_equal(after[:10_000], clean[:10_000])
    assert after[10_000:12_000].std() > 1000
    np.testing.assert_array_equal(after[12_000:], clean[12_000:])


def test_a_recording_is_an_emitter(tmp_path):
    rng = np.random.default_rng(0)
    data = (rng.standard_normal(5000) + 1j * rng.standard_normal(5000)).astype(np.complex64)
    data.tofile(tmp_path / "x.sigmf-data")
    meta = '{"global": {"core:datatype": "cf32_le", "core:sample_rate": 2.5e6}, "captures": []}'
    (tmp_path / "x.sigmf-meta").write_text(meta)
    (tmp_path / "scene.toml").write_text(
        f'receiver = {{snr_db = 60.0}}\n[[emitter]]\nfile = "x.sigmf-meta"\noffset_hz = 0.0\n{IDEAL}'
    )
    x = to_complex(ArrayEngine(load_scene(tmp_path / "scene.toml"), free_running=True).read(0, 0, 12_000))[0]
    np.testing.assert_allclose(x[:5000], x[5000:10_000], atol=5e-3)
    # broadside, but element 0 lies off centre: only a constant phase stays
    rho = np.vdot(data, x[:5000]) / np.linalg.norm(data) / np.linalg.norm(x[:5000])
    assert abs(rho) == pytest.approx(1.0, abs=1e-3)


def test_ofdm_and_srs_keep_their_symbol_period():
    ofdm = "ofdm = {n_subcarriers = 64, spacing_hz = 31250.0, cp_samples = 20}\n"
    head = "receiver = {snr_db = 60.0}\n"
    x = to_complex(
        engine_of(f'{head}{ofdm}[[emitter]]\nwaveform = "srs"\noffset_hz = 0.0\n{IDEAL}').read(0, 0, 10_000)
    )[0]
    np.testing.assert_allclose(x[:5000], x[5000:], atol=5e-3)  # symbols of 80 + 20 samples
    y = to_complex(
        engine_of(f'{head}{ofdm}[[emitter]]\nwaveform = "ofdm"\noffset_hz = 0.0\n{IDEAL}').read(0, 0, 10_000)
    )[0]
    framed = y.reshape(100, 100)
    np.testing.assert_allclose(framed[:, :20], framed[:, 80:], atol=5e-3)  # cyclic prefix


def test_a_scene_object_is_hashable_and_comparable():
    assert hash(parse_scene("")) == hash(parse_scene(""))
    assert isinstance(parse_scene(""), Scene)


def test_a_retune_within_the_band_makes_no_new_tables():
    # a table costs a tenth of a second, in which a live stream would stall
    engine = engine_of("[[emitter]]\nhop = {}\n[[emitter]]\nrf_hz = 2450100000.0\npower_db = -3.0\n")
    made = propagation._make_table.cache_info().misses
    engine.write_lo(0, 0, 2.4502e9, at=5000)
    engine.write_lo(0, 1, 2.4502e9, at=5000)
    engine.write_lo(0, 0, 2.4498e9, at=20_000)
    assert engine.read(0, 0, 40_000).std() > 0
    assert propagation._make_table.cache_info().misses == made


def test_sixteen_channels_are_read_board_by_board():
    engine = engine_of("array = {n_elements = 16}\nreceiver = {fs_hz = 1e6}")
    level = [engine.read(board, 0, 100_000).std(axis=0) for board in range(engine.n_boards)]
    assert np.shape(level) == (4, 8)
    assert np.min(level) > 100
