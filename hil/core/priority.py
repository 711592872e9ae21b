"""Scheduling of what must not be late.

A receiver that is not read in time loses samples, so a capture goes first. Needs the right to do so (root, CAP_SYS_NICE or a
raised RLIMIT_NICE) and Linux; without it nothing changes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_URGENT = -10
_TASKS = Path("/proc/self/task")
_lock = threading.Lock()
_preferring: list[int] = []  # the usual priority, once for each `preferred_process` that is entered


def prefer_this_thread() -> bool:
    """Ask for a higher priority of the calling thread, and of those it starts from now on. Returns whether it was granted."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _URGENT)
    except (OSError, AttributeError):
        return False
    return True


@contextmanager
def preferred_process() -> Generator[None]:
    """All threads of this process go first meanwhile, and those that they start; as before when the last one leaves.

    All, because they share Python's lock: a thread of usual priority that holds it and waits for a core keeps the urgent
    ones waiting for both.
    """
    with _lock:
        usual = _preferring[0] if _preferring else _priority()
        _preferring.append(usual)
        if len(_preferring) == 1:
            _set_all(_URGENT)
    try:
        yield
    finally:
        with _lock:
            _preferring.pop()
            if not _preferring:
                _set_all(usual)


def _priority() -> int:
    try:
        return os.getpriority(os.PRIO_PROCESS, 0)
    except (OSError, AttributeError):
        return 0


def _set_all(priority: int) -> None:
    with suppress(OSError, AttributeError):
        for task in _TASKS.iterdir():
            with suppress(ProcessLookupError):  # it has ended
                os.setpriority(os.PRIO_PROCESS, int(task.name), priority)
