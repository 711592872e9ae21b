"""The [faults] table: what is read and refused, and what the truth file says of faults."""

from __future__ import annotations

import json
from typing import cast

import numpy as np
import pytest

from hil.core.errors import SceneError
from sim_backend.engine import ArrayEngine
from sim_backend.fault_transport import TransportFaults
from sim_backend.faults import Faults
from sim_backend.scene import parse_scene
from sim_backend.source import SampleSource
from sim_backend.truth import read_truth

HEAD = "array = {n_elements = 6}\n[[emitter]]\nwaveform = 'cw'\n"


def faults_of(text: str) -> Faults:
    return parse_scene(f"{HEAD}[faults]\n{text}\n").faults


def test_every_fault_survives_being_written_and_read():
    text = """
overflow_every_s = 0.5
overflow_board = 1
drop_blocks_at_s = { every_s = 0.5, first_s = 0.25, count = 3 }
drop_blocks = 2
drop_blocks_board = -1
disconnect_at_s = 1
disconnect_board = 0
stall_at_s = [3.0, 2.0]
stall_board = 1
half_reply_at_s = 4.0
half_reply_hang_s = 0.5
network_mbit_s = 8.0
network_latency_s = 0.01
network_from_s = 1.0
phase_jump_at_s = 1.5
phase_jump_deg = -30
phase_jump_chip = -1
flip_at_s = 1.0
agc_step_at_s = 1.0
agc_step_channel = -1
drift_at_s = 1.0
drift_board = 1
slip_samples_at_s = 1.0
slip_channel = -1
swap_at_s = 1.0
swap_channels = [3, 5]
clip_at_s = 1.0
dead_at_s = 1.0
dead_leaves = "zero"
iq_swap_at_s = 1.0
stuck_bit_at_s = 1.0
stuck_bit = 10
multipath_at_s = 1.0
carrier_drift_at_s = 1.0
carrier_drift_emitter = 0
"""
    scene = parse_scene(f"{HEAD}[faults]\n{text}")
    assert scene.faults.drop_blocks_at_s == (0.25, 0.75, 1.25)
    assert scene.faults.stall_at_s == (2.0, 3.0)
    assert scene.faults.any
    assert parse_scene(scene.to_toml()) == scene
    assert set(scene.faults.kinds) == {
        "overflow", "drop_blocks", "disconnect", "stall", "half_reply", "slow_network", "phase_jump", "flip",
        "agc_step", "drift", "slip", "swap", "clip", "dead", "iq_swap", "stuck_bit", "multipath", "carrier_drift",
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in Faults.__slots__ if name.endswith("_at_s")])
def test_each_fault_alone_switches_faults_on(name):
    assert not Faults().any
    assert not Faults().kinds
    faults = faults_of(f"{name} = [1.0]")
    assert faults.any
    assert len(faults.kinds) == 1


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("flip_at_s = -1.0", "flip_at_s", "between 0"),
        ("flip_at_s = 'soon'", "flip_at_s", "not a number"),
        ("flip_at_s = [1.0, true]", "flip_at_s", "not a number"),
        ("flip_at_s = { every_s = 0.0 }", "flip_at_s.every_s", "between 0.001"),
        ("flip_at_s = { each_s = 1.0 }", "flip_at_s.each_s", "unknown key"),
        ("flip_at_s = { every_s = 1.0, count = 2000 }", "flip_at_s.count", "between 1 and 1000"),
        ("flip_board = 2", "flip_board", "between 0 and 1"),
        ("flip_channel = 4", "flip_channel", "between -1 and 3"),
        ("flip_at_s = 1.0\nflip_board = 1\nflip_channel = 2", "flip_channel", "no element"),
        ("flip_channel = 1.5", "flip_channel", "not an integer"),
        ("phase_jump_deg = 'large'", "phase_jump_deg", "random"),
        ("phase_jump_deg = nan", "phase_jump_deg", "must be between"),
        ("phase_jump_chip = 2", "phase_jump_chip", "between -1 and 1"),
        ("swap_channels = [1, 1]", "swap_channels", "two different"),
        ("swap_channels = [0]", "swap_channels", "two different"),
        ("swap_channels = []", "swap_channels", "two different"),
        ("swap_channels = 3", "swap_channels", "list"),
        ("swap_at_s = 1.0\nswap_channels = [0, 6]", "swap_channels", "0..5"),
        ("swap_channels = [-1, 2]", "swap_channels", "two different"),
        ("clip_s = 0", "clip_s", "more than 0"),
        ("dead_leaves = 'nothing'", "dead_leaves", "noise, zero"),
        ("stuck_bit = 11", "stuck_bit", "between 0 and 10"),
        ("multipath_at_s = 1.0\nmultipath_emitter = 1", "multipath_emitter", "no emitter 1"),
        ("carrier_drift_at_s = 1.0\ncarrier_drift_emitter = 3", "carrier_drift_emitter", "no emitter 3"),
        ("carrier_drift_at_s = 1.0\ncarrier_drift_hz_per_s = 2e5", "carrier_drift_hz_per_s", "half the band"),
        ("network_mbit_s = 1e-6", "network_mbit_s", "0 or at least"),
        ("network_latency_s = 100", "network_latency_s", "between 0 and 60"),
        ("drop_blocks = 0", "drop_blocks", "between 1"),
        ("half_reply_hang_s = inf", "half_reply_hang_s", "must be between"),
        ("flip_at = 1.0", "flip_at", "unknown key"),
    ],
)
def test_wrong_values_are_refused_in_one_line(text, key, words):
    with pytest.raises(SceneError, match="faults") as caught:
        faults_of(text)
    message = str(caught.value).splitlines()[0]
    assert f"faults.{key}: " in message
    assert words in message


def test_a_scene_without_emitters_has_no_emitter_to_break():
    with pytest.raises(SceneError, match="there is no emitter 0"):
        parse_scene("emitter = []\n[faults]\nmultipath_at_s = 1.0\n")


def events(path, *names: str) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["event"] in names]


def test_the_truth_file_names_every_fault_when_it_happens(tmp_path):
    text = """
phase_jump_at_s = [0.01, 0.03]
phase_jump_chip = 1
flip_at_s = 0.01
flip_board = 1
agc_step_at_s = [0.012, 0.014]
agc_step_channel = -1
swap_at_s = 0.015
swap_channels = [1, 4]
clip_at_s = 0.016
clip_s = 0.002
slip_samples_at_s = 0.02
slip_samples = -3
multipath_at_s = 0.021
carrier_drift_at_s = 0.022
carrier_drift_s = 0.001
dead_at_s = 5.0
"""
    path = tmp_path / "truth.jsonl"
    engine = ArrayEngine(parse_scene(f"{HEAD}[faults]\n{text}"), free_running=True, truth=path)
    engine.read(0, 0, 25_000)
    assert [line["kind"] for line in events(path, "fault")] == []  # they begin with sample 25 000
    for first in (25_000, 50_000):
        for board in (1, 0):
            engine.read(board, first, 25_000)
    found = events(path, "fault", "fault_end")
    assert [(line["event"], line["kind"], line["scene_sample"]) for line in found] == [
        ("fault", "flip", 25_000),
        ("fault", "phase_jump", 25_000),
        ("fault", "agc_step", 30_000),
        ("fault", "agc_step", 35_000),
        ("fault", "swap", 37_500),
        ("fault", "clip", 40_000),
        ("fault_end", "clip", 45_000),
        ("fault", "slip", 50_000),
        ("fault", "multipath", 52_500),
        ("fault", "carrier_drift", 55_000),
        ("fault_end", "carrier_drift", 57_500),
    ]
    by_kind = {line["kind"]: line for line in found if line["event"] == "fault"}
    assert (by_kind["flip"]["board"], by_kind["flip"]["channel"]) == (1, 1)
    assert by_kind["agc_step"]["channel"] is None
    assert by_kind["agc_step"]["db"] == -6.0  # the last one goes back
    assert by_kind["swap"]["channels"] == [1, 4]
    assert by_kind["slip"]["samples"] == -3
    assert by_kind["phase_jump"]["chip"] == 1
    assert by_kind["phase_jump"]["degrees"][:2] == [0.0, 0.0]
    assert by_kind["phase_jump"]["degrees"][2] == by_kind["phase_jump"]["degrees"][3] != 0.0
    assert {line["epoch"] for line in found} == {0}  # nothing that the device could know
    engine.close()


def test_the_truth_s_gain_follows_the_faults_and_what_is_received(tmp_path):
    scene = """seed = 3
array = {n_elements = 8}
receiver = {snr_db = 40.0, adc_bits = 16}
impairments = {position_std_wavelengths = 0.0}
[[emitter]]
waveform = "cw"
offset_hz = 0.0
angle_deg = 0.0
[faults]
phase_jump_at_s = [0.004, 0.02]
flip_at_s = 0.008
flip_board = 1
agc_step_at_s = [0.006, 0.022]
agc_step_channel = 0
drift_at_s = 0.01
drift_s = 0.01
drift_deg_per_s = 4000.0
drift_channel = 3
clip_at_s = 0.012
clip_s = 0.001
clip_dbfs = -6.0
clip_board = 1
"""
    path = tmp_path / "truth.jsonl"
    engine = ArrayEngine(parse_scene(scene), free_running=True, truth=path)
    probes = np.arange(1000, 62_000, 2500)
    received = []
    for first in probes:
        rows = [engine.read(board, int(first), 200) for board in (0, 1)]
        wire = np.concatenate(rows, axis=1).astype(float)
        received.append((wire[:, 0::2] + 1j * wire[:, 1::2]).mean(axis=0))
    engine.write_lo(1, 0, 2.4e9, at=70_000)
    engine.close()
    truth = read_truth(path)
    for first, got in zip(probes, received, strict=True):
        want = truth.gain_at(int(first) + 100)
        ratio = got / want
        np.testing.assert_allclose(ratio / ratio[7], 1.0, atol=0.01)
    assert truth.epoch_at(1, 71_000) == 1


class Clock:
    """A source whose time is set by hand."""

    def __init__(self) -> None:
        self.sample, self.notes = 0, []

    def now(self, board: int) -> int:
        return self.sample

    def fs_hz(self, board: int) -> float:
        return 1e6

    def note(self, event: str, board: int, at: int, **details) -> None:
        self.notes.append((event, board, at, details))


def test_faults_of_the_transport_concern_their_board_and_come_once():
    clock = Clock()
    faults = Faults(
        overflow_every_s=0.1, overflow_board=1, drop_blocks_at_s=(0.05,), drop_blocks=3, disconnect_at_s=(0.2, 0.3),
        disconnect_board=0, half_reply_at_s=(0.4,), half_reply_hang_s=0.5, half_reply_board=-1,
    )  # fmt: skip
    first, second = (TransportFaults(cast(SampleSource, clock), board, faults) for board in (0, 1))
    assert first.lost_at(0, 10**6) is None
    assert second.lost_at(0, 10**6) == (100_000, 4096)
    assert second.lost_at(100_001, 50_000) is None
    assert first.dropped(49_000, 1000) == 0
    assert first.dropped(50_000, 1000) == 3
    assert first.dropped(50_001, 1000) == 0
    assert second.dropped(50_000, 1000) == 0
    clock.sample = 250_000
    assert (first.disconnect_due(), first.disconnect_due(), second.disconnect_due()) == (True, False, False)
    assert first.half_reply_due(1000) is None
    clock.sample = 450_000
    assert first.half_reply_due(10) is None  # too short to be halved
    assert (first.half_reply_due(1000), first.half_reply_due(1000)) == (0.5, None)
    assert second.half_reply_due(1000) == 0.5
    kinds = [(details["kind"], board) for event, board, _, details in clock.notes if event == "fault"]
    assert kinds == [("disconnect", 0), ("half_reply", 0), ("half_reply", 1)]
    assert all("channel" in details for _, _, _, details in clock.notes)


def test_a_slow_network_grants_bytes_at_its_rate_from_its_time_on():
    clock = Clock()
    faults = Faults(network_mbit_s=0.008, network_latency_s=0.25, network_from_s=1.0)
    link = TransportFaults(cast(SampleSource, clock), 0, faults)
    assert (link.allow(10**9), link.latency_s(), clock.notes) == (10**9, 0.0, [])
    clock.sample = 1_000_000
    assert link.latency_s() == 0.25
    assert link.allow(10**9) <= 1500  # at most a packet at once of 1000 bytes a second
    assert link.allow(10**9) < 100
    assert [note[3]["kind"] for note in clock.notes] == ["slow_network"]
