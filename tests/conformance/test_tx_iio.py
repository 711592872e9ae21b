"""IIO boards that transmit: what the wire carries, what disturbs the receiver, and silence at every kind of end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.conformance_cases import emulator_scene, free_address, server
from drivers.conformance_tx_case import TxOutside, tone
from drivers.conformance_tx_cases import look_at_boards, open_transceiver, truth_events
from hil.core.device import RxConfig, TxConfig
from hil.core.errors import ConnectionLost, DeviceStateError, UnsupportedSetting
from hil.core.frame import FrameFlag


class _Boards:
    """Emulated boards and what they noted."""

    def __init__(self, uris: list[str], truth: Path, process: subprocess.Popen[str]) -> None:
        self.uri, self.uris, self.truth, self.process = "iio:" + ",".join(uris), uris, truth, process

    def look(self) -> TxOutside:
        return look_at_boards(self.uris, self.truth)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in truth_events(self.truth) if event["event"] == kind]


@contextmanager
def _boards(folder: Path, board: str, n_boards: int = 1) -> Iterator[_Boards]:
    truth = folder / f"truth-{board}.jsonl"
    options = ("--iio", free_address("127.0.4.60"), "--truth", str(truth))
    with server(emulator_scene(board, n_boards), *options) as (process, ready):
        yield _Boards(list(ready["iio"]), truth, process)


@pytest.fixture(scope="module")
def pluto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Boards]:
    with _boards(tmp_path_factory.mktemp("pluto"), "pluto") as boards:
        yield boards


@pytest.fixture(scope="module")
def zu11eg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Boards]:
    with _boards(tmp_path_factory.mktemp("zu11eg"), "adrv9009-zu11eg") as boards:
        yield boards


def _until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"nothing within {seconds} s"
        time.sleep(0.02)
    return found


def _silent(seen: TxOutside, greatest_db: float = 89.75) -> bool:
    return seen.attenuation_db == (greatest_db,) * len(seen.attenuation_db or ()) and not (
        seen.sending or seen.powered
    )


def test_a_period_is_repeated_until_the_dma_can_take_it(pluto: _Boards) -> None:
    with open_transceiver(pluto.uri) as device:
        transmitter = device.transmitter()
        for n in (1, 7, 999, 1001, 2048):
            transmitter.send_cyclic(tone(1, n))
            sent = pluto.events("transmit")[-1]["samples"]
            assert sent % n == 0, f"{sent} samples are no whole periods of {n}"
            assert sent * 4 % 8 == 0, "not a multiple of the DMA's 8 bytes"
            assert 1000 < sent < 3000


def test_a_period_too_long_for_the_dma_is_refused_with_the_longest_one(pluto: _Boards) -> None:
    with open_transceiver(pluto.uri) as device:
        transmitter = device.transmitter()
        transmitter.configure(TxConfig(attenuation_db=30.0))
        transmitter.send_cyclic(tone(1, 2048))
        before = len(pluto.events("transmit"))
        with pytest.raises(UnsupportedSetting, match="at most 4194304") as caught:
            transmitter.send_cyclic(np.zeros((1, 4194306), np.complex64))
        assert caught.value.field == "samples"
        assert len(pluto.events("transmit")) == before, "the refused waveform ended the one that was sent"
        assert pluto.look().attenuation_db == (30.0, 89.75)


def test_levels_seen_by_the_receiver_follow_the_attenuator(pluto: _Boards) -> None:
    """Leakage of a tone in decibels: 10 dB more attenuation is 10 dB less on the air."""
    powers = {}
    with open_transceiver(pluto.uri) as device:
        stream = device.configure(RxConfig())
        transmitter = device.transmitter()
        transmitter.configure(TxConfig(fc_hz=stream.fc_hz))
        device.start()
        out = np.zeros((stream.config.block_samples or 1, stream.n_channels, 2), np.int16)
        n = len(out) // 2
        probe = np.exp(-2j * np.pi * 0.25 * np.arange(n))
        for level in (30.0, 40.0):
            transmitter.configure(TxConfig(attenuation_db=level))
            transmitter.send_cyclic(tone(1, 1024, cycles=256))
            for _ in range(40):  # what was received before is on its way
                got = device.read(out, 5.0).n
            x = out[got - n : got, 0, 0] + 1j * out[got - n : got, 0, 1]
            powers[level] = 20 * np.log10(abs(np.vdot(np.conj(probe), x)) / n)
    assert powers[30.0] - powers[40.0] == pytest.approx(10.0, abs=0.5)


def test_the_truth_file_tells_what_silences_a_board(pluto: _Boards) -> None:
    with open_transceiver(pluto.uri) as device:
        transmitter = device.transmitter()
        transmitter.configure(TxConfig(attenuation_db=20.0, channels=(0,)))
        transmitter.send_cyclic(tone(1, 1024))
    opened = pluto.events("transmit")[-2]["scene_sample"]
    assert pluto.events("transmit")[-1]["samples"] == 0
    after = [e for e in pluto.events("tx_write") if e["scene_sample"] >= opened]
    assert {e["attribute"]: e["value"] for e in after} == {
        "out_voltage0_hardwaregain": "-89.750000 dB",
        "out_voltage1_hardwaregain": "-89.750000 dB",
        "out_altvoltage1_TX_LO_powerdown": "1",
    }


def test_a_stock_client_transmits_again_after_our_silence(pluto: _Boards) -> None:
    """With the line that docs/devices.md gives: pyadi-iio never touches the power-down."""
    adi = pytest.importorskip("adi")
    with open_transceiver(pluto.uri) as device:
        device.transmitter()
    wave = 2**14 * np.exp(2j * np.pi * np.arange(1024) / 16)
    share = []
    for line in (
        lambda sdr: None,
        lambda sdr: sdr._ctrl.find_channel("altvoltage1", True).attrs["powerdown"],
    ):
        sdr = adi.ad9361(pluto.uris[0])
        sdr.rx_enabled_channels, sdr.rx_buffer_size = [0], 16384
        sdr.tx_enabled_channels, sdr.tx_cyclic_buffer, sdr.tx_hardwaregain_chan0 = [0], True, 0
        attribute = line(sdr)
        if attribute is not None:
            attribute.value = "0"
        sdr.tx(wave)
        for _ in range(6):
            power = np.abs(np.fft.fft(np.asarray(sdr.rx()))) ** 2
        share.append(power[1022:1027].sum() / power.sum())
        sdr.tx_destroy_buffer()
        sdr.rx_destroy_buffer()
    assert share[0] < 0.05
    assert share[1] > 0.5


def test_tuning_an_ad936x_transmitter_is_an_epoch_of_the_receiver_and_a_gap(pluto: _Boards) -> None:
    with open_transceiver(pluto.uri) as device:
        stream = device.configure(RxConfig())
        transmitter = device.transmitter()
        device.start()
        out = np.zeros((1 << 16, stream.n_channels, 2), np.int16)
        before = device.read(out, 5.0)
        assert transmitter.configure(TxConfig(fc_hz=2.31e9)).fc_hz == 2.31e9
        after = device.read(out, 5.0)
        assert after.stream.epoch.counter == before.stream.epoch.counter + 1
        assert after.stream.epoch.cause == "tracking"
        assert after.flags & FrameFlag.GAP_BEFORE
        assert after.flags & FrameFlag.RETUNED
        assert after.stream.fc_hz == before.stream.fc_hz
        # the same carrier again is not written: nothing happens
        transmitter.configure(TxConfig(fc_hz=2.31e9, attenuation_db=60.0))
        later = device.read(out, 5.0)
        assert later.stream.epoch == after.stream.epoch
        assert not later.flags & (FrameFlag.GAP_BEFORE | FrameFlag.RETUNED)


def test_an_adrv9009_shares_its_carrier_with_the_receiver(zu11eg: _Boards) -> None:
    with open_transceiver(zu11eg.uri) as device:
        fc_hz = device.configure(RxConfig()).fc_hz
        transmitter = device.transmitter()
        with pytest.raises(UnsupportedSetting, match="shared with the receiver") as caught:
            transmitter.configure(TxConfig(fc_hz=fc_hz + 1e6))
        assert caught.value.field == "fc_hz"
        assert transmitter.configure(TxConfig(fc_hz=fc_hz, channels=(3, 1), attenuation_db=(7.35, 20.0))) == (
            TxConfig(fc_hz, 3.84e6, (7.35, 20.0), (3, 1))
        )
        assert zu11eg.look().attenuation_db == (41.95, 20.0, 41.95, 7.35)


def test_rows_reach_the_channels_that_were_asked_for(zu11eg: _Boards) -> None:
    with open_transceiver(zu11eg.uri) as device:
        transmitter = device.transmitter()
        transmitter.configure(TxConfig(channels=(2, 0)))
        levels = np.array([[0.5], [0.25]], np.complex64) * tone(1, 1024, level=1.0)
        transmitter.send_cyclic(levels)
        power_dbfs = zu11eg.events("transmit")[-1]["power_dbfs"]
    assert power_dbfs == [pytest.approx(-12.04, abs=0.01), None, pytest.approx(-6.02, abs=0.01), None]


def test_channels_of_an_array_of_boards_count_through(tmp_path: Path) -> None:
    with _boards(tmp_path, "pluto", 2) as boards, open_transceiver(boards.uri) as device:
        transmitter = device.transmitter()
        assert transmitter.caps.n_channels == 4
        transmitter.configure(TxConfig(channels=(3,), attenuation_db=40.0))
        transmitter.send_cyclic(tone(1, 1024))
        sent = boards.events("transmit")[-1]
        assert sent["board"] == 1
        assert [p is not None for p in sent["power_dbfs"]] == [False, True]
        assert boards.look().attenuation_db == (89.75, 89.75, 89.75, 40.0)


def test_another_programs_transmission_is_turned_down_and_named(pluto: _Boards) -> None:
    import iio

    context = iio.Context(pluto.uris[0])
    core = context.find_device("cf-ad9361-dds-core-lpc")
    for channel in core.channels:
        channel.enabled = channel.scan_element and channel.output and channel.id in ("voltage0", "voltage1")
    context.find_device("ad9361-phy").find_channel("voltage0", True).attrs["hardwaregain"].value = "0.0"
    other = iio.Buffer(core, 1024, True)
    try:
        other.write(bytearray(np.full(2048, 9000, "<i2").tobytes()))
        other.push()
        with open_transceiver(pluto.uri) as device:
            transmitter = device.transmitter()
            seen = pluto.look()
            assert seen.attenuation_db == (89.75, 89.75)
            assert not seen.powered
            with pytest.raises(DeviceStateError, match="transmit buffer is in use"):
                transmitter.send_cyclic(tone(1, 1024))
    finally:
        del other


def test_a_lost_control_connection_does_not_keep_the_transmitter_on(pluto: _Boards) -> None:
    device: Any = open_transceiver(pluto.uri)
    with device:
        transmitter = device.transmitter()
        transmitter.configure(TxConfig(attenuation_db=20.0))
        transmitter.send_cyclic(tone(1, 1024))
        assert pluto.look().sending
        device._boards[0].drop()  # as after an answer that came too late
        transmitter.stop()
        assert _until(lambda: _silent(pluto.look()))
        with pytest.raises(ConnectionLost):
            transmitter.configure(TxConfig())
        device.configure(RxConfig())  # connects again
        assert transmitter.configure(TxConfig()).attenuation_db == (89.75,)


_PROGRAM = """
import sys, time
import numpy as np
from drivers import open_device
from hil.core.device import TxConfig
device = open_device({uri!r})
transmitter = device.transmitter()
transmitter.configure(TxConfig(attenuation_db=20.0))
transmitter.send_cyclic(np.full((1, 1024), 0.5, np.complex64))
print("sending", flush=True)
{then}
"""
_ENDS = {
    "the end of the program": ("input()", 0),
    "an exception": ("input(); raise RuntimeError('boom')", 1),
    "sys.exit": ("input(); sys.exit(5)", 5),
    "nobody refers to it any more": ("del device, transmitter; input()", 0),
    "Ctrl-C": ("time.sleep(60)", -signal.SIGINT),
}


@pytest.mark.parametrize("end", _ENDS)
def test_the_end_of_a_program_silences_what_it_left_on(pluto: _Boards, end: str) -> None:
    then, code = _ENDS[end]
    program = [sys.executable, "-c", _PROGRAM.format(uri=pluto.uri, then=then)]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "sending"
        seen = pluto.look()
        assert seen.sending
        assert seen.attenuation_db == (20.0, 89.75)
        if end == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        process.communicate("\n", timeout=30)
    assert process.returncode == code
    assert _until(lambda: _silent(pluto.look()))


def test_what_a_killed_program_left_on_is_silenced_by_the_next(pluto: _Boards) -> None:
    program = [sys.executable, "-c", _PROGRAM.format(uri=pluto.uri, then="time.sleep(60)")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "sending"
        process.kill()
    _until(lambda: not pluto.look().sending)  # the server notices the end of the connection
    assert pluto.look().attenuation_db == (20.0, 89.75), "nobody has put it back yet"
    with open_transceiver(pluto.uri) as device:
        device.transmitter()
        assert _silent(pluto.look())
