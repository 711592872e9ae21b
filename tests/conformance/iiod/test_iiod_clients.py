"""The real clients, unmodified: libiio's tools, pylibiio and pyadi-iio on every board."""

from __future__ import annotations

import shutil
import subprocess
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import adi
    import iio


def tool(*command: str, **options):
    """Run a tool of libiio-utils; a missing one is a failure."""
    assert shutil.which(command[0]), f"{command[0]} is missing: apt-get install libiio-utils"
    return subprocess.run(command, capture_output=True, timeout=30, **options)


BOARDS = ["pluto", "fmcomms5", "adrv9009", "adrv9009-zu11eg"]
RX_NAME = {
    "pluto": "cf-ad9361-lpc",
    "fmcomms5": "cf-ad9361-A",
    "adrv9009": "axi-adrv9009-rx-hpc",
    "adrv9009-zu11eg": "axi-adrv9009-rx-hpc",
}
ALLOWED_ERRORS = {"13", "19", "22", "71", "5"}


@pytest.fixture
def uri(serve, request):
    servers, source = serve(request.param, fs_hz=122.88e6 if "adrv" in request.param else 2.5e6)
    return servers.uris[0], source, request.param


@pytest.mark.parametrize("uri", BOARDS, indirect=True)
def test_iio_info_prints_the_context_and_nothing_on_stderr(uri):
    done = tool("iio_info", "-u", uri[0])
    text = done.stdout.decode()
    assert done.returncode == 0
    assert done.stderr == b"", "the parser complains about the document"
    assert RX_NAME[uri[2]] in text
    errors = {part.split("(")[1].split(")")[0] for part in text.split("ERROR: ")[1:] if "(" in part}
    assert errors <= ALLOWED_ERRORS, errors
    assert "ERROR: Success" not in text


@pytest.mark.parametrize("uri", BOARDS, indirect=True)
def test_iio_readdev_gets_every_sample(uri):
    address, source, board = uri
    done = tool("iio_readdev", "-u", address, "-b", "1024", "-s", "8192", RX_NAME[board])
    assert done.returncode == 0, done.stderr
    columns = 2 * source.n_channels(0)
    samples = np.frombuffer(done.stdout, "<i2").reshape(-1, columns)
    assert (samples == source.ramp(0, 8192)).all()


@pytest.mark.parametrize("uri", ["fmcomms5"], indirect=True)
def test_iio_attr_reads_writes_and_reports_the_driver_s_errors(uri):
    address, source, _ = uri
    read = tool("iio_attr", "-u", address, "-c", "ad9361-phy", "altvoltage0", "frequency")
    assert "2450000000" in read.stdout.decode()
    tool("iio_attr", "-u", address, "-c", "ad9361-phy", "altvoltage0", "frequency", "2400000000")
    assert source.of("lo") == [("lo", 0, 0, 2.4e9)]
    bad = tool("iio_attr", "-u", address, "-c", "ad9361-phy", "altvoltage0", "frequency", "1")
    assert b"Invalid argument" in bad.stdout + bad.stderr
    device = tool("iio_attr", "-u", address, "-d", "ad9361-phy", "ensm_mode")
    assert b"fdd" in device.stdout
    debug = tool("iio_attr", "-u", address, "-D", "ad9361-phy", "loopback")
    assert b"0" in debug.stdout
    register = tool("iio_reg", "-u", address, "ad9361-phy", "0x37")
    assert b"0xa" in register.stdout.lower()


@pytest.mark.parametrize("uri", ["fmcomms5"], indirect=True)
def test_iio_writedev_transmits_cyclic_and_streamed(uri):
    address, source, _ = uri
    block = (np.arange(4096).reshape(512, 8) % 1000).astype("<i2")
    done = tool(
        "iio_writedev",
        "-u",
        address,
        "-b",
        "512",
        "-s",
        "512",
        "cf-ad9361-dds-core-lpc",
        input=block.tobytes(),
    )
    assert done.returncode == 0, done.stderr
    waveform = next(event[2] for event in source.of("transmit") if event[2] is not None)
    np.testing.assert_allclose(waveform[3], (block[:, 6] + 1j * block[:, 7]) / 32768, rtol=1e-6)


@pytest.mark.parametrize("uri", ["fmcomms5"], indirect=True)
def test_pylibiio_sees_masks_steps_and_errno(uri):
    address, source, _ = uri
    context = iio.Context(address)
    phy, rx = context.find_device("ad9361-phy"), context.find_device("cf-ad9361-A")
    with pytest.raises(OSError, match="Errno 22"):
        phy.find_channel("altvoltage0", True).attrs["frequency"].value = "2400000000.0"
    with pytest.raises(PermissionError):
        _ = phy.attrs["multichip_sync"].value
    assert phy.reg_read(0x37) == 0x0A
    rx.reg_write(0x80000048, 0x77)
    assert rx.reg_read(0x80000048) == 0x77
    rx.set_kernel_buffers_count(2)
    for channel in rx.channels:
        channel.enabled = channel.id in ("voltage2", "voltage3")
    buffer = iio.Buffer(rx, 256)
    buffer.refill()
    assert buffer.step == 4
    samples = np.frombuffer(buffer.read(), "<i2").reshape(-1, 2)
    assert (samples == source.ramp(0, 256)[:, 2:4]).all()
    del buffer


@pytest.mark.parametrize("uri", ["fmcomms5"], indirect=True)
def test_cancel_ends_a_waiting_refill_and_the_device_can_be_opened_again(serve, uri, eventually):
    del uri
    servers, _ = serve("fmcomms5", fs_hz=1e3, free_running=False)
    context = iio.Context(servers.uris[0])
    rx = context.find_device("cf-ad9361-A")
    rx.channels[0].enabled = True
    buffer = iio.Buffer(rx, 1_000_000)
    buffer.cancel()
    with pytest.raises(OSError, match="Errno 9"):
        buffer.refill()
    del buffer
    eventually(lambda: not servers.boards[0].rx[rx.id].is_open)
    again = iio.Buffer(rx, 100)
    again.refill()
    del again


@pytest.mark.parametrize("uri", ["fmcomms5"], indirect=True)
def test_server_side_timeout_is_timeouterror(serve, uri):
    del uri
    servers, _ = serve("fmcomms5", fs_hz=1e4, free_running=False)
    context = iio.Context(servers.uris[0])
    context.set_timeout(400)
    rx = context.find_device("cf-ad9361-A")
    rx.channels[0].enabled = True
    buffer = iio.Buffer(rx, 10_000)
    with pytest.raises(TimeoutError):
        buffer.refill()
    del buffer


def receive(sdr, source, channels):
    """rx() of complex channels against the ramp; the buffer is given back."""
    sdr.rx_buffer_size = 512
    sdr.rx_enabled_channels = channels
    data = sdr.rx()
    sdr.rx_destroy_buffer()
    data = data if isinstance(data, list) else [data]
    first = int(data[0][0].real) - 200 * channels[0]
    ramp = source.ramp(first, 512).astype(float)
    for got, channel in zip(data, channels, strict=True):
        assert (got == ramp[:, 2 * channel] + 1j * ramp[:, 2 * channel + 1]).all()


def send_cyclic(sdr, source, channels):
    """A cyclic tx() of one block reaches the scene with its scale."""
    sdr.tx_enabled_channels = channels
    sdr.tx_cyclic_buffer = True
    tone = (2**14 * np.exp(2j * np.pi * np.arange(256) / 16)).astype(np.complex64)
    sdr.tx(tone if len(channels) == 1 else [tone] * len(channels))
    waveform = [event[2] for event in source.of("transmit") if event[2] is not None][-1]
    for channel in channels:
        assert np.abs(waveform[channel] - 0.5 * tone / 2**14).max() < 1e-3
    sdr.tx_destroy_buffer()


@pytest.mark.parametrize("uri", ["pluto"], indirect=True)
def test_adi_pluto(uri):
    address, source, _ = uri
    sdr = adi.Pluto(uri=address)
    sdr.sample_rate = 1_000_000
    assert sdr.sample_rate == 1_000_000
    assert source.fs_hz(0) == 1e6
    sdr.rx_lo, sdr.tx_lo, sdr.rx_rf_bandwidth = 915_000_000, 2_400_000_000, 4_000_000
    assert (sdr.rx_lo, sdr.tx_lo, sdr.rx_rf_bandwidth) == (915_000_000, 2_400_000_000, 4_000_000)
    sdr.gain_control_mode_chan0 = "manual"
    sdr.rx_hardwaregain_chan0 = 33
    assert sdr.rx_hardwaregain_chan0 == 33
    assert source.of("gain") == [("gain", 0, 0, 33.0)]
    for field, value in (("rx_lo", 10), ("rx_hardwaregain_chan0", 90.0), ("gain_control_mode_chan0", "loud")):
        with pytest.raises(OSError, match="Errno 22"):
            setattr(sdr, field, value)
    assert "FIR" in repr(sdr)
    receive(sdr, source, [0])
    send_cyclic(sdr, source, [0])
    sdr.dds_single_tone(100_000, 0.5)


@pytest.mark.parametrize("uri", ["pluto"], indirect=True)
def test_adi_ad9361_uses_both_receivers_of_the_2r2t_pluto(uri):
    address, source, _ = uri
    sdr = adi.ad9361(uri=address)
    sdr.gain_control_mode_chan1 = "manual"
    sdr.rx_hardwaregain_chan1 = 12
    assert source.of("gain") == [("gain", 0, 1, 12.0)]
    receive(sdr, source, [0, 1])


@pytest.mark.parametrize("uri", ["fmcomms5"], indirect=True)
def test_adi_fmcomms5(uri):
    address, source, _ = uri
    sdr = adi.FMComms5(uri=address)
    for rate in (4_000_000, 30_000_000, 600_000, 2_500_000):
        sdr.sample_rate = rate
        assert sdr.sample_rate == rate
        assert source.fs_hz(0) == rate
    sdr.rx_lo, sdr.rx_lo_chip_b = 2_000_000_000, 2_100_000_000
    assert source.of("lo") == [("lo", 0, 0, 2.0e9), ("lo", 0, 1, 2.1e9)]
    sdr.gain_control_mode_chip_b_chan1 = "manual"
    sdr.rx_hardwaregain_chip_b_chan1 = 21
    assert source.of("gain") == [("gain", 0, 3, 21.0)]
    with pytest.raises(OSError, match="Errno 22"):
        sdr.sample_rate = 70_000_000
    receive(sdr, source, [0, 1, 2, 3])
    receive(sdr, source, [0, 2])
    send_cyclic(sdr, source, [0, 3])
    sdr.dds_single_tone(250_000, 0.5, channel=3)
    waveform = source.of("transmit")[-1][2]
    turn = np.angle(waveform[3, 1] / waveform[3, 0]) / (2 * np.pi)
    assert abs(turn * source.fs_hz(0) - 250_000) < 2_500_000 / 65536
    assert not waveform[:3].any()


@pytest.mark.parametrize("uri", ["adrv9009"], indirect=True)
def test_adi_adrv9009(uri):
    address, source, _ = uri
    sdr = adi.adrv9009(uri=address)
    assert sdr.rx_sample_rate == sdr.orx_sample_rate == sdr.tx_sample_rate == 122_880_000
    sdr.trx_lo = 2_000_000_000
    assert sdr.trx_lo == 2_000_000_000
    with pytest.raises(OSError, match="Errno 22"):
        sdr.trx_lo = 2.0e9
    sdr.rx_hardwaregain_chan1 = 7.5
    assert source.of("gain") == [("gain", 0, 1, 7.5)]
    with pytest.raises(OSError, match="Errno 22"):
        sdr.rx_hardwaregain_chan0 = 31
    with pytest.raises(OSError, match="Errno 71"):
        _ = sdr.obs_hardwaregain
    sdr.gain_control_mode_chan0 = "slow_attack"
    assert sdr.gain_control_mode_chan1 == "slow_attack"
    assert sdr.jesd204_fsm_state == "opt_post_running_stage"
    assert (sdr.jesd204_fsm_error, sdr.jesd204_fsm_paused, sdr.jesd204_fsm_ctrl) == (0, 0, 1)
    sdr.calibrate = 1
    receive(sdr, source, [0, 1])
    send_cyclic(sdr, source, [0, 1])


@pytest.mark.parametrize("uri", ["adrv9009-zu11eg"], indirect=True)
def test_adi_adrv9009_zu11eg(uri):
    address, source, _ = uri
    sdr = adi.adrv9009_zu11eg(uri=address)
    sdr.mcs_chips()
    sdr.trx_lo, sdr.trx_lo_chip_b = 1_900_000_000, 1_950_000_000
    assert source.of("lo") == [("lo", 0, 0, 1.9e9), ("lo", 0, 1, 1.95e9)]
    sdr.rx_hardwaregain_chan0_chip_b = 11
    assert source.of("gain") == [("gain", 0, 2, 11.0)]
    sdr.rx_sync_start = "arm"
    assert sdr.rx_sync_start == "arm"
    sdr.rx_sync_start = "trigger_manual"
    assert sdr.rx_sync_start == "disarm"
    receive(sdr, source, [0, 1, 2, 3])
    send_cyclic(sdr, source, [1, 3])


def test_default_port_on_following_addresses_and_clone(serve):
    servers, _ = serve("fmcomms5", n_boards=2, host="127.0.10.41", port=30431)
    assert servers.uris == ["ip:127.0.10.41", "ip:127.0.10.42"]
    context = iio.Context(servers.uris[1])
    assert context.attrs["uri"] == "ip:127.0.10.42"
    assert context.clone().find_device("cf-ad9361-A") is not None
