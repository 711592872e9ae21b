"""A board whose transport fails: what was lost is flagged, what hangs ends, nothing is delivered twice."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from drivers import open_device
from drivers.conformance_cases import emulator, emulator_scene
from hil.core.device import GainMode, RxConfig, RxDevice, WireBuffer
from hil.core.errors import (
    ConnectionLost,
    DeviceNotFound,
    DeviceStateError,
    DeviceTimeout,
    UnsupportedSetting,
)
from hil.core.frame import FrameFlag


def _start(uri: str, want: RxConfig | None = None) -> tuple[RxDevice, WireBuffer]:
    device = open_device(f"iio:{uri}")
    stream = device.configure(want or RxConfig())
    device.start()
    return device, np.zeros((stream.config.block_samples or 1, stream.n_channels, 2), np.int16)


def _read_for(device: RxDevice, out: WireBuffer, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        device.read(out, 5.0)


def _faulty(text: str, board: str = "pluto") -> str:
    return emulator_scene(board) + f"[faults]\n{text}\n"


def test_device_overflows_are_flagged_in_an_otherwise_steady_stream() -> None:
    with emulator(_faulty("overflow_every_s = 1.0")) as (_, uris):
        device, out = _start(uris[0])
        with device:
            gaps, seen = 0, 0
            while seen < 3.6 * 2.5e6:
                result = device.read(out, 5.0)
                assert result.first_sample == seen
                seen += result.n
                if result.flags & FrameFlag.GAP_BEFORE:
                    assert result.flags & FrameFlag.OVERFLOW
                    assert result.lost_before is None
                    gaps += 1
    assert 3 <= gaps <= 4


def test_short_replies_lose_nothing_and_raise_no_alarm() -> None:
    with (
        emulator(_faulty("short_reads = true"), "--free-running") as (_, uris),
        emulator(emulator_scene("pluto"), "--free-running") as (_, whole),
    ):
        streams = []
        for uri in (uris[0], whole[0]):
            device, out = _start(uri)
            with device:
                pieces = []
                while sum(map(len, pieces)) < 200_000:
                    result = device.read(out, 5.0)
                    assert not result.flags & (FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW)
                    pieces.append(out[: result.n].copy())
            streams.append(np.concatenate(pieces)[:200_000])
    assert np.array_equal(*streams)


def test_a_hanging_board_times_out_and_goes_on() -> None:
    with emulator(_faulty("stall_at_s = [1.0]\nstall_s = 0.8")) as (_, uris):
        device, out = _start(uris[0])
        with device:
            timeouts, seen, deadline = 0, 0, time.monotonic() + 30.0
            while seen < 3 * 2.5e6 and time.monotonic() < deadline:
                try:
                    seen += device.read(out, 0.2).n
                except DeviceTimeout:
                    timeouts += 1
    assert timeouts >= 1
    assert seen >= 3 * 2.5e6


def test_dropped_connections_end_in_connection_lost_and_configure_connects_again() -> None:
    with emulator(_faulty("disconnect_at_s = [1.5]")) as (_, uris):
        device, out = _start(uris[0])
        with device:
            before = device.read(out, 5.0).stream.epoch
            with pytest.raises(ConnectionLost) as caught:
                _read_for(device, out, 20.0)
            assert caught.value.hint
            device.stop()
            after = device.configure(RxConfig()).epoch
            assert after.change_since(before) == "everything"
            device.start()
            assert device.read(out, 5.0).n > 0


def test_a_board_that_is_gone_is_not_found() -> None:
    with pytest.raises(DeviceNotFound) as caught:
        open_device("iio:ip:127.0.20.250")
    assert caught.value.hint


def test_a_killed_board_fails_settings_and_stays_lost() -> None:
    with emulator(emulator_scene("pluto")) as (process, uris), open_device(f"iio:{uris[0]}") as device:
        device.configure(RxConfig())
        process.kill()
        process.wait(10.0)
        with pytest.raises(ConnectionLost):
            device.configure(RxConfig(fc_hz=2.4e9))
        with pytest.raises(DeviceNotFound):
            device.configure(RxConfig())


def test_interpreter_exits_cleanly_with_a_running_stream() -> None:
    """libiio crashes at exit when a buffer outlives its context: nothing is closed here on purpose."""
    script = (
        "import sys, numpy as np\n"
        "from drivers import open_device\n"
        "from hil.core.device import RxConfig\n"
        "d = open_device('iio:' + sys.argv[1]); s = d.configure(RxConfig()); d.start()\n"
        "print(d.read(np.zeros((4096, s.n_channels, 2), '<i2'), 5.0).n)\n"
    )
    with emulator(emulator_scene("fmcomms5")) as (_, uris):
        done = subprocess.run(
            [sys.executable, "-P", "-c", script, uris[0]],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4096"


@pytest.mark.parametrize("fs_hz", [600e3, 2e6, 4e6, 20e6, 61.44e6])
def test_ad936x_rates_are_taken_and_nothing_old_is_delivered(fs_hz: float) -> None:
    with emulator(emulator_scene("fmcomms5"), "--free-running") as (_, uris):
        device, out = _start(uris[0])
        with device:
            before = device.read(out, 5.0).stream
            stream = device.configure(RxConfig(fs_hz=fs_hz, block_samples=4096))
            assert stream.config.fs_hz == pytest.approx(fs_hz, rel=1e-6)
            assert stream.epoch != before.epoch
            result = device.read(out[:4096], 5.0)
            assert result.stream == stream
            with pytest.raises(UnsupportedSetting):
                device.configure(RxConfig(fs_hz=500e3))
            assert device.read(out[:4096], 5.0).stream.config.fs_hz == stream.config.fs_hz


def test_gain_range_follows_the_carrier_and_agc_needs_no_gain() -> None:
    with emulator(emulator_scene("fmcomms5"), "--free-running") as (_, uris):
        uri = f"iio:{uris[0]}"
        with open_device(uri) as device:
            low = device.configure(RxConfig(fc_hz=900e6)) and device.caps.gain_db
            high = device.configure(RxConfig(fc_hz=5e9)) and device.caps.gain_db
            assert low.maximum > high.maximum
            with pytest.raises(UnsupportedSetting):
                device.configure(RxConfig(gain_db=low.maximum))
            automatic = device.configure(RxConfig(gain_mode=GainMode.SLOW_ATTACK))
            assert automatic.config.gain_mode is GainMode.SLOW_ATTACK
            manual = device.configure(RxConfig(gain_db=(1.0, 2.0, 3.0, 4.0)))
            assert manual.config.gain_db == (1.0, 2.0, 3.0, 4.0)
            assert manual.config.gain_mode is GainMode.MANUAL
            assert manual.epoch.change_since(automatic.epoch) == "group_phases"


def test_a_second_client_with_other_channels_does_not_scramble_the_first() -> None:
    import adi

    with emulator(emulator_scene("fmcomms5")) as (_, uris):
        first, out = _start(uris[0], RxConfig(channels=(1,), gain_db=40.0))
        with first:
            alone = [float(out[: first.read(out, 5.0).n].astype(float).std()) for _ in range(3)][-1]
            second = adi.FMComms5(uri=uris[0])
            second.rx_buffer_size = 4096
            gaps = 0
            for _ in range(60):
                second.rx()
                result = first.read(out, 5.0)
                gaps += bool(result.flags & FrameFlag.GAP_BEFORE)
                assert abs(float(out[: result.n].astype(float).std()) / alone - 1) < 0.1
            second.rx_destroy_buffer()
            assert gaps


def test_two_readers_of_one_board_are_told_apart() -> None:
    with emulator(emulator_scene("fmcomms5")) as (_, uris):
        first, _ = _start(uris[0])
        with first, open_device(f"iio:{uris[0]}") as second:
            with pytest.raises(DeviceStateError, match="in use") as caught:
                second.start()
            assert caught.value.hint
