"""Live angle-delay maps: right where the truth is known, and in words where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gui.echo_map import EchoView
from gui.echoes import Echoes, look_samples, scene_waveform
from gui.station import Station
from hil.cli.main import call
from hil.core.device import RxConfig, TxConfig
from hil.core.frame import FrameFlag
from hil.core.waveform import cw, load_waveform, ofdm
from hil.sim_server import free_address, serve
from sim_backend.truth import read_truth
from tests.gui.calibration_shelf import make_stream
from tests.gui.echo_scene import (
    TARGETS,
    check_map,
    check_paths,
    complete,
    scene,
    sending,
    streaming,
    until,
    waveform_for,
    write_scene,
)
from tests.physics.health_scenes import SimStream, calibration_of

EMITTER = """
seed = 3
[array]
n_elements = 4
[receiver]
board = "fmcomms5"
fs_hz = 3.84e6
[impairments]
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
relock_phase = false
[ofdm]
n_subcarriers = 200
spacing_hz = 15e3
cp_samples = 32
[[emitter]]
angle_deg = -21.0
waveform = "ofdm"
"""


@pytest.fixture
def station() -> Iterator[Station]:
    made = Station()
    yield made
    assert made.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-")]


def test_three_targets_of_a_simulated_array(station: Station, tmp_path: Path) -> None:
    sending(station, write_scene(tmp_path, scene(8)), "ula:8:0.5")
    made = complete(station)
    check_paths(made.paths)
    check_map(made)
    assert made.reference == "direct path"
    assert made.range_bin_m == pytest.approx(75.0, rel=0.01)
    assert made.speed_span_m_s > 4 * made.speed_step_m_s / 2
    assert any("not calibrated" in note for note in made.notes)
    # the paths are the same wherever the map ends
    station.echoes.show(EchoView(max_range_m=400.0))
    near = complete(station, 1)
    check_paths(near.paths, TARGETS[:1])
    assert near.range_m[-1] == pytest.approx(400.0)
    station.stop_transmitting()
    until(lambda: station.echoes.latest() is None)
    until(lambda: "not in these" in station.echoes.reason.words, station.echoes.latest)
    assert "press Transmit" in station.echoes.reason.remedy


def test_a_board_behind_iiod_with_and_without_its_calibration(station: Station, tmp_path: Path) -> None:
    (tmp_path / "echo.toml").write_text(scene(errors=True, seed=5), encoding="utf-8")
    with serve(tmp_path, scene=tmp_path / "echo.toml", iio=free_address()) as server:
        sending(station, server.device_uris["iio"], "ula:4:0.5")
        until(lambda: station.transmit_desk.facts and station.transmit_desk.facts.state == "on")
        nominal = until(station.echoes.latest, station.poll)
        assert not nominal.calibration_id
        session = station.session
        assert session is not None
        truth = read_truth(server.truth)
        latest = max((s for _, s in truth.opens), default=0)
        station.use(calibration_of(truth, session.stream, scene_sample=latest), forced="it is the truth")
        made = complete(station, calibrated=True)
        check_paths(made.paths)
        check_map(made)
        station.echoes.show(EchoView(calibrated=False))
        until(lambda: (m := station.echoes.latest()) is not None and not m.calibration_id, station.poll)
        assert station.close()


def test_an_emitter_elsewhere_is_seen_at_its_angle(station: Station, tmp_path: Path) -> None:
    streaming(station, write_scene(tmp_path, EMITTER), None)
    made = complete(station, 1)
    assert made.reference == "strongest path"
    assert made.paths[0].angle_deg == pytest.approx(-21.0, abs=0.5)
    assert made.paths[0].range_m == pytest.approx(0.0, abs=1e-6)


def test_a_scene_has_the_waveform_that_the_command_writes(tmp_path: Path) -> None:
    uri = write_scene(tmp_path, EMITTER)
    assert call(["waveform", "from-scene", uri.removeprefix("sim:"), str(tmp_path / "w.toml")]) == 0
    ours = scene_waveform(uri)
    assert ours is not None
    np.testing.assert_array_equal(ours.samples, load_waveform(tmp_path / "w.toml").samples)
    assert scene_waveform("iio:ip:1.2.3.4") is None
    assert scene_waveform("sim:/no/such.toml") is None


def test_after_a_retune_the_map_is_of_the_new_epoch(station: Station, tmp_path: Path) -> None:
    sending(station, write_scene(tmp_path, scene()), "ula:4:0.5")
    before = complete(station)
    station.configure(RxConfig(fc_hz=2.3e9))  # away from what is transmitted
    until(lambda: station.echoes.latest() is None)
    until(lambda: "not in these" in station.echoes.reason.words, station.echoes.latest)
    station.configure(RxConfig(fc_hz=before.stream.fc_hz))
    made = complete(station)
    assert made.stream.epoch.counter == before.stream.epoch.counter + 2
    check_paths(made.paths)


@pytest.mark.parametrize(
    ("wave", "words", "remedy"),
    [
        (None, "not known", "choose the waveform's file"),
        (cw(fs_hz=2.5e6), "no subcarriers", "OFDM or SRS"),
        (ofdm(64, 30e3, n_fft=128), "made for 3.84e+06 S/s", "at its rate"),
        (ofdm(52, 2.5e6 / 64, 16, n_fft=64, n_symbols=4, seed=99), "not in these", "press Transmit"),
    ],
)
def test_why_there_is_no_map(station: Station, tmp_path: Path, wave, words: str, remedy: str) -> None:
    streaming(station, write_scene(tmp_path, scene(2)), "ula:2:0.5")
    station.echoes.use(wave, "w")
    until(lambda: words in station.echoes.reason.words, station.echoes.latest)
    assert remedy in station.echoes.reason.remedy
    assert station.echoes.latest() is None


@pytest.mark.parametrize(("array", "words"), [("none", "array is not known"), ("ula:1:0.5", "no directions")])
def test_without_directions_it_says_so(tmp_path: Path, array: str, words: str) -> None:
    sim = SimStream(scene(2))
    echoes = Echoes()
    stream = sim.stream
    wave = waveform_for(stream)
    echoes.use(wave, "w")
    try:

        def feed() -> None:
            echoes.latest()
            for frame, clipped in sim.frames(0.02):
                if array == "none":
                    echoes.offer(replace(frame, stream=replace(stream, geometry=None)), clipped)
                else:
                    config = replace(stream.config, channels=(0,), gain_db=stream.gains_db[:1])
                    one = replace(frame, samples=frame.samples[:1], stream=replace(stream, config=config))
                    echoes.offer(one, clipped[:1])

        until(lambda: words in echoes.reason.words, feed)
    finally:
        assert echoes.close()
        sim.close()


def test_nothing_is_copied_while_nobody_looks_and_a_busy_worker_delays_nobody() -> None:
    sim = SimStream(scene(2))
    echoes = Echoes(lambda: time.sleep(0.5))  # type: ignore[arg-type,return-value]
    echoes.use(waveform_for(sim.stream), "w")
    try:
        frames = [(replace(f, samples=f.samples.copy()), c) for f, c in sim.frames(0.1)]
        for frame, clipped in frames:
            echoes.offer(frame, clipped)
        assert echoes._looks.counts().produced == 0
        echoes.latest()
        used = time.process_time()
        until(lambda: echoes._looks.counts().produced, lambda: [echoes.offer(*f) for f in frames])
        produced = echoes._looks.counts().produced
        for frame, clipped in frames * 20:  # while the worker sleeps
            echoes.offer(frame, clipped)
        assert echoes._looks.counts().produced <= 2 * produced
        assert time.process_time() - used < 5.0
    finally:
        assert echoes.close()
        sim.close()


def test_a_gap_in_the_stream_does_not_end_up_in_a_look() -> None:
    sim = SimStream(scene(2))
    echoes = Echoes()
    echoes.use(waveform_for(sim.stream, 1024), "w")
    try:
        echoes.latest()
        until(lambda: echoes._wanted)
        frames = [(replace(f, samples=f.samples[:, :4096].copy()), c) for f, c in sim.frames(0.02)]
        (first, clipped), n = frames[0], 4096
        echoes.offer(first, clipped)
        assert len(echoes._parts) == 1
        echoes.offer(replace(first, first_sample=first.first_sample + n + 1), clipped)
        assert len(echoes._parts) == 1
        echoes.offer(replace(first, first_sample=first.first_sample + 2 * n + 1), clipped)
        assert len(echoes._parts) == 2
        late = replace(
            first, first_sample=first.first_sample + 3 * n + 1, flags=first.flags | FrameFlag.OVERFLOW
        )
        echoes.offer(late, clipped)
        assert len(echoes._parts) == 1
    finally:
        assert echoes.close()
        sim.close()


def test_a_look_is_long_enough_to_find_the_waveform_and_never_huge() -> None:
    stream = make_stream(4)
    short = ofdm(52, 2.5e6 / 64, 16, n_fft=64, n_symbols=4, seed=1)
    assert look_samples(short, stream) == 20_000
    long = ofdm(1600, 2.5e6 / 2048, 512, n_fft=2048, n_symbols=100, seed=1)
    assert look_samples(long, stream) >= 2 * len(long.samples)
    longest = ofdm(1600, 2.5e6 / 2048, 512, n_fft=2048, n_symbols=240, seed=1)
    assert look_samples(longest, stream) * stream.n_channels <= 1 << 22


def test_transmitting_twice_takes_the_newer_waveform(station: Station, tmp_path: Path) -> None:
    stream = streaming(station, write_scene(tmp_path, scene()), "ula:4:0.5")
    station.transmit(waveform_for(stream, 64), "first", TxConfig(attenuation_db=25.0))
    station.transmit(waveform_for(stream, 256), "second", TxConfig(attenuation_db=25.0))
    check_paths(complete(station).paths)
    assert station.echoes.name == "second"


def test_a_stream_that_starts_again_is_a_gap(station: Station, tmp_path: Path) -> None:
    sending(station, write_scene(tmp_path, scene()), "ula:4:0.5")
    complete(station)
    station.stop()
    until(lambda: station.echoes.latest() is None)
    stream = streaming(station, write_scene(tmp_path, scene()), "ula:4:0.5")
    station.transmit(waveform_for(stream), "again", TxConfig(attenuation_db=25.0))
    made = complete(station)
    check_paths(made.paths)
    check_map(made)
