"""A capture goes first, with all threads of its process, and for as long as it runs."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from hil.core.priority import preferred_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")


def priority(task: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, task)


def granted() -> bool:
    """Whether this process may be preferred at all."""
    before = priority()
    with preferred_process():
        return priority() < before


def test_all_threads_are_preferred_and_as_before_afterwards() -> None:
    before, may, ended = priority(), granted(), threading.Event()
    thread = threading.Thread(target=ended.wait, args=(30.0,))
    thread.start()
    try:
        assert thread.native_id is not None
        with preferred_process():
            assert (priority() < before) == may
            assert priority(thread.native_id) == priority()
            with preferred_process():
                pass
            assert (priority() < before) == may, "the outer one still holds"
        assert priority() == priority(thread.native_id) == before
    finally:
        ended.set()
        thread.join()


def test_threads_that_are_started_meanwhile_are_as_urgent() -> None:
    seen: list[int] = []
    with preferred_process():
        thread = threading.Thread(target=lambda: seen.append(priority(threading.get_native_id())))
        thread.start()
        thread.join()
        assert seen == [priority()]
