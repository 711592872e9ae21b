"""Where libiio put the samples of a receive buffer.

Asked without giving up Python's global lock, unlike through the `iio` module: these calls take no time, but waiting for the
lock after each of them does where other threads draw or compute, and a thousand blocks a second make five such waits each.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.iio.context import import_iio

#: Copied with the lock held: some ten microseconds.
_SHORT_BYTES = 2**17


def _copy_with_the_lock() -> Any:
    """memmove of the C library, called through Python's own interface, which keeps the lock; else the usual one."""
    try:
        copy = ctypes.pythonapi["memmove"]
    except AttributeError:
        return ctypes.memmove
    copy.restype, copy.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    return copy


_copy_at_once = _copy_with_the_lock()


class ReceivedSamples:
    """The block that an `iio.Buffer` holds after its refill.

    Raises DriverUnavailable without libiio.
    """

    def __init__(self, buffer: Any) -> None:
        iio = import_iio()
        library = ctypes.PyDLL(iio._lib._name)
        self._buffer = buffer
        self._start, self._end, self._step = (
            getattr(library, f"iio_buffer_{name}") for name in ("start", "end", "step")
        )
        for function, result in (
            (self._start, ctypes.c_void_p),
            (self._end, ctypes.c_void_p),
            (self._step, ctypes.c_longlong),
        ):
            function.restype, function.argtypes = result, (iio._BufferPtr,)

    @property
    def values_per_sample(self) -> int:
        """int16 of one sample of all channels on the wire."""
        return int(self._step(self._buffer._buffer)) // 2

    def copied(self, memory: NDArray[np.int16] | None) -> NDArray[np.int16]:
        """The samples, (n,) int16, in `memory` where they fit, else in memory of their own."""
        at = self._buffer._buffer
        start = self._start(at)
        n_bytes = self._end(at) - start
        there = memory if memory is not None and 2 * len(memory) >= n_bytes else _new(n_bytes)
        copy = _copy_at_once if n_bytes <= _SHORT_BYTES else ctypes.memmove
        copy(there.ctypes.data, start, n_bytes)
        return there[: n_bytes // 2]


def _new(n_bytes: int) -> NDArray[np.int16]:
    return np.empty(max(n_bytes // 2, 1), np.int16)
