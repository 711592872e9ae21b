"""SoapySDR when something ends by itself: transmissions, calls, connections, streams that were half set up."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import open_device
from drivers.conformance_cases import emulator_scene, free_address, server
from drivers.conformance_tx_cases import sent_so_far
from drivers.soapy import radio as radio_module
from drivers.soapy import tx_stream
from drivers.soapy.radio import Radio, Refused
from drivers.soapy.rx import SoapyDevice
from drivers.soapy.stream import RadioStream
from hil.core.device import GainMode, RxConfig, TxConfig
from hil.core.errors import (
    CaptureError,
    ConfigError,
    ConnectionLost,
    HilError,
    ProtocolError,
    UnsupportedSetting,
)

_HOST = "127.0.12.2"
_FED = ",stream:cyclic=false"


@contextmanager
def _served(
    board: str = "fmcomms5", *options: str, faults: str = "", address: str = ""
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    scene = emulator_scene(board) + (f"[faults]\n{faults}\n" if faults else "")
    with server(scene, "--soapy", address or free_address(_HOST), *options) as (process, ready):
        yield process, str(ready["soapy"])


def _open(url: str, options: str = "") -> SoapyDevice:
    device = open_device(f"soapy:driver=remote,remote={url}{options}")
    assert isinstance(device, SoapyDevice)
    return device


def _tone(n: int = 4096) -> Any:
    return (0.25 * np.exp(2j * np.pi * np.arange(n) / 64))[None, :].astype(np.complex64)


def _until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def _reader(device: SoapyDevice, want: RxConfig | None = None) -> Callable[[], Any]:
    stream = device.configure(want or RxConfig(fs_hz=1e6))
    device.start()
    out = np.zeros((stream.config.block_samples or 1, stream.n_channels, 2), device.info.wire.dtype)
    return lambda: device.read(out, 5.0)


def _many(call: Callable[[], Any], n: int = 1000) -> None:
    for _ in range(n):
        call()


# ---- transmissions ----------------------------------------------------------------------------------------


def test_a_fed_waveform_that_runs_dry_is_told_to_reader_and_sender_and_silenced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _served() as (_, url), _open(url, _FED) as device:
        read, tx = _reader(device), device.transmitter()
        tx.configure(TxConfig(attenuation_db=0.0))
        write = tx_stream.TxStream.write

        def pausing(stream: Any, rows: Any, deadline: float, *, last: bool = False) -> bool:
            if fed.is_set():
                threading.Event().wait(0.8)  # what starves the device: a computer that is busy elsewhere
            return write(stream, rows, deadline, last=last)

        fed = threading.Event()
        monkeypatch.setattr(tx_stream.TxStream, "write", pausing)
        tx.send_cyclic(_tone())
        assert tx.sending
        read()
        fed.set()
        with pytest.raises(CaptureError, match="ran dry") as caught:
            _many(read)
        assert caught.value.hint
        assert tx.error is caught.value
        assert not tx.sending
        fed.clear()
        _until(lambda: tx.repeated is None and not tx._streams)
        greatest = tx.caps.attenuation_db.maximum
        with _open(url, ",remote:timeout=3000000") as other:  # seen from outside
            radio = other._radios[0]
            assert greatest == pytest.approx(
                float(radio.ask("getGainRange", 0, 0).maximum()) - float(radio.ask("getGain", 0, 0))
            )
        read()  # told once
        with pytest.raises(CaptureError, match="ran dry"):
            tx.configure(TxConfig(attenuation_db=0.0))
        assert tx.configure(TxConfig()).attenuation_db == (greatest,)
        tx.send_cyclic(_tone())
        assert tx.sending
        assert tx.error is None


@pytest.mark.parametrize("options", ["", _FED], ids=["by the device", "by a thread"])
def test_a_transmission_whose_server_dies_is_told_to_the_reader(options: str) -> None:
    with _served() as (process, url):
        device = _open(url, options)
        read, tx = _reader(device), device.transmitter()
        tx.configure(TxConfig(attenuation_db=0.0))
        tx.send_cyclic(_tone())
        read()
        process.kill()
        process.wait(10.0)
        _until(lambda: not tx.sending)
        assert isinstance(tx.error, ConnectionLost)
        with pytest.raises(ConnectionLost):
            _many(read)
        with pytest.raises(ConnectionLost) as caught:
            tx.send_cyclic(_tone())
        assert "transmitting" in caught.value.hint
        with pytest.raises(ConnectionLost):
            device.close()


def test_a_stream_that_starts_too_late_is_an_error_of_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    with _served() as (_, url), _open(url) as device:
        device.configure(RxConfig(fs_hz=1e6))
        tx = device.transmitter()
        with monkeypatch.context() as patch:
            patch.setattr(tx_stream, "_LEAD_NS", -(10**9))
            with pytest.raises(CaptureError, match="start time had passed") as caught:
                _many(lambda: tx.write(_tone(50_000), 5.0), 100)
        assert caught.value.hint
        assert not tx.sending
        _many(lambda: tx.write(_tone(50_000), 5.0), 5)


@pytest.mark.slow
def test_a_slow_connection_starts_a_stream_in_time(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    # each call takes longer than the lead that a quick connection gets
    slow = "network_latency_s = 0.15"
    with _served("pluto", "--truth", str(truth), faults=slow) as (_, url), _open(url) as device:
        device.configure(RxConfig(fs_hz=1e6))
        tx = device.transmitter()
        tx.write(_tone(300_000), 20.0)
        tx.write(_tone(50_000), 20.0)
        _until(lambda: sent_so_far(truth)[1] == 1)


def test_what_is_streamed_is_not_what_was_repeated() -> None:
    with _served() as (_, url), _open(url) as device:
        device.configure(RxConfig(fs_hz=1e6))
        tx = device.transmitter()
        tx.send_cyclic(_tone())
        assert tx.repeated is not None
        tx.write(_tone(300_000), 5.0)
        assert tx.repeated is None


# ---- connections ------------------------------------------------------------------------------------------


def test_settings_are_as_before_after_the_server_was_started_anew() -> None:
    address = free_address(_HOST)
    want = RxConfig(fc_hz=1.1e9, fs_hz=3e6, bandwidth_hz=2e6, gain_db=(7.0, 9.0), channels=(1, 2),
                    block_samples=4096)  # fmt: skip
    device = None
    try:
        with _served(address=address) as (process, url):
            device = _open(url)
            read = _reader(device, want)
            before = device.configure(RxConfig()).config
            read()
            process.kill()
            process.wait(10.0)
            with pytest.raises(ConnectionLost):
                _many(read)
            device.stop()
        with _served(address=address):
            device.start()
            result = read()
            assert result.stream.config == before
            assert result.stream.epoch.change_since(device._tracker.epoch) == "nothing"
        with pytest.raises(ConnectionLost):
            _many(read)
        device.stop()
        with _served(address=address):
            with pytest.raises(UnsupportedSetting):  # refused after it has connected: still to be restored
                device.configure(RxConfig(gain_db=500.0))
            device.start()
            assert read().stream.config == before
            device.stop()
            taken = device.configure(RxConfig(gain_mode=GainMode.SLOW_ATTACK)).config
            assert (taken.fc_hz, taken.gain_mode) == (before.fc_hz, GainMode.SLOW_ATTACK)
    finally:
        if device is not None:
            device.close()


@pytest.mark.parametrize("streaming", [False, True])
def test_a_device_can_be_opened_again_after_a_call_that_hung(
    streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = free_address(_HOST)
    with _served(address=address) as (process, url):
        device = _open(url)
        read = _reader(device)
        if not streaming:
            device.stop()
        monkeypatch.setattr(Radio.ask, "__kwdefaults__", {"deadline_s": 0.5})
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(ConnectionLost, match=r"no answer|was lost"):
            device.configure(RxConfig(gain_db=3.0))
        process.kill()  # it never answers
    monkeypatch.setattr(Radio.ask, "__kwdefaults__", {"deadline_s": radio_module._CALL_S})
    with _served(address=address):
        began = time.monotonic()
        device.configure(RxConfig(gain_db=4.0))
        assert time.monotonic() - began < 10.0
        if not streaming:
            device.start()
        assert read().n > 0
        with device, _open(url) as again:  # and by another object
            assert again.configure(RxConfig()).config.gain_db == (4.0,) * 4
        _until(
            lambda: not [t for t in threading.enumerate() if t.name.startswith("soapy-") and url in t.name]
        )


def test_a_call_beside_a_lost_connection_is_told_so() -> None:
    with _served("pluto") as (_, url):
        radio = _open(url)._radios[0]
        handle = radio._present()
        radio.drop()
        began = time.monotonic()
        for call in (
            lambda: radio.ask("getHardwareKey"),
            lambda: radio.call("x", int),
            lambda: handle.run("x", int, deadline_s=30.0),
            radio.hold,
        ):
            with pytest.raises(ConnectionLost):
                call()
        assert time.monotonic() - began < 5.0


def test_a_device_is_not_freed_while_a_stream_is_inside_its_driver() -> None:
    with _served("pluto") as (_, url), _open(url) as device:
        read, radio = _reader(device), device._radios[0]
        handle = radio._present()
        radio._lose(handle)  # what a failed call of another thread does
        assert not hasattr(handle.device, "__closed__")
        with pytest.raises(ConnectionLost):
            _many(read)
        device.configure(RxConfig())
        assert hasattr(handle.device, "__closed__")
        assert read().n > 0


# ---- refusals ---------------------------------------------------------------------------------------------


def test_arguments_that_the_driver_cannot_read_are_one_line() -> None:
    cases: tuple[tuple[str, type[HilError], int], ...] = (
        (",remote:timeout=abc", ConfigError, 2),
        (",remote:timeout=99999999999999999999999", ConfigError, 2),
        (",remote:mtu=abc", UnsupportedSetting, 2),
        (",remote:prot=smoke", UnsupportedSetting, 2),
    )
    with _served("pluto") as (_, url):
        for options, error, code in cases:
            with pytest.raises(error) as caught, _open(url, options) as device:
                device.start()
            assert caught.value.exit_code == code
            assert options.split("=")[1] in str(caught.value)
        with _open(url) as device:  # nothing is left that would be in the way
            assert _reader(device)().n > 0


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [
        ("remote:timeout=abc", 2, "cannot read the arguments"),
        # in a process of its own: SoapyRemote's client 0.5.2 leaves a logging thread behind when its server refuses
        ("remote:driver=nosuch", 3, "nosuch"),
    ],
)
def test_the_command_line_says_so_in_one_line(tmp_path: Path, option: str, code: int, words: str) -> None:
    with _served("pluto") as (_, url):
        uri = f"soapy:driver=remote,remote={url},{option}"
        done = subprocess.run(
            [sys.executable, "-P", "-m", "hil.cli", "capture", uri, str(tmp_path / "x.sigmf-meta"), "--seconds", "0.1"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_whatever_a_setter_throws_is_a_refusal() -> None:
    with _served("pluto") as (_, url), _open(url) as device:
        tx, raw = device.transmitter(), device._radios[0].device
        for kind in (RuntimeError, ValueError, IndexError, OverflowError, SystemError):

            def refuse(*_: Any, kind: type[Exception] = kind) -> None:
                raise kind("RemoteError: not today")

            raw.setGain = raw.setFrequency = refuse  # the driver's own, in place of a device that throws this
            for call in (
                lambda: device.configure(RxConfig(gain_db=1.0)),
                lambda: device.configure(RxConfig(fc_hz=1.3e9)),
                lambda: tx.configure(TxConfig(fc_hz=1.3e9)),
            ):
                with pytest.raises(UnsupportedSetting, match="not today"):
                    call()
        del raw.setGain, raw.setFrequency
        assert device.configure(RxConfig(gain_db=1.0)).config.gain_db == (1.0, 1.0)


def test_a_stream_without_mtu_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Radio.ask

    def no_mtu(radio: Radio, method: str, *args: Any, **options: Any) -> Any:
        if method == "getStreamMTU":
            raise Refused("cannot say")
        return ask(radio, method, *args, **options)

    with _served("pluto") as (_, url), _open(url) as device:
        device.configure(RxConfig(fs_hz=1e6))
        tx = device.transmitter()
        with monkeypatch.context() as patch:
            patch.setattr(Radio, "ask", no_mtu)
            with pytest.raises(ProtocolError, match="how much to read"):
                device.start()
            with pytest.raises(ProtocolError, match="how much to write"):
                tx.send_cyclic(_tone())
        with _open(url, ",remote:timeout=3000000") as other:  # it would be told that they are in use
            assert _reader(other)().n > 0
            other.transmitter().send_cyclic(_tone())
            assert other.transmitter().sending


def test_times_that_are_not_believed_leave_a_watch_by_the_wall_clock() -> None:
    with _served("pluto") as (_, url), _open(url) as device:
        read = _reader(device)
        read()
        assert device._intake is not None
        stream = device._intake._sources[0].stream
        assert isinstance(stream, RadioStream)
        assert stream._watch is None
        stream._clock._anchor_ns = 10**18  # the next stamp runs back, as that of a swapped datagram does
        _until(lambda: stream._watch is not None)
        assert not stream._clock.trusted
        read()
