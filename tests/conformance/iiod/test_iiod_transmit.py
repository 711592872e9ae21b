"""Transmit buffers and the DDS."""

from __future__ import annotations

import errno
import time

import numpy as np

from sim_backend.iiod import tx_dma

TX, DDS_B, PHY = "iio:device4", "iio:device5", "iio:device1"


def push(client, samples, device=TX):
    """WRITEBUF with the two statuses of the protocol."""
    payload = samples.astype("<i2").tobytes()
    status = client.ask(f"WRITEBUF {device} {len(payload)}")
    if status < 0:
        return status
    assert status == 0
    client.send(payload)
    return int(client.line())


def test_cyclic_waveform_goes_out_until_close_and_then_zero(serve, connect):
    servers, source = serve("fmcomms5")
    client = connect(servers)
    assert client.ask(f"OPEN {TX} 64 0000000c CYCLIC") == 0
    block = np.arange(128).reshape(64, 2) * 100
    assert push(client, block) == 256
    (_, board, waveform, _, cyclic) = source.of("transmit")[0]
    assert (board, cyclic, waveform.shape, waveform.dtype) == (0, True, (4, 64), np.complex64)
    np.testing.assert_allclose(waveform[1], (block[:, 0] + 1j * block[:, 1]) / 32768, rtol=1e-6)
    assert not waveform[[0, 2, 3]].any()
    assert client.ask(f"CLOSE {TX}") == 0
    assert source.of("transmit")[-1][2] is None


def test_cyclic_buffer_takes_one_block_only(serve, connect):
    servers, _ = serve("fmcomms5")
    client = connect(servers)
    client.ask(f"OPEN {TX} 64 00000003 CYCLIC")
    assert push(client, np.ones((64, 2))) == 256
    assert client.ask(f"WRITEBUF {TX} 256") == -errno.EBUSY
    assert client.ask("TIMEOUT 100") == 0


def test_payload_is_refused_before_it_is_sent(serve, connect):
    servers, _ = serve("fmcomms5")
    client = connect(servers)
    client.ask(f"OPEN {TX} 64 00000003")
    for wrong in (0, 3, 260, 1 << 30):
        assert client.ask(f"WRITEBUF {TX} {wrong}") == -errno.EINVAL
    assert push(client, np.ones((64, 2))) == 256


def test_second_opener_is_busy_but_an_open_that_overtakes_its_close_is_not(serve, connect, monkeypatch):
    servers, _ = serve("fmcomms5")
    one, two = connect(servers), connect(servers)
    one.ask(f"OPEN {TX} 64 00000003 CYCLIC")
    begin = time.monotonic()
    assert two.ask(f"OPEN {TX} 64 00000003") == -errno.EBUSY
    assert time.monotonic() - begin > 0.04
    monkeypatch.setattr(tx_dma, "_BUSY_RETRY_S", 10.0)
    two.send(f"OPEN {TX} 64 00000003\r\n")
    assert one.ask(f"CLOSE {TX}") == 0
    assert two.line() == "0\n"


def test_eof_closes_the_transmitter(serve, connect, eventually):
    servers, source = serve("fmcomms5")
    client = connect(servers)
    client.ask(f"OPEN {TX} 64 00000003 CYCLIC")
    push(client, np.ones((64, 2)))
    client.close()
    eventually(lambda: source.of("transmit")[-1][2] is None)


def test_streamed_blocks_are_contiguous_and_pressed_back(serve, connect):
    servers, source = serve("fmcomms5", fs_hz=1e5, free_running=False)
    client = connect(servers)
    client.ask(f"OPEN {TX} 20000 00000003")
    begin = time.monotonic()
    for _ in range(7):
        assert push(client, np.ones((20_000, 2))) == 80_000
    elapsed = time.monotonic() - begin
    assert elapsed > 0.4, "four blocks of 200 ms are pending, three had to go out first"
    starts = [event[3] for event in source.of("transmit")]
    assert np.diff(starts).tolist() == [20_000] * 6


def test_transmitter_that_runs_dry_sets_the_underflow_bit(serve, connect, eventually):
    servers, source = serve("fmcomms5", fs_hz=1e6, free_running=False)
    client, control = connect(servers), connect(servers)
    debug = f"{TX} DEBUG direct_reg_access"
    control.write(debug, str(0x80000088))
    assert control.value(f"READ {debug}") == "0x0"
    client.ask(f"OPEN {TX} 100 00000003")
    push(client, np.ones((100, 2)))
    end = source.of("transmit")[0][3] + 100
    eventually(lambda: source.now(0) > end + 1000)
    assert control.value(f"READ {debug}") == "0x1"
    push(client, np.ones((100, 2)))
    assert source.of("transmit")[-1][3] >= end + 1000
    assert len(source.of("tx_underflow")) == 1


def test_dds_makes_a_single_sided_tone_on_the_named_transmitter(serve, connect):
    servers, source = serve("fmcomms5", fs_hz=2.56e6)
    client = connect(servers)
    for name, phase in (("TX2_I_F1", "90000"), ("TX2_Q_F1", "0")):
        for attribute, text in (("frequency", "100000"), ("phase", phase), ("scale", "0.5"), ("raw", "1")):
            assert client.write(f"{DDS_B} OUTPUT {name} {attribute}", text) > 0
    waveform = source.of("transmit")[-1][2]
    n = np.arange(1000)
    expected = 0.5 * np.exp(2j * np.pi * 1e5 / 2.56e6 * n)
    assert np.abs(waveform[3, :1000] - expected).max() < 1e-5
    assert not waveform[:3].any()
    client.write(f"{DDS_B} OUTPUT TX2_I_F1 raw", "0")
    client.write(f"{DDS_B} OUTPUT TX2_Q_F1 raw", "0")
    assert source.of("transmit")[-1][2] is None


def test_dds_frequency_reads_back_as_the_accumulator_makes_it(serve, connect):
    servers, _ = serve("fmcomms5", fs_hz=4e6)
    client = connect(servers)
    client.write(f"{TX} OUTPUT altvoltage0 frequency", "123456")
    text = client.value(f"READ {TX} OUTPUT altvoltage0 frequency")
    assert abs(int(text) - 123456) <= 4e6 / 65536
    assert client.write(f"{TX} OUTPUT altvoltage0 phase", "360001") == -errno.EINVAL
    assert client.write(f"{TX} OUTPUT altvoltage0 scale", "1.1") == -errno.EINVAL


def test_armed_transmitter_waits_for_the_trigger(serve, connect):
    servers, source = serve("adrv9009", fs_hz=1e6)
    client, control = connect(servers), connect(servers)
    assert control.write("iio:device5 sync_start_enable", "arm") > 0
    client.ask("OPEN iio:device5 64 0000000f CYCLIC")
    assert push(client, np.ones((64, 4)), "iio:device5") == 512
    assert source.of("transmit") == []
    assert control.write("iio:device5 sync_start_enable", "trigger_manual") > 0
    assert source.of("transmit")[0][2].shape == (2, 64)
