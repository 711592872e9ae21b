"""How much memory may still be taken: of the machine, and of the container that the process runs in."""

from __future__ import annotations

from pathlib import Path

_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def memory_left() -> int:
    """Bytes."""
    import psutil

    left = psutil.virtual_memory().available
    for limit, used in _LIMITS:
        try:
            left = min(left, int(Path(limit).read_text("ascii")) - int(Path(used).read_text("ascii")))
        except (OSError, ValueError):
            continue  # no such group, or no limit ("max")
    return max(left, 0)
