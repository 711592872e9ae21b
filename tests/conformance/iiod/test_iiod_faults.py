"""Faults of the transport: blocks that vanish, replies that stop half-way, slow networks; real clients meet them."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import warnings

import numpy as np
import pytest

from sim_backend.engine import ArrayEngine
from sim_backend.faults import Faults
from sim_backend.scene import parse_scene
from sim_backend.serve import IioServers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import iio

HOST = "127.0.7.1"
RX, PHY = "iio:device6", "iio:device1"
DEBUG = f"{RX} DEBUG direct_reg_access"
XFLOW = 0x80000088


def faults_of(source, kind):
    """(scene sample, details) of the faults of one kind that the source was told of."""
    return [(event[2], event[3]) for event in source.of("fault") if event[3]["kind"] == kind]


def open_receiver(uri, block_samples):
    context = iio.Context(uri)
    rx = context.find_device("cf-ad9361-A")
    assert rx is not None
    for channel in rx.channels:
        channel.enabled = True
    return context, rx, iio.Buffer(rx, block_samples)


def refills(buffer, n, columns=8):
    out = []
    for _ in range(n):
        buffer.refill()
        out.append(np.frombuffer(buffer.read(), "<i2").reshape(-1, columns))
    return np.concatenate(out)


@pytest.mark.parametrize("free_running", [True, False])
def test_dropped_blocks_leave_a_gap_of_whole_blocks_and_no_overflow_bit(serve, connect, free_running):
    faults = Faults(drop_blocks_at_s=(0.0101, 0.0301), drop_blocks=2)
    servers, source = serve("fmcomms5", host=HOST, fs_hz=1e6, free_running=free_running, faults=faults)
    client, control = connect(servers), connect(servers)
    client.ask(f"SET {RX} BUFFERS_COUNT 64")
    client.ask(f"OPEN {RX} 700 000000ff")
    values = np.concatenate([client.frames(RX, 700, 8) for _ in range(60)])[:, 0].astype(int)
    steps = np.diff(values) % 2000
    jumps = np.flatnonzero(steps != 1) + 1
    lost = [details for _, details in faults_of(source, "drop_blocks")]
    at = [sample for sample, _ in faults_of(source, "drop_blocks")]
    assert len(jumps) == len(lost)
    if free_running:
        assert len(lost) == 2
        assert (at[0] <= 10_100 < at[0] + 700, at[1] <= 30_100 < at[1] + 700) == (True, True)
    assert all((details["lost_samples"], details["blocks"]) == (1400, 2) for details in lost)
    assert all(jump % 700 == 0 for jump in jumps)
    assert all(steps[jump - 1] == 1401 for jump in jumps)
    control.write(DEBUG, str(XFLOW))
    assert not int(control.value(f"READ {DEBUG}"), 16) & 4
    assert not source.of("overflow")


def test_a_real_client_gets_the_samples_around_the_dropped_blocks_as_the_truth_says(tmp_path):
    text = "array = {n_elements = 4}\n[[emitter]]\nwaveform = 'noise'\n[faults]\n"
    scene = parse_scene(
        text + "drop_blocks_at_s = [0.005, 0.01]\noverflow_every_s = 0.008\noverflow_samples = 100\n"
    )
    truth = tmp_path / "truth.jsonl"
    engine = ArrayEngine(scene, free_running=True, truth=truth)
    servers = IioServers(engine, host=HOST, port=0, free_running=True, faults=scene.faults)
    with servers:
        context, _, buffer = open_receiver(servers.uris[0], 2048)
        got = refills(buffer, 20)
        del buffer  # before the context: libiio crashes otherwise
        del context
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    engine.close()
    lost = [
        (line["scene_sample"], line["lost_samples"], line["kind"])
        for line in lines
        if line["event"] == "fault"
    ]
    assert [kind for _, _, kind in lost] == ["drop_blocks", "overflow", "drop_blocks", "overflow"]
    scene_samples = np.arange(len(got) + sum(n for _, n, _ in lost))
    for first, n, _ in lost:
        scene_samples = scene_samples[(scene_samples < first) | (scene_samples >= first + n)]
    scene_samples = scene_samples[: len(got)]
    whole = ArrayEngine(scene, free_running=True).read(0, 0, int(scene_samples[-1]) + 1)
    # the wire has 12 bits in 16, sign-extended, as the engine gives them
    np.testing.assert_array_equal(got, whole[scene_samples])


def test_half_a_reply_and_the_connection_is_gone(serve, connect, eventually):
    servers, source = serve("fmcomms5", host=HOST, fs_hz=1e6, faults=Faults(half_reply_at_s=(0.0025,)))
    client, control = connect(servers), connect(servers)
    client.ask(f"OPEN {RX} 1000 000000ff")
    assert client.frames(RX, 2000, 8).shape == (2000, 8)
    client.send(f"READBUF {RX} 16000\r\n")
    assert client.line() == "16000\n"
    client.line()
    data = client.take(16_000)
    (_, details) = faults_of(source, "half_reply")[0]
    assert details["bytes_sent"] == details["bytes_of_reply"] // 2
    assert len(data) == details["bytes_sent"] - len("16000\n000000ff\n")
    assert client.ended()
    assert control.value(f"READ {PHY} ensm_mode") == "fdd"  # short replies and other connections go on
    again = connect(servers)
    assert again.ask(f"OPEN {RX} 1000 000000ff") == 0
    assert again.frames(RX, 1000, 8).shape == (1000, 8)
    assert len(source.of("fault")) == 1


@pytest.mark.parametrize("hang_s", [0.0, 30.0])
def test_half_a_reply_ends_a_real_client_within_its_timeout_and_the_next_one_is_served(serve, hang_s):
    faults = Faults(half_reply_at_s=(0.0015,), half_reply_hang_s=hang_s)
    servers, source = serve("fmcomms5", host=HOST, fs_hz=1e6, faults=faults)
    command = ["iio_readdev", "-u", servers.uris[0], "-T", "500", "-b", "1000", "-s", "20000", "cf-ad9361-A"]
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, timeout=30)
    assert time.monotonic() - begin < 15.0
    assert done.stderr, "the client must have noticed"
    assert len(done.stdout) < 20_000 * 16
    samples = np.frombuffer(done.stdout, "<i2").reshape(-1, 8)
    assert (samples == source.ramp(0, len(samples))).all()
    assert len(faults_of(source, "half_reply")) == 1
    again = subprocess.run(command, capture_output=True, timeout=30)
    assert len(again.stdout) == 20_000 * 16


def test_a_server_stops_although_replies_hang(serve, connect):
    faults = Faults(half_reply_at_s=(0.0015,), half_reply_hang_s=600.0, network_latency_s=0.01)
    servers, source = serve("fmcomms5", host=HOST, fs_hz=1e6, faults=faults)
    client, other = connect(servers), connect(servers)
    client.ask(f"OPEN {RX} 1000 000000ff")
    client.frames(RX, 1000, 8)
    client.send(f"READBUF {RX} 16000\r\n")
    other.send("PRINT\r\n")
    deadline = time.monotonic() + 10.0
    while not faults_of(source, "half_reply"):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    begin = time.monotonic()
    servers.stop()
    assert time.monotonic() - begin < 5.0


def test_a_narrow_network_carries_so_many_bytes_a_second(serve, connect):
    servers, source = serve("fmcomms5", host=HOST, fs_hz=1e6, faults=Faults(network_mbit_s=8.0))
    clients = [connect(servers, timeout_s=60.0) for _ in range(2)]
    clients[0].ask(f"OPEN {RX} 10000 000000ff")
    begin = time.monotonic()
    frames = clients[0].frames(RX, 40_000, 8)
    seconds = time.monotonic() - begin
    # 640 kB at 1 MB/s; a busy machine may need longer
    assert 0.5 < seconds < 6.4
    assert (frames == source.ramp(0, 40_000)).all()
    assert len(faults_of(source, "slow_network")) == 1


def test_latency_holds_back_every_reply_from_its_time_on(serve, connect):
    faults = Faults(network_latency_s=0.15, network_from_s=0.0005)
    servers, _ = serve("fmcomms5", host=HOST, fs_hz=1e6, faults=faults)
    client = connect(servers)

    def seconds():
        begin = time.monotonic()
        assert client.value(f"READ {PHY} ensm_mode") == "fdd"
        return time.monotonic() - begin

    assert min(seconds() for _ in range(5)) < 0.15
    client.ask(f"OPEN {RX} 1000 000000ff")
    client.frames(RX, 1000, 8)
    assert min(seconds() for _ in range(3)) >= 0.15


def test_a_slow_network_makes_a_real_time_board_overflow(serve, connect, eventually):
    faults = Faults(network_mbit_s=16.0)  # 1 MS/s of 8 columns are 128 Mbit/s
    servers, source = serve("fmcomms5", host=HOST, fs_hz=1e6, free_running=False, faults=faults)
    client = connect(servers, timeout_s=60.0)
    client.ask(f"OPEN {RX} 4000 000000ff")
    values = np.concatenate([client.frames(RX, 4000, 8) for _ in range(10)])[:, 0].astype(int)
    assert np.any(np.diff(values) % 2000 != 1)
    assert source.of("stall")


def test_a_single_board_hangs_and_the_others_answer(serve, connect):
    faults = Faults(stall_at_s=(0.0005,), stall_s=600.0, stall_board=1)
    servers, source = serve("fmcomms5", host=HOST, n_boards=2, fs_hz=1e6, faults=faults)
    clients = [connect(servers, k) for k in range(2)]
    for client in clients:
        client.ask("TIMEOUT 150")
        client.ask(f"OPEN {RX} 1000 000000ff")
    assert clients[0].frames(RX, 3000, 8).shape == (3000, 8)
    assert clients[1].readbuf(RX, 16_000)[2] < 0
    assert clients[0].frames(RX, 1000, 8).shape == (1000, 8)
    assert [(board, kind) for _, board, _, kind in source.of("fault")] == [
        (1, {"kind": "stall", "channel": None, "stall_s": 600.0})
    ]
