"""Scheduling of threads that must not be late."""

from __future__ import annotations

import os
import threading

_URGENT = -10


def prefer_this_thread() -> bool:
    """Ask for a higher priority of the calling thread (Linux: and of threads it starts from now on).

    A receiver that is not read in time loses samples, so the threads between device and disk go first. Needs
    the right to do so (root, CAP_SYS_NICE or a raised RLIMIT_NICE); without it nothing changes. Returns whether
    it was granted.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _URGENT)
    except (OSError, AttributeError):
        return False
    return True
