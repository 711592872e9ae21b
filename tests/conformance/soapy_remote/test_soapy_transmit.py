"""Transmit streams: what the client writes reaches the transmitters without a seam, at its time and its level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene
from sim_backend.soapy_remote.server import SoapyServer
from tests.conformance.soapy_remote.clients import client, running_client, wait_until
from tests.conformance.soapy_remote.counter_server import CounterSource

Serve = Callable[..., SoapyServer]
_FULL_GAIN_DB = 41.95  # of the ADRV9009
#: Writes all of `samples` (channels, n) and ends the burst with the last piece.
_WRITE = """
def write(d, s, samples, flags=SOAPY_SDR_END_BURST, time_ns=0):
    n, at = d.getStreamMTU(s), 0
    per = 2 if samples.dtype == np.int16 else 1
    total = samples.shape[1] // per
    while at < total:
        m = min(n, total - at)
        last = flags if at + m == total else 0
        first = SOAPY_SDR_HAS_TIME if at == 0 and time_ns else 0
        part = [np.ascontiguousarray(row[at * per:(at + m) * per]) for row in samples]
        r = d.writeStream(s, part, m, first | last, time_ns if first else 0, 5_000_000)
        assert r.ret > 0, r.ret
        at += r.ret
def ramp(n, channels):
    k = np.arange(n)
    return np.stack([((k + 7 * c) % 4096 - 2048) / 2048 + 1j * ((k // 4096) % 256) / 256 for c in channels]).astype(np.complex64)
"""


def _ramp(n: int, channel: int) -> NDArray[np.complex128]:
    k = np.arange(n)
    return ((k + 7 * channel) % 4096 - 2048) / 2048 + 1j * ((k // 4096) % 256) / 256


def _sounding(source: CounterSource) -> list[tuple[NDArray[np.complex64], int, bool]]:
    return [(wave, at, cyclic) for wave, at, cyclic in source.sent if wave is not None]


@pytest.mark.parametrize("mtu", ["4096", "65536"])
def test_a_long_burst_arrives_without_a_seam(serve: Serve, mtu: str) -> None:
    source = CounterSource()
    server = serve(source, free_running=True)
    n = 1_000_000
    client(
        server.url,
        _WRITE
        + f"""
d = make()
for c in (0, 1): d.setGain(TX, c, 1000)
s = d.setupStream(TX, CF32, [1, 0], {{"remote:mtu": "{mtu}", "remote:format": "CF32"}})
d.activateStream(s)
write(d, s, ramp({n}, [1, 0]))
d.deactivateStream(s); d.closeStream(s)
""",
    )
    pieces = _sounding(source)
    at = pieces[0][1]
    for wave, first, cyclic in pieces:
        assert (first, cyclic) == (at, False)
        at += wave.shape[1]
    sent = np.concatenate([wave for wave, _, _ in pieces], axis=1)
    assert sent.shape == (2, n)
    for channel in (0, 1):
        assert np.max(np.abs(sent[channel] - _ramp(n, channel))) < 1e-6
    assert source.sent[-1][0] is None  # silence at the end


def _staged(url: str, sounds: Callable[[], object], code: str) -> None:
    """Run a client that says "sent", goes on once that sounds, and says "done"."""
    with running_client(url, code) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "sent\n"
        wait_until(sounds)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"


def test_gain_is_full_scale_less_the_attenuation_and_starts_at_the_greatest(serve: Serve) -> None:
    source = CounterSource()
    server = serve(source, free_running=True)
    _staged(
        server.url,
        lambda: _sounding(source),
        _WRITE
        + """
d = make()
s = d.setupStream(TX, CS16, [0], {"cyclic": "true"})
d.activateStream(s)
one = np.zeros((1, 200), np.int16); one[0, ::2] = 32767
write(d, s, one)
print("sent", flush=True)
sys.stdin.readline()
d.setGain(TX, 0, 21.95)
d.deactivateStream(s); d.closeStream(s)
print("done", flush=True)
""",
    )
    (wave, _, cyclic) = _sounding(source)[0]
    assert cyclic
    assert wave.shape == (2, 100)
    assert np.array_equal(wave[0], np.ones(100))
    assert not np.any(wave[1])
    begins = next(event[1] for event in source.events if event[0] == "scale")
    turned = [event[1] for event in source.events if event[0] == "rescale"]
    assert begins == pytest.approx([10 ** (-_FULL_GAIN_DB / 20)] * 2 + [0, 0], rel=1e-9)
    assert turned[0] == pytest.approx([0.1, begins[1], 0, 0], rel=1e-9)  # the period goes on, louder
    assert source.sent[-1][0] is None


def test_cyclic_by_setting_and_a_new_period_takes_over(serve: Serve) -> None:
    source = CounterSource()
    server = serve(source, free_running=True)
    _staged(
        server.url,
        lambda: len(_sounding(source)) == 2,
        _WRITE
        + """
d = make()
d.writeSetting("tx_cyclic", "true")
s = d.setupStream(TX, CF32, [0, 1], {"remote:mtu": "4096"})
d.activateStream(s)
write(d, s, ramp(1000, [0, 1]))
write(d, s, ramp(700, [0, 1]))
print("sent", flush=True)
sys.stdin.readline()
d.closeStream(s)
print("done", flush=True)
""",
    )
    waves = _sounding(source)
    assert [(wave.shape, cyclic) for wave, _, cyclic in waves] == [((2, 1000), True), ((2, 700), True)]
    assert source.sent[-1][0] is None


def test_bursts_at_a_time_late_ones_and_a_stream_that_runs_dry(serve: Serve) -> None:
    source = CounterSource(1e6)
    server = serve(source)
    told = client(
        server.url,
        _WRITE
        + """
d = make()
s = d.setupStream(TX, CF32, [0])
d.activateStream(s)
at = d.getHardwareTime() + 400_000_000
write(d, s, ramp(3000, [0]), time_ns=at)
tell(at=at)
write(d, s, ramp(500, [0]), time_ns=1000)
late = d.readStreamStatus(s, timeoutUs=2_000_000)
tell(late=late.ret, ns=late.timeNs)
write(d, s, ramp(500, [0]), flags=0)
dry = d.readStreamStatus(s, timeoutUs=2_000_000)
tell(dry=dry.ret)
write(d, s, ramp(500, [0]))
tell(quiet=d.readStreamStatus(s, timeoutUs=300_000).ret)
d.deactivateStream(s); d.closeStream(s)
""",
    )
    assert _sounding(source)[0][1] == -(-told[0]["at"] // 1000)
    assert (told[1]["late"], told[1]["ns"]) == (-6, 1000)
    assert told[2]["dry"] == -7
    assert told[3]["quiet"] == -1
    assert [event for event in source.events if event[0] == "tx_underflow"]
    assert [wave.shape[1] for wave, _, _ in _sounding(source)[-2:]] == [500, 500]
    assert sum(wave.shape[1] for wave, _, _ in _sounding(source)) == 4000


def test_the_fifo_holds_a_fast_client_back(serve: Serve) -> None:
    """2 s of samples cannot be written in much less than 2 s."""
    source = CounterSource(1e6)
    server = serve(source)
    told = client(
        server.url,
        _WRITE
        + """
d = make()
s = d.setupStream(TX, CF32, [0, 1], {"remote:window": "65536"})
d.activateStream(s)
began = time.monotonic()
write(d, s, ramp(2_000_000, [0, 1]))
tell(s=time.monotonic() - began)
""",
    )
    assert told[0]["s"] > 1.5


def test_a_client_that_is_killed_leaves_silence_and_the_greatest_attenuation(serve: Serve) -> None:
    source = CounterSource(1e6)
    server = serve(source)
    code = (
        _WRITE
        + """
d = make()
d.setGain(TX, 0, 30)
s = d.setupStream(TX, CF32, [0], {"cyclic": "true"})
d.activateStream(s)
write(d, s, ramp(1000, [0]))
print("sent", flush=True)
sys.stdin.read()
"""
    )
    with running_client(server.url, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sent\n"
        wait_until(lambda: _sounding(source))
        process.kill()
        wait_until(lambda: source.sent[-1][0] is None)
    wait_until(lambda: server.n_connections == 0)
    told = client(server.url, "d = make(); tell(gain=d.getGain(TX, 0)); s = d.setupStream(TX, CF32, [0])")
    assert told[0]["gain"] == 0.0


def test_one_transmit_stream_per_board(serve: Serve) -> None:
    server = serve(CounterSource(1e6))
    told = client(
        server.url,
        """
        d = make()
        s = d.setupStream(TX, CF32, [0])
        tell(second=raises(d.setupStream, TX, CF32, [1]), rx=bool(d.setupStream(RX, CF32, [0])))
        """,
    )
    assert "in use" in told[0]["second"]
    assert told[0]["rx"]


def test_targets_of_a_scene_echo_what_is_sent(serve: Serve) -> None:
    """The transmission raises the received power by far, and silence ends it."""
    scene = """
seed = 4
emitter = []
[array]
n_elements = 2
[receiver]
board = "pluto"
[[target]]
angle_deg = 10.0
range_m = 30.0
"""
    engine = ArrayEngine(parse_scene(scene), free_running=True)
    server = serve(engine, free_running=True)
    told = client(
        server.url,
        _WRITE
        + """
d = make()
d.setGain(TX, 0, 89.75)
def power():
    s = d.setupStream(RX, CF32, [0, 1])
    out = bufs(CF32, [0, 1], 5000)
    d.activateStream(s, SOAPY_SDR_END_BURST, 0, 5000)
    got = []
    while sum(map(len, got)) < 5000:
        r = d.readStream(s, out, 5000, timeoutUs=2_000_000)
        assert r.ret > 0
        got.append(out[1][:r.ret].copy())
    d.closeStream(s)
    return float(np.mean(np.abs(np.concatenate(got)) ** 2))
quiet = power()
t = d.setupStream(TX, CF32, [0], {"cyclic": "true"})
d.activateStream(t)
write(d, t, 0.25 * np.exp(2j * np.pi * np.arange(1000) / 100)[None].astype(np.complex64))
until = time.monotonic() + 20
while (loud := power()) < 30 * quiet and time.monotonic() < until: pass
d.deactivateStream(t)
tell(quiet=quiet, loud=loud, after=power())
""",
    )[0]
    assert told["loud"] > 30 * told["quiet"]
    assert told["after"] < 2 * told["quiet"]
