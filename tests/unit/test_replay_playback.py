"""Pause, seek, speed, loop and the end of a recording that is played, all asked from another thread than the reader's."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.replay import ReplayDevice
from drivers.sigmf_files import open_recording
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import DeviceTimeout, StreamStopped
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.recorder import Recorder
from hil.session import open_session

M, FS, GAP_S = 2, 20_000.0, 3600.0
LENGTH = 40_000  # 2 s; an hour is missing after the first one


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("played") / "x.sigmf-meta"
    device = DeviceInfo("iio:ip:a", "iio", "fmcomms5", "S1", "1", ((0, 1),), WireFormat.CI16, 16)
    config = RxConfig(2.45e9, FS, FS, (1.0,) * M, GainMode.MANUAL, (0, 1), 400)
    stream = StreamInfo(config, device, new_epoch("S1"))
    with Recorder(made, stream, policy="gap") as recorder:
        for k, gap in ((0, 0), (1, round(GAP_S * FS))):
            wire = _samples(k * LENGTH // 2, LENGTH // 2)
            first = k * LENGTH // 2 + gap
            recorder.write(Block(wire, first, k, 10**12 + 10**9 * (k + 1), 0, FrameFlag.NONE, stream, gap))
    return made


def _samples(first: int, n: int) -> np.ndarray:
    """Each sample says where it is in the file."""
    index = np.arange(first, first + n)
    return np.repeat(np.stack([index % 32768, index // 32768], axis=1)[:, None], M, axis=1).astype("<i2")


@pytest.fixture
def device(path: Path) -> Iterator[ReplayDevice]:
    with ReplayDevice(path) as opened:
        opened.playback.hold = True
        opened.start()
        yield opened


def _read(device: ReplayDevice, n: int = 400, timeout_s: float = 5.0):
    out = np.empty((n, M, 2), np.int16)
    result = device.read(out, timeout_s)
    place = int(out[0, 0, 0]) + 32768 * int(out[0, 0, 1])
    np.testing.assert_array_equal(out[: result.n], _samples(place, result.n))
    return place, result


def test_a_seek_goes_to_the_very_sample_and_says_that_it_does_not_join(device: ReplayDevice) -> None:
    assert _read(device)[0] == 0
    for sample in (30_000, 123, 19_999, 20_000):
        device.playback.seek(sample / FS)
        assert device.playback.state.position_s == sample / FS
        place, result = _read(device)
        assert place == sample
        assert result.lost_before is None
        assert result.flags == FrameFlag.GAP_BEFORE | FrameFlag.RETUNED
        after, joined = _read(device, n=100)
        gap = round(GAP_S * FS) if sample == 19_999 else 0  # the recording's own, behind its last sample
        assert joined.first_sample == result.first_sample + result.n + gap
        assert (after, joined.lost_before) == (sample + result.n, gap)
    assert device.playback.state.seams == 4


def test_clock_and_index_go_on_over_a_seek(device: ReplayDevice) -> None:
    before = _read(device)[1]
    for sample in (35_000, 1000, 39_000, 0):
        device.playback.seek(sample / FS)
        now = _read(device)[1]
        assert now.first_sample == before.first_sample + before.n
        assert now.t_mono_ns - before.t_mono_ns == pytest.approx(now.n / FS * 1e9, abs=2)
        before = now


def test_a_seek_before_the_start_begins_there_without_a_gap(path: Path) -> None:
    with ReplayDevice(path) as device:
        device.playback.seek(0.5)
        device.start()
        place, result = _read(device)
        assert (place, result.first_sample, result.flags, result.lost_before) == (
            10_000,
            0,
            FrameFlag.NONE,
            0,
        )


def test_paused_it_is_silent_and_a_seek_shows_one_block_of_the_new_place(device: ReplayDevice) -> None:
    playback = device.playback
    playback.pause()
    assert device.paused
    begin = time.monotonic()
    with pytest.raises(DeviceTimeout):
        _read(device, timeout_s=2.0)
    assert time.monotonic() - begin < 1.5, "its thread has other things to do"
    playback.seek(1.5)
    assert _read(device)[0] == 30_000
    with pytest.raises(DeviceTimeout):
        _read(device)
    playback.pause(False)
    assert _read(device)[0] == 30_400


def test_pause_and_stop_end_a_read_that_waits(device: ReplayDevice) -> None:
    for act, raised in ((device.playback.pause, DeviceTimeout), (device.stop, StreamStopped)):
        device.playback.set_speed(0.01)
        device.playback.pause(False)
        ended: list[type] = []

        def wait(ended: list[type] = ended) -> None:
            try:
                _read(device, 20_000, 60.0)
                _read(device, 20_000, 60.0)
            except (DeviceTimeout, StreamStopped) as err:
                ended.append(type(err))

        thread = threading.Thread(target=wait)
        thread.start()
        act()
        thread.join(10.0)
        assert not thread.is_alive()
        assert ended == [raised]


@pytest.mark.parametrize("speed", [0.5, 4.0])
def test_it_is_played_at_the_speed_that_is_asked_for(device: ReplayDevice, speed: float) -> None:
    device.playback.set_speed(speed)
    begin = time.monotonic()
    for _ in range(5):
        assert _read(device, 400, 5.0)[1].n == 400
    assert time.monotonic() - begin >= 0.99 * 5 * 400 / FS / speed
    device.playback.set_speed(math.inf)
    assert _read(device, 20_000, 0.0)[1].n == 18_000, "all that is left of the segment, at once"
    for wrong in (0.0, -1.0, math.nan, 1e6):
        with pytest.raises(ValueError, match="speed"):
            device.playback.set_speed(wrong)


def test_an_hour_that_is_missing_is_not_waited_for(device: ReplayDevice) -> None:
    device.playback.set_speed(1000.0)
    device.playback.seek(0.99)
    _read(device)
    assert _read(device)[1].lost_before == round(GAP_S * FS)


def test_at_the_end_it_waits_says_so_and_can_be_played_again(device: ReplayDevice) -> None:
    playback = device.playback
    playback.seek(1.99)
    _read(device)
    assert playback.state.ended
    assert device.paused
    assert playback.state.position_s == playback.state.length_s == LENGTH / FS
    with pytest.raises(DeviceTimeout):
        _read(device)
    playback.seek(0.0)
    assert not playback.state.ended
    assert _read(device)[0] == 0
    playback.seek(99.0)
    with pytest.raises(DeviceTimeout):
        _read(device)
    assert playback.state.ended
    playback.hold = False
    with pytest.raises(StreamStopped, match="end of the recording"):
        _read(device)


def test_a_loop_begins_again(device: ReplayDevice) -> None:
    device.playback.loop = True
    device.playback.seek(1.99)
    places = [_read(device)[0] for _ in range(3)]
    assert places[1:] == [0, 400]
    assert not device.playback.state.ended


def test_a_session_outlives_a_long_pause_and_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hil.session._SILENCE_LIMIT_S", 0.2)
    waited = threading.Event()
    with open_session(f"replay:{path}") as session:
        assert isinstance(session.device, ReplayDevice)
        playback = session.device.playback
        playback.hold = True
        session.start(on_frame=lambda frame, clipped: None)

        def until(samples: int) -> None:
            give_up = time.monotonic() + 20
            while session.samples < samples:
                assert time.monotonic() < give_up
                session.wait(0.0)
                waited.wait(0.01)

        until(LENGTH)
        waited.wait(0.5)  # longer than the silence that ends a receiver's session
        session.wait(0.0)
        session.record(Recorder(tmp_path / "again.sigmf-meta", session.stream, policy="gap"))
        playback.seek(1.0)
        until(LENGTH + LENGTH // 2)
        playback.seek(0.5)
        until(2 * LENGTH + LENGTH // 4)
        summary = session.stop_recording()
        session.stop()
        session.raise_error()
    assert summary is not None
    assert summary.samples == LENGTH // 2 + LENGTH * 3 // 4
    with open_recording(tmp_path / "again.sigmf-meta") as again:
        assert [s.cause for s in again.segments] == ["start", "gap", "gap"], (
            "a recording of it shows the jumps"
        )


def test_other_settings_while_it_is_played_keep_the_clock(path: Path) -> None:
    with ReplayDevice(path) as device:
        device.configure(RxConfig(channels=(1,)))
        device.start()
        out = np.empty((10, 1, 2), np.int16)
        first = device.read(out, 1.0)
        device.playback.seek(1.0)
        stream = replace(first.stream)
        again = device.read(out, 1.0)
        assert again.stream.config == stream.config
        np.testing.assert_array_equal(out, _samples(20_000, 10)[:, 1:])
