"""Receive buffers: blocks that fill by the clock, stale samples, gaps, timeouts, several openers."""

from __future__ import annotations

import errno
import threading
import time

import numpy as np
import pytest

from sim_backend.faults import Faults

RX, PHY = "iio:device6", "iio:device1"
DEBUG = f"{RX} DEBUG direct_reg_access"
XFLOW = 0x80000088


def first_samples(frames, source):
    """Scene sample of a block's first frame, modulo the ramp's period; the block must be unbroken."""
    start = int(frames[0, 0])
    assert (frames == source.ramp(start, len(frames))).all()
    return start


def overflow_bit(control):
    control.write(DEBUG, str(XFLOW))
    return bool(int(control.value(f"READ {DEBUG}"), 16) & 4)


def test_reply_has_the_mask_once_and_no_newline_after_the_data(serve, connect):
    servers, source = serve("fmcomms5")
    client = connect(servers)
    assert client.ask(f"OPEN {RX} 64 000000ff") == 0
    client.send(f"READBUF {RX} 2048\r\n")
    assert client.line() == "1024\n"
    assert client.line() == "000000ff\n"
    one = client.take(1024)
    assert client.line() == "1024\n"
    two = client.take(1024)
    assert (np.frombuffer(one + two, "<i2").reshape(-1, 8) == source.ramp(0, 128)).all()
    assert client.ask("TIMEOUT 100") == 0


@pytest.mark.parametrize(
    ("mask", "columns"), [("00000033", [0, 1, 4, 5]), ("00000080", [7]), ("000000FF", range(8))]
)
def test_mask_selects_columns_by_scan_index(serve, connect, mask, columns):
    servers, source = serve("fmcomms5")
    client = connect(servers)
    assert client.ask(f"OPEN {RX} 32 {mask}") == 0
    columns = list(columns)
    samples = client.frames(RX, 32, len(columns))
    assert (samples == source.ramp(0, 32)[:, columns]).all()


def test_free_running_hands_out_every_sample_once(serve, connect):
    servers, source = serve("fmcomms5")
    client = connect(servers)
    client.ask(f"OPEN {RX} 1000 000000ff")
    samples = np.concatenate([client.frames(RX, 1000, 8) for _ in range(20)])
    assert (samples == source.ramp(0, 20_000)).all()
    assert source.of("stall") == []


def test_reads_that_are_no_whole_block_lose_nothing(serve, connect):
    servers, source = serve("fmcomms5")
    client = connect(servers)
    client.ask(f"OPEN {RX} 100 000000ff")
    samples = np.concatenate([client.frames(RX, n, 8) for n in (30, 7, 250, 1, 12)])
    assert (samples == source.ramp(0, 300)).all()


def test_request_below_one_frame_is_an_empty_read(serve, connect):
    servers, _ = serve("fmcomms5")
    client = connect(servers)
    client.ask(f"OPEN {RX} 64 000000ff")
    assert client.readbuf(RX, 15) == (b"", None, 0)
    assert client.ask(f"READBUF {RX} 0") == 0
    data, _, status = client.readbuf(RX, 40)
    assert (len(data), status) == (32, 0)


def test_dma_starts_at_open_and_not_at_the_first_read(serve, connect, eventually):
    servers, source = serve("fmcomms5", fs_hz=1e6, free_running=False)
    client = connect(servers)
    client.ask(f"OPEN {RX} 1000 000000ff")
    opened = source.of("open")[0][2]
    eventually(lambda: source.now(0) > opened + 3000)
    assert first_samples(client.frames(RX, 1000, 8), source) == opened % 2000


def test_after_a_pause_come_stale_blocks_then_an_unmarked_gap(serve, connect, eventually):
    servers, source = serve("fmcomms5", fs_hz=1e6, free_running=False)
    client, control = connect(servers), connect(servers)
    assert control.ask(f"SET {RX} BUFFERS_COUNT 4") == 0
    assert not overflow_bit(control)
    assert client.ask(f"OPEN {RX} 1000 000000ff") == 0
    opened = source.of("open")[0][2]
    eventually(lambda: bool(source.of("stall")))
    assert source.of("stall")[0][2] == opened + 4000, "noted although nobody reads"
    assert overflow_bit(control)
    control.write(DEBUG, f"{XFLOW:#x} 0x4")
    assert not overflow_bit(control)
    eventually(lambda: source.now(0) > opened + 50_000)
    stale = [first_samples(client.frames(RX, 1000, 8), source) for _ in range(4)]
    assert stale == [(opened + k * 1000) % 2000 for k in range(4)]
    fresh = first_samples(client.frames(RX, 1000, 8), source)
    resumed = source.of("resume")[0]
    assert resumed[2] > opened + 50_000
    assert resumed[3]["lost_samples"] == resumed[2] - opened - 4000
    assert fresh == resumed[2] % 2000


def test_block_that_the_client_still_holds_is_not_free(serve, connect, eventually):
    servers, source = serve("fmcomms5", fs_hz=1e4, free_running=False)
    client = connect(servers)
    client.ask(f"OPEN {RX} 1000 000000ff")
    opened = source.of("open")[0][2]
    first_samples(client.frames(RX, 1000, 8), source)
    eventually(lambda: bool(source.of("stall")))
    assert source.of("stall")[0][2] == opened + 4000, "one block held and three full"
    stale = [first_samples(client.frames(RX, 1000, 8), source) for _ in range(3)]
    assert stale == [(opened + k * 1000) % 2000 for k in (1, 2, 3)]
    assert len(source.of("resume")) == 1


def test_block_count_one_leaves_a_gap_after_every_block(serve, connect):
    servers, source = serve("fmcomms5", fs_hz=1e6, free_running=False)
    client, control = connect(servers), connect(servers)
    control.ask(f"SET {RX} BUFFERS_COUNT 1")
    client.ask(f"OPEN {RX} 500 000000ff")
    for _ in range(4):
        client.frames(RX, 500, 8)
    assert len(source.of("resume")) == 3


def test_reader_that_keeps_up_loses_nothing_in_real_time(serve, connect):
    servers, source = serve("fmcomms5", fs_hz=1e6, free_running=False)
    client = connect(servers)
    assert client.ask(f"SET {RX} BUFFERS_COUNT 64") == 0  # more than a second for a busy machine
    client.ask(f"OPEN {RX} 20000 000000ff")
    opened = source.of("open")[0][2]
    samples = np.concatenate([client.frames(RX, 20_000, 8) for _ in range(10)])
    assert source.of("stall") == []
    assert (samples == source.ramp(opened, 200_000)).all()


def test_block_that_takes_longer_than_the_timeout_is_etimedout_and_comes_later(serve, connect):
    servers, source = serve("fmcomms5", fs_hz=1e5, free_running=False)
    client, control = connect(servers), connect(servers)
    assert control.ask("TIMEOUT 100") == 0
    client.ask(f"OPEN {RX} 100000 000000ff")
    begin = time.monotonic()
    assert client.readbuf(RX, 1_600_000)[2] == -errno.ETIMEDOUT
    assert time.monotonic() - begin > 0.08
    assert control.ask("TIMEOUT 2000") == 0
    opened = source.of("open")[0][2]
    assert first_samples(client.frames(RX, 100_000, 8), source) == opened % 2000


def test_short_timeout_of_another_client_does_not_hurt(serve, connect):
    servers, _ = serve("fmcomms5", fs_hz=1e5, free_running=False)
    control, hostile, client = connect(servers), connect(servers), connect(servers)
    control.ask("TIMEOUT 2500")
    hostile.ask("TIMEOUT 1")
    client.ask(f"OPEN {RX} 20000 000000ff")
    assert client.frames(RX, 20_000, 8).shape == (20_000, 8)


def test_attributes_answer_while_a_read_waits(serve, connect):
    servers, _ = serve("fmcomms5", fs_hz=1e4, free_running=False)
    client, control = connect(servers), connect(servers)
    assert control.ask("TIMEOUT 60000") == 0
    client.ask(f"OPEN {RX} 1000000 000000ff")  # 100 s
    client.send(f"READBUF {RX} 16000000\r\n")
    for _ in range(20):
        assert control.value(f"READ {PHY} ensm_mode") == "fdd"


def test_eof_while_waiting_for_samples_is_a_close(serve, connect, eventually):
    servers, source = serve("fmcomms5", fs_hz=1e3, free_running=False)
    client = connect(servers)
    assert client.ask("TIMEOUT 60000") == 0, "not the timeout shall end the wait"
    client.ask(f"OPEN {RX} 100000 000000ff")
    client.send(f"READBUF {RX} 1600000\r\n")
    client.close()
    eventually(lambda: bool(source.of("close")))
    eventually(lambda: servers.servers[0].n_connections == 0)
    assert not servers.boards[0].rx[RX].is_open


def test_open_may_overtake_the_close_of_the_same_client(serve, connect):
    servers, _ = serve("fmcomms5")
    old, new = connect(servers), connect(servers)
    old.ask(f"OPEN {RX} 64 000000ff")
    assert new.ask(f"OPEN {RX} 32 00000003") == 0
    assert old.ask(f"CLOSE {RX}") == 0
    assert new.frames(RX, 32, 2).shape == (32, 2)


def test_second_open_on_one_connection_is_busy(serve, connect):
    servers, _ = serve("fmcomms5")
    client = connect(servers)
    client.ask(f"OPEN {RX} 64 000000ff")
    assert client.ask(f"OPEN {RX} 64 000000ff") == -errno.EBUSY
    assert client.ask(f"SET {RX} BUFFERS_COUNT 8") == -errno.EBUSY
    assert client.ask(f"CLOSE {RX}") == 0
    assert client.ask(f"SET {RX} BUFFERS_COUNT 8") == 0
    assert client.ask(f"CLOSE {RX}") == -errno.ENXIO


def test_two_openers_get_the_union_of_their_masks(serve, connect):
    servers, source = serve("fmcomms5")
    one, two = connect(servers), connect(servers)
    one.ask(f"OPEN {RX} 64 00000003")
    two.ask(f"OPEN {RX} 32 00000030")
    data, mask, status = one.readbuf(RX, 256)
    assert (mask, status) == (0x33, 256)
    frames = np.frombuffer(data, "<i2").reshape(-1, 4)
    assert len(frames) == 32, "asked for 64 frames of its own, got half as many wider ones"
    start = source.of("open")[-1][2]
    assert (frames == source.ramp(start, 32)[:, [0, 1, 4, 5]]).all()
    two.ask(f"CLOSE {RX}")
    data, mask, _ = one.readbuf(RX, 256)
    while mask != 3:  # what was left of a wide block
        data, mask, _ = one.readbuf(RX, 256)
    assert len(data) == 256


def test_openers_that_wait_together_share_a_block(serve, connect):
    servers, source = serve("fmcomms5", fs_hz=1e5, free_running=False)
    clients = [connect(servers) for _ in range(2)]
    for client in clients:
        client.ask(f"OPEN {RX} 80000 000000ff")
    starts: list[int] = []

    def read(client):
        starts.append(first_samples(client.frames(RX, 80_000, 8), source))

    threads = [threading.Thread(target=read, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert starts == [source.of("open")[-1][2] % 2000] * 2


def test_rate_change_keeps_what_was_captured_before_it(serve, connect, eventually):
    servers, source = serve("fmcomms5", fs_hz=4e6, free_running=False)
    client, control = connect(servers), connect(servers)
    client.ask(f"OPEN {RX} 1000 000000ff")
    opened = source.of("open")[0][2]
    eventually(lambda: source.now(0) > opened + 10_000)
    assert control.write(f"{PHY} INPUT voltage0 sampling_frequency", "3000000") > 0
    stale = [first_samples(client.frames(RX, 1000, 8), source) for _ in range(4)]
    assert stale == [(opened + k * 1000) % 2000 for k in range(4)]
    rates = {first: fs_hz for first, fs_hz in source.reads if first < opened + 4000}
    assert rates == {opened + k * 1000: 4e6 for k in range(4)}, "scene samples count in the present rate"


def test_channels_without_boards_start_apart_and_the_truth_says_where(serve, connect):
    servers, source = serve("fmcomms5", n_boards=3)
    for k in range(3):
        client = connect(servers, k)
        client.ask(f"OPEN {RX} 64 000000ff")
        opened = next(event for event in source.of("open") if event[1] == k)
        assert first_samples(client.frames(RX, 64, 8), source) == opened[2] % 2000
    assert len({event[2] for event in source.of("open")}) == 3


def test_too_large_buffers_are_refused(serve, connect):
    servers, _ = serve("fmcomms5")
    client = connect(servers)
    assert client.ask(f"OPEN {RX} 2000000000 000000ff") == -errno.ENOMEM
    assert client.ask(f"SET {RX} BUFFERS_COUNT 65") == -errno.EINVAL
    assert client.ask(f"OPEN {RX} 64 000000ff") == 0


def test_overflow_fault_loses_samples_inside_a_block_and_sets_the_bit(serve, connect):
    faults = Faults(overflow_every_s=1e-3, overflow_samples=300)
    servers, source = serve("fmcomms5", fs_hz=1e6, faults=faults)
    client, control = connect(servers), connect(servers)
    client.ask(f"OPEN {RX} 700 000000ff")
    values = np.concatenate([client.frames(RX, 700, 8) for _ in range(10)])[:, 0].astype(int)
    jumps = np.flatnonzero(np.diff(values) % 2000 != 1) + 1
    lost = source.of("overflow")
    assert len(jumps) == len(lost) >= 5
    assert all(event[3]["lost_samples"] == 300 for event in lost)
    assert lost[0][2] == 1000
    assert jumps[0] == 1000
    assert overflow_bit(control)


def test_short_read_fault_shortens_replies_and_keeps_the_samples_in_order(serve, connect):
    servers, source = serve("fmcomms5", faults=Faults(short_reads=True))
    client = connect(servers)
    client.ask(f"OPEN {RX} 512 000000ff")
    data, short = b"", 0
    for _ in range(20):
        piece, _, status = client.readbuf(RX, 8192)
        short += status == 0
        data += piece
    samples = np.frombuffer(data, "<i2").reshape(-1, 8)
    assert 3 < short < 20
    assert (samples == source.ramp(0, len(samples))).all()


def test_disconnect_fault_drops_the_board_once(serve, connect, eventually):
    servers, source = serve("fmcomms5", fs_hz=1e6, free_running=False, faults=Faults(disconnect_at_s=(0.2,)))
    client = connect(servers)
    assert client.ended()
    eventually(lambda: bool(source.of("disconnect")))
    again = connect(servers)
    assert again.value(f"READ {PHY} ensm_mode") == "fdd"
    eventually(lambda: source.now(0) > 400_000)
    assert again.value(f"READ {PHY} ensm_mode") == "fdd"
    assert len(source.of("disconnect")) == 1


@pytest.mark.parametrize("free_running", [True, False])
def test_stall_fault_makes_reads_time_out_and_then_recovers(serve, connect, eventually, free_running):
    faults = Faults(stall_at_s=(0.001,), stall_s=0.4)
    servers, source = serve("fmcomms5", fs_hz=1e6, faults=faults, free_running=free_running)
    client, control = connect(servers), connect(servers)
    control.ask("TIMEOUT 150")
    client.ask(f"OPEN {RX} 1000 000000ff")
    if free_running:
        client.frames(RX, 2000, 8)
    else:
        eventually(lambda: source.now(0) > 1000)
    assert client.readbuf(RX, 16_000)[2] == -errno.ETIMEDOUT
    assert len(source.of("hang")) == 1
    control.ask("TIMEOUT 5000")
    assert client.frames(RX, 1000, 8).shape == (1000, 8)


ARX, ARX2 = "iio:device8", "iio:device6"


@pytest.mark.parametrize("free_running", [True, False])
def test_armed_boards_start_with_one_common_scene_sample(serve, connect, free_running):
    servers, source = serve("adrv9009-zu11eg", n_boards=3, fs_hz=1e6, free_running=free_running)
    controls = [connect(servers, k) for k in range(3)]
    data = [connect(servers, k) for k in range(3)]
    assert controls[0].value(f"READ {ARX} sync_start_enable_available") == "arm disarm trigger_manual"
    for control, client in zip(controls, data, strict=True):
        control.ask("TIMEOUT 100")
        assert control.write(f"{ARX} sync_start_enable", "arm") > 0
        assert control.value(f"READ {ARX} sync_start_enable") == "arm"
        assert client.ask(f"OPEN {ARX} 500 000000ff") == 0
    assert data[1].readbuf(ARX, 8000)[2] == -errno.ETIMEDOUT, "no sample before the trigger"
    assert source.of("open") == []
    assert controls[0].write(f"{ARX} sync_start_enable", "trigger_manual") > 0
    assert [control.value(f"READ {ARX} sync_start_enable") for control in controls] == ["disarm"] * 3
    starts = {event[2] for event in source.of("open")}
    assert len(source.of("open")) == 3
    assert len(starts) == 1
    blocks = [client.frames(ARX, 500, 8) for client in data]
    assert all(first_samples(block, source) == starts.copy().pop() % 2000 for block in blocks)


def test_disarmed_buffer_starts_and_sync_status_register_shows_arming(serve, connect):
    servers, _ = serve("adrv9009-zu11eg", fs_hz=1e6)
    control, client = connect(servers), connect(servers)
    debug = f"{ARX} DEBUG direct_reg_access"
    control.write(debug, str(0x80000068))
    assert control.value(f"READ {debug}") == "0x0"
    control.write(debug, f"{0x80000044:#x} 0x8")
    control.write(debug, str(0x80000068))
    assert control.value(f"READ {debug}") == "0x1"
    client.ask(f"OPEN {ARX} 100 000000ff")
    assert control.write(f"{ARX} sync_start_enable", "disarm") > 0
    assert client.frames(ARX, 100, 8).shape == (100, 8)
    assert control.write(f"{ARX} sync_start_enable", "start") == -errno.EINVAL


def test_observation_device_streams_zeros_while_it_is_down(serve, connect):
    servers, source = serve("adrv9009-zu11eg", fs_hz=1e6)
    client = connect(servers)
    assert client.ask(f"OPEN {ARX2} 64 00000003") == 0
    assert not client.frames(ARX2, 64, 2).any()
    assert source.of("open") == []
