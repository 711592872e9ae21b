"""Memory of a worker process, kept for the next task's arrays.

Dask starts its workers with `MALLOC_TRIM_THRESHOLD_=65536`, and a thread that is not the first one gets memory of its own: glibc then
asks the system anew for every array from 128 kB on and gives it back at once. New pages are zeroed; work on blocks of samples, each of
which makes some such arrays, takes up to 1.7 times as long.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# malloc.h of glibc
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 1 << 28
_LARGEST_MMAP_THRESHOLD = 1 << 25  # glibc refuses more


@cache
def keep_freed_memory() -> bool:
    """From now on, for the whole process: up to 256 MB that were freed stay. False where the C library is not glibc."""
    if sys.platform != "linux":
        return False
    try:
        c = ctypes.CDLL(None)
        c.gnu_get_libc_version  # noqa: B018 - AttributeError with another C library
        done = [
            c.mallopt(_ARENA_MAX, 1),
            c.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES),
            c.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        ]
    except (OSError, AttributeError):
        return False
    return all(done)
