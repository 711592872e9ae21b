"""Several Soapy devices as one array, and the transmitters."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from drivers.alignment import find_offset, samples_needed
from drivers.conformance_cases import board_serials, emulator_scene, soapy_emulator
from drivers.soapy.rx import open_soapy
from hil.core.device import RxConfig, TxConfig
from hil.core.errors import (
    CaptureError,
    ConfigError,
    ConnectionLost,
    ShapeError,
    UnsupportedSetting,
)
from hil.core.frame import FrameFlag


def _joined(url: str, options: str = "") -> str:
    # a low rate: the emulators of two boards must keep up with the clock on a busy machine
    parts = (f"driver=remote,remote={url},serial={s},rate=1e6{options}" for s in board_serials(url))
    return ";".join(parts)


def _buffer(device, stream):
    return np.zeros((stream.config.block_samples, stream.n_channels, 2), device.info.wire.dtype)


def _opens(truth: Path) -> dict[int, int]:
    """Board -> scene sample of its latest "open"."""
    events = [json.loads(line) for line in truth.read_text("utf-8").splitlines()]
    return {e["board"]: e["scene_sample"] for e in events if e.get("event") == "open"}


@pytest.mark.parametrize("options", ["", ",time_source=external"])
def test_first_samples_of_all_devices_are_the_same_scene_sample(options: str, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with (
        soapy_emulator(emulator_scene("fmcomms5", 2), "--truth", str(truth)) as (_, url),
        open_soapy(_joined(url, options)) as device,
    ):
        stream = device.configure(RxConfig())
        assert stream.device.coherent_groups == ((0, 1), (2, 3), (4, 5), (6, 7))
        epoch = stream.epoch
        device.start()
        result = device.read(_buffer(device, stream), 5.0)
        change = result.stream.epoch.change_since(epoch)
        assert change == ("nothing" if options else "group_phases")
        skipped, alignment = device.skipped_samples, device.alignment
    opened = _opens(truth)
    assert opened[0] + skipped[0] == opened[1] + skipped[1]
    assert alignment["method"] == ("hardware time" if options else "correlation")
    row = alignment["boards"][1]
    assert row["offset_samples"] == opened[1] - opened[0]
    assert abs(row["offset_fraction"]) < 0.1


def test_a_loss_on_one_device_starts_all_of_them_anew() -> None:
    scene = emulator_scene("fmcomms5", 2) + "[faults]\noverflow_every_s = 1.5\n"
    with soapy_emulator(scene) as (_, url), open_soapy(_joined(url, ",time_source=external")) as device:
        stream = device.configure(RxConfig())
        device.start()
        out = _buffer(device, stream)
        gaps, heard, expected, needed = 0, [], 0, samples_needed(4096, 2)
        deadline = time.monotonic() + 60.0
        while gaps < 2 and time.monotonic() < deadline:
            result = device.read(out, 5.0)
            if result.flags & FrameFlag.GAP_BEFORE:
                assert result.flags & FrameFlag.OVERFLOW
                assert result.lost_before == result.first_sample - expected  # the hardware time tells
                gaps, heard = gaps + 1, []
            else:
                assert result.first_sample == expected
            expected = result.first_sample + result.n
            heard.append(out[: result.n].copy())
            if gaps and sum(map(len, heard)) >= needed:
                samples = np.concatenate(heard)[:needed] @ np.array([1, 1j], np.complex64)
                found = find_offset(samples[:, :4], samples[:, 4:], 4096, 2)
                assert (found.clear, found.offset) == (True, 0)
                heard = []
        assert gaps >= 2


def test_devices_without_a_common_time_refuse_a_tone() -> None:
    scene = emulator_scene("fmcomms5", 2).replace('"qpsk"', '"cw"').replace("symbol_rate_hz = 5.0e5\n", "")
    with soapy_emulator(scene) as (_, url), open_soapy(_joined(url)) as device:
        device.configure(RxConfig())
        with pytest.raises(CaptureError, match="repeats or is too weak") as caught:
            device.start()
        assert caught.value.hint
        device.configure(RxConfig())  # the array stays usable


def test_formats_that_differ_form_no_array() -> None:
    with soapy_emulator(emulator_scene("fmcomms5", 2)) as (_, url):
        first, second = _joined(url).split(";")
        with pytest.raises(ConfigError, match="sample formats"):
            open_soapy(f"{first},format=CF32;{second}")


# ---- transmitters -----------------------------------------------------------------------------------------

_PERIOD = 5000
_BIN = 37  # cycles of the tone in a period


def _tone(amplitude: float = 0.25):
    turns = _BIN * np.arange(_PERIOD) / _PERIOD
    return (amplitude * np.exp(2j * np.pi * turns))[None, :].astype(np.complex64)


def _phases(device, out, n_reads: int):
    """(phase of the tone against first_sample, amplitude) for each of n reads of channel 0, full scale 1."""
    values = []
    for _ in range(n_reads):
        result = device.read(out, 5.0)
        n = np.arange(result.first_sample, result.first_sample + result.n)
        samples = out[: result.n, 0].astype(float) @ np.array([1, 1j]) / 2048
        values.append(np.mean(samples * np.exp(-2j * np.pi * _BIN / _PERIOD * n)))
    return np.angle(np.array(values) / values[-1]), np.abs(values)


def _until(device, out, loud: bool) -> float:
    """Read until the tone is on the air, or off it; the level then, of full scale."""
    level, deadline = 0.0, time.monotonic() + 20.0
    while time.monotonic() < deadline:
        level = float(_phases(device, out, 4)[1].min())
        if (level > 1e-2) == loud:
            return level
    raise AssertionError(f"the level stays at {level:.2g}")


@pytest.fixture
def quiet_scene() -> str:
    """A weak emitter far from the tone; what the array transmits comes back by leakage and an echo."""
    return (
        'seed = 11\n[array]\nkind = "ula"\nn_elements = 4\n[receiver]\nboard = "fmcomms5"\nsnr_db = 30.0\n'
        '[[emitter]]\nangle_deg = 10.0\npower_db = -20.0\nwaveform = "cw"\noffset_hz = 9.0e5\n'
        "[[target]]\nangle_deg = 20.0\nrange_m = 60.0\n"
    )


def test_a_cyclic_waveform_has_no_seam_and_ends_at_once(quiet_scene: str) -> None:
    with soapy_emulator(quiet_scene, "--free-running") as (_, url):
        _check_seam(f"driver=remote,remote={url}")


def test_a_waveform_fed_by_a_thread_has_no_seam_and_ends_at_once(quiet_scene: str) -> None:
    # a thread feeds in real time: a busy machine may starve it, and says so; a low rate leaves it room
    slow = quiet_scene.replace("offset_hz = 9.0e5", "offset_hz = 2.0e5").replace(
        'board = "fmcomms5"\n', 'board = "fmcomms5"\nfs_hz = 6.0e5\n'
    )
    for _ in range(8):
        with soapy_emulator(slow) as (_, url), suppress(CaptureError):
            _check_seam(f"driver=remote,remote={url},stream:cyclic=false")
            return
    pytest.fail("the transmitter ran dry every time")


def _check_seam(address: str) -> None:
    with open_soapy(address) as device:
        stream = device.configure(RxConfig())
        device.start()
        out = _buffer(device, stream)
        _, silent = _phases(device, out, 4)
        tx = device.transmitter()
        assert tx.configure(TxConfig()).attenuation_db == (tx.caps.attenuation_db.maximum,)
        tx.configure(TxConfig(attenuation_db=0.0))
        tx.send_cyclic(_tone())
        assert tx.sending
        _until(device, out, loud=True)
        turned, loud = _phases(device, out, 20)
        assert loud.min() > 30 * silent.max()
        assert np.abs(turned).max() < 0.02
        tx.stop()
        assert not tx.sending
        assert _until(device, out, loud=False) < 30 * silent.max()
        assert tx.configure(TxConfig()).attenuation_db == (tx.caps.attenuation_db.maximum,)


def test_attenuation_is_taken_to_the_step_and_acts_in_db(quiet_scene: str) -> None:
    with soapy_emulator(quiet_scene) as (_, url), open_soapy(f"driver=remote,remote={url}") as device:
        stream = device.configure(RxConfig())
        device.start()
        out, tx = _buffer(device, stream), device.transmitter()
        levels = []
        for attenuation in (3.0, 13.25):
            taken = tx.configure(TxConfig(attenuation_db=attenuation))
            assert taken.attenuation_db == (attenuation,)
            tx.send_cyclic(_tone())
            _until(device, out, loud=True)
            levels.append(float(np.median(_phases(device, out, 10)[1])))
            tx.stop()
            _until(device, out, loud=False)
        assert 20 * np.log10(levels[0] / levels[1]) == pytest.approx(10.25, abs=0.2)


def test_a_stream_that_runs_dry_is_told_and_silenced(quiet_scene: str) -> None:
    with soapy_emulator(quiet_scene) as (_, url), open_soapy(f"driver=remote,remote={url}") as device:
        device.configure(RxConfig())
        tx = device.transmitter()
        tx.configure(TxConfig(attenuation_db=10.0))
        piece = np.tile(_tone(), 10)
        for _ in range(20):
            tx.write(piece, 5.0)  # 0.4 s
        time.sleep(1.0)  # the pause under test: what was written lasts less
        with pytest.raises(CaptureError, match="ran dry"):
            tx.write(piece, 5.0)
        assert not tx.sending
        assert tx.configure(TxConfig()).attenuation_db == (tx.caps.attenuation_db.maximum,)


def test_what_a_transmitter_cannot_do_is_refused_and_changes_nothing(quiet_scene: str) -> None:
    with soapy_emulator(quiet_scene) as (process, url):
        device = open_soapy(f"driver=remote,remote={url}")
        with device:
            device.configure(RxConfig())
            tx = device.transmitter()
            assert device.transmitter() is tx
            before = tx.configure(TxConfig())
            for wrong in (
                TxConfig(attenuation_db=-1.0),
                TxConfig(attenuation_db=0.1),
                TxConfig(channels=(9,)),
                TxConfig(fs_hz=1e6),
                TxConfig(fc_hz=1.0),
            ):
                with pytest.raises(UnsupportedSetting):
                    tx.configure(wrong)
            assert tx.configure(TxConfig()) == before
            for bad in (
                _tone(1.5),
                _tone()[0],
                np.full((1, 4), np.nan, np.complex64),
                np.zeros((2, 8), np.complex64),
            ):
                with pytest.raises(ShapeError):
                    tx.send_cyclic(bad)
            assert not tx.sending
            both = tx.configure(TxConfig(channels=(1, 0), attenuation_db=(20.0, 30.0)))
            assert both.attenuation_db == (20.0, 30.0)
            assert tx.configure(TxConfig(channels=(0, 1))).attenuation_db == (30.0, 20.0)
            tx.send_cyclic(np.concatenate([_tone(), _tone()]))
            process.kill()
            process.wait(10.0)
            with pytest.raises(ConnectionLost) as caught:
                tx.stop()
            assert "may still be transmitting" in caught.value.hint
            with pytest.raises(ConnectionLost):
                device.close()
        device.close()
