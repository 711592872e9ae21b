"""Angles over time, coherence epochs and the truth file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hil.core.errors import SceneError, ShapeError
from sim_backend.drawn import stream_key
from sim_backend.engine import ArrayEngine
from sim_backend.motion import Motion
from sim_backend.scene import Emitter, Hop, Track, parse_scene
from sim_backend.truth import read_truth

STILL = "receiver = {snr_db = 60.0}\n[[emitter]]\nwaveform = 'cw'\noffset_hz = 0.0\nangle_deg = 0.0\n"


def test_hops_are_uniform_and_independent():
    motion = Motion(Emitter(hop=Hop(0.01, -60.0, 60.0)), stream_key(3, "hop", 0))
    angles = np.array([motion.dwell_deg(k) for k in range(20_000)])
    counts, _ = np.histogram(angles, 20, (-60.0, 60.0))
    assert counts.sum() == len(angles)
    assert np.sum((counts - 1000) ** 2 / 1000) < 43.8  # chi-square, 19 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(angles[:-1], angles[1:])[0, 1]) < 4 / np.sqrt(len(angles))
    other = Motion(Emitter(hop=Hop(0.01, -60.0, 60.0)), stream_key(3, "hop", 1))
    assert abs(np.corrcoef(angles, [other.dwell_deg(k) for k in range(20_000)])[0, 1]) < 4 / np.sqrt(
        len(angles)
    )


@pytest.mark.parametrize(
    ("period_s", "fs_hz"), [(0.01, 2.5e6), (0.00123, 2.5e6), (1 / 3, 1e6), (1e-4, 61.44e6)]
)
def test_every_sample_lies_in_one_dwell(period_s, fs_hz):
    motion = Motion(Emitter(hop=Hop(period_s, 0.0, 1.0)), 1)
    for index in (0, 1, 2, 99, 100, 59_999):
        border = motion.hop_border(index, fs_hz)
        assert motion.hop_index(border, fs_hz) == index
        assert border == 0 or motion.hop_index(border - 1, fs_hz) == index - 1
        assert border == pytest.approx(index * period_s * fs_hz, abs=1.0)


def test_a_track_goes_to_and_fro_without_jumps():
    motion = Motion(Emitter(angle_deg=50.0, track=Track(5.0, -60.0, 60.0)), 1)
    t = np.arange(0.0, 120.0, 0.01)
    angles = np.array([motion.angle_deg(x) for x in t])
    assert angles[0] == 50.0
    assert angles[1] > 50.0
    assert np.max(np.abs(np.diff(angles))) < 0.05 + 1e-9
    assert angles.min() == pytest.approx(-60.0, abs=0.05)
    assert angles.max() == pytest.approx(60.0, abs=0.05)


def phases(engine: ArrayEngine, board: int, first: int) -> np.ndarray:
    """Phase of every channel's carrier at this sample, relative to the elements' own."""
    wire = engine.read(board, first, 8192).astype(float)
    mean = (wire[:, 0::2] + 1j * wire[:, 1::2]).mean(axis=0)
    c = len(mean)
    return np.angle(mean / engine.drawn.gain[board * c : board * c + c])


def changed(engine: ArrayEngine, board: int = 0) -> list[bool]:
    """Which channels of the board turned between samples 0 and 100 000."""
    turn = np.exp(1j * (phases(engine, board, 100_000) - phases(engine, board, 0)))
    return [bool(abs(x - 1) > 0.01) for x in turn]


def engine_of(text: str, **more) -> ArrayEngine:
    return ArrayEngine(parse_scene(text), free_running=True, **more)


def test_an_lo_write_on_fmcomms5_redraws_the_phase_of_its_chip_only():
    engine = engine_of(STILL)
    engine.write_lo(0, 1, engine.fc_hz(0, 1), at=50_000)
    assert changed(engine) == [False, False, True, True]
    assert changed(engine, board=1) == [False] * 4
    assert (engine.epoch(0), engine.epoch(1)) == (1, 0)


def test_a_rate_write_on_fmcomms5_redraws_all_its_chips():
    engine = engine_of(STILL)
    engine.write_rate(0, engine.fs_hz(0), at=50_000)
    assert changed(engine) == [True] * 4


def test_a_gain_write_keeps_the_phases():
    engine = engine_of(STILL)
    engine.write_gain(0, 0, 45.0, at=50_000)
    assert changed(engine) == [False] * 4
    assert engine.epoch(0) == 0


@pytest.mark.parametrize(
    ("board", "relock", "turns"),
    [("pluto", "", True), ("adrv9009", "", False), ("adrv9009-zu11eg", "", False),
     ("adrv9009-zu11eg", "relock_phase = true", True), ("fmcomms5", "relock_phase = false", False)],
)  # fmt: skip
def test_boards_relock_as_they_do(board, relock, turns):
    text = STILL.replace("snr_db", f"board = '{board}', snr_db") + f"[impairments]\n{relock}\n"
    engine = engine_of(text)
    engine.write_lo(0, 0, engine.fc_hz(0), at=50_000)
    assert changed(engine)[0] is turns
    assert engine.epoch(0) == int(turns)


def test_every_relock_is_a_new_phase_and_a_new_process_repeats_them():
    def history() -> list[float]:
        engine = engine_of(STILL)
        for k in range(1, 6):
            engine.write_lo(0, 0, 2.45e9, at=k * 10_000)
        return [float(phases(engine, 0, k * 10_000)[0]) for k in range(6)]

    once = history()
    assert len({round(p, 2) for p in once}) == 6
    assert history() == once


def test_a_new_rate_counts_from_the_beginning_of_the_scene():
    engine = engine_of("receiver = {snr_db = 40.0}\n[[emitter]]\nhop = {period_s = 0.01}\n")
    engine.read(0, 0, 30_000)
    engine.write_rate(0, 5e6, at=30_000)
    assert engine.fs_hz(0) == 5e6
    assert engine.fs_hz(1) == 2.5e6
    assert engine.now(1) == 30_000
    assert engine.now(0) == 60_000
    one, two = engine.read(0, 100_000, 1000), engine.read(1, 50_000, 500)  # the same instants
    assert one.shape == (1000, 8)
    assert two.shape == (500, 8)


def test_events_for_what_is_not_there_are_refused():
    engine = engine_of("")
    for call in (lambda: engine.read(2, 0, 1), lambda: engine.write_lo(0, 2, 2e9, 0), lambda: engine.write_gain(0, 9, 0.0, 0),
                 lambda: engine.write_rate(0, float("nan"), 0), lambda: engine.write_rate(0, 0.0, 0)):  # fmt: skip
        with pytest.raises(ShapeError):
            call()
    with pytest.raises(ValueError, match="negative"):
        engine.read(0, -1, 5)


MOVING = """
receiver = { snr_db = 60.0 }
[[emitter]]
hop = { period_s = 0.00123 }
[[emitter]]
angle_deg = 10.0
track = { rate_deg_per_s = 40.0, min_deg = -5.0, max_deg = 15.0 }
[[emitter]]
angle_deg = -33.0
"""


def test_the_truth_file_says_where_the_emitters_were_while_it_is_written(tmp_path):
    engine = engine_of(MOVING, truth=tmp_path / "truth.jsonl")
    engine.note("open", 1, 4321, epoch_note="x")
    engine.read(0, 3_000_000, 100)
    truth = read_truth(tmp_path / "truth.jsonl")  # the engine still runs
    samples = np.unique(np.random.default_rng(0).integers(0, 3_000_100, 3000))
    got = truth.angles_deg(samples)
    hop, track = (Motion(e, stream_key(7, "hop", k)) for k, e in enumerate(engine.scene.emitters[:2]))
    np.testing.assert_allclose(
        got[:, 0], [hop.dwell_deg(hop.hop_index(int(n), 2.5e6)) for n in samples], atol=1e-8
    )
    np.testing.assert_allclose(got[:, 1], [track.angle_deg(n / 2.5e6) for n in samples], atol=1e-6)
    assert np.all(got[:, 2] == -33.0)
    assert np.all(np.isnan(truth.angles_deg(int(1e9))))
    assert truth.opens == [(1, 4321)]
    assert (truth.fs_hz, truth.fc_hz, truth.n_elements, truth.n_emitters) == (2.5e6, 2.45e9, 8, 3)
    border = hop.hop_border(1000, 2.5e6)
    assert truth.angles_deg([border])[0, 0] == pytest.approx(hop.dwell_deg(1000))
    assert truth.angles_deg([border - 1])[0, 0] == pytest.approx(hop.dwell_deg(999))
    engine.close()


def test_truth_alone_explains_the_samples(tmp_path):
    text = STILL + "[impairments]\ncoupling_db = -15.0\ndrift_deg_per_minute = 600.0\n"
    engine = engine_of(text.replace("angle_deg = 0.0", "angle_deg = 25.0"), truth=tmp_path / "t.jsonl")
    engine.write_lo(0, 1, 2.4501e9, at=60_000)
    engine.write_lo(0, 0, 2.4501e9, at=60_000)
    truth = read_truth(tmp_path / "t.jsonl")
    for first, fc_hz in ((0, 2.45e9), (40_960, 2.45e9), (81_920, 2.4501e9)):
        wire = engine.read(0, first, 4096).astype(float)
        x = (wire[:, 0::2] + 1j * wire[:, 1::2]).mean(axis=0)
        azimuth = np.deg2rad(truth.angles_deg([first])[0, 0])
        path_m = (truth.positions_m + truth.position_error_m)[:, 0] * np.sin(azimuth)
        a = np.exp(2j * np.pi * fc_hz * path_m / 299_792_458.0)
        want = (truth.gain_at(first + 2048) * (truth.coupling @ a))[:4]
        rho = np.vdot(want, x) / np.linalg.norm(want) / np.linalg.norm(x)
        assert abs(rho) == pytest.approx(1.0, abs=2e-5)
    assert truth.epoch_at(0, 59_999) == 0
    assert truth.epoch_at(0, 60_000) == 2
    assert truth.fc_hz == 2.4501e9
    engine.close()


def test_events_are_lines_with_board_sample_and_epoch(tmp_path):
    engine = engine_of(STILL, truth=tmp_path / "t.jsonl")
    engine.write_lo(1, 0, 2.46e9, at=1000)
    engine.write_rate(1, 5e6, at=2000)
    engine.write_gain(1, 3, 12.0, at=9000)
    engine.close()
    engine.close()
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert lines[0]["event"] == "drawn"
    events = [(e["event"], e["board"], e["scene_sample"], e["epoch"]) for e in lines if "scene_sample" in e]
    assert events == [("lo_write", 1, 1000, 1), ("rate_write", 1, 2000, 2), ("gain_write", 1, 9000, 2)]
    assert read_truth(tmp_path / "t.jsonl").events[1]["t_s"] == 2000 / 2.5e6


def test_damaged_truth_files_give_one_clear_error(tmp_path):
    path = tmp_path / "t.jsonl"
    ArrayEngine(parse_scene(MOVING), free_running=True, truth=path).close()
    good = path.read_bytes()
    for cut in range(0, len(good), 97):  # cut off anywhere: readable, or one clear error
        path.write_bytes(good[:cut])
        try:
            read_truth(path)
        except SceneError as err:
            assert str(path) in str(err)  # noqa: PT017 - an error is one of two right answers
    first = json.loads(good.splitlines()[0])
    bad = [b"", b"\n", b"{}\n", b"[]\n", b"nonsense\n", b"\xff\xfe\n", b'{"event": "drawn"}\n']
    for key in first:
        bad += [
            json.dumps({**first, key: value}).encode() + b"\n"
            for value in (None, "x", [[]], -1, float("nan"), 1e300)
        ]
    for content in bad:
        path.write_bytes(content)
        try:
            read_truth(path).angles_deg([0, 5])
        except SceneError:
            continue
    with pytest.raises(SceneError):
        read_truth(tmp_path / "none.jsonl")
    with pytest.raises(SceneError, match="cannot write"):
        ArrayEngine(parse_scene(""), free_running=True, truth=tmp_path / "no" / "t.jsonl")
