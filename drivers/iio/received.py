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
from hil.core import compiled

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

    Parameters
    ----------
    buffer : iio.Buffer. block_bytes, sample_bytes : of a block and of a sample of all its channels as they were asked for.

    Raises
    ------
    DriverUnavailable : without libiio.
    """

    def __init__(self, buffer: Any, block_bytes: int, sample_bytes: int) -> None:
        iio = import_iio()
        self._block_bytes, self._sample_bytes = block_bytes, sample_bytes
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
        called = (library.iio_buffer_refill, self._start, self._end, self._step)
        self._addresses = np.array([ctypes.cast(f, ctypes.c_void_p).value for f in called], np.int64)
        self._done = np.zeros(1, np.int64)

    def fetch(self, memory: NDArray[np.int16], n_blocks: int) -> tuple[int, int | None]:
        """Refill and copy `n_blocks` blocks one after the other without Python's lock, where that is compiled.

        Returns
        -------
        how many are in `memory`; why not all: None if nothing stands in the way of going on (none at all: not compiled yet), a
        negative errno of a refill, or a positive number: a block of another size came, which libiio still holds.
        """
        kernel = compiled.kernel("fetch")
        if kernel is None or self._addresses.itemsize != ctypes.sizeof(ctypes.c_void_p):
            return 0, None
        at = ctypes.cast(self._buffer._buffer, ctypes.c_void_p).value
        code = kernel.fetch(
            self._addresses,
            at,
            memory.ctypes.data,
            n_blocks,
            self._block_bytes,
            self._sample_bytes,
            self._done,
        )
        return int(self._done[0]), code or None

    @property
    def values_per_sample(self) -> int:
        """int16 of one sample of all channels on the wire."""
        return int(self._step(self._buffer._buffer)) // 2

    @property
    def n_bytes(self) -> int:
        """Of the block."""
        return self._end(self._buffer._buffer) - self._start(self._buffer._buffer)

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
