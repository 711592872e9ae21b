"""What processes and threads take: processor time and memory, read from the system."""

from __future__ import annotations

import threading

import psutil


def cpu_s(process: psutil.Process) -> float:
    """Seconds of processor time of a process so far, 0 once it has gone."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def rss_bytes(process: psutil.Process) -> int:
    """Resident memory, 0 once it has gone."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def thread_cpu_s(part_of_name: str) -> float:
    """Seconds of processor time so far of this process's living threads with such a name."""
    wanted = {t.native_id for t in threading.enumerate() if part_of_name in t.name}
    return sum(t.user_time + t.system_time for t in psutil.Process().threads() if t.id in wanted)
