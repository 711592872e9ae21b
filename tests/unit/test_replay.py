"""A recording played back behaves like the receiver that made it."""

import itertools
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from drivers.replay import ReplayDevice, open_replay
from hil.core.device import DeviceInfo, GainMode, RxConfig, RxDevice, WireFormat
from hil.core.epoch import EpochEvent, EpochScope, new_epoch
from hil.core.errors import DeviceStateError, DeviceTimeout, RecordingError, StreamStopped, UnsupportedSetting
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.core.geometry import ula
from hil.recorder import Recorder

N, M = 400, 4
KINDS = ["x.sigmf-collection", "x.sigmf-meta"]


def make_stream():
    device = DeviceInfo("iio:ip:a", "iio", "fmcomms5", "S1", "1", ((0, 1), (2, 3)), WireFormat.CI16, 12)
    config = RxConfig(2.45e9, 1e6, 8e5, (1.0, 2.0, 3.0, 4.0), GainMode.MANUAL, (0, 1, 2, 3), N)
    return StreamInfo(config, device, new_epoch("S1"), ula(M, 0.06))


def retune(stream, fc_hz):
    epoch = stream.epoch.after(EpochEvent.LO, EpochScope.GROUP_PHASES)
    return replace(stream, config=replace(stream.config, fc_hz=fc_hz), epoch=epoch)


@pytest.fixture(params=KINDS)
def made(request, tmp_path):
    """Path, wire samples and streams: A A | gap 25 | A | retune to B | unknown gap | B | retune to A."""
    a = make_stream()
    b = retune(a, 2.4e9)
    c = retune(b, 2.45e9)
    plan = [(a, 0), (a, 0), (a, 25), (b, 0), (b, None), (c, 0)]
    wires = [
        np.random.default_rng(k).integers(-999, 999, (N, M, 2), dtype=np.int16) for k in range(len(plan))
    ]
    first = 1000
    with Recorder(tmp_path / request.param, a, policy="gap") as recorder:
        for k, (stream, lost) in enumerate(plan):
            first += lost or 0
            t_ns = 10**18 + (first + N) * 1000
            recorder.write(Block(wires[k], first, k, t_ns, t_ns, FrameFlag.NONE, stream, lost))
            first += N
    return tmp_path / request.param, np.concatenate(wires), (a, b, c)


def play(device, n=256):
    """All results with a copy of their samples."""
    out = np.empty((n, len(device.configure(RxConfig()).config.channels), 2), np.int16)
    found = []
    while not device.at_end:
        result = device.read(out, 1.0)
        found.append((result, out[: result.n].copy()))
    return found


def test_replay_is_a_receiver(made):
    with ReplayDevice(made[0]) as device:
        assert isinstance(device, RxDevice)
        assert (device.info.driver, device.info.model, device.info.serial) == ("replay", "fmcomms5", "S1")
        assert device.info.uri == f"replay:{made[0]}"


def test_samples_gaps_retunes_and_epochs_come_as_recorded(made):
    path, wire, (a, b, c) = made
    with ReplayDevice(path) as device:
        device.start()
        found = play(device)
    assert np.array_equal(np.concatenate([w for _, w in found]), wire)
    firsts = {r.first_sample: r for r, _ in found}
    gap, second, unknown, third = (firsts[i] for i in (825, 1225, 1625, 2025))
    assert found[0][0].first_sample == 0
    assert (gap.flags, gap.lost_before) == (FrameFlag.GAP_BEFORE, 25)
    assert (second.flags, second.lost_before, second.stream.epoch) == (FrameFlag.RETUNED, 0, b.epoch)
    assert (unknown.flags, unknown.lost_before) == (FrameFlag.GAP_BEFORE, None)
    assert (third.flags, third.stream.epoch, third.stream.fc_hz) == (FrameFlag.RETUNED, c.epoch, 2.45e9)
    assert {r.flags for r, _ in found} == {FrameFlag(0), FrameFlag.GAP_BEFORE, FrameFlag.RETUNED}
    for (x, _), (y, _) in itertools.pairwise(found):
        assert y.first_sample == x.first_sample + x.n + (y.lost_before or 0)
        assert y.t_utc_ns > x.t_utc_ns
    assert found[0][0].t_utc_ns == 10**18 + 1256 * 1000
    assert found[0][0].stream.epoch == a.epoch


def test_the_end_of_the_recording_stops_the_stream(made):
    with ReplayDevice(made[0]) as device:
        device.start()
        play(device)
        with pytest.raises(StreamStopped, match="end of the recording"):
            device.read(np.empty((8, M, 2), np.int16), 1.0)
        device.stop()
        with pytest.raises(StreamStopped):
            device.read(np.empty((8, M, 2), np.int16), 1.0)
        device.start()
        assert device.read(np.empty((8, M, 2), np.int16), 1.0).first_sample == 0, (
            "played again from its start"
        )


def test_configure_accepts_only_what_was_recorded(made):
    with ReplayDevice(made[0]) as device:
        for want, field in (
            (RxConfig(fc_hz=2.41e9), "fc_hz"),
            (RxConfig(fs_hz=2e6), "fs_hz"),
            (RxConfig(bandwidth_hz=1e6), "bandwidth_hz"),
            (RxConfig(gain_db=7.0), "gain_db"),
            (RxConfig(gain_db=(1.0, 2.0)), "gain_db"),
            (RxConfig(gain_mode=GainMode.FAST_ATTACK), "gain_mode"),
            (RxConfig(channels=(0, 4)), "channels"),
            (RxConfig(channels=(1, 1)), "channels"),
            (RxConfig(block_samples=0), "block_samples"),
        ):
            with pytest.raises(UnsupportedSetting) as caught:
                device.configure(want)
            assert caught.value.field == field
            assert caught.value.hint
        got = device.configure(
            RxConfig(2.45e9, 1e6, 8e5, (1.0, 2.0, 3.0, 4.0), GainMode.MANUAL, (0, 1, 2, 3), 128)
        )
        assert got.config == replace(make_stream().config, block_samples=128)


def test_asking_for_a_carrier_plays_only_its_segments(made):
    path, wire, (_, b, _) = made
    with ReplayDevice(path) as device:
        assert device.configure(RxConfig(fc_hz=2.4e9)).epoch == b.epoch
        device.start()
        found = play(device)
        assert np.array_equal(np.concatenate([w for _, w in found]), wire[3 * N : 5 * N])
        device.stop()
    with ReplayDevice(path) as device:
        device.configure(RxConfig(fc_hz=2.45e9))
        device.start()
        found = play(device)
    last = next(r for r, _ in found if r.flags & FrameFlag.RETUNED)
    assert last.first_sample == 2025, "the time between is a jump"
    assert last.lost_before == 800
    assert np.array_equal(
        np.concatenate([w for _, w in found]), np.concatenate((wire[: 3 * N], wire[5 * N :]))
    )


def test_a_retune_while_playing_gives_no_sample_of_the_old_epoch(made):
    path, wire, (a, b, _) = made
    out = np.empty((100, M, 2), np.int16)
    with ReplayDevice(path) as device:
        device.start()
        assert device.read(out, 1.0).stream.epoch == a.epoch
        assert device.configure(RxConfig(fc_hz=2.4e9)).epoch == b.epoch
        result = device.read(out, 1.0)
        assert result.stream.epoch == b.epoch
        assert result.flags == FrameFlag.RETUNED | FrameFlag.GAP_BEFORE
        assert (result.first_sample, result.lost_before) == (100, None)
        assert np.array_equal(out, wire[3 * N : 3 * N + 100])


def test_channels_can_be_picked_and_reordered(made):
    path, wire, _ = made
    with ReplayDevice(path) as device:
        stream = device.configure(RxConfig(channels=(3, 0)))
        assert stream.config.gain_db == (4.0, 1.0)
        assert np.array_equal(stream.geometry.positions_m, ula(M, 0.06).positions_m[[3, 0]])
        device.start()
        assert np.array_equal(np.concatenate([w for _, w in play(device)]), wire[:, [3, 0]])


def test_calls_in_the_wrong_order_are_errors(made):
    device = ReplayDevice(made[0])
    out = np.empty((8, M, 2), np.int16)
    with pytest.raises(DeviceStateError):
        device.read(out, 1.0)
    device.start()
    with pytest.raises(DeviceStateError):
        device.start()
    with pytest.raises(DeviceStateError):
        device.read(np.empty((8, M, 2), np.float32), 1.0)
    device.close()
    device.close()
    for call in (device.start, lambda: device.read(out, 1.0), lambda: device.configure(RxConfig())):
        with pytest.raises(DeviceStateError):
            call()


def test_realtime_paces_and_stop_ends_a_waiting_read(tmp_path):
    stream = make_stream()
    slow = replace(stream, config=replace(stream.config, fs_hz=2000.0, bandwidth_hz=2000.0))
    with Recorder(tmp_path / "x.sigmf-meta", slow) as recorder:
        recorder.write(Block(np.zeros((20000, M, 2), np.int16), 0, 0, 0, 0, FrameFlag.NONE, slow))
    with open_replay(f"{tmp_path / 'x.sigmf-meta'}?realtime") as device:
        device.start()
        begin = time.monotonic()
        assert device.read(np.empty((400, M, 2), np.int16), 5.0).n == 400
        assert 0.19 < time.monotonic() - begin < 2.0
        short = device.read(np.empty((4000, M, 2), np.int16), 0.05)
        assert 0 < short.n < 4000, "what is due by the timeout"

        def drain():
            for _ in range(1000):  # far faster than one sample each
                device.read(np.empty((4, M, 2), np.int16), 0.0)

        with pytest.raises(DeviceTimeout):
            drain()
        outcome = []

        def wait():
            try:
                device.read(np.empty((15000, M, 2), np.int16), 30.0)
            except StreamStopped:
                outcome.append(time.monotonic())

        thread = threading.Thread(target=wait)
        thread.start()
        stopped = time.monotonic()
        device.stop()
        thread.join(5.0)
        assert not thread.is_alive()
        assert outcome[0] - stopped < 2.0


def test_uri_options_and_missing_files(tmp_path, made):
    with pytest.raises(UnsupportedSetting):
        open_replay(f"{made[0]}?loop")
    with pytest.raises(RecordingError) as caught:
        open_replay(str(tmp_path / "none.sigmf-meta"))
    assert caught.value.exit_code == 2
    with open_replay(str(made[0]), geometry=ula(M, 0.1)) as device:
        assert np.allclose(device.configure(RxConfig()).geometry.positions_m, ula(M, 0.1).positions_m)
    with pytest.raises(UnsupportedSetting):
        open_replay(str(made[0]), geometry=ula(M + 1, 0.1))


def test_open_and_close_leak_nothing(made):
    import psutil

    process = psutil.Process()
    before = process.num_fds()
    for _ in range(50):
        with ReplayDevice(made[0]) as device:
            device.start()
            device.read(np.empty((8, M, 2), np.int16), 1.0)
    assert process.num_fds() == before
