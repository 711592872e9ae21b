"""What processes and threads take: processor time and memory, read from the system."""

from __future__ import annotations

import threading
from typing import Self

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


class MemoryWatch:
    """Samples the resident memory of this process while its block runs."""

    def __init__(self, period_s: float = 0.1) -> None:
        self._period_s = period_s
        self._seen: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join(5.0)

    @property
    def growth_bytes(self) -> int:
        """Largest of the last third minus largest of the first third; 0 if it did not grow."""
        third = max(1, len(self._seen) // 3)
        return max(0, max(self._seen[-third:], default=0) - max(self._seen[:third], default=0))

    def _run(self) -> None:
        me = psutil.Process()
        while not self._ended.wait(self._period_s):
            self._seen.append(rss_bytes(me))
