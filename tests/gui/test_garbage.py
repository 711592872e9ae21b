"""A full collection does not hold a stream up twice, and what it has set aside is looked at again afterwards."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from gui import garbage
from gui.garbage import GarbageOfThisThread


class Ring:
    """A cycle with itself."""

    def __init__(self) -> None:
        self.myself = self


@pytest.fixture
def collector(qtbot, monkeypatch: pytest.MonkeyPatch) -> Iterator[GarbageOfThisThread]:
    monkeypatch.setattr(garbage, "_FULL_EVERY", 1)
    made = GarbageOfThisThread(busy=lambda: made.streams)
    made._timer.setInterval(3_600_000)
    made.streams = True
    try:
        yield made
    finally:
        made.end()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def rings() -> int:
    return sum(type(o) is Ring for o in gc.get_objects())  # isinstance asks proxies of libraries


def test_what_survives_a_long_collection_is_set_aside_until_nothing_streams(
    collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Ring()
    monkeypatch.setattr(garbage, "_LONG_S", -1.0)
    collector.collect()
    assert rings() == 0, "set aside"
    seen = weakref.ref(kept)
    del kept
    collector.collect()
    assert seen() is not None
    collector.streams = False
    monkeypatch.setattr(garbage, "_LONG_S", 1e9)
    collector.collect()
    assert seen() is None


def test_short_collections_set_nothing_aside(collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "_LONG_S", 1e9)
    kept = Ring()
    collector.collect()
    assert rings() == 1
    del kept
    collector.collect()
    assert rings() == 0


def test_much_that_came_at_once_is_set_aside_unseen_while_something_streams(
    collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "_LONG_S", 1e9)
    collector.collect()
    loaded = [Ring() for _ in range(garbage._MANY)]
    gc.collect(1)  # as the collections of young objects leave them
    seen: list[str] = []
    watch = lambda phase, info: seen.append(phase)  # noqa: E731
    gc.callbacks.append(watch)
    try:
        collector.collect()
        assert not seen
        assert gc.get_freeze_count() >= len(loaded)
        assert rings() == 0
        del loaded
        collector.streams = False
        collector.collect()
        assert seen
        assert rings() == 0
        assert gc.get_freeze_count() == 0
    finally:
        gc.callbacks.remove(watch)
