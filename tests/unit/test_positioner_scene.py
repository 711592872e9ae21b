"""Emitters turn with a commanded table: what is heard, the truth file, and samples that stay functions of their index."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.convert import wire_buffer
from drivers.positioner.arrival import drive_to
from drivers.positioner.registry import open_positioner
from drivers.registry import open_device
from hil.core.device import RxConfig, WireFormat
from hil.dsp.doa import music_spectrum
from sim_backend.engine import ArrayEngine
from sim_backend.motion import seen_from_turning_table
from sim_backend.scene import parse_scene
from sim_backend.truth import read_truth
from sim_backend.turntable import TableSpec, Turntable

PLAIN = """
[array]
n_elements = 4
[receiver]
board = "fmcomms5"
fs_hz = 1e6
[impairments]
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
relock_phase = false
"""
STILL = PLAIN + "[[emitter]]\nangle_deg = 5.0\n"
GRID = np.arange(-80.0, 80.0, 0.02)


def _heard(engine: ArrayEngine, wire: NDArray[np.int16], k: int = 1) -> float:
    x = np.ascontiguousarray(wire.astype(np.float64)).view(np.complex128).T
    spectrum = music_spectrum(x, engine.drawn.positions_m, engine.scene.receiver.fc_hz, GRID, k)
    return float(GRID[int(np.argmax(spectrum))])


class Hand:
    """Seconds of everybody's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("sim_backend.clock.time", self)

    def monotonic(self) -> float:
        return self.now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    return Hand(monkeypatch)


def test_what_is_heard_follows_the_plate_and_the_truth_says_so(hand: Hand, tmp_path: Path) -> None:
    table = Turntable(TableSpec(speed=6.0, backlash=0.5), hand)
    engine = ArrayEngine(parse_scene(STILL), truth=tmp_path / "t.jsonl", table=table)
    begin, heard, samples = hand.now, [], []
    for step in range(60):
        hand.now += 0.1
        if step in (5, 50):
            table.move_to(30.0 if step == 5 else 20.0)
        if step == 40:
            table.stop()
        first = round((hand.now - begin) * 1e6) - 60_000
        wire = engine.read(0, first, 1024)
        heard.append(_heard(engine, wire))
        samples.append(first + 512)
    engine.close()
    plate = table.plates_deg(begin + np.array(samples) / 1e6)
    assert np.ptp(plate) > 18
    assert np.max(np.abs(np.array(heard) - (5.0 - plate))) < 0.15  # what noise leaves of 1024 snapshots
    truth = read_truth(tmp_path / "t.jsonl").angles_deg(samples)[:, 0]
    assert np.max(np.abs(truth - (5.0 - plate))) < 2e-3
    rests = [e for e in read_truth(tmp_path / "t.jsonl").events if e["event"] == "table"]
    assert rests[0]["heading_deg"] == 0.0
    assert rests[-2]["heading_deg"] == pytest.approx(table.plate_deg(begin + 4.9), abs=1e-6)
    assert rests[-1]["heading_deg"] == pytest.approx(20.25), "the motor came from above"


@pytest.mark.parametrize("motion", ["hop = {period_s = 0.03}", "track = {rate_deg_per_s = 40.0}"])
def test_emitters_that_move_themselves_turn_as_well(hand: Hand, tmp_path: Path, motion: str) -> None:
    table = Turntable(TableSpec(speed=10.0), hand)
    engine = ArrayEngine(
        parse_scene(f"{PLAIN}[[emitter]]\n{motion}\n"), truth=tmp_path / "t.jsonl", table=table
    )
    still = ArrayEngine(parse_scene(f"{PLAIN}[[emitter]]\n{motion}\n"), truth=tmp_path / "s.jsonl")
    still.read(0, 0, 3_000_000)
    begin, samples = hand.now, []
    for step in range(28):
        hand.now += 0.1
        if step == 3:
            table.move_to(12.0)
        samples.append(round((hand.now - begin) * 1e6) - 30_123)
        engine.read(0, samples[-1], 8)
    engine.close()
    still.close()
    seen = read_truth(tmp_path / "t.jsonl").angles_deg(samples)[:, 0]
    room = read_truth(tmp_path / "s.jsonl").angles_deg(samples)[:, 0]
    plate = table.plates_deg(begin + (np.array(samples) + 1e-3) / 1e6)
    assert seen == pytest.approx(room - plate, abs=3e-3)


def test_a_sample_stays_what_it_was_whoever_asks_and_in_whatever_pieces(hand: Hand) -> None:
    rng = np.random.default_rng(5)
    table = Turntable(TableSpec(speed=6.0, acceleration=1e5, backlash=0.02), hand)
    engine = ArrayEngine(parse_scene(STILL), table=table)
    handed: list[NDArray[np.int16]] = []
    first = 0
    while first < 1_000_000:
        n = int(rng.integers(1, 20_000))
        hand.now = max(hand.now, 1000.0 + (first + n) / 1e6)
        handed.append(engine.read(0, first, n))
        first += n
        if rng.random() < 0.3:
            table.stop()
        elif rng.random() < 0.5:
            table.move_to(float(rng.uniform(-0.3, 0.3)))
    again, at = [], 0
    while at < first:
        n = min(int(rng.integers(1, 50_000)), first - at)
        again.append(engine.read(0, at, n))
        at += n
    assert np.array_equal(np.concatenate(handed), np.concatenate(again))


def test_free_running_samples_have_the_angle_of_the_moment_and_keep_it(hand: Hand, tmp_path: Path) -> None:
    table = Turntable(TableSpec(speed=10.0), hand)
    engine = ArrayEngine(parse_scene(STILL), free_running=True, truth=tmp_path / "t.jsonl", table=table)
    first = engine.read(0, 0, 3000)  # ends within a chunk
    table.move_to(20.0)
    hand.now += 10.0
    later = engine.read(0, 3000, 3000)
    assert _heard(engine, first) == pytest.approx(5.0, abs=0.15)
    assert _heard(engine, later) == pytest.approx(-15.0, abs=0.15), "nothing is left of the old angle"
    assert np.array_equal(engine.read(0, 1000, 4000), np.concatenate([first, later])[1000:5000])
    engine.close()
    truth = read_truth(tmp_path / "t.jsonl").angles_deg([0, 2999, 3000, 5999])[:, 0]
    assert truth == pytest.approx([5.0, 5.0, -15.0, -15.0])


def test_echoes_of_targets_turn_too(hand: Hand) -> None:
    text = (
        PLAIN
        + "emitter = []\n[[target]]\nangle_deg = 10.0\nrange_m = 30.0\n[transmit]\nleakage_db = -200.0\n"
    )
    text = "emitter = []\n" + text.replace("emitter = []\n", "", 1)
    table = Turntable(TableSpec(speed=10.0), hand)
    engine = ArrayEngine(parse_scene(text), table=table)
    tone = np.zeros((4, 1000), np.complex64)
    tone[0] = 0.25 * np.exp(2j * np.pi * 0.05 * np.arange(1000))
    engine.transmit(0, tone, 0)
    hand.now += 1.0
    assert _heard(engine, engine.read(0, 500_000, 2048)) == pytest.approx(10.0, abs=0.2)
    table.move_to(25.0)
    hand.now += 1.5
    at = table.plate_deg(1000.0 + 2.0)
    assert 1 < at < 24
    assert _heard(engine, engine.read(0, 2_000_000, 2048)) == pytest.approx(10.0 - at, abs=0.2)
    hand.now += 5.0
    assert _heard(engine, engine.read(0, 7_000_000, 2048)) == pytest.approx(-15.0, abs=0.2)


def test_jumps_and_lines_under_a_turning_table() -> None:
    knots = [(1.0, 0.0), (2.0, 10.0), (3.0, 40.0)]
    hops = seen_from_turning_table([(1.0, 5.0), (1.5, -20.0)], knots, linear=False)
    t, deg = np.array(hops).T
    assert np.interp([1.25, 1.4999, 1.5001, 2.5], t, deg) == pytest.approx(
        [2.5, 0.001, -25.001, -45.0], abs=1e-3
    )
    line = seen_from_turning_table([(1.0, 0.0), (3.0, 20.0)], knots, linear=True)
    t, deg = np.array(line).T
    assert np.interp([1.5, 2.0, 2.5], t, deg) == pytest.approx([0.0, 0.0, -10.0], abs=1e-6)


def test_device_and_table_of_one_program_stand_together(tmp_path: Path) -> None:
    scene = tmp_path / "chamber.toml"
    scene.write_text(STILL + '[chamber]\npositioner = "sim"\nspeed_deg_per_s = 400.0\nmin_deg = -50\n')
    with open_positioner("sim:?hurry=2") as table, open_device(f"sim:{scene}?free") as device:
        assert table.info.limits_deg.minimum == -50, "what the scene says"
        device.configure(RxConfig())
        device.start()
        for target in (20.0, -31.0):
            drive_to(table, target)
            out = wire_buffer(4096, 4, WireFormat.CI16)
            device.read(out, 1.0)
            x = out.astype(np.float64)
            x = (x[..., 0] + 1j * x[..., 1]).T
            positions = np.arange(4)[:, None] * [299_792_458 / 2.45e9 / 2, 0, 0]
            spectrum = music_spectrum(x, positions, 2.45e9, GRID, 1)
            assert GRID[int(np.argmax(spectrum))] == pytest.approx(5.0 - target, abs=0.3)
    with open_positioner("sim:") as table:
        assert table.read_back().azimuth_deg == 0.0, "a new one"
        assert table.info.limits_deg.minimum == -180


def test_the_table_moves_without_being_asked_and_threads_may_ask_it() -> None:
    table = Turntable(TableSpec(speed=100.0, hurry=5.0))
    seen: list[float] = []
    asking = threading.Thread(target=lambda: seen.extend(table.plate_deg() for _ in range(200)))
    table.move_to(50.0)
    asking.start()
    asking.join(20.0)
    give_up = time.monotonic() + 20
    while table.moving():
        assert time.monotonic() < give_up
    assert table.plate_deg() == 50.0
    assert seen == sorted(seen)
