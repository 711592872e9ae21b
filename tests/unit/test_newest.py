"""The newest samples, now and then: the end of a block, the right index, never what waited."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.frame import Block, Frame, FrameFlag, StreamInfo
from hil.pipeline.ledger import EdgeCounts
from hil.session_stages import Fanout, Newest

STREAM = StreamInfo(
    RxConfig(2.45e9, 2.5e6, 2e6, (30.0, 30.0), channels=(0, 1), block_samples=64),
    DeviceInfo("sim:", "sim", "test", "0", "", ((0, 1),), WireFormat.CI16, 12),
    new_epoch("0"),
)


def block(first: int, n: int) -> Block:
    """Samples that say which they are."""
    wire = np.broadcast_to(np.arange(first, first + n, dtype=np.int16)[:, None, None], (n, 2, 2))
    return Block(wire, first, 0, first + n, first + n, FrameFlag.NONE, STREAM, 0)


def test_the_end_of_a_block_is_given_with_its_index() -> None:
    seen: list[Frame] = []
    newest = Newest("display", seen.append, 16, hz=1e6)
    newest.stage.start()
    assert newest.push(block(100, 50))
    newest.close()
    newest.stage.join(30.0)
    assert newest.stage.error is None
    (frame,) = seen
    assert (frame.first_sample, frame.samples.shape, frame.t_mono_ns) == (134, (2, 16), 150)
    assert np.array_equal(np.round(frame.samples[1].real * 2**11), np.arange(134, 150))


def test_between_two_looks_nothing_is_copied() -> None:
    newest = Newest("display", lambda frame: None, 16, hz=1e-3)
    pushed = [newest.push(block(50 * k, 50)) for k in range(10)]
    # one late look is made up for, so that the mean rate is kept
    assert pushed == [True, True] + 8 * [False]
    assert newest.edge.counts() == EdgeCounts(produced=32, superseded=16, in_flight=16)


def test_a_slow_taker_gets_the_newest_only() -> None:
    seen: list[int] = []
    newest = Newest("display", lambda frame: seen.append(frame.first_sample), 16, hz=1e9)
    for first in range(0, 160, 16):
        newest.push(block(first, 16))
    newest.close()
    newest.stage.start()
    newest.stage.join(30.0)
    assert seen == [144]
    assert newest.edge.counts() == EdgeCounts(produced=160, delivered=16, superseded=144)


def test_what_it_raises_is_an_error_of_its_stage() -> None:
    def fails(frame: Frame) -> None:
        raise ArithmeticError("no picture")

    ended = threading.Event()
    newest = Newest("display", fails, 16, hz=1e6)
    newest.stage.on_end = lambda stage: ended.set()
    newest.stage.start()
    newest.push(block(0, 16))
    assert ended.wait(30.0)
    with pytest.raises(ArithmeticError):
        raise newest.stage.error or AssertionError
    assert not newest.push(block(16, 16)), "the edge is closed"


def test_one_that_comes_after_the_end_is_closed_at_once() -> None:
    fanout = Fanout()
    fanout.close()
    newest = Newest("display", lambda frame: None, 16, hz=1e6)
    fanout.add(newest)
    assert newest.edge.finished
