"""Shared memory between two real processes: arrays arrive whole, loss is counted, nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.core.errors import ConnectionLost, ShapeError
from hil.pipeline.ledger import EdgeCounts, Ledger
from hil.pipeline.shared_latest import SharedLatestReader, SharedLatestWriter, SharedSpec

ROOT = Path(__file__).resolve().parents[2]


def covariances(value: float, n: int = 3) -> np.ndarray:
    return np.full((n, 4, 4), value * (1 + 1j))


def writer(n_slots: int = 8) -> SharedLatestWriter:
    return SharedLatestWriter("dsp -> learner", (4, 4), max_items=5, n_slots=n_slots)


def wait_until_gone(name: str, deadline_s: float = 20.0) -> bool:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if not Path("/dev/shm", name).exists():
            return True
        os.sched_yield()
    return False


def test_items_arrive_in_order_with_their_header() -> None:
    with writer() as w:
        r = SharedLatestReader(w.spec)
        w.put(covariances(1.0, 3), 768, first_sample=100, tag=4)
        w.put(covariances(2.0, 5), 1280, first_sample=868, tag=5)
        first, second = r.take(), r.take()
        assert first is not None
        assert second is not None
        assert (first.n_samples, first.first_sample, first.tag) == (768, 100, 4)
        np.testing.assert_array_equal(first.data, covariances(1.0, 3))
        np.testing.assert_array_equal(second.data, covariances(2.0, 5))
        assert r.take() is None
        assert w.counts() == EdgeCounts(produced=2048, delivered=2048)
        r.close()


def test_a_dead_reader_supersedes_and_stops_nobody() -> None:
    with writer() as w:
        for i in range(100):
            w.put(covariances(i), 10, first_sample=10 * i)
        assert w.counts() == EdgeCounts(produced=1000, superseded=920, in_flight=80)
        r = SharedLatestReader(w.spec)
        late = r.take()
        assert late is not None
        assert late.first_sample == 920
        assert w.counts() == EdgeCounts(produced=1000, delivered=10, superseded=920, in_flight=70)
        r.close()
    assert w.counts().missing == 0


def test_a_torn_slot_is_never_delivered() -> None:
    with writer(n_slots=2) as w:
        r = SharedLatestReader(w.spec)
        w.put(covariances(1.0), 10)
        w.put(covariances(2.0), 10)
        w._data[0, 0, 0, 0] = 99.0  # as if the writer were half way through
        got = r.take()
        assert got is not None
        np.testing.assert_array_equal(got.data, covariances(2.0))
        assert w.counts() == EdgeCounts(produced=20, delivered=10, superseded=10)
        r.close()


def test_wrong_items_are_refused() -> None:
    with writer() as w, pytest.raises(ShapeError):
        w.put(covariances(1.0, 6), 10)
    with writer() as w, pytest.raises(ShapeError):
        w.put(np.zeros((1, 3, 3), complex), 10)


def test_memory_is_gone_after_close() -> None:
    w = writer()
    w.close()
    w.close()
    with pytest.raises(ConnectionLost):
        SharedLatestReader(w.spec)


def _read_all(spec: SharedSpec, answers) -> None:
    reader = SharedLatestReader(spec)
    whole, n, first = True, 0, []
    answers.send("ready")
    while not reader.finished:
        got = reader.take(0.5)
        if got is not None:
            n += got.n_samples
            first.append(got.first_sample)
            whole &= bool(np.all(got.data == got.data.flat[0])) and got.data.flat[0].real == got.tag
    reader.close()
    answers.send((whole, n, first == sorted(set(first))))


def test_a_spawned_reader_sees_whole_items_in_order_and_the_counts_add_up() -> None:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    with SharedLatestWriter("dsp -> learner", (8, 8), max_items=40) as w:
        child = context.Process(target=_read_all, args=(w.spec, theirs))
        child.start()
        assert ours.recv() == "ready"
        for i in range(3000):
            w.put(np.full((40, 8, 8), i * (1 + 1j)), 10, first_sample=10 * i, tag=i)
        w.end()
        whole, n, ordered = ours.recv()
        child.join(30.0)
        assert child.exitcode == 0
        counts = Ledger()
        counts.add(w)
        found = counts.check()["dsp -> learner"]
    assert whole
    assert ordered
    assert found.delivered == n > 0
    assert found.in_flight == 0


def _die_while_reading(spec: SharedSpec, answers) -> None:
    reader = SharedLatestReader(spec)
    reader.take(30.0)
    answers.send("took")
    os.kill(os.getpid(), 9)


def test_a_killed_reader_hurts_nobody_and_leaves_nothing() -> None:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    with writer() as w:
        child = context.Process(target=_die_while_reading, args=(w.spec, theirs))
        child.start()
        w.put(covariances(1.0), 10)
        assert ours.recv() == "took"
        child.join(30.0)
        assert child.exitcode == -9
        w.put(covariances(2.0), 10)
        assert w.counts() == EdgeCounts(produced=20, delivered=10, in_flight=10)
        name = w.spec.name
    assert wait_until_gone(name)


KILLED_WRITER = """
import os, sys
from multiprocessing import get_context
from hil.pipeline.shared_latest import SharedLatestReader, SharedLatestWriter
from hil.core.errors import ConnectionLost

def read(spec, out):
    reader = SharedLatestReader(spec)
    out.send("ready")
    try:
        while True:
            reader.take(0.05)
    except ConnectionLost:
        print("connection lost", flush=True)

if __name__ == "__main__":
    context = get_context("spawn")
    writer = SharedLatestWriter("dsp -> learner", (4, 4))
    ours, theirs = context.Pipe()
    child = context.Process(target=read, args=(writer.spec, theirs))
    child.start()
    ours.recv()
    print(writer.spec.name, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_killed_writer_is_noticed_and_its_memory_removed(tmp_path: Path) -> None:
    script = tmp_path / "killed_writer.py"
    script.write_text(KILLED_WRITER, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == -9
    name, *rest = done.stdout.split("\n")
    assert rest[0] == "connection lost", done.stderr
    assert wait_until_gone(name)
    with pytest.raises(FileNotFoundError):
        SharedMemory(name)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 1000), st.just(0)), max_size=60), st.integers(2, 8))
def test_shared_slots_add_up_after_any_history(actions: list[int], n_slots: int) -> None:
    produced = 0
    with writer(n_slots) as w:
        r = SharedLatestReader(w.spec)
        for action in actions:
            if action:
                w.put(covariances(action, 1), action, first_sample=produced)
                produced += action
            else:
                got = r.take()
                assert got is None or got.data.flat[0].real == got.n_samples
            counts = w.counts()
            assert counts.missing == 0
            assert counts.produced == produced
        r.close()
