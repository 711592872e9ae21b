"""What the disk takes at best: one file, written from front to back past the page cache."""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path

_PIECE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class DiskLimit:
    """bytes_per_s, cpu_s of all, how : "O_DIRECT" or "through the page cache" where the file system refuses it."""

    bytes_per_s: float
    cpu_s: float
    how: str


def disk_limit(folder: Path, n_bytes: int) -> DiskLimit:
    """Write so many bytes (rounded to pieces of 8 MiB) into a file that is deleted again. Raises OSError."""
    path = folder / "limit.bin"
    pieces = max(1, n_bytes // _PIECE_BYTES)
    how = "O_DIRECT"
    flags = os.O_WRONLY | os.O_CREAT
    with mmap.mmap(-1, _PIECE_BYTES) as data:
        data[:] = os.urandom(4096) * (_PIECE_BYTES // 4096)
        try:
            fd = os.open(path, flags | getattr(os, "O_DIRECT", 0), 0o600)
            os.pwrite(fd, data, 0)
        except OSError:
            how, fd = "through the page cache", os.open(path, flags, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, pieces * _PIECE_BYTES)
            wall, cpu = time.perf_counter(), time.process_time()
            for k in range(pieces):
                os.pwrite(fd, data, k * _PIECE_BYTES)
            os.fsync(fd)
            seconds, used = time.perf_counter() - wall, time.process_time() - cpu
        finally:
            os.close(fd)
            path.unlink()
    return DiskLimit(pieces * _PIECE_BYTES / seconds, used, how)
