"""Faults of the samples against the same scene without them: factors, shifts, exchanged antennas, carriers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hil.core.units import SPEED_OF_LIGHT_M_S
from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene

FS_HZ = 2.5e6
HEAD = "seed = 5\narray = {n_elements = 8}\n"
MESSY = """
[impairments]
coupling_db = -18.0
delay_std_s = 2e-9
angle_dependent_phase_deg = 8.0
drift_deg_per_minute = 200.0
[[emitter]]
angle_deg = 20.0
[[emitter]]
waveform = "noise"
offset_hz = -4e5
symbol_rate_hz = 2e5
power_db = -3.0
track = { rate_deg_per_s = 300.0 }
"""
TONE = "[[emitter]]\nwaveform = 'cw'\noffset_hz = 1e5\nangle_deg = -35.0\n"
AT = 10_000  # sample of scene second 0.004


def engine(text: str, faults: str = "", head: str = HEAD, **options) -> ArrayEngine:
    return ArrayEngine(parse_scene(f"{head}{text}\n[faults]\n{faults}\n"), free_running=True, **options)


def read(text: str, faults: str = "", n: int = 30_000, board: int = 0, head: str = HEAD) -> np.ndarray:
    return engine(text, faults, head).read(board, 0, n)


def z(wire: np.ndarray) -> np.ndarray:
    """(n, C) complex128."""
    return wire[:, 0::2] + 1j * wire[:, 1::2].astype(float)


def assert_factor(faulty: np.ndarray, clean: np.ndarray, factor: np.ndarray) -> None:
    """faulty = factor * clean up to the rounding of both (and of |factor| times the first)."""
    error = np.abs(z(faulty) - z(clean) * factor)
    assert np.max(error) <= (1.0 + np.max(np.abs(factor))) * np.sqrt(0.5) * 1.01


def test_a_phase_jump_turns_one_chip_and_nothing_else():
    faults = "phase_jump_at_s = [0.004, 0.008]\nphase_jump_deg = 40.0\nphase_jump_chip = 1"
    clean, faulty = read(MESSY), read(MESSY, faults)
    np.testing.assert_array_equal(faulty[:AT], clean[:AT])
    np.testing.assert_array_equal(faulty[:, :4], clean[:, :4])
    assert_factor(faulty[AT : 2 * AT, 4:], clean[AT : 2 * AT, 4:], np.exp(1j * np.deg2rad(40.0)))
    assert_factor(faulty[2 * AT :, 4:], clean[2 * AT :, 4:], np.exp(1j * np.deg2rad(80.0)))
    np.testing.assert_array_equal(read(MESSY, faults, board=1), read(MESSY, board=1))


def test_random_jumps_of_a_board_are_drawn_for_every_chip_from_the_seed():
    faults = "phase_jump_at_s = 0.004\nphase_jump_board = 1\nphase_jump_chip = -1"
    turns = []
    for head in (HEAD, HEAD, HEAD.replace("5", "6")):
        ratio = z(read(TONE, faults, board=1, head=head))[AT:] / z(read(TONE, board=1, head=head))[AT:]
        turn = np.angle(ratio.mean(axis=0))
        assert turn[0] == pytest.approx(turn[1], abs=1e-3)
        assert turn[2] == pytest.approx(turn[3], abs=1e-3)
        turns.append(turn)
    np.testing.assert_array_equal(turns[0], turns[1])
    assert abs(turns[0][0] - turns[0][2]) > 0.1
    assert abs(turns[0][0] - turns[2][0]) > 0.1


def test_a_flip_changes_the_sign_and_the_next_one_changes_it_back():
    clean = read(MESSY, board=1)
    faulty = read(MESSY, "flip_at_s = [0.008, 0.004]\nflip_board = 1\nflip_channel = 3", board=1)
    others = list(range(6))
    np.testing.assert_array_equal(faulty[:, others], clean[:, others])
    np.testing.assert_array_equal(faulty[AT : 2 * AT, 6:], -clean[AT : 2 * AT, 6:])
    np.testing.assert_array_equal(faulty[2 * AT :], clean[2 * AT :])


def test_an_agc_step_changes_gain_and_phase_but_not_what_can_be_read_back():
    faults = (
        "agc_step_at_s = [0.004, 0.008]\nagc_step_db = -4.5\nagc_step_phase_deg = 7.0\nagc_step_channel = 0"
    )
    run = engine(MESSY, faults)
    clean, faulty = read(MESSY), run.read(0, 0, 30_000)
    np.testing.assert_array_equal(faulty[:AT], clean[:AT])
    assert_factor(
        faulty[AT : 2 * AT, :2], clean[AT : 2 * AT, :2], 10 ** (-4.5 / 20) * np.exp(1j * np.deg2rad(7.0))
    )
    np.testing.assert_array_equal(faulty[2 * AT :], clean[2 * AT :])
    assert run.gain_db(0, 0) == run.gain_db(0, 1)


def test_a_gain_step_of_a_board_acts_on_all_its_channels():
    clean = read(TONE)
    faulty = read(TONE, "agc_step_at_s = 0.004\nagc_step_channel = -1\nagc_step_phase_deg = 0.0")
    assert_factor(faulty[AT:], clean[AT:], np.full(4, 10 ** (6.0 / 20)))


def test_a_drift_turns_the_phase_evenly_and_stops():
    faults = "drift_at_s = [0.004, 0.006]\ndrift_deg_per_s = 9000.0\ndrift_s = 0.004\ndrift_channel = 2"
    turn = np.rad2deg(np.unwrap(np.angle((z(read(TONE, faults)) / z(read(TONE)))[:, 2])))
    t_s = np.arange(len(turn)) / FS_HZ
    want = 9000.0 * (np.clip(t_s - 0.004, 0, 0.004) + np.clip(t_s - 0.006, 0, 0.004))
    assert np.max(np.abs(turn - want)) < 0.5  # the rounding of both, at a level of 500 steps
    assert np.std(turn - want) < 0.1
    later = np.angle((z(engine(TONE, faults).read(0, 10**7, 50)) / z(engine(TONE).read(0, 10**7, 50)))[:, 2])
    assert np.rad2deg(later.mean()) == pytest.approx(72.0, abs=0.1)


def test_a_drift_for_good_goes_on_for_hours():
    faults = "drift_at_s = 1.0\ndrift_deg_per_s = 2.0"
    first = int(3601 * FS_HZ)
    ratio = z(engine(TONE, faults).read(0, first, 4096)) / z(engine(TONE).read(0, first, 4096))
    middle_s = (first + 2048) / FS_HZ
    assert np.rad2deg(np.angle(ratio[:, 1].mean())) == pytest.approx(2.0 * (middle_s - 1.0) % 360, abs=0.02)


def test_a_whole_board_slips_against_the_other():
    faults = "slip_samples_at_s = [0.004, 0.008]\nslip_samples = 7\nslip_channel = -1"
    clean, faulty = read(MESSY, n=31_000), read(MESSY, faults)
    np.testing.assert_array_equal(faulty[:AT], clean[:AT])
    np.testing.assert_array_equal(faulty[AT : 2 * AT], clean[AT + 7 : 2 * AT + 7])
    np.testing.assert_array_equal(faulty[2 * AT :], clean[2 * AT + 14 : 30_014])
    np.testing.assert_array_equal(read(MESSY, faults, board=1), read(MESSY, board=1))


def test_a_negative_slip_repeats_samples_and_nothing_comes_before_the_first_one():
    faults = "slip_samples_at_s = [0.0]\nslip_samples = -300\nslip_channel = 0"
    clean, run = read(MESSY), engine(MESSY, faults)
    whole = run.read(0, 0, 30_000)
    assert not whole[:300, :2].any()
    np.testing.assert_array_equal(whole[300:, :2], clean[:-300, :2])
    np.testing.assert_array_equal(run.read(0, 200, 5000), whole[200:5200])


@pytest.mark.parametrize("channels", [(0, 2), (1, 6)])
def test_swapped_antennas_are_the_scene_with_other_ports(channels):
    a, b = channels
    ports = list(range(8))
    ports[a], ports[b] = b, a
    other = HEAD.replace("}", f", ports = {ports}}}")
    faults = f"swap_at_s = [0.004, 0.008]\nswap_channels = {list(channels)}"
    for board in (0, 1):
        clean, recabled = read(MESSY, board=board), read(MESSY, board=board, head=other)
        faulty = read(MESSY, faults, board=board)
        np.testing.assert_array_equal(faulty[:AT], clean[:AT])
        assert np.max(np.abs(faulty[AT : 2 * AT] - recabled[AT : 2 * AT])) <= 1
        np.testing.assert_array_equal(faulty[2 * AT :], clean[2 * AT :])
    assert np.any(np.abs(read(MESSY)[AT : 2 * AT] - read(MESSY, head=other)[AT : 2 * AT]) > 5)


def test_a_clipped_channel_sits_at_the_rails_for_a_while():
    clean = read(MESSY)
    faulty = read(MESSY, "clip_at_s = 0.004\nclip_s = 0.004\nclip_channel = 3")
    at_rails = np.isin(faulty[AT : 2 * AT, 6:], (-2048, 2047)).mean()
    assert at_rails > 0.85
    # the sign survives, as of an amplifier that limits
    assert (np.sign(faulty[AT : 2 * AT, 6:]) == np.sign(clean[AT : 2 * AT, 6:])).mean() > 0.98
    for part in (slice(0, AT), slice(2 * AT, None)):
        np.testing.assert_array_equal(faulty[part], clean[part])
    np.testing.assert_array_equal(faulty[:, :6], clean[:, :6])
    assert not np.isin(clean, (-2048, 2047)).any()


def test_an_overdriven_channel_has_the_level_that_was_asked_for():
    head = (
        HEAD
        + "receiver = {peak_dbfs = -50.0, snr_db = 40.0, adc_bits = 16}\nimpairments = {gain_std = 0.0}\n"
    )
    faulty = z(read(TONE, "clip_at_s = 0.004\nclip_dbfs = -6.0", head=head))[AT:, 1] / 2**15
    assert 10 * np.log10(np.mean(np.abs(faulty) ** 2)) == pytest.approx(-6.0, abs=0.05)


@pytest.mark.parametrize("leaves", ["noise", "zero"])
def test_a_dead_channel_hears_nothing(leaves):
    clean = read(MESSY)
    faulty = read(MESSY, f"dead_at_s = 0.004\ndead_s = 0.004\ndead_leaves = '{leaves}'\ndead_channel = 2")
    dead = z(faulty)[AT : 2 * AT, 2]
    if leaves == "zero":
        assert not dead.any()
    else:
        # peak_dbfs - snr_db = -32 dBFS, and the rounding of I and Q
        want = 2048**2 * 10**-3.2 + 2 / 12
        assert np.mean(np.abs(dead) ** 2) == pytest.approx(want, rel=0.05)
        other = z(clean)[AT : 2 * AT, 1]
        assert abs(np.vdot(other, dead)) / np.linalg.norm(other) / np.linalg.norm(dead) < 0.04
    np.testing.assert_array_equal(np.delete(faulty, [4, 5], axis=1), np.delete(clean, [4, 5], axis=1))
    np.testing.assert_array_equal(faulty[2 * AT :], clean[2 * AT :])


def test_i_and_q_change_places_and_a_bit_sticks():
    clean = read(MESSY)
    faulty = read(
        MESSY, "iq_swap_at_s = [0.004, 0.008]\nstuck_bit_at_s = 0.004\nstuck_bit = 3\nstuck_bit_channel = 0"
    )
    np.testing.assert_array_equal(faulty[AT : 2 * AT, 2:4], clean[AT : 2 * AT, [3, 2]])
    np.testing.assert_array_equal(faulty[2 * AT :, 2:4], clean[2 * AT :, 2:4])
    np.testing.assert_array_equal(faulty[AT:, :2], clean[AT:, :2] | 8)
    assert (faulty[AT:, :2] & 8).all()
    assert np.abs(faulty).max() < 2048
    np.testing.assert_array_equal(faulty[:AT], clean[:AT])


def test_a_sudden_path_adds_its_own_wave(tmp_path):
    from sim_backend.truth import read_truth

    head = HEAD + "receiver = {snr_db = 40.0, adc_bits = 16}\n"
    faults = """multipath_at_s = 0.004
multipath_s = 0.004
multipath_angle_deg = 40.0
multipath_power_db = -6.0
multipath_phase_deg = 50.0
multipath_delay_s = 1e-7
"""
    clean = engine(TONE, head=head, truth=tmp_path / "t.jsonl")
    run = engine(TONE, faults, head=head)
    x, y = z(clean.read(0, 0, 30_000)), z(run.read(0, 0, 30_000))
    clean.close()
    truth = read_truth(tmp_path / "t.jsonl")
    np.testing.assert_array_equal(x[:AT], y[:AT])
    np.testing.assert_array_equal(x[2 * AT :], y[2 * AT :])
    # what was added, against the direct wave, from the drawn positions and the path's definition alone
    tone = np.exp(2j * np.pi * 1e5 / FS_HZ * np.arange(AT, 2 * AT))
    position_m = (truth.positions_m + truth.position_error_m)[:4]
    rf_hz = truth.fc_hz + 1e5

    def wave(angle_deg: float) -> np.ndarray:
        u = np.array([np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg)), 0.0])
        return np.exp(2j * np.pi * rf_hz * (position_m @ u) / SPEED_OF_LIGHT_M_S)

    direct = tone.conj() @ x[AT : 2 * AT] / AT
    added = tone.conj() @ (y - x)[AT : 2 * AT] / AT
    turn = 10 ** (-6 / 20) * np.exp(1j * np.deg2rad(50.0)) * np.exp(-2j * np.pi * rf_hz * 1e-7)
    np.testing.assert_allclose(added / direct, turn * wave(40.0) / wave(-35.0), atol=2e-3)


def test_carriers_drift_at_the_rate_and_stay_where_they_arrive():
    faults = "carrier_drift_at_s = [0.004, 0.024]\ncarrier_drift_hz_per_s = 1e6\ncarrier_drift_s = 0.01\n"
    n = int(0.05 * FS_HZ)
    clean, faulty = z(read(TONE, n=n)), z(read(TONE, faults, n=n))
    t_s = (np.arange(n // 500) * 500 + 250) / FS_HZ
    window = faulty.reshape(-1, 500, 4)
    spectrum = np.abs(np.fft.fft(window[..., 0] * np.hanning(500), 1 << 16, axis=1))
    f_hz = np.fft.fftfreq(1 << 16, 1 / FS_HZ)[spectrum.argmax(axis=1)]
    want = 1e5 + 1e6 * (np.clip(t_s - 0.004, 0, 0.01) + np.clip(t_s - 0.024, 0, 0.01))
    assert np.max(np.abs(f_hz - want)) < 100.0  # of 20 000 Hz of drift; one window's bin is 5000 Hz
    # phase steps from sample to sample are continuous, and the array sees the same directions
    steps = np.angle(faulty[1:, 0] * faulty[:-1, 0].conj())
    assert np.max(np.abs(steps - 2 * np.pi * np.interp(np.arange(1, n) / FS_HZ, t_s, want) / FS_HZ)) < 0.6
    part = slice(int(0.04 * FS_HZ), n)
    for x in (clean, faulty):
        x[:, 1:] *= x[:, :1].conj()
    np.testing.assert_allclose(
        np.angle(faulty[part, 1:].mean(axis=0) / clean[part, 1:].mean(axis=0)), 0.0, atol=1e-3
    )


def test_one_emitter_drifts_and_the_other_does_not():
    two = TONE + TONE.replace("1e5", "-4e5").replace("-35.0", "10.0")
    faults = "carrier_drift_at_s = 0.0\ncarrier_drift_hz_per_s = 1e7\ncarrier_drift_s = 0.005\ncarrier_drift_emitter = 1"
    x = z(engine(two, faults).read(0, 25_000, 25_000))[:, 0]
    spectrum = np.abs(np.fft.fft(x * np.hanning(len(x))))
    f_hz = np.fft.fftfreq(len(x), 1 / FS_HZ)
    peaks = sorted(f_hz[np.argsort(spectrum)[::-1]][:6])
    assert all(min(abs(f - 1e5), abs(f + 3.5e5)) < 250 for f in peaks)
    assert peaks[0] < 0 < peaks[-1]


EVERYTHING = """
phase_jump_at_s = { every_s = 0.0031, count = 20 }
phase_jump_chip = -1
flip_at_s = [0.0017, 0.011]
agc_step_at_s = { every_s = 0.0047, count = 5 }
agc_step_channel = -1
agc_step_board = 1
drift_at_s = 0.002
drift_deg_per_s = 3000.0
drift_s = 0.007
slip_samples_at_s = [0.003, 0.009]
slip_samples = -5
slip_board = 1
slip_channel = -1
swap_at_s = [0.0041, 0.0141]
swap_channels = [2, 5]
clip_at_s = 0.0051
clip_s = 0.002
clip_board = 1
dead_at_s = 0.0061
dead_s = 0.001
iq_swap_at_s = 0.0071
stuck_bit_at_s = 0.0081
multipath_at_s = 0.0055
multipath_s = 0.006
carrier_drift_at_s = 0.001
carrier_drift_hz_per_s = 5e6
carrier_drift_s = 0.01
garbage_after_retune = 700
"""


def test_samples_do_not_depend_on_how_they_are_read():
    for board in (0, 1):
        whole = engine(MESSY, EVERYTHING)
        pieces = engine(MESSY, EVERYTHING)
        for run in (whole, pieces):
            run.write_lo(board, 0, 2.4501e9, at=21_111)
        want = whole.read(board, 0, 60_000)
        rng = np.random.default_rng(board)
        borders = np.unique([0, 60_000, *rng.integers(60_000, size=60)])
        for low, high in rng.permutation(list(pairwise(borders))):
            np.testing.assert_array_equal(pieces.read(board, int(low), int(high - low)), want[low:high])


def test_faults_come_at_their_scene_second_also_after_a_new_rate():
    run = engine(TONE, "flip_at_s = 0.01")
    run.write_rate(0, 1.0e6, at=5000)
    clean = engine(TONE)
    clean.write_rate(0, 1.0e6, at=5000)
    x, y = clean.read(0, 0, 20_000), run.read(0, 0, 20_000)
    np.testing.assert_array_equal(x[:10_000], y[:10_000])
    np.testing.assert_array_equal(-x[10_000:, 2:4], y[10_000:, 2:4])


def test_a_fault_acts_in_front_of_iq_image_and_dc_offset():
    text = TONE + "[impairments]\niq_image_db = -20.0\ndc_dbfs = -30.0\n"
    head = HEAD + "receiver = {snr_db = 60.0, adc_bits = 16}\n"
    clean = z(read(text, head=head))
    faulty = z(read(text, "phase_jump_at_s = 0.0\nphase_jump_deg = 90.0", head=head))
    n = np.arange(25_000)  # a whole number of periods
    tone = np.exp(2j * np.pi * 1e5 / FS_HZ * n)
    for probe, turn in ((tone, 1j), (tone.conj(), -1j), (np.ones(len(n)), 1.0)):
        ratio = (probe.conj() @ faulty[n])[:2] / (probe.conj() @ clean[n])[:2]
        np.testing.assert_allclose(ratio, turn, atol=2e-3)
