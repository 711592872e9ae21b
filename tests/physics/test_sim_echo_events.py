"""Echoes over time: what starts, stops, retunes, streams and moves, on one board and on several."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hil.core.errors import ShapeError
from sim_backend import echo_timeline
from sim_backend.drawn import stream_key
from sim_backend.motion import uniform
from sim_backend.truth import read_truth
from tests.physics.echo_scenes import (
    C_M_S,
    FC_HZ,
    FS_HZ,
    IDEAL,
    Model,
    heard,
    logged,
    scene_text,
    start,
    tones,
    truth_lines,
)
from tests.physics.test_sim_echo import ONE, phases, worst

AT_30 = {"angle_deg": 30.0, "range_m": 300.0}


def test_all_boards_of_the_scene_hear_what_any_board_sends():
    engine, wave = start(scene_text(ONE, n=8, more="")), tones(64)
    engine.transmit(1, np.concatenate([0 * wave, wave]), 1000)  # channel 1 of board 1 is at element 5
    rx = np.concatenate([phases(engine, 0)[0], phases(engine, 1)[0]])
    tx = np.concatenate([phases(engine, 0)[1], phases(engine, 1)[1]])
    want = Model(engine, wave, channels=(5,), origin=1000, rx_phase=rx, tx_phase=tx, targets=[AT_30])
    got = np.concatenate([heard(engine, 64, 40_000, board) for board in (0, 1)])
    assert worst(got, want(40_000 + np.arange(64))) < 4e-4


def test_a_channel_without_an_element_neither_sends_nor_hears():
    engine = start(scene_text(ONE, n=3, transmit="[transmit]\nleakage_db = 0.0"))
    engine.transmit(0, np.concatenate([0 * tones(64)] * 3 + [tones(64)]), 0)
    assert np.abs(heard(engine, 1000, 5000)).max() < 2e-4
    engine.transmit(0, tones(64), 6000)
    level = np.abs(heard(engine, 1000, 9000)).max(axis=1)
    assert level[:3].min() > 0.1
    assert level[3] < 2e-4


def test_ports_place_the_transmitters_where_the_receivers_are():
    text = scene_text(ONE).replace("n_elements = 4", "n_elements = 4\nports = [2, 0, 3, 1]")
    engine, wave = start(text), tones(64)
    engine.transmit(0, np.concatenate([0 * wave, wave]), 0)
    x = engine.drawn.positions_m[:, 0]
    assert np.argsort(x).tolist() == [2, 0, 3, 1]
    want = Model(engine, wave, channels=(1,), targets=[AT_30])
    assert worst(heard(engine, 64, 8192), want(8192 + np.arange(64))) < 3e-4


@pytest.mark.parametrize("offset_hz", [200e3, -300e3])
def test_a_transmitter_on_another_carrier_is_shifted_by_the_difference(offset_hz):
    engine, wave = start(scene_text(ONE)), tones(64, share=0.5)
    for chip in (0, 1):
        engine.write_tx_lo(0, chip, FC_HZ + offset_hz, 0)
    assert engine.tx_fc_hz(0, 1) == FC_HZ + offset_hz
    engine.transmit(0, wave, 0)
    want = Model(engine, wave, fc_hz=FC_HZ + offset_hz, rx_fc_hz=FC_HZ, targets=[AT_30])
    for first in (500, 100_000):
        assert worst(heard(engine, 64, first), want(first + np.arange(64))) < 4e-4


def test_what_leaves_the_band_is_not_heard():
    engine = start(scene_text(ONE, transmit="[transmit]\nleakage_db = 0.0"))
    engine.transmit(0, tones(64), 0)
    engine.write_lo(0, 0, FC_HZ + 3e6, 10_000)  # only the first chip's receivers go
    x = heard(engine, 4096, 40_960)
    assert np.abs(x[:2]).max() < 2e-4
    assert np.abs(x[2:]).max() > 0.1
    engine.write_lo(0, 0, FC_HZ + 2e6, 50_000)  # half a megahertz of it remains, at the lower edge
    spectrum = np.abs(np.fft.fft(heard(engine, 6400, 81_920)[0]) / 6400)
    f_hz = np.fft.fftfreq(6400, 1 / FS_HZ)
    assert spectrum[np.abs(f_hz + 1.05e6) < 0.1e6].max() > 1e-2
    assert spectrum[f_hz > -0.8e6].max() < 2e-4


def test_adrv9009_transmits_on_the_receivers_lo_and_ad936x_on_its_own():
    engine = start(scene_text(ONE, n=2, board="adrv9009", receiver="fs_hz = 3.84e6"))
    engine.write_lo(0, 0, 2.6e9, 0)
    assert engine.tx_fc_hz(0) == 2.6e9
    engine = start(scene_text(ONE))
    engine.write_lo(0, 0, 2.6e9, 0)
    assert engine.tx_fc_hz(0) == FC_HZ


def test_a_transmit_lo_write_turns_the_chips_echoes_by_the_new_phase(tmp_path):
    with logged(scene_text(ONE, more=""), tmp_path / "t.jsonl") as engine:
        engine.transmit(0, tones(64), 0)
        engine.write_tx_lo(0, 0, FC_HZ, 30_016)  # the same frequency: the phase alone is new
        engine.write_tx_lo(0, 1, FC_HZ, 30_016)  # does not carry channel 0
        before, after = heard(engine, 64, 20_480), heard(engine, 64, 40_960)
    sent = [
        line
        for line in truth_lines(tmp_path / "t.jsonl")
        if "tx_phase_rad" in line and line["event"] != "drawn"
    ]
    assert [line["event"] for line in sent] == ["transmit", "tx_lo_write", "tx_lo_write"]
    turn = np.exp(1j * (sent[1]["tx_phase_rad"][0] - sent[0]["tx_phase_rad"][0]))
    assert abs(turn - 1) > 0.05
    assert worst(after, before * turn) < 4e-4


def test_attenuators_turn_without_a_seam_and_power_down_silences():
    engine, wave = start(scene_text(ONE)), tones(64)
    engine.transmit(0, wave, 0, scale=(0.5, 1.0, 1.0, 1.0))
    engine.rescale(0, (1.0,) * 4, 20_000)
    engine.rescale(0, (0.0,) * 4, 40_000)
    engine.rescale(0, (0.25,) * 4, 60_000)
    want = Model(engine, wave, targets=[AT_30])(8192 + np.arange(64))
    for first, level in ((8192, 0.5), (24_576, 1.0), (45_056, 0.0), (65_536, 0.25)):
        assert np.abs(heard(engine, 64, first) - level * want).max() < 2e-4  # 64 divides all of them
    engine.transmit(0, wave, 80_000)
    assert worst(heard(engine, 64, 80_000 + 8192), want) < 4e-4
    with pytest.raises(ShapeError, match="finite amplitudes"):
        engine.rescale(0, (1.0,), 0)


def test_streamed_blocks_are_one_signal_and_end_in_silence():
    engine, wave = start(scene_text(ONE + "[[target]]\nrange_m = 900.0\nspeed_m_s = 20.0")), tones(1000)
    cyclic = start(scene_text(ONE + "[[target]]\nrange_m = 900.0\nspeed_m_s = 20.0"))
    cyclic.transmit(0, wave, 5000)
    long = np.tile(wave, (1, 20))
    rng, at = np.random.default_rng(1), 0
    while at < long.shape[1]:
        n = int(rng.integers(1, 3000))
        engine.transmit(0, long[:, at : at + n], 5000 + at, cyclic=False)
        at += n
    got, want = heard(engine, 19_700, 5200), heard(cyclic, 19_700, 5200)
    assert worst(got, want) < 3e-3
    assert np.sqrt(np.mean(np.abs(got - want) ** 2)) < 3e-4 * np.sqrt(np.mean(np.abs(want) ** 2)) + 5e-5
    assert np.abs(heard(engine, 1000, 25_000 + 200)).max() < 2e-4


def test_a_stop_takes_back_what_is_queued():
    engine = start(scene_text(ONE))
    for k in range(5):
        engine.transmit(0, np.tile(tones(100), (1, 100)), k * 10_000, cyclic=False)
    engine.transmit(0, None, 15_000)
    level = np.sqrt(np.mean(np.abs(heard(engine, 50_000)[0].reshape(100, 500)) ** 2, axis=1))
    assert level[1:30].min() > 0.2
    assert level[32:].max() < 2e-4


def test_what_is_kept_of_a_stream_is_bounded(monkeypatch):
    monkeypatch.setattr(echo_timeline, "KEPT_S", 0.1)
    engine = start(scene_text(ONE))
    block = np.tile(tones(100), (1, 10))
    for k in range(2000):
        engine.transmit(0, block, k * 1000, cyclic=False)
    assert len(engine._timeline._segments[0]) < 300
    assert np.abs(heard(engine, 1000, 1_900_000)).max() > 0.1
    monkeypatch.setattr(echo_timeline, "KEPT_S", 1e6)
    monkeypatch.setattr(echo_timeline, "KEPT_BYTES", 100 * block.nbytes)
    for k in range(2000, 3000):
        engine.transmit(0, block, k * 1000, cyclic=False)
    assert len(engine._timeline._segments[0]) < 130


SCENE = """
[[target]]
angle_deg = -25.0
range_m = 2000.0
[[target]]
angle_deg = 20.0
range_m = 600.0
speed_m_s = 300.0
[[target]]
hop = { period_s = 0.0007, min_m = 50.0, max_m = 4000.0 }
[[target]]
track = { rate_deg_per_s = 9000.0 }
[[emitter]]
hop = { period_s = 0.001 }
"""


def busy():
    """Two boards, all kinds of targets, a transmission that changes all the time, both chips retuned."""
    engine = start(scene_text(SCENE, n=8, more="", transmit="[transmit]\nleakage_db = -3.0"))
    engine.transmit(0, tones(777), 100)
    engine.transmit(1, np.concatenate([tones(5000, 1), tones(5000, 2)]), 3000)
    engine.write_tx_lo(0, 0, FC_HZ + 1e5, 9000)
    engine.rescale(0, (0.3, 0.1, 1.0, 1.0), 12_345)
    engine.write_gain(1, 2, 43.0, 15_000)
    engine.write_lo(1, 1, FC_HZ - 2e5, 16_000)
    engine.transmit(1, None, 22_222)
    for k in range(20):
        engine.transmit(1, tones(512, k), 23_000 + 512 * k, cyclic=False)
    return engine


@pytest.mark.parametrize("seed", [0, 1])
def test_samples_do_not_depend_on_how_they_are_read(seed):
    whole, pieces, n = busy(), busy(), 40_000
    want = [whole.read(board, 0, n) for board in (0, 1)]
    rng = np.random.default_rng(seed)
    for _ in range(25):
        board, first = int(rng.integers(2)), int(rng.integers(n - 1))
        size = int(min(n - first, rng.integers(1, 9000)))
        assert np.array_equal(pieces.read(board, first, size), want[board][first : first + size])
    assert min(samples.max() for samples in want) > 1000


def test_hopping_targets_are_where_the_truth_says(tmp_path):
    period = 0.004  # 10 000 samples
    text = scene_text(
        f"[[target]]\nhop = {{ period_s = {period}, min_m = 50.0, max_m = 500.0 }}\n", top="seed = 3"
    )
    wave = tones(64)
    with logged(text, tmp_path / "t.jsonl") as engine:
        engine.transmit(0, wave, 0)
        x = [heard(engine, 64, 10_000 * k + 6016) for k in range(5)]
    line = next(line for line in truth_lines(tmp_path / "t.jsonl") if line["event"] == "target_angles")
    angles, ranges = np.array(line["angle_deg"][:5]), np.array(line["range_m"][:5])
    assert (line["target"], line["interpolation"]) == (0, "hold")
    assert np.array(line["t_s"][:5]) == pytest.approx(period * np.arange(5))
    assert np.ptp(angles) > 20
    assert np.abs(angles).max() <= 60
    assert 50 <= ranges.min() < ranges.max() <= 500
    assert angles[2] == pytest.approx(-60 + 120 * uniform(stream_key(3, "target", 0), 2), abs=1e-6)
    for k in range(5):
        want = Model(engine, wave, targets=[{"angle_deg": angles[k], "range_m": ranges[k]}])
        assert worst(x[k], want(10_000 * k + 6016 + np.arange(64))) < 1e-3


def test_tracks_and_turntables_turn_targets():
    text = scene_text(
        "[[target]]\nangle_deg = -30.0\nrange_m = 100.0\ntrack = { rate_deg_per_s = 500.0, min_deg = -30.0, max_deg = 40.0 }\n"
        "[chamber]\nsteps_deg = [0.0, 15.0]\nstep_s = 0.04\n"
    )  # fmt: skip
    engine, wave = start(text), tones(64)
    engine.transmit(0, wave, 0)
    for sample, angle in ((50_048, -30 + 500 * 50_080 / FS_HZ), (150_016, -30 + 500 * 150_048 / FS_HZ - 15)):
        want = Model(engine, wave, targets=[{"angle_deg": angle, "range_m": 100.0}])
        assert worst(heard(engine, 64, sample), want(sample + np.arange(64))) < 8e-3
    still = start(scene_text(ONE + "[chamber]\nsteps_deg = [0.0, 20.0]\nstep_s = 0.01\n"))
    still.transmit(0, wave, 0)
    for sample, angle in ((20_032, 30.0), (30_016, 10.0)):
        want = Model(still, wave, targets=[{"angle_deg": angle, "range_m": 300.0}])
        assert worst(heard(still, 64, sample), want(sample + np.arange(64))) < 4e-4


def test_a_cyclic_waveform_goes_on_at_a_new_rate():
    engine, wave = start(scene_text(ONE)), tones(100)
    engine.transmit(0, wave, 0)
    engine.write_rate(0, 5e6, 50_050)  # half a period has gone out of its last cycle
    want = Model(engine, wave, fs_hz=5e6, origin=100_100 - 50, targets=[AT_30])
    assert worst(heard(engine, 100, 204_800), want(204_800 + np.arange(100))) < 5e-4


def test_a_board_at_another_rate_hears_nothing_until_it_follows():
    engine = start(scene_text(ONE, n=8))
    engine.write_rate(0, 5e6, 0)
    engine.transmit(0, tones(100), 0)
    assert np.abs(heard(engine, 1000, 9000, 1)).max() < 2e-4
    engine.write_rate(1, 5e6, 10_000)
    assert np.abs(heard(engine, 1000, 90_000, 1)).max() > 0.1


@pytest.mark.parametrize(
    "waveform",
    [np.zeros((5, 10)), np.zeros((1, 0)), np.zeros(10), np.full((1, 4), np.nan), np.full((1, 4), np.inf)],
)
def test_waveforms_that_cannot_be_sent_are_refused(waveform):
    engine = start(scene_text(ONE))
    with pytest.raises(ShapeError):
        engine.transmit(0, waveform.astype(np.complex64), 0)


def test_the_truth_has_targets_chains_leakage_and_transmissions(tmp_path):
    path = tmp_path / "t.jsonl"
    text = scene_text(
        ONE + "speed_m_s = 5.0\n", transmit="[transmit]\nleakage_db = 3.0\nleakage_delay_s = 1e-8"
    )
    with logged(text, path) as engine:
        engine.transmit(0, tones(64), 1234)
        for k in range(3):
            engine.transmit(0, tones(64), 5000 + 64 * k, cyclic=False)
        engine.transmit(0, None, 9000)
        engine.read(0, 0, 5000)
    lines = truth_lines(path)
    drawn = lines[0]
    want = {
        "angle_deg": 30.0,
        "range_m": 300.0,
        "speed_m_s": 5.0,
        "rcs_db": 0.0,
        "elevation_deg": 0.0,
        "phase_deg": 0.0,
    }
    assert {k: drawn["targets"][0][k] for k in want} == want
    gain = np.array(drawn["tx_gain_re"]) + 1j * np.array(drawn["tx_gain_im"])
    assert np.allclose(gain, engine.tx_drawn.gain)
    leak = np.array(drawn["leakage_re"]) + 1j * np.array(drawn["leakage_im"])
    assert leak.shape == (4, 4)
    assert np.allclose(leak, engine.tx_drawn.leakage)
    assert drawn["leakage_delay_s"] == 1e-8
    assert drawn["tx_phase_rad"] == [[0.0, 0.0]]
    sent = [line for line in lines if line["event"] == "transmit"]
    assert [(line["scene_sample"], line["samples"], line["cyclic"]) for line in sent] == [
        (1234, 64, True), (5000, 64, False), (9000, 0, True),
    ]  # fmt: skip
    assert sent[0]["power_dbfs"] == [pytest.approx(-12.0, abs=1e-3)]
    json.dumps(lines, allow_nan=False)
    truth = read_truth(path)
    assert np.allclose(truth.tx_gain, gain)
    assert np.allclose(truth.leakage, leak)
    angles, ranges = truth.targets_at([0, 2_000_000])
    assert angles.tolist() == [[30.0], [30.0]]
    assert ranges.ravel() == pytest.approx([300.0, 304.0])


def test_far_targets_and_wide_arrays():
    lam = C_M_S / FC_HZ
    text = (
        f"[array]\npositions_m = [[-3, 0, 0], [3, 0, 0], [0, {lam}, 1.0]]\n[receiver]\nboard = 'fmcomms5'\nadc_bits = 16\n"
        f"snr_db = 100.0\nfs_hz = 20e6\n[transmit]\nleakage_db = -300\n[[target]]\nrange_m = 80000.0\nangle_deg = 60.0\n"
        f"elevation_deg = 10.0\n[[target]]\nrange_m = 11.0\nrcs_db = -6.0\n{IDEAL}"
    )
    engine, wave = start(text), tones(4000, share=0.95)
    engine.transmit(0, wave, 0)
    targets = [
        {"angle_deg": 60.0, "range_m": 80_000.0, "elevation_deg": 10.0},
        {"angle_deg": 0.0, "range_m": 11.0, "rcs_db": -6.0},
    ]
    want = Model(engine, wave, fs_hz=20e6, targets=targets)
    for first in (11_000, 40_000):  # the far echo takes 10 674 samples: the first is still in its start
        assert worst(heard(engine, 64, first)[:3], want(first + np.arange(64))) < 1e-3
