"""Writing past the page cache: what a disk takes at hundreds of MB/s would otherwise be copied and flushed once more.

Linux takes such writes (O_DIRECT) where place, length and memory are multiples of the device's block. File systems that
refuse them are written as usual.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What every common device takes.
ALIGNED_BYTES = 4096
_STAGE_BYTES = 4 << 20


class DirectWriter:
    """Writes aligned pieces of a file that is open elsewhere, too."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file system does not do that."""
        flag = getattr(os, "O_DIRECT", None)
        if flag is None:
            raise OSError("this system writes through its cache only")
        self._fd = os.open(path, os.O_WRONLY | flag)
        self._stage: mmap.mmap | None = None

    def write(self, data: NDArray[np.uint8], place: int) -> int:
        """Bytes of `data` written at `place`: as many as can be written this way, 0 from the first refusal on.

        Raises OSError: the disk is full, or broken; a part may have been written.
        """
        whole = len(data) // ALIGNED_BYTES * ALIGNED_BYTES
        if self._fd < 0 or place % ALIGNED_BYTES or not whole:
            return 0
        if data.ctypes.data % ALIGNED_BYTES == 0:
            return self._written(data.data[:whole], place)
        done = 0
        while done < whole:
            n = min(whole - done, _STAGE_BYTES)
            if self._stage is None:
                self._stage = mmap.mmap(-1, _STAGE_BYTES)  # begins at a page
            np.frombuffer(self._stage, np.uint8, n)[:] = data[done : done + n]
            now = self._written(memoryview(self._stage)[:n], place + done)
            done += now
            if now < n:
                break
        return done

    def _written(self, data: memoryview[Any], place: int) -> int:
        done = 0
        while done < len(data):
            try:
                now = os.pwrite(self._fd, data[done:], place + done)
            except OSError as err:
                if err.errno == errno.EINVAL:  # a coarser block, or a file system that accepts the flag only
                    self.close()
                    break
                raise
            done += now
            if now % ALIGNED_BYTES:
                break
        return done

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
