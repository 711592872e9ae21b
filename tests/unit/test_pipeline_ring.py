"""Rings and mailboxes: nothing is lost uncounted, whatever the consumer does."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import CaptureError, CaptureOverrun, ConfigError, ShapeError
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.pipeline.latest import Latest
from hil.pipeline.ledger import EdgeCounts, Ledger
from hil.pipeline.policy import Policy
from hil.pipeline.ring import BlockRing, pages

STREAM = StreamInfo(
    RxConfig(2.45e9, 2.5e6, 2e6, (30.0, 30.0), channels=(0, 1), block_samples=64),
    DeviceInfo("sim:", "sim", "test", "0", "", ((0, 1),), WireFormat.CI16, 12),
    new_epoch("0"),
)


def block(first: int, n: int = 16, flags: FrameFlag = FrameFlag.NONE, lost: int | None = 0) -> Block:
    wire = np.full((n, 2, 2), first % 30000, np.int16)
    return Block(wire, first, first // n, 0, 0, flags, STREAM, lost)


def ring(
    policy: Policy = Policy.DROP_OLDEST, n_slots: int = 4, deadline_s: float = 0.01, together: int = 1,
    gather_s: float = 0.0,
) -> BlockRing:  # fmt: skip
    return BlockRing(
        "reader -> dsp", n_slots=n_slots, block_samples=16, n_channels=2, wire=WireFormat.CI16,
        together=together, gather_s=gather_s, policy=policy, deadline_s=deadline_s,
    )  # fmt: skip


def numbered(first: int, n: int) -> Block:
    """Samples that say which they are."""
    wire = np.broadcast_to((np.arange(first, first + n, dtype=np.int16))[:, None, None], (n, 2, 2))
    return Block(wire, first, 0, first + n, first + n, FrameFlag.NONE, STREAM, 0)


def test_blocks_that_wait_are_joined_while_a_slot_has_room() -> None:
    r = ring(together=3)
    for first in range(0, 64, 16):
        r.push(numbered(first, 16))
    joined = r.pop(0.0)
    assert joined is not None
    assert (joined.first_sample, joined.n, joined.t_mono_ns) == (0, 48, 48)
    assert np.array_equal(joined.wire[:, 0, 0], np.arange(48))
    r.push(numbered(64, 16))
    after = r.pop(0.0)
    assert after is not None
    assert (after.first_sample, after.n, after.seq - joined.seq) == (48, 32, 1)


def test_a_consumer_that_rests_gets_what_comes_meanwhile_in_one_piece() -> None:
    r = ring(together=3, gather_s=0.5)
    r.push(numbered(0, 16))
    first = r.pop(1.0)
    assert first is not None
    assert first.n == 16  # the first at once
    r.push(numbered(16, 16))
    later = threading.Timer(0.05, r.push, [numbered(32, 16)])
    later.start()
    joined = r.pop(1.0)
    later.join()
    assert joined is not None
    assert (joined.first_sample, joined.n) == (16, 32)


def test_a_consumer_that_is_behind_does_not_rest() -> None:
    r = ring(together=1, gather_s=3600.0)
    r.push(numbered(0, 16))
    assert r.pop(1.0) is not None
    for first in (16, 32, 48):
        r.push(numbered(first, 16))
    assert [b.first_sample for b in (r.pop(1.0), r.pop(1.0)) if b is not None] == [16, 32]
    r.close()  # nor does one at the end
    last = r.pop(1.0)
    assert last is not None
    assert last.first_sample == 48


def test_what_the_consumer_holds_is_not_continued() -> None:
    r = ring(together=3)
    r.push(numbered(0, 16))
    held = r.pop(0.0)
    r.push(numbered(16, 16))
    assert held is not None
    assert (held.n, int(held.wire.max())) == (16, 15)
    after = r.pop(0.0)
    assert after is not None
    assert (after.first_sample, after.n) == (16, 16)


@pytest.mark.parametrize(
    "second",
    [
        block(32),
        block(16, flags=FrameFlag.RETUNED),
        block(16, flags=FrameFlag.OVERFLOW),
        block(16, lost=None),
        replace(block(16), stream=replace(STREAM, epoch=new_epoch("1"))),
    ],
    ids=["gap", "retuned", "overflow", "loss", "epoch"],
)
def test_blocks_that_differ_stay_apart(second: Block) -> None:
    r = ring(together=3)
    r.push(block(0))
    r.push(second)
    first, after = r.pop(0.0), r.pop(0.0)
    assert first is not None
    assert after is not None
    assert (first.n, after.n, after.flags, after.lost_before) == (16, 16, second.flags, second.lost_before)
    assert after.stream is second.stream


def test_blocks_come_out_as_they_went_in() -> None:
    r = ring()
    r.push(block(0, 16))
    r.push(block(16, 7))
    first = r.pop(0.0)
    assert first is not None
    assert (first.first_sample, first.n, first.wire[0, 0, 0]) == (0, 16, 0)
    second = r.pop(0.0)
    assert second is not None
    assert (second.first_sample, second.n, int(second.wire.max())) == (16, 7, 16)
    assert second.flags == FrameFlag.NONE
    assert r.pop(0.0) is None
    assert r.counts() == EdgeCounts(produced=23, delivered=23)


def test_dead_consumer_drops_the_oldest_and_says_what_is_missing() -> None:
    r = ring()
    for i in range(10):
        assert r.push(block(16 * i, flags=FrameFlag.RETUNED if i == 3 else FrameFlag.NONE))
    assert r.counts() == EdgeCounts(produced=160, delivered=0, dropped=96, in_flight=64)
    b = r.pop(0.0)
    assert b is not None
    assert b.first_sample == 96
    assert b.lost_before == 96
    assert b.flags == FrameFlag.GAP_BEFORE | FrameFlag.RETUNED
    after = r.pop(0.0)
    assert after is not None
    assert (after.flags, after.lost_before) == (FrameFlag.NONE, 0)


def test_unknown_loss_stays_unknown() -> None:
    r = ring(n_slots=2)
    for i in range(3):
        r.push(block(16 * i, lost=None if i == 0 else 0))
    b = r.pop(0.0)
    assert b is not None
    assert b.lost_before is None


def test_a_held_block_is_never_overwritten() -> None:
    r = ring(n_slots=2)
    r.push(block(1600))
    held = r.pop(0.0)
    assert held is not None
    for i in range(20):
        r.push(block(16 * i))
    assert int(held.wire.min()) == int(held.wire.max()) == 1600
    newest = r.pop(0.0)
    assert newest is not None
    assert newest.first_sample == 16 * 19


def test_fail_delivers_everything_before_the_loss_then_raises() -> None:
    r = ring(Policy.FAIL)
    taken = [r.push(block(16 * i)) for i in range(6)]
    assert taken == [True] * 4 + [False] * 2
    assert [b.first_sample for _ in range(4) if (b := r.pop(0.0))] == [0, 16, 32, 48]
    with pytest.raises(CaptureOverrun) as caught:
        r.pop(0.0)
    assert caught.value.gaps == ((64, 16),)
    assert r.error is caught.value
    assert r.counts() == EdgeCounts(produced=80, delivered=64, dropped=16)


def test_block_waits_for_a_slow_consumer() -> None:
    r = ring(Policy.BLOCK, n_slots=2, deadline_s=10.0)
    seen: list[int] = []
    consumer = threading.Thread(target=lambda: seen.extend(b.first_sample for b in r))
    for i in range(2):
        r.push(block(16 * i))
    consumer.start()
    for i in range(2, 50):
        assert r.push(block(16 * i))
    r.close()
    consumer.join(10.0)
    assert seen == [16 * i for i in range(50)]
    assert r.counts() == EdgeCounts(produced=800, delivered=800)


def test_block_gives_up_at_its_deadline_and_counts_the_loss() -> None:
    r = ring(Policy.BLOCK, n_slots=2)
    r.push(block(0))
    r.push(block(16))
    with pytest.raises(CaptureOverrun):
        r.push(block(32))
    assert r.counts() == EdgeCounts(produced=48, dropped=16, in_flight=32)


def test_closing_wakes_a_waiting_consumer_and_ends_the_edge() -> None:
    r = ring()
    got: list[Block | None] = []
    consumer = threading.Thread(target=lambda: got.append(r.pop(60.0)))
    consumer.start()
    r.close()
    consumer.join(10.0)
    assert not consumer.is_alive()
    assert got == [None]
    assert r.finished
    assert not r.push(block(0))
    assert r.counts() == EdgeCounts()


def test_a_block_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError):
        ring().push(block(0, 17))
    with pytest.raises(ShapeError):
        ring(n_slots=1)


def test_latest_supersedes_and_counts() -> None:
    box: Latest[str] = Latest("dsp -> gui")
    for i in range(5):
        box.put(f"frame {i}", 100)
    assert box.counts() == EdgeCounts(produced=500, superseded=400, in_flight=100)
    assert box.take() == "frame 4"
    assert box.take() is None
    box.close()
    assert box.finished
    assert not box.put("late", 100)
    assert box.counts() == EdgeCounts(produced=500, delivered=100, superseded=400)


def test_latest_hands_over_between_threads() -> None:
    box: Latest[int] = Latest("a -> b")
    got: list[int | None] = []
    consumer = threading.Thread(target=lambda: got.append(box.take(60.0)))
    consumer.start()
    box.put(7, 1)
    consumer.join(10.0)
    assert got == [7]


class _Broken:
    name = "leaky"

    def counts(self) -> EdgeCounts:
        return EdgeCounts(produced=10, delivered=9)


def test_ledger_names_the_edge_that_leaks() -> None:
    ledger = Ledger()
    ledger.add(ring())
    ledger.check()
    with pytest.raises(ConfigError):
        ledger.add(ring())
    ledger.add(_Broken())
    with pytest.raises(CaptureError, match="leaky"):
        ledger.check()


@settings(max_examples=60, deadline=None)
@given(
    policy=st.sampled_from([Policy.DROP_OLDEST, Policy.FAIL]),
    n_slots=st.integers(2, 5),
    together=st.integers(1, 4),
    actions=st.lists(st.one_of(st.integers(1, 16), st.just(0), st.just(-1)), max_size=60),
)
def test_ledger_adds_up_after_any_history(
    policy: Policy, n_slots: int, together: int, actions: list[int]
) -> None:
    """Positive: push so many samples; 0: pop; -1: release. Delivered samples are in order and complete."""
    r = ring(policy, n_slots, together=together)
    ledger = Ledger()
    ledger.add(r)
    pushed = expected = 0
    for action in actions:
        if action > 0:
            taken = r.push(numbered(pushed, action))
            pushed += action if taken or policy is Policy.DROP_OLDEST else 0
        elif action == 0:
            try:
                b = r.pop(0.0)
            except CaptureOverrun:
                continue
            if b is not None:
                assert b.lost_before == b.first_sample - expected
                assert bool(b.flags & FrameFlag.GAP_BEFORE) == (b.first_sample > expected)
                assert np.array_equal(b.wire[:, 1, 1], np.arange(b.first_sample, b.first_sample + b.n))
                expected = b.first_sample + b.n
        else:
            r.release()
        ledger.check()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 1000), st.just(0)), max_size=50))
def test_latest_adds_up_after_any_history(actions: list[int]) -> None:
    box: Latest[int] = Latest("box")
    ledger = Ledger()
    ledger.add(box)
    for action in actions:
        if action:
            box.put(action, action)
        else:
            box.take()
        ledger.check()
    assert box.counts().produced == sum(actions)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_memory_of_a_ring_begins_at_a_page(dtype) -> None:
    found = pages((3, 100, 4, 2), dtype)
    assert found.ctypes.data % 4096 == 0
    assert (found.shape, found.dtype) == ((3, 100, 4, 2), np.dtype(dtype))
    assert not found.any()
    found[1] = 1
    assert found.flags.writeable
