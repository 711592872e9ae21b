"""What a board sends through the IIO protocol comes back from the targets of its scene, with the real clients."""

from __future__ import annotations

import contextlib
import errno
import warnings

import numpy as np
import pytest

from sim_backend.engine import ArrayEngine
from sim_backend.iiod import tx_dma
from sim_backend.scene import parse_scene
from sim_backend.serve import IioServers
from sim_backend.truth import read_truth
from tests.conformance.iiod.test_iiod_transmit import push
from tests.physics.echo_scenes import Model, scene_text, tones

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import adi

HOST = "127.0.3.1"
SKIPPED = 384
ONE = "[[target]]\nangle_deg = 30.0\nrange_m = 300.0\n"
TX, PHY = "iio:device4", "iio:device1"


@pytest.fixture
def board(tmp_path):
    """Start a scene behind IIOD: board(text) gives (servers, engine, path of the truth)."""
    with contextlib.ExitStack() as stack:

        def start(text: str):
            path = tmp_path / "truth.jsonl"
            engine = ArrayEngine(parse_scene(text), free_running=True, truth=path)
            stack.callback(engine.close)
            servers = IioServers(engine, host=HOST, port=0, free_running=True)
            stack.enter_context(servers)
            return servers, engine, path

        yield start


@contextlib.contextmanager
def fmcomms5(servers):
    """An unmodified adi.FMComms5 that reads blocks of 16384 samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdr = adi.FMComms5(uri=servers.uris[0])
        for mode in ("gain_control_mode_chan0", "gain_control_mode_chan1"):
            setattr(sdr, mode, "manual")
            setattr(sdr, mode.replace("chan", "chip_b_chan"), "manual")
        sdr.rx_buffer_size = 16_384
        try:
            yield sdr
        finally:
            sdr.tx_destroy_buffer()
            sdr.rx_destroy_buffer()
            del sdr


def fresh(sdr) -> np.ndarray:
    """(4, n) relative to full scale, of samples converted after this call; the last echoes of before are left out."""
    sdr.rx_destroy_buffer()
    return np.array(sdr.rx())[:, SKIPPED:] / 32768


def rms_db(x) -> np.ndarray:
    return 10 * np.log10(np.mean(np.abs(x) ** 2, axis=-1))


def test_pyadi_sends_a_cyclic_buffer_and_hears_its_echo(board):
    servers, engine, path = board(scene_text(ONE))
    wave = tones(128)
    with fmcomms5(servers) as sdr:
        sdr.tx_enabled_channels = [2]
        sdr.tx_cyclic_buffer = True
        sdr.tx_hardwaregain_chip_b_chan0 = 0
        assert rms_db(fresh(sdr)).max() < -80
        sdr.tx(wave[0] * 2**15)
        x = fresh(sdr)
        assert rms_db(x) == pytest.approx([-12.0] * 4, abs=0.02)
        lines = read_truth(path).events
        opened = [line for line in lines if line["event"] == "open"][-1]["scene_sample"]
        sent = [line for line in lines if line["event"] == "transmit"][-1]
        assert (sent["samples"], sent["cyclic"], sent["scale"]) == (
            128,
            True,
            pytest.approx([0.316, 0.316, 1, 0.316], abs=1e-3),
        )
        want = Model(
            engine,
            wave,
            channels=(2,),
            origin=sent["scene_sample"],
            targets=[{"angle_deg": 30.0, "range_m": 300.0}],
        )(opened + SKIPPED + 8000 + np.arange(256))
        assert np.abs(x[:, 8000:8256] - want).max() < 3e-4
        sdr.tx_destroy_buffer()
        assert rms_db(fresh(sdr)).max() < -80


def test_attenuation_acts_while_the_buffer_repeats_and_power_down_silences(board):
    servers, _, _ = board(scene_text(ONE))
    wave = tones(128)
    with fmcomms5(servers) as sdr:
        sdr.tx_enabled_channels = [0]
        sdr.tx_cyclic_buffer = True
        sdr.tx(wave[0] * 2**15)
        assert rms_db(fresh(sdr)) == pytest.approx([-22.0] * 4, abs=0.05), "boards power up with 10 dB"
        first = fresh(sdr)
        sdr.tx_hardwaregain_chan0 = -30.25
        assert rms_db(fresh(sdr)) == pytest.approx([-42.25] * 4, abs=0.2)
        sdr.tx_hardwaregain_chan0 = -10
        again = fresh(sdr)
        lag = np.argmax([np.abs(np.vdot(first[0, :1280], np.roll(again[0], -k)[:1280])) for k in range(128)])
        assert np.abs(np.roll(again[0], -lag)[:8192] - first[0, :8192]).max() < 3e-4, (
            "the phase of the period is kept"
        )
        lo = sdr._ctrl.find_channel("TX_LO", True)
        lo.attrs["powerdown"].value = "1"
        assert rms_db(fresh(sdr)).max() < -80
        lo.attrs["powerdown"].value = "0"
        assert rms_db(fresh(sdr)) == pytest.approx([-22.0] * 4, abs=0.05)


def test_the_transmit_lo_shifts_what_is_heard(board):
    servers, _, _ = board(scene_text(ONE, more=""))
    with fmcomms5(servers) as sdr:
        assert sdr.tx_lo == 2_450_000_000
        sdr.tx_enabled_channels = [0]
        sdr.tx_cyclic_buffer = True
        sdr.tx_lo = 2_450_300_000
        sdr.tx(np.full(64, 0.5 * 2**15, complex))
        spectrum = np.abs(np.fft.fft(fresh(sdr)[1, :12_500]))
        assert np.argmax(spectrum) == 1500  # 300 kHz of 2.5 MHz
        sdr.tx_lo = 2_460_000_000
        assert rms_db(fresh(sdr)).max() < -80


def test_dds_tones_come_back_too(board):
    servers, _, _ = board(scene_text(ONE))
    with fmcomms5(servers) as sdr:
        sdr.tx_hardwaregain_chan1 = 0
        sdr.dds_single_tone(312_500, 0.25, 1)
        x = fresh(sdr)[:, :8192]
        spectrum = np.abs(np.fft.fft(x)) / 8192
        assert np.argmax(spectrum, axis=1).tolist() == [1024] * 4
        assert 20 * np.log10(spectrum[:, 1024]) == pytest.approx([20 * np.log10(0.25)] * 4, abs=0.02)
        sdr.disable_dds()
        assert rms_db(fresh(sdr)).max() < -80


def test_streamed_buffers_are_heard_in_turn_and_nothing_before_or_after(board):
    servers, engine, _ = board(scene_text(ONE))
    with fmcomms5(servers) as sdr:
        sdr.tx_enabled_channels = [0, 1]
        sdr.tx_hardwaregain_chan0 = sdr.tx_hardwaregain_chan1 = 0
        block = np.tile(tones(128)[0], 64) * 2**15
        fresh(sdr)
        for _ in range(4):
            sdr.tx([block, 0 * block])
        begin = engine._timeline.window(0, 0, 1 << 40)[0].begins
        x = np.concatenate([np.array(sdr.rx()) / 32768 for _ in range(6)], axis=1)
        level = rms_db(x.reshape(4, -1, 512))
        end = begin - 16_384 + 4 * 8192
        assert begin == 16_384
        assert level[:, 2 : end // 512] == pytest.approx(-12.0, abs=0.7)
        assert level[:, end // 512 + 2 :].max() < -80


def test_without_a_clock_writes_wait_for_a_reader_before_memory_runs_out(board, connect, monkeypatch):
    monkeypatch.setattr(tx_dma, "FREE_SAMPLES", 50_000)
    servers, engine, _ = board(scene_text(ONE))
    client = connect(servers)
    assert client.ask("TIMEOUT 100") == 0
    assert client.ask(f"OPEN {TX} 10000 00000003") == 0
    block = np.ones((10_000, 2))
    for _ in range(5):
        assert push(client, block) == 40_000
    assert push(client, block) == -errno.ETIMEDOUT
    engine.read(0, 0, 20_000)
    assert push(client, block) == 40_000


@pytest.mark.parametrize(
    ("key", "off", "on"), [("ensm_mode", "alert", "fdd"), ("OUTPUT altvoltage1 powerdown", "1", "0")]
)
def test_a_chip_that_does_not_transmit_silences_its_own_channels(board, connect, key, off, on):
    servers, engine, _ = board(scene_text(ONE))
    client = connect(servers)
    client.ask(f"OPEN {TX} 128 00000033 CYCLIC")
    samples = tones(128)[0] * 2**15
    push(client, np.column_stack([samples.real, samples.imag, samples.real, samples.imag]))

    def gains():
        return np.abs(engine._timeline.window(0, 1 << 30, 1 << 31)[0].gain).round(3).tolist()

    assert gains() == [0.316] * 4
    assert client.write(f"{PHY} {key}", off) > 0
    assert gains() == [0.0, 0.0, 0.316, 0.316]
    assert client.write(f"{PHY} {key}", on) > 0
    assert client.write("iio:device2 OUTPUT voltage0 hardwaregain", "0") > 0
    assert gains() == [0.316, 0.316, 1.0, 0.316]


def test_adrv9009_transmitters_power_down_one_by_one_and_follow_the_receivers_lo(board, connect):
    text = scene_text(ONE, n=2, board="adrv9009", receiver="fs_hz = 3.84e6")
    servers, engine, _ = board(text)
    client = connect(servers)
    phy = next(d for d in servers.servers[0].board.table.devices if d.role == "phy").id
    client.ask("OPEN iio:device5 128 0000000f CYCLIC")
    samples = tones(128)[0] * 2**15
    push(client, np.column_stack([samples.real, samples.imag] * 2), "iio:device5")

    def segment():
        return engine._timeline.window(0, 1 << 30, 1 << 31)[0]

    assert np.abs(segment().gain) == pytest.approx([10**-0.5] * 2)
    client.write(f"{phy} OUTPUT voltage1 powerdown", "1")
    client.write(f"{phy} OUTPUT voltage0 hardwaregain", "-3.05")
    assert np.abs(segment().gain) == pytest.approx([10 ** (-3.05 / 20), 0.0])
    client.write(f"{phy} OUTPUT altvoltage0 frequency", "2400000000")
    assert segment().fc_hz == (2.4e9, 2.4e9)
    client.write(f"{phy} ensm_mode", "radio_off")
    assert np.abs(segment().gain).tolist() == [0.0, 0.0]
