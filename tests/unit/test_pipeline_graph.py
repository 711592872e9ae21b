"""Threads: they end when told to, and an error in one reaches the user and ends the rest."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import CaptureError, CaptureOverrun, ConnectionLost, StreamStopped
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.pipeline.graph import Graph
from hil.pipeline.latest import Latest
from hil.pipeline.policy import Policy
from hil.pipeline.ring import BlockRing
from hil.pipeline.stage import Stage

STREAM = StreamInfo(
    RxConfig(2.45e9, 2.5e6, 2e6, (30.0,), channels=(0,), block_samples=8),
    DeviceInfo("sim:", "sim", "test", "0", "", ((0,),), WireFormat.CI16, 12),
    new_epoch("0"),
)


def ring(name: str, policy: Policy, n_slots: int = 4) -> BlockRing:
    return BlockRing(
        name, n_slots=n_slots, block_samples=8, n_channels=1, wire=WireFormat.CI16, policy=policy
    )


def block(i: int) -> Block:
    return Block(np.zeros((8, 1, 2), np.int16), 8 * i, i, 0, 0, FrameFlag.NONE, STREAM)


def idle(stop: threading.Event) -> None:
    stop.wait(60.0)


def test_session_with_a_stopped_display_and_a_slow_consumer_adds_up() -> None:
    """device -> {recorder, dsp} -> gui: the recorder gets all, the DSP some, the GUI takes nothing."""
    to_dsp, to_disk = ring("reader -> dsp", Policy.DROP_OLDEST), ring("reader -> disk", Policy.BLOCK)
    to_gui: Latest[int] = Latest("dsp -> gui")
    recorded: list[int] = []
    may_process = threading.Event()

    def read(stop: threading.Event) -> None:
        i = 0
        while not stop.is_set() or i < 200:
            to_dsp.push(block(i))
            to_disk.push(block(i))
            i += 1
            if i == 200:
                may_process.set()
                stop.wait(60.0)

    def process(stop: threading.Event) -> None:
        may_process.wait(60.0)
        for b in to_dsp:
            to_gui.put(b.seq, b.n)

    def record(stop: threading.Event) -> None:
        recorded.extend(b.seq for b in to_disk)

    graph = Graph(
        [
            Stage("reader", read, source=True, closes=[to_dsp, to_disk]),
            Stage("dsp", process, closes=[to_dsp, to_gui]),
            Stage("recorder", record, closes=[to_disk]),
        ],
        [to_dsp, to_disk, to_gui],
    )
    graph.start()
    assert may_process.wait(30.0)
    assert not graph.wait(0.0)
    counts = graph.stop(30.0)
    assert recorded == list(range(200))
    assert counts["reader -> disk"].delivered == 1600
    dsp, gui = counts["reader -> dsp"], counts["dsp -> gui"]
    assert dsp.produced == 1600
    assert dsp.dropped >= 196 * 8
    assert gui.produced == dsp.delivered
    assert gui.delivered == 0
    assert gui.in_flight == 8
    assert graph.wait(0.0)


def test_an_error_ends_all_stages_and_reaches_the_user() -> None:
    def fail(stop: threading.Event) -> None:
        raise ConnectionLost("the board has gone")

    stages = [Stage("reader", idle, source=True), Stage("dsp", fail), Stage("gui", idle)]
    graph = Graph(stages)
    graph.start()
    with pytest.raises(ConnectionLost, match="gone"):
        graph.wait(30.0)
    graph.stop(30.0)
    assert not any(s.alive for s in stages)


def test_a_recorder_that_falls_behind_ends_the_graph_with_the_gap() -> None:
    to_disk = ring("reader -> disk", Policy.FAIL, n_slots=2)
    filled = threading.Event()

    def read(stop: threading.Event) -> None:
        for i in range(5):
            to_disk.push(block(i))
        filled.set()
        stop.wait(60.0)

    recorded: list[int] = []

    def record(stop: threading.Event) -> None:
        filled.wait(60.0)
        recorded.extend(b.seq for b in to_disk)

    graph = Graph(
        [Stage("reader", read, source=True, closes=[to_disk]), Stage("recorder", record)], [to_disk]
    )
    graph.start()
    with pytest.raises(CaptureOverrun) as caught:
        graph.wait(30.0)
    graph.stop(30.0)
    assert caught.value.gaps == ((16, 8),)
    graph.ledger.check()


def test_stop_wakes_a_blocked_read_and_stream_stopped_is_no_error() -> None:
    device_stopped = threading.Event()

    def read(stop: threading.Event) -> None:
        if device_stopped.wait(60.0):
            raise StreamStopped("stopped")

    with Graph([Stage("reader", read, source=True, unblock=device_stopped.set)]) as graph:
        pass
    assert graph.error is None


def test_stream_stopped_by_nobody_is_an_error() -> None:
    def read(stop: threading.Event) -> None:
        raise StreamStopped("stopped")

    graph = Graph([Stage("reader", read, source=True)])
    graph.start()
    with pytest.raises(StreamStopped):
        graph.wait(30.0)


def test_join_names_a_thread_that_hangs() -> None:
    release = threading.Event()

    def hang(stop: threading.Event) -> None:
        release.wait(60.0)

    graph = Graph([Stage("stuck-reader", hang, source=True), Stage("dsp", idle)])
    graph.start()
    try:
        with pytest.raises(CaptureError, match="stuck-reader"):
            graph.stop(0.05)
    finally:
        release.set()
    graph.stop(30.0)


def test_a_stage_that_ignores_its_input_is_told_to_stop() -> None:
    with Graph([Stage("reader", idle, source=True), Stage("dsp", idle)]) as graph:
        graph.stop(1.0)
    assert graph.wait(0.0)
