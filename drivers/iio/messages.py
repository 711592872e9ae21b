"""libiio's own messages go to `logging` ("hil.iio.driver"), not to the terminal.

libiio 0.x writes them to the C library's `stderr` and has no switch for it. glibc's `stderr` is a variable that
programs may set (its manual, "Standard Streams"): here a pipe whose reader tells libiio's lines, which begin with
their level, from those of everybody else, which go on to where they were meant to go. Descriptor 2, Python's
sys.stderr and child processes stay as they are. Other C libraries than glibc are left alone.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
import threading
from contextlib import suppress

_LOG = logging.getLogger("hil.iio.driver")
_LOG.addHandler(logging.NullHandler())  # on the terminal only where the application wants it
_LINE = re.compile(rb"(?:\x1b\[[0-9;]*m)*(ERROR|WARNING|INFO|DEBUG): ([^\x1b]*)")
_LEVELS = {
    b"ERROR": logging.ERROR,
    b"WARNING": logging.WARNING,
    b"INFO": logging.INFO,
    b"DEBUG": logging.DEBUG,
}
_UNBUFFERED = 2  # _IONBF of glibc
_LOCK = threading.Lock()
_state: list[bool] = []


def to_logging() -> None:
    """Let the messages go to `logging` from now on; once a process, nothing where the system has no glibc."""
    with _LOCK:
        if _state:
            return
        _state.append(True)
        if sys.platform == "linux":
            with suppress(OSError, AttributeError, ValueError):  # another C library
                _divert()


def _divert() -> None:
    c = ctypes.CDLL(None)
    c.gnu_get_libc_version  # noqa: B018 - AttributeError without glibc, whose `stderr` may be set
    stream = ctypes.c_void_p.in_dll(c, "stderr")
    c.fdopen.restype, c.fdopen.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_char_p]
    c.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    read, write = os.pipe()
    opened = c.fdopen(write, b"w")
    if not opened:
        os.close(read)
        os.close(write)
        return
    c.setvbuf(opened, None, _UNBUFFERED, 0)
    threading.Thread(target=_sort, args=(read,), name="iio-messages", daemon=True).start()
    stream.value = opened


def _sort(read: int) -> None:
    """Read whole lines for ever; a line without its end waits for it."""
    rest = b""
    while data := os.read(read, 4096):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            found = _LINE.match(line)
            if found:
                _LOG.log(_LEVELS[found[1]], "%s", found[2].decode("utf-8", "replace"))
            else:
                with suppress(OSError):
                    os.write(2, line + b"\n")
