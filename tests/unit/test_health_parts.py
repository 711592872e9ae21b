"""Parts of the health watch on samples and headers made by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from drivers.sigmf_files import open_recording
from hil.cli.info import describe_recording
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import EpochEvent, EpochScope, new_epoch
from hil.core.errors import ConnectionLost, DeviceTimeout, ProtocolError
from hil.core.frame import Block, Frame, FrameFlag, StreamInfo
from hil.health.bits import bits_of, stuck_bits
from hil.health.blocks import SNAPSHOTS, WINDOWS, BlockTap
from hil.health.catalogue import KINDS, make_event, words_of
from hil.health.event import Severity
from hil.health.lags import find_lags
from hil.health.readings import read_block
from hil.health.silence import shared_power, silent_channels
from hil.health.transport import ClockWatch, TransportWatch
from hil.health.watch import HealthWatch
from hil.recorder import Recorder

FS_HZ = 1e6


def stream_info(m: int = 4) -> StreamInfo:
    config = RxConfig(2.4e9, FS_HZ, FS_HZ, (30.0,) * m, GainMode.MANUAL, tuple(range(m)), 4096)
    device = DeviceInfo("sim:", "sim", "test", "s1", "", ((0, 1), (2, 3)), WireFormat.CI16, 12)
    return StreamInfo(config, device, new_epoch("s1"))


def frame(
    x: np.ndarray, first: int, seq: int = 0, flags: FrameFlag = FrameFlag.NONE, late_s: float = 0.0,
    stream: StreamInfo | None = None,
) -> Frame:  # fmt: skip
    t_ns = round(((first + x.shape[1]) / FS_HZ + late_s) * 1e9)
    return Frame(x.astype(np.complex64), first, seq, t_ns, t_ns, flags, stream or stream_info(len(x)))


def test_every_kind_has_one_clear_sentence_each() -> None:
    for kind, entry in KINDS.items():
        event = make_event(kind, 0, 1, channels=(1,), value=2.0)
        for text in (event.cause, event.remedy):
            assert text[0].isupper(), kind
            assert "{" not in text, kind
            assert not text.endswith("."), kind
            assert len(text) < 140, kind
        assert len(kind) <= 20, "SigMF labels have at most 20 characters"
        assert entry.severity in Severity
    assert words_of((2, 3), (1,)) == "group 1 (channels 2 and 3)"
    assert words_of(()) == "all channels"


@pytest.mark.parametrize(
    "pieces", [[65536], [1000] * 65 + [536], [17] * 3855 + [1], [8192] * 8, [4096, 61440]]
)
def test_blocks_do_not_depend_on_the_frames(pieces: list[int]) -> None:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((3, 65536)) + 1j * rng.standard_normal((3, 65536))).astype(np.complex64)
    tap, blocks, at = BlockTap(3, 16384), [], 0
    for n in pieces:
        blocks += tap.take(frame(x[:, at : at + n], at), np.array([n, 0, 0]))
        at += n
    assert [b.first_sample for b in blocks] == [0, 16384, 32768, 49152]
    for b in blocks:
        for w in range(WINDOWS):
            begin = b.first_sample + w * 16384 // WINDOWS
            np.testing.assert_array_equal(b.windows[w], x[:, begin : begin + SNAPSHOTS])
        n = b.stretch.shape[1]
        np.testing.assert_array_equal(b.stretch, x[:, b.first_sample : b.first_sample + n])
        np.testing.assert_allclose(b.clipped, [1.0, 0, 0])


def test_a_block_with_a_gap_is_left_out() -> None:
    x = np.ones((2, 16384), np.complex64)
    tap, none = BlockTap(2, 16384), np.zeros(2, np.int64)
    assert len(tap.take(frame(x, 0), none)) == 1
    assert tap.take(frame(x, 20000), none) == []  # begins and ends inside blocks
    assert [b.first_sample for b in tap.take(frame(x, 36384), none)] == [32768]


def wide_band(n: int, seed: int, width: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    white = rng.standard_normal(n + width) + 1j * rng.standard_normal(n + width)
    return np.convolve(white, np.hanning(width + 2)[1:-1], "valid")[:n] / 2


def received(m: int, n: int, moves: dict[int, int], seed: int = 3, k: int = 1) -> np.ndarray:
    """k wide-band signals with random phases on m channels; channel c is ahead by moves[c] samples."""
    rng = np.random.default_rng(seed)
    x = 0.05 * (rng.standard_normal((m, n)) + 1j * rng.standard_normal((m, n)))
    for source in range(k):
        s = wide_band(n + 4000, 100 * seed + source)
        for c in range(m):
            phase = np.exp(2j * np.pi * rng.random())
            begin = 2000 + moves.get(c, 0)
            x[c] += phase * s[begin : begin + n]
    return x.astype(np.complex64)


@pytest.mark.parametrize(("moves", "k"), [({2: 1}, 1), ({0: -3}, 1), ({5: 40}, 2), ({4: 2, 5: 2}, 1)])
def test_lags_of_channels_and_groups_are_found(moves: dict[int, int], k: int) -> None:
    stretches = [received(8, 4096, moves, seed, k) for seed in range(3)]
    sets = [(c,) for c in range(8)] + [(0, 1), (2, 3), (4, 5), (6, 7)]
    found = find_lags(stretches, sets, k)
    assert found is not None
    assert (found.kind, found.members, found.lag) == ("slip", tuple(moves), next(iter(moves.values())))


def test_channels_in_step_have_no_lag_and_a_conjugate_is_told() -> None:
    sets = [(c,) for c in range(6)] + [(0, 1), (2, 3)]
    stretches = [received(6, 4096, {}, seed) for seed in range(3)]
    assert find_lags(stretches, sets, 1) is None
    for x in stretches:
        x[3] = x[3].conj()
    found = find_lags(stretches, sets, 1)
    assert found is not None
    assert (found.kind, found.members) == ("swapped-iq", (3,))
    rng = np.random.default_rng(9)
    for x in stretches:
        x[3] = rng.standard_normal(4096) + 1j * rng.standard_normal(4096)
    found = find_lags(stretches, sets, 1)
    assert found is not None
    assert (found.kind, found.members) == ("unlocked-channel", (3,))


def feed(watch: TransportWatch, n_blocks: int, start: int, **more) -> list[str]:
    x = np.zeros((4, 10000), np.complex64)
    kinds = []
    for i in range(n_blocks):
        kinds += [e.kind for e in watch.frame(frame(x, start + i * 10000, more.get("seq", 0) + i,
                                                   late_s=more.get("late_s", 0.0)))]  # fmt: skip
    return kinds


def test_losses_are_named_by_who_lost_them() -> None:
    x = np.zeros((4, 10000), np.complex64)
    for flags, seq, first, kind, value in [
        (FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW, 50, 520000, "overflow", 20000),
        (FrameFlag.GAP_BEFORE, 50, 510000, "dropped-blocks", 10000),
        (FrameFlag.NONE, 50, 507777, "dropped-blocks", 7777),
        (FrameFlag.NONE, 53, 530000, "slow-computer", 30000),
    ]:
        watch = TransportWatch()
        assert feed(watch, 50, 0) == []
        (event,) = watch.frame(frame(x, first, seq, flags))
        assert (event.kind, event.value) == (kind, value)
    watch = TransportWatch()
    feed(watch, 50, 0)
    assert watch.frame(frame(x, 600000, 50, FrameFlag.RETUNED | FrameFlag.GAP_BEFORE)) == []  # asked for


def test_samples_that_vanish_without_a_word_show_in_the_clock() -> None:
    watch = TransportWatch()
    rng = np.random.default_rng(4)
    x = np.zeros((4, 10000), np.complex64)
    kinds = []
    for i in range(900):  # 9 s of blocks that come up to 8 ms late, and 60 ms missing from second 5 on
        lost_s = 0.06 if i >= 500 else 0.0
        kinds += [
            (e.kind, e.value, i)
            for e in watch.frame(frame(x, i * 10000, i, late_s=lost_s + rng.random() * 0.008))
        ]
    ((kind, value, i),) = kinds
    assert kind == "dropped-blocks"
    assert value == pytest.approx(60000, rel=0.1)
    assert i < 640


def test_pauses_that_are_caught_up_and_a_clock_that_is_off_are_no_loss() -> None:
    clock, late = ClockWatch(), 0.0
    rng = np.random.default_rng(5)
    for i in range(3000):
        if i % 400 == 399:
            late = 0.3  # a scheduler's whim; the queue is worked off at twice the rate
        late = max(late - 0.01, 0.0)
        t_s = (i + 1) * 0.01 * (1 + 50e-6) + late + rng.random() * 0.003
        assert clock.arrived(t_s, (i + 1) * 10000, FS_HZ, 0.01) is None


def test_a_slow_link_and_a_stall_are_named() -> None:
    watch = TransportWatch()
    x = np.zeros((4, 10000), np.complex64)
    feed(watch, 200, 0)
    kinds: list[str] = []
    for i in range(200, 500):  # a third of the rate
        flags = FrameFlag.OVERFLOW | FrameFlag.GAP_BEFORE if i == 480 else FrameFlag.NONE
        kinds += [e.kind for e in watch.frame(frame(x, i * 10000, i, flags, late_s=(i - 200) * 0.02))]
    assert kinds == ["slow-network"]
    watch = TransportWatch()  # the same before the device's buffer is full
    feed(watch, 300, 0)
    told = []
    for i in range(300, 600):
        found = watch.frame(frame(x, i * 10000, i, late_s=(i - 300) * 0.02))
        told += [(e.kind, e.value, i) for e in found]
    assert told[0][0] == "slow-network"
    assert told[0][1] == pytest.approx(33.3, abs=6.0)  # the first window saw the good link, too
    assert told[0][2] - 300 < 100  # three seconds of the slow link
    assert {kind for kind, _, _ in told} == {"slow-network"}
    watch = TransportWatch()
    feed(watch, 50, 0)
    assert [e.kind for e in watch.tick(round(1.0e9))] == []
    assert [e.kind for e in watch.tick(round(3.5e9))] == ["stall"]
    assert watch.tick(round(3.9e9)) == []
    never = TransportWatch()  # a stream that does not begin
    assert [never.tick(round(t * 1e9)) for t in (10.0, 12.0, 15.9)] == [[], [], []]
    assert [e.kind for e in never.tick(round(16.1e9))] == ["stall"]
    assert [e.kind for e in watch.frame(frame(x, 500000, 50, late_s=4.0))] == []  # told already


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionLost("ip:x: the connection broke while receiving (Broken pipe)"), "disconnect"),
        (ConnectionLost("ip:x: no samples for 3.0 s"), "half-reply"),
        (DeviceTimeout("no block within 10 s"), "half-reply"),
        (ProtocolError("6 values per sample arrive, expected 8"), "protocol"),
    ],
)
def test_what_an_error_means(error: Exception, kind: str) -> None:
    watch = HealthWatch(stream_info())
    assert watch.transport(error).kind == kind  # type: ignore[arg-type]
    status = watch.status()
    assert status["state"] == "fault"
    assert status["active"][0]["kind"] == kind
    assert status["active"][0]["remedy"]
    json.dumps(status)


def test_a_retune_starts_new_references_and_is_told() -> None:
    info = stream_info()
    watch = HealthWatch(info)
    x = received(4, 8192, {})
    for i in range(60):
        assert watch.frame(frame(x, i * 8192, i, stream=info)) == []
    assert watch.watching
    assert any("without a calibration" in text for text in watch.not_watched())
    later = replace(info, epoch=info.epoch.after(EpochEvent.LO, EpochScope.GROUP_PHASES))
    (event,) = watch.frame(frame(x, 60 * 8192, 60, FrameFlag.RETUNED, stream=later))
    assert (event.kind, event.severity) == ("retune", Severity.INFO)
    assert not watch.watching


def test_bits_that_never_change_are_found() -> None:
    rng = np.random.default_rng(3)
    words = np.rint(rng.standard_normal((3, 600, 2)) * 200).astype(np.int16)
    words[1] |= 1 << 5
    words[2, :, 1] &= ~np.int16(1 << 9)  # of Q alone, stuck at 0
    words[2, :, 1] |= np.int16(-1024) * (words[2, :, 1] < 0)  # the bits above follow the sign
    samples = (words[..., 0] + 1j * words[..., 1]).astype(np.complex64) / 2048
    assert [bits_of(int(mask)) for mask in stuck_bits(samples, 12)] == [[], [5], [9]]
    aligned = samples[:1] * 16  # 12 bits at the upper end of 16: the empty ones are no fault
    assert bits_of(int(stuck_bits((aligned / 16).astype(np.complex64), 16)[0])) == []
    tone = np.tile(np.array([6, 6j, -6, -6j], np.complex64) / 2048, (1, 200))
    assert stuck_bits(tone, 12)[0] == 0


def test_a_silent_channel_is_told_from_two_waves_that_cancel_there() -> None:
    rng = np.random.default_rng(9)

    def readings(gain: np.ndarray, count: int = 6) -> list:
        out = []
        for k in range(count):
            n = 8 * 4096
            signal = gain[:, None] * (rng.standard_normal(n) + 1j * rng.standard_normal(n))
            noise = 0.2 * (rng.standard_normal((6, n)) + 1j * rng.standard_normal((6, n)))
            tap = BlockTap(6, n)
            x = (signal + noise).astype(np.complex64) / 20
            (block,) = tap.take(frame(x, k * n, k), np.zeros(6, np.int64))
            out.append(read_block(block, 1, np.ones(6)))
        return out

    usual = np.exp(1j * rng.uniform(0, 6, 6))
    dead = usual * np.array([1, 1, 0, 1, 1, 1])
    waves = usual * np.abs(1 + np.exp(1j * (np.pi + 0.9 * (np.arange(6) - 2))))
    before = readings(usual)
    assert silent_channels(before, readings(dead)) == (2,)
    assert silent_channels(before, readings(waves)) == ()
    assert silent_channels(before, readings(0 * usual)) == ()  # the emitter went off
    assert shared_power(before)[0] == pytest.approx(1 / 1.04 * 5 / (5 + 0.04), rel=0.01)


@pytest.mark.parametrize("suffix", [".sigmf-meta", ".sigmf-collection"])
def test_annotations_of_a_recording_that_was_killed_are_read_back(tmp_path, suffix: str) -> None:
    """Closed or not: `open_recording` and `hil info` give the same events."""
    info, wire = stream_info(), np.ones((1000, 4, 2), "<i2")
    path = tmp_path / f"rec{suffix}"
    recorder = Recorder(path, info, policy="gap")
    recorder.write(Block(wire, 500, 0, 10**9, 10**18, FrameFlag.NONE, info))
    recorder.annotate(
        600, 5000, "slip", "ahead of the recorder", hil_fault="slip", hil_channels=[2], hil_value=1.0
    )
    recorder.write(Block(wire, 4500, 1, 10**9, 10**18, FrameFlag.GAP_BEFORE, info, 3000))
    recorder.annotate(4600, 4700, "drift", "words", hil_fault="drift", hil_value=float("nan"))
    for file in tmp_path.iterdir():  # what a kill leaves
        (tmp_path / "killed").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "killed")
    recorder.close()
    want = [(100, 1400, "slip"), (1100, 100, "drift")]
    for file in (path, tmp_path / "killed" / path.name):
        with open_recording(file) as recording:
            assert recording.complete is (file == path)
            assert [(a.start, a.n, a.label) for a in recording.annotations] == want
        events = describe_recording(file)["events"]
        assert [(e["kind"], e["start"], e["value"]) for e in events] == [
            ("slip", 100, 1.0),
            ("drift", 1100, None),
        ]
    journal = tmp_path / "killed" / "rec.hil-journal"
    journal.write_bytes(journal.read_bytes()[:-20])  # killed in the middle of a line
    with open_recording(tmp_path / "killed" / path.name) as recording:
        assert [a.label for a in recording.annotations] == ["slip"]
        assert recording.n_samples == 2000


@pytest.mark.parametrize("suffix", [".sigmf-meta", ".sigmf-collection"])
def test_events_are_annotations_at_the_right_samples(tmp_path, suffix: str) -> None:
    info = stream_info()
    path = tmp_path / f"rec{suffix}"
    recorder = Recorder(path, info, policy="gap")
    wire = np.ones((1000, 4, 2), "<i2")
    recorder.annotate(0, 10, "slip", "before the recording")
    recorder.write(Block(wire, 500, 0, 10**9, 10**18, FrameFlag.NONE, info))
    recorder.write(Block(wire, 4500, 1, 10**9, 10**18, FrameFlag.GAP_BEFORE, info, 3000))
    recorder.annotate(4600, 4700, "phase-flip", "words", hil_fault="phase-flip", hil_channels=[1])
    recorder.annotate(2000, 4510, "overflow", "in the gap")
    recorder.annotate(9000, 9001, "disconnect", "behind the end")
    recorder.close()
    metas = sorted(tmp_path.glob("*.sigmf-meta"))
    assert len(metas) == (1 if suffix == ".sigmf-meta" else 4)
    for meta in metas:
        noted = json.loads(meta.read_text())["annotations"]
        assert [(a["core:sample_start"], a["core:sample_count"], a["core:label"]) for a in noted] == [
            (0, 0, "slip"),
            (1000, 10, "overflow"),
            (1100, 100, "phase-flip"),
            (2000, 0, "disconnect"),
        ]
        assert noted[2]["hil:fault"] == "phase-flip"
        assert noted[2]["hil:channels"] == [1]


def _watched(x: Callable[[int], np.ndarray], m: int, blocks: int = 48) -> list[str]:
    """Kinds of the events of a stream of blocks x(i) (M, n)."""
    info = replace(stream_info(m), device=replace(stream_info(m).device, wire=WireFormat.CF32))
    watch = HealthWatch(info)
    events = []
    for i in range(blocks):
        samples = x(i)
        events += watch.frame(frame(samples, i * samples.shape[1], i, stream=info))
    assert watch.watching
    return [e.kind for e in events]


def _noisy(rng: np.random.Generator, m: int, n: int = 16384) -> np.ndarray:
    return 0.01 * (rng.standard_normal((m, n)) + 1j * rng.standard_normal((m, n)))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_values_that_are_no_numbers_are_told_and_left_out(value: float) -> None:
    rng = np.random.default_rng(4)

    def x(i: int) -> np.ndarray:
        samples = _noisy(rng, 3) + 0.1 * np.exp(1j * np.arange(16384))
        if i == 40:
            samples[1, :5000] = value
        return samples

    assert _watched(x, 3) == ["no-numbers"]


def test_an_emitter_that_goes_off_is_no_gain_step_of_a_single_channel() -> None:
    rng = np.random.default_rng(4)
    assert _watched(lambda i: _noisy(rng, 1) * (10 if i < 32 else 1), 1) == []


def test_long_blocks_of_a_slow_stream_are_no_stall() -> None:
    config = RxConfig(2.4e9, 2e4, 2e4, (30.0,) * 2, GainMode.MANUAL, (0, 1), 65536)
    info = replace(stream_info(2), config=config)
    watch, block_ns = TransportWatch(), round(65536 / 2e4 * 1e9)
    for i in range(4):
        now = (i + 1) * block_ns
        x = np.zeros((2, 65536), np.complex64)
        assert watch.frame(Frame(x, i * 65536, i, now, now, FrameFlag.NONE, info)) == []
        assert watch.tick(now + block_ns) == []
    assert [e.kind for e in watch.tick(13 * block_ns)] == ["stall"]


@pytest.mark.parametrize("begin", [0, 32])
@pytest.mark.parametrize("m", [1, 2, 4])
def test_channels_without_even_noise_are_told_once(m: int, begin: int) -> None:
    rng = np.random.default_rng(4)
    assert _watched(lambda i: _noisy(rng, m) * (i < begin), m, 96) == ["dead-channel"]
