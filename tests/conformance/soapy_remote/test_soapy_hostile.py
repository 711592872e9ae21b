"""Clients that break the rules or vanish, servers that end, and faults of the scene: nothing hangs, nothing leaks."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hil.core.errors import DeviceError
from sim_backend.engine import ArrayEngine
from sim_backend.faults import Faults
from sim_backend.scene import parse_scene
from sim_backend.soapy_remote import server as server_module
from sim_backend.soapy_remote.server import SoapyServer
from tests.conformance.soapy_remote.clients import (
    Raw,
    call,
    client,
    i32,
    kwargs,
    running_client,
    text,
    wait_until,
)
from tests.conformance.soapy_remote.counter_server import CounterSource

Serve = Callable[..., SoapyServer]
_STREAMING = """
d = make()
s = d.setupStream(RX, CS16, [0, 1])
n = d.getStreamMTU(s)
out = bufs(CS16, [0, 1], n)
d.activateStream(s)
assert d.readStream(s, out, n, timeoutUs=1_000_000).ret > 0
print("streaming", flush=True)
"""
_UNTIL_ERROR = """
while True:
    r = d.readStream(s, out, n, timeoutUs=1_000_000)
    if r.ret < 0 and r.ret != -4: break
tell(ret=r.ret, again=[d.readStream(s, out, n, timeoutUs=10_000).ret for _ in range(3)],
     rpc=next((w for w in (raises(d.getGain, RX, 0) or time.sleep(0.05) for _ in range(100)) if w), ""))
"""


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("soapy-")]


def _descriptors() -> int:
    return sum(1 for _ in Path(f"/proc/{os.getpid()}/fd").iterdir())


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(64),
        struct.pack(">4sII", b"SRPC", 0x400, 0xFFFFFFFF),
        struct.pack(">4sII", b"SRPC", 0x400, 16) + b"CPRS",
        call(20)[:-4] + b"XXXX",
        os.urandom(4096),
    ],
)
def test_garbage_ends_its_connection_and_no_other(serve: Serve, octets: bytes) -> None:
    server = serve(CounterSource(), free_running=True)
    with Raw(server.address) as good, Raw(server.address) as bad:
        assert good.ask(1, kwargs()) == b"\x0e"
        bad.sock.sendall(octets)
        bad.sock.settimeout(5.0)
        with contextlib.suppress(ConnectionResetError):
            assert bad.sock.recv(1) == b""
        assert good.ask(202, b"\x00\x01") == i32(4)
        wait_until(lambda: server.n_connections == 1)


def test_nonsense_in_a_frame_is_refused_and_the_next_call_works(serve: Serve) -> None:
    server = serve(CounterSource(), free_running=True)
    nested = b"\x0b" + i32(0x7FFFFFFF) + 50 * (b"\x06" + i32(0x7FFFFFFF))
    with Raw(server.address) as raw:
        raw.ask(1, kwargs())
        for items in (nested, b"", b"\xff" * 500, b"\x10" + i32(-1), text("x" * 1000)):
            assert raw.refused(300, items)
        huge = b"\x04" + i32(0x7FFFFFFF) + b"\x03" + struct.pack(">q", 1 << 53)
        assert "out of range" in raw.refused(703, b"\x00\x01", i32(0), huge)
        assert "there is no stream 5" in raw.refused(302, i32(5), i32(0), b"\x03" + bytes(8), i32(0))
        assert "direction 7" in raw.refused(202, b"\x00\x07")
        assert raw.ask(202, b"\x00\x01") == i32(4)


def test_half_frames_and_idle_clients_do_not_block_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 20)
    server = serve(CounterSource(), free_running=True)
    idle = [socket.create_connection(server.address) for _ in range(40)]
    for sock in idle[:20]:
        sock.sendall(call(20)[:15])
    told = client(server.url, "tell(n=make().getNumChannels(RX))")
    assert told[0]["n"] == 4
    assert server.n_connections <= 20
    for sock in idle:
        sock.close()
    wait_until(lambda: server.n_connections == 0)


def test_a_stream_that_is_never_connected_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim_backend.soapy_remote.stream_sockets.ACCEPT_TIMEOUT_S", 0.2)
    server = serve(CounterSource(), free_running=True)
    channels = b"\x10" + i32(1) + i32(0)
    setup = (b"\x00\x01", text("CS16"), channels, kwargs(**{"remote:prot": "tcp"}), text(""), text(""))
    with Raw(server.address) as raw:
        raw.ask(1, kwargs())
        assert raw.ask(300, *setup)[0] == 6
        assert b"did not connect" in raw.reply()
        assert raw.sock.recv(1) == b""
    told = client(server.url, "d = make(); tell(ok=bool(d.setupStream(RX, CS16, [0])))")
    assert told[0]["ok"]


def test_twenty_opens_and_killed_clients_leak_nothing(serve: Serve) -> None:
    server = serve(CounterSource(5e6))
    client(server.url, "make()")
    wait_until(lambda: server.n_connections == 0)
    threads, descriptors = len(_threads()), _descriptors()
    client(
        server.url,
        """
        for k in range(20):
            d = make(); s = d.setupStream(RX, CS16, [0, 1]); n = d.getStreamMTU(s); d.activateStream(s)
            assert d.readStream(s, bufs(CS16, [0, 1], n), n, timeoutUs=1_000_000).ret > 0
            if k % 2: d.closeStream(s)
            del d
        """,
    )
    for _ in range(3):
        with running_client(server.url, _STREAMING + "\nsys.stdin.read()") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "streaming\n"
            process.kill()
    wait_until(lambda: server.n_connections == 0 and len(_threads()) == threads)
    wait_until(lambda: _descriptors() <= descriptors)
    assert client(server.url, "tell(ok=bool(make().setupStream(RX, CS16, [0, 1, 2, 3])))")[0]["ok"]


def test_a_server_that_ends_tells_the_readers(serve: Serve) -> None:
    server = serve(CounterSource(2e6))
    with running_client(server.url, _STREAMING + _UNTIL_ERROR) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "streaming\n"
        server.stop()
        answer = process.stdout.readline()
    assert '"ret": -2' in answer
    assert '"again": [-2, -2, -2]' in answer
    assert '"rpc": ""' not in answer


def test_disconnects_of_the_scene_reach_the_clients_of_their_board(serve: Serve) -> None:
    """Free-running: scene time passes only as the second client reads."""
    scene = 'seed = 5\n[array]\nn_elements = 4\n[receiver]\nboard = "pluto"\n'
    faults = Faults(disconnect_at_s=(0.5,), disconnect_board=1)
    engine = ArrayEngine(parse_scene(scene), free_running=True)
    server = serve(engine, free_running=True, faults=faults, seed=5)
    other = """
d = make(serial="SIM00000005-0")
print("there", flush=True)
sys.stdin.readline()
tell(gain=d.getGain(RX, 0))
"""
    reader = _STREAMING.replace("make()", 'make(serial="SIM00000005-1")') + _UNTIL_ERROR
    with running_client(server.url, other) as steady:
        assert steady.stdout is not None
        assert steady.stdin is not None
        assert steady.stdout.readline() == "there\n"
        with running_client(server.url, reader) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "streaming\n"
            assert '"ret": -2' in process.stdout.readline()
        steady.stdin.write("\n")
        steady.stdin.flush()
        assert '"gain": 40' in steady.stdout.readline()
    assert client(server.url, 'tell(ok=make(serial="SIM00000005-1").getNumChannels(RX))')[0]["ok"] == 2


def test_overflows_of_the_scene_are_reported_and_exact(serve: Serve) -> None:
    source = CounterSource(1e6)
    faults = Faults(overflow_every_s=0.25, overflow_samples=777)
    server = serve(source, faults=faults)
    told = client(
        server.url,
        """
        d = make(); s = d.setupStream(RX, CS16, [0, 3]); n = d.getStreamMTU(s); out = bufs(CS16, [0, 3], n)
        d.activateStream(s)
        at, gaps = None, []
        while len(gaps) < 4:
            r = d.readStream(s, out, n, timeoutUs=1_000_000)
            index = round(r.timeNs / 1000)
            if r.ret == -4: lost_at = index; continue
            if at is not None and index != at:
                assert lost_at == at; gaps.append((at, index - at))
            assert np.array_equal(words(out[1], r.ret, CS16), expected(3, index, r.ret))
            at = index + r.ret
        tell(gaps=gaps)
        """,
    )
    assert all(at % 250_000 == 0 and lost == 777 for at, lost in told[0]["gaps"])
    noted = [(event[1], event[2]["lost_samples"]) for event in source.events if event[0] == "overflow"]
    assert [list(item) for item in noted[:4]] == told[0]["gaps"]


def test_dropped_blocks_show_in_the_time_stamps_only(serve: Serve) -> None:
    faults = Faults(drop_blocks_at_s=(0.006, 0.009), drop_blocks=3)
    server = serve(CounterSource(), free_running=True, faults=faults)
    told = client(
        server.url,
        """
        d = make(); s = d.setupStream(RX, CS16, [0, 3]); n = d.getStreamMTU(s); out = bufs(CS16, [0, 3], n)
        d.activateStream(s)
        at, gaps, other = None, [], 0
        while at is None or at < 800_000:
            r = d.readStream(s, out, n, timeoutUs=1_000_000)
            if r.ret < 0: other += 1; continue
            index = round(r.timeNs * 61.44e6 / 1e9)
            if at is not None and index != at: gaps.append((at, index - at))
            at = index + r.ret
        tell(gaps=gaps, other=other, n=n)
        """,
    )[0]
    assert told["other"] == 0
    assert [lost for _, lost in told["gaps"]] == [3 * told["n"]] * 2
    for (at, _), begin in zip(told["gaps"], (368_640, 552_960), strict=True):
        assert at <= begin < at + told["n"]


def test_a_stall_ends_in_an_overflow(serve: Serve) -> None:
    server = serve(CounterSource(1e6), faults=Faults(stall_at_s=(0.3,), stall_s=1.5))
    told = client(
        server.url,
        """
        d = make(); s = d.setupStream(RX, CS16, [0]); n = d.getStreamMTU(s); out = bufs(CS16, [0], n)
        while d.getHardwareTime() > 250_000_000: time.sleep(0.01); break
        d.activateStream(s)
        timeouts = overflows = 0
        began = time.monotonic()
        while time.monotonic() - began < 8 and not overflows:
            r = d.readStream(s, out, n, timeoutUs=200_000)
            timeouts += r.ret == -1; overflows += r.ret == -4
        tell(timeouts=timeouts, overflows=overflows)
        """,
    )[0]
    assert told["timeouts"] >= 2
    assert told["overflows"] == 1


def test_a_link_that_breaks_within_a_datagram_frees_its_channels(serve: Serve) -> None:
    """A stock reader never comes back from this (it spins, whether the link ends by FIN or RST); others go on."""
    source = CounterSource()
    server = serve(source, free_running=True, faults=Faults(half_reply_at_s=(0.05,)))
    with running_client(server.url, _STREAMING + _UNTIL_ERROR) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "streaming\n"
        wait_until(lambda: [e for e in source.events if e[0] == "fault" and e[2]["kind"] == "half_reply"])
        told = client(server.url, "d = make(); tell(ok=bool(d.setupStream(RX, CS16, [0, 1])))")
    assert told[0]["ok"]


def test_a_slow_network_loses_samples_by_name(serve: Serve) -> None:
    server = serve(CounterSource(2e6), faults=Faults(network_mbit_s=20.0, network_latency_s=0.02))
    told = client(
        server.url,
        """
        began = time.monotonic(); d = make(); opened = time.monotonic() - began
        s = d.setupStream(RX, CS16, [0]); n = d.getStreamMTU(s); out = bufs(CS16, [0], n)
        d.activateStream(s)
        got = overflows = 0
        began = time.monotonic()
        while time.monotonic() - began < 20 and not overflows:
            r = d.readStream(s, out, n, timeoutUs=200_000)
            got += max(0, r.ret); overflows += r.ret == -4
        tell(mbit_s=got * 32 / 1e6 / (time.monotonic() - began), overflows=overflows, opened=opened)
        """,
    )[0]
    assert told["mbit_s"] < 21  # 64 would be all
    assert told["overflows"] == 1
    assert told["opened"] > 0.08


def test_an_address_in_use_says_so() -> None:
    first = SoapyServer(CounterSource(), ("127.0.5.1", 0))
    try:
        with pytest.raises(DeviceError, match="cannot listen"):
            SoapyServer(CounterSource(), first.address)
    finally:
        first.stop()


def test_a_process_that_ends_without_stop_still_poisons() -> None:
    """atexit: a program that forgets to stop its server does not leave spinning readers."""
    root = str(Path(__file__).parents[3])
    code = (
        "import sys; from sim_backend.soapy_remote.server import SoapyServer\n"
        "from tests.conformance.soapy_remote.counter_server import CounterSource\n"
        "s = SoapyServer(CounterSource(1e6), ('127.0.5.1', 0)); s.start()\n"
        "print(s.url, flush=True); sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with running_client(url, _STREAMING + _UNTIL_ERROR) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "streaming\n"
        process.communicate("\n", timeout=20)
        assert '"ret": -2' in reader.stdout.readline()
