"""SoapySDR over a server that loses, stalls and dies: what was lost is counted, what hangs ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from drivers import open_device
from drivers.conformance_cases import emulator_scene, soapy_emulator
from drivers.soapy.rx import SoapyDevice
from hil.core.device import GainMode, ReadResult, RxConfig, WireBuffer
from hil.core.errors import (
    ConnectionLost,
    DeviceNotFound,
    DeviceStateError,
    DeviceTimeout,
    UnsupportedSetting,
)
from hil.core.frame import FrameFlag

_TONE_HZ = 12_345.678
#: One tone and little noise: its phase counts samples.
_TONE = (
    'seed = 3\n[array]\nkind = "ula"\nn_elements = 2\n[receiver]\nboard = "pluto"\nsnr_db = 40.0\n'
    f'[[emitter]]\nangle_deg = 5.0\nwaveform = "cw"\noffset_hz = {_TONE_HZ}\n'
)


def _uri(url: str, options: str = "") -> str:
    return f"soapy:driver=remote,remote={url}{options}"


def _start(uri: str, want: RxConfig | None = None) -> tuple[SoapyDevice, WireBuffer]:
    device = open_device(uri)
    assert isinstance(device, SoapyDevice)
    stream = device.configure(want or RxConfig())
    device.start()
    return device, np.zeros((stream.config.block_samples or 1, stream.n_channels, 2), device.info.wire.dtype)


class _Phase:
    """Turns of the tone against a phasor that runs with first_sample: constant as long as the count is right."""

    def __init__(self, fs_hz: float) -> None:
        self._step = _TONE_HZ / fs_hz
        self.first: float | None = None

    def error(self, result: ReadResult, out: WireBuffer) -> float:
        """Turns by which this read is off the first one."""
        n = np.arange(result.first_sample, result.first_sample + result.n)
        samples = out[: result.n, 0].astype(float) @ np.array([1, 1j])
        turn = float(np.angle(np.sum(samples * np.exp(-2j * np.pi * self._step * n)))) / (2 * np.pi)
        if self.first is None:
            self.first = turn
        return abs((turn - self.first + 0.5) % 1.0 - 0.5)


def test_every_loss_is_counted_to_the_sample() -> None:
    with soapy_emulator(_TONE + "[faults]\noverflow_every_s = 0.7\n") as (_, url):
        device, out = _start(_uri(url))
        with device:
            phase, gaps, seen = _Phase(2.5e6), 0, 0
            while gaps < 3:
                result = device.read(out, 5.0)
                assert result.first_sample - seen == result.lost_before
                assert bool(result.flags & FrameFlag.GAP_BEFORE) == (result.lost_before != 0)
                assert phase.error(result, out) < 0.01  # a sample off would show as 0.005 turns per sample
                gaps += bool(result.flags & FrameFlag.GAP_BEFORE)
                seen = result.first_sample + result.n


def test_a_reader_that_pauses_is_told_exactly_how_much_it_missed() -> None:
    with soapy_emulator(_TONE) as (_, url):
        device, out = _start(_uri(url))
        with device:
            phase = _Phase(2.5e6)
            assert phase.error(device.read(out, 5.0), out) < 0.01
            threading.Event().wait(2.5)  # the pause under test
            deadline = time.monotonic() + 20.0
            while True:
                result = device.read(out, 5.0)
                lost = result.lost_before or 0
                assert phase.error(result, out) < 0.01
                if lost or time.monotonic() > deadline:
                    break
            assert result.flags & FrameFlag.OVERFLOW
            assert lost > 2.5e5


def test_a_retune_of_the_gain_counts_the_samples_it_skips() -> None:
    with soapy_emulator(_TONE) as (_, url):
        device, out = _start(_uri(url, ",gain=20"))
        with device:
            phase = _Phase(2.5e6)
            assert phase.error(device.read(out, 5.0), out) < 0.01
            before = device.configure(RxConfig())
            device.read(out, 5.0)
            after = device.configure(RxConfig(gain_db=30.0))
            assert after.config.gain_db == (30.0, 30.0)
            assert after.epoch != before.epoch
            result = device.read(out, 5.0)
            assert result.stream == after
            assert result.lost_before is not None
            assert result.lost_before > 0
            assert phase.error(result, out) < 0.01
            device.configure(RxConfig(fs_hz=5e6))
            assert device.read(out, 5.0).lost_before is None  # samples of two rates are not counted together


def test_a_hanging_server_times_out_and_goes_on() -> None:
    with soapy_emulator(_TONE + "[faults]\nstall_at_s = [0.8]\nstall_s = 0.8\n") as (_, url):
        device, out = _start(_uri(url))
        with device:
            timeouts, seen, deadline = 0, 0, time.monotonic() + 30.0
            while seen < 2 * 2.5e6 and time.monotonic() < deadline:
                try:
                    seen += device.read(out, 0.2).n
                except DeviceTimeout:
                    timeouts += 1
    assert timeouts >= 1
    assert seen >= 2 * 2.5e6


def test_a_dropped_connection_is_lost_and_configure_connects_again() -> None:
    with soapy_emulator(_TONE + "[faults]\ndisconnect_at_s = [1.0]\n") as (_, url):
        device, out = _start(_uri(url))
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


def _read_for(device: SoapyDevice, out: WireBuffer, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        device.read(out, 5.0)


def test_a_killed_server_leaves_no_thread_and_no_load_behind() -> None:
    threads = {t.ident for t in threading.enumerate()}
    with soapy_emulator(_TONE) as (process, url):
        device, out = _start(_uri(url))
        device.read(out, 5.0)
        process.kill()
        process.wait(10.0)
        began = time.monotonic()
        with pytest.raises(ConnectionLost):
            _read_for(device, out, 20.0)
        assert time.monotonic() - began < 10.0  # ten times the figure
        began = time.monotonic()
        device.stop()
        assert time.monotonic() - began < 2.0
        with pytest.raises(DeviceNotFound):
            device.configure(RxConfig())
        device.close()
    own = [t.name for t in threading.enumerate() if t.ident not in threads and t.name.startswith("soapy")]
    assert own == []
    used = time.process_time()
    threading.Event().wait(0.3)  # would the client still spin?
    assert time.process_time() - used < 0.15


@pytest.mark.parametrize("kill", [False, True])
def test_the_interpreter_exits_cleanly_with_a_running_stream(kill: bool) -> None:
    script = (
        "import os, signal, sys, time, numpy as np\n"
        "from drivers import open_device\n"
        "from hil.core.device import RxConfig\n"
        "d = open_device(sys.argv[1]); s = d.configure(RxConfig()); d.start()\n"
        "print(d.read(np.zeros((4096, s.n_channels, 2), '<i2'), 5.0).n)\n"
        "if sys.argv[2] != '0': os.kill(int(sys.argv[2]), signal.SIGKILL); time.sleep(0.3)\n"
    )
    with soapy_emulator(emulator_scene("fmcomms5")) as (process, url):
        done = subprocess.run(
            [sys.executable, "-P", "-c", script, _uri(url), str(process.pid if kill else 0)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4096"


# ---- settings ---------------------------------------------------------------------------------------------


def test_settings_of_the_uri_are_applied_and_wrong_ones_refused() -> None:
    with soapy_emulator(emulator_scene("fmcomms5")) as (_, url):
        with open_device(
            _uri(url, ",rate=5e6,gain=12,freq=1.5e9,bandwidth=4e6,clock_source=external")
        ) as device:
            config = device.configure(RxConfig()).config
            assert (config.fs_hz, config.fc_hz, config.bandwidth_hz) == (5e6, 1.5e9, 4e6)
            assert config.gain_db == (12.0,) * 4
            assert device.caps.has_hw_time
            assert device.info.coherent_groups == ((0, 1), (2, 3))
        with open_device(_uri(url, ",groups=0+1+2+3")) as device:
            assert device.info.coherent_groups == ((0, 1, 2, 3),)
        for wrong in ("antenna=LNAX", "antenna=A_BALANCED+A_BALANCED", "clock_source=sundial", "rate=1e3",
                      "gain=500", "setting:nonsense=1"):  # fmt: skip
            with pytest.raises(UnsupportedSetting) as caught:
                open_device(_uri(url, "," + wrong))
            assert caught.value.allowed
        device = open_device(_uri(url))
        with device:
            with pytest.raises(UnsupportedSetting, match="fast_attack"):
                device.configure(RxConfig(gain_mode=GainMode.FAST_ATTACK))
            automatic = device.configure(RxConfig(gain_mode=GainMode.SLOW_ATTACK))
            assert automatic.config.gain_mode is GainMode.SLOW_ATTACK
            manual = device.configure(RxConfig(gain_db=(1.0, 2.0, 3.0, 4.0)))
            assert manual.config.gain_mode is GainMode.MANUAL
            assert manual.config.gain_db == (1.0, 2.0, 3.0, 4.0)


def test_two_readers_of_one_receiver_are_told_apart() -> None:
    with soapy_emulator(emulator_scene("fmcomms5")) as (_, url):
        first, _ = _start(_uri(url))
        with first, open_device(_uri(url, ",remote:timeout=3000000")) as second:
            with pytest.raises(DeviceStateError, match="in use") as caught:
                second.start()
            assert caught.value.hint


def test_reopening_leaks_no_descriptors() -> None:
    with soapy_emulator(emulator_scene("pluto")) as (_, url):
        counts = []
        for _ in range(6):
            device, out = _start(_uri(url))
            with device:
                device.read(out, 5.0)
            counts.append(len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)  # noqa: PTH112, PTH208
    assert counts[-1] <= counts[1]
