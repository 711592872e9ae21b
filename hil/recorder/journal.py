"""Segments and annotations of a recording that is being made, one JSON object a line, as soon as they are known."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from hil.recorder.files import json_bytes, write_all


class Journal:
    """`NAME.hil-journal`, unbuffered: after `append` returned, killing the process loses nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb", buffering=0)
        self._size = 0

    def append(self, line: bytes) -> None:
        """Write a whole line or none. Raises OSError."""
        try:
            write_all(self._file.fileno(), memoryview(line))
        except OSError:
            # what follows half a line would be lost with it
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._size)
                os.lseek(self._file.fileno(), self._size, os.SEEK_SET)
            raise
        self._size += len(line)

    @staticmethod
    def line(value: Any) -> bytes:
        """One line; its length is what it adds to the metadata."""
        return json_bytes(value)

    def sync(self) -> None:
        """Flush to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()
