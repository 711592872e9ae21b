"""Receive streams: a counter through the stock client, sample by sample, in every format and on both transports."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import numpy as np
import pytest

from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene
from sim_backend.soapy_remote.server import SoapyServer
from tests.conformance.soapy_remote.clients import client, counter_process, running_client
from tests.conformance.soapy_remote.counter_server import CounterSource

Serve = Callable[..., SoapyServer]

#: Reads `total` samples of a counter and compares every one, and every time stamp.
COUNT = """
def count(d, channels, total, fmt, rate=61.44e6, **args):
    s = d.setupStream(RX, fmt, channels, {k.replace("_", ":"): v for k, v in args.items()})
    n = d.getStreamMTU(s)
    out = bufs(fmt, channels, n)
    ok = d.activateStream(s) == 0
    first, at, bad, late = None, None, 0, 0
    while at is None or at - first < total:
        r = d.readStream(s, out, n, timeoutUs=5_000_000)
        if r.ret <= 0:
            return dict(ret=r.ret, at=at)
        index = r.timeNs * rate / 1e9
        if at is None:
            first = at = round(index)
        late = max(late, abs(index - at) * 1e9 / rate)
        bad += sum(not np.array_equal(words(b, r.ret, fmt), expected(c, at, r.ret)) for b, c in zip(out, channels))
        at += r.ret
    d.deactivateStream(s); d.closeStream(s)
    return dict(ok=ok, n=at - first, bad=bad, late_ns=late, mtu=n)
"""


@pytest.mark.parametrize(
    ("channels", "fmt", "mtu", "wire"),
    [
        ("[0, 1, 2, 3]", "CS16", 65536, "CS16"), ("[3, 0, 2, 1]", "CF32", 16384, "CS16"),
        ("[2]", "CF32", 4096, "CF32"), ("[1, 3]", "CF32", 200000, "CF32"),
    ],
)  # fmt: skip
def test_two_million_samples_are_exact(serve: Serve, channels: str, fmt: str, mtu: int, wire: str) -> None:
    url = serve(CounterSource(), free_running=True).url
    code = f'tell(**count(make(), {channels}, 2_000_000, {fmt}, remote_mtu="{mtu}", remote_format="{wire}"))'
    told = client(url, COUNT + code)[0]
    assert told["ok"]
    assert told["n"] >= 2_000_000
    assert told["bad"] == 0
    assert told["late_ns"] <= 1.0


@pytest.mark.slow
def test_a_hundred_million_samples_on_four_channels_are_exact() -> None:
    with counter_process(0) as url:
        code = 'tell(**count(make(), [0, 1, 2, 3], 100_000_000, CF32, remote_mtu="262144"))'
        told = client(url, COUNT + code, timeout_s=600)[0]
    assert (told["ok"], told["bad"]) == (True, 0)
    assert told["n"] >= 100_000_000
    assert told["late_ns"] <= 1.0


def test_over_udp_and_by_the_clock(serve: Serve) -> None:
    source = CounterSource(1e6)
    url = serve(source).url
    code = """
    d = make()
    tell(**count(d, [0, 2], 200_000, CS16, rate=1e6, remote_prot="udp"))
    tell(**count(d, [0, 2], 200_000, CS16, rate=1e6))
    """
    for told in client(url, COUNT + dedent(code)):
        assert told["bad"] == 0, told
        assert told["late_ns"] <= 1.0


def test_narrow_formats_round_and_keep_their_scale(serve: Serve) -> None:
    scene = 'seed = 3\n[array]\nn_elements = 2\n[receiver]\nboard = "pluto"\n'
    engine = ArrayEngine(parse_scene(scene), free_running=True)
    url = serve(engine, free_running=True).url
    told = client(
        url,
        """
        d = make()
        for fmt in ("CS16", "CS12", "CS8"):
            s = d.setupStream(RX, CF32, [0, 1], {"remote:format": fmt})
            out = bufs(CF32, [0, 1], d.getStreamMTU(s))
            d.activateStream(s, SOAPY_SDR_END_BURST, 0, 100)
            r = d.readStream(s, out, 100, timeoutUs=2_000_000)
            tell(fmt=fmt, ns=r.timeNs, re=[b[:100].real.tolist() for b in out], im=[b[:100].imag.tolist() for b in out])
            d.closeStream(s)
        """,
    )
    for answer in told:
        first = round(answer["ns"] * 2.5e6 / 1e9)
        want = engine.read(0, first, 100) / 2048.0
        got = np.empty((100, 4))
        got[:, 0::2], got[:, 1::2] = np.transpose(answer["re"]), np.transpose(answer["im"])
        step = 0.0 if answer["fmt"] != "CS8" else 0.5 / 128
        assert np.max(np.abs(got - want)) <= step
        assert np.std(want) > 0.05


def test_activation_at_a_time_for_a_number_of_samples(serve: Serve) -> None:
    source = CounterSource(1e6)
    url = serve(source).url
    told = client(
        url,
        """
        d = make()
        s = d.setupStream(RX, CS16, [1])
        n = d.getStreamMTU(s)
        out = bufs(CS16, [1], n)
        tell(before=d.readStream(s, out, n, timeoutUs=50_000).ret)
        at = d.getHardwareTime() + 150_000_000
        tell(code=d.activateStream(s, SOAPY_SDR_HAS_TIME | SOAPY_SDR_END_BURST, at, n + 10), at=at)
        got = [d.readStream(s, out, n, timeoutUs=1_000_000) for _ in range(2)]
        tell(n=[r.ret for r in got], flags=[r.flags for r in got], ns=[r.timeNs for r in got],
             word=int(words(out[0], 1, CS16)[0]), after=d.readStream(s, out, n, timeoutUs=50_000).ret, mtu=n)
        tell(late=d.activateStream(s, SOAPY_SDR_HAS_TIME, 5, 0), far=d.activateStream(s, SOAPY_SDR_HAS_TIME, 1 << 60, 0))
        d.activateStream(s)
        tell(again=d.readStream(s, out, n, timeoutUs=1_000_000).ret == n)
        """,
    )
    assert told[0]["before"] == -1
    assert told[1]["code"] == 0
    begin = -(-told[1]["at"] // 1000)
    mtu = told[2]["mtu"]
    assert told[2]["n"] == [mtu, 10]
    assert told[2]["ns"] == [begin * 1000, (begin + mtu) * 1000]
    assert [flags & 6 for flags in told[2]["flags"]] == [4, 6]
    assert told[2]["word"] == (begin + mtu) & 0xFFFFFFFF ^ 1 << 28
    assert told[2]["after"] == -1
    assert told[3] == {"late": -6, "far": -6}
    assert told[4]["again"]


def test_a_client_that_does_not_read_gets_an_overflow_and_its_time(serve: Serve) -> None:
    source = CounterSource(5e6)
    server = serve(source)
    told = client(
        server.url,
        """
        d = make()
        s = d.setupStream(RX, CS16, [0, 1, 2, 3], {"remote:window": "65536"})
        n = d.getStreamMTU(s)
        out = bufs(CS16, range(4), n)
        d.activateStream(s)
        d.readStream(s, out, n, timeoutUs=1_000_000)
        time.sleep(1.5)
        at, gaps = None, []
        while len(gaps) < 1:
            r = d.readStream(s, out, n, timeoutUs=1_000_000)
            if r.ret == -4:
                lost_at = round(r.timeNs * 5e6 / 1e9)
                assert lost_at == at, (lost_at, at)
                r = d.readStream(s, out, n, timeoutUs=1_000_000)
                gaps.append((at, round(r.timeNs * 5e6 / 1e9) - at))
            assert r.ret > 0
            at = round(r.timeNs * 5e6 / 1e9)
            assert np.array_equal(words(out[3], r.ret, CS16), expected(3, at, r.ret))
            at += r.ret
        d.deactivateStream(s); d.closeStream(s)
        tell(gaps=gaps)
        """,
    )
    noted = [(at, details["lost_samples"]) for kind, at, details in _notes(source, "overflow")]
    assert told[0]["gaps"][0] == list(noted[0])
    assert noted[0][1] > 5e6 * 0.3  # 1.5 s less the FIFO and the window


def _notes(source: CounterSource, kind: str) -> list[tuple[str, int, dict[str, int]]]:
    return [event for event in source.events if event[0] == kind]  # type: ignore[misc]


def test_sequence_goes_on_over_deactivation_and_nothing_comes_while_stopped(serve: Serve) -> None:
    url = serve(CounterSource(2e6)).url
    told = client(
        url,
        """
        d = make()
        s = d.setupStream(RX, CS16, [0])
        n = d.getStreamMTU(s)
        out = bufs(CS16, [0], n)
        for turn in range(3):
            d.activateStream(s)
            ret = [d.readStream(s, out, n, timeoutUs=1_000_000).ret for _ in range(50)]
            d.deactivateStream(s)
            stale = 0
            while d.readStream(s, out, n, timeoutUs=100_000).ret > 0: stale += 1
            tell(good=all(r > 0 for r in ret), stale=stale)
        """,
    )
    assert all(turn["good"] for turn in told)
    assert all(turn["stale"] < 1000 for turn in told)


def test_a_channel_belongs_to_one_stream(serve: Serve) -> None:
    server = serve(CounterSource(1e6))
    hold = """
    d = make()
    s = d.setupStream(RX, CS16, [1, 2])
    print("held", flush=True)
    sys.stdin.read()
    """
    with running_client(server.url, dedent(hold)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = client(
            server.url,
            """
            d = make()
            tell(taken=raises(d.setupStream, RX, CS16, [0, 2]))
            s = d.setupStream(RX, CS16, [3, 0]); n = d.getStreamMTU(s); d.activateStream(s)
            tell(beside=d.readStream(s, bufs(CS16, [0, 3], n), n, timeoutUs=1_000_000).ret > 0)
            tell(bad=[bool(raises(d.setupStream, RX, *a)) for a in (
                (CS16, [9]), (CS16, [3, 3]), ("CF64", [1]), (CS16, [0], {"remote:mtu": "20"}),
                (CS16, [0], {"remote:window": "nan"}))])
            d.closeStream(s)
            s = d.setupStream(RX, CS16, [0, 3]); d.closeStream(s)
            """,
        )
    assert "RX channel 2" in told[0]["taken"]
    assert told[1]["beside"]
    assert all(told[2]["bad"])


def test_samples_of_a_scene_are_what_the_engine_makes(serve: Serve) -> None:
    """All channels of two boards in one stream; a retune on the way is where the truth says."""
    scene = 'seed = 9\n[array]\nn_elements = 4\n[receiver]\nboard = "pluto"\n'
    engine = ArrayEngine(parse_scene(scene), free_running=True)
    url = serve(engine, free_running=True).url
    told = client(
        url,
        """
        d = make()
        s = d.setupStream(RX, CS16, [3, 0, 1, 2], {"remote:window": "65536"})
        n = d.getStreamMTU(s)
        out = bufs(CS16, range(4), n)
        d.activateStream(s)
        for k in range(40):
            r = d.readStream(s, out, n, timeoutUs=1_000_000)
            if k == 20: d.setFrequency(RX, 3, 2.6e9)
            if k % 13 == 0 or k == 39:
                tell(ns=r.timeNs, n=r.ret, iq=[b[:2 * r.ret].tolist() for b in out])
        """,
    )
    for answer in told:
        first = round(answer["ns"] * 2.5e6 / 1e9)
        both = np.concatenate([engine.read(board, first, answer["n"]) for board in (0, 1)], axis=1)
        for row, channel in zip(answer["iq"], (3, 0, 1, 2), strict=True):
            want = both[:, 2 * channel : 2 * channel + 2].reshape(-1)
            assert np.array_equal(row, want)
