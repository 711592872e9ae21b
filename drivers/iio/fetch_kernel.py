"""Compiled fetching of short blocks: several refills of a libiio buffer in one call that does without Python's lock.

Imported by `hil.core.compiled` alone. Getting the lock back after each refill costs a thread milliseconds beside others that
draw and compute; a board in blocks of 1 ms keeps 64 of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types  # pyright: ignore[reportMissingImports]
from numba.core import cgutils  # pyright: ignore[reportMissingImports]
from numba.extending import intrinsic  # pyright: ignore[reportMissingImports]

#: Ends of `fetch` other than a negative errno of libiio.
ALL, OTHER_SIZE = 0, 1


def _calling(context: Any, function: Any, argument: Any) -> Any:
    """ssize_t function(void *argument), by its address: an address that is a constant could not be kept on disk."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [arguments[1]])

    return types.int64(types.int64, types.int64), code


def _copying(context: Any, to: Any, of: Any, n_bytes: Any) -> Any:
    """memcpy between addresses."""

    def code(target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        to, of = (builder.inttoptr(address, byte) for address in arguments[:2])
        cgutils.raw_memcpy(builder, to, of, arguments[2], 1)
        return target.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


_call: Any = intrinsic(_calling)
_copy: Any = intrinsic(_copying)


@njit([types.int64(types.int64[::1], types.int64, types.int64, types.int64, types.int64, types.int64, types.int64[::1])],
      nogil=True, cache=True)  # fmt: skip
def fetch(
    functions: Any, buffer: int, memory: int, n_blocks: int, block_bytes: int, sample_bytes: int, done: Any
) -> int:
    """Refill and copy up to `n_blocks` blocks to the address `memory`; done[0] says how many are there.

    functions : addresses of iio_buffer_refill, _start, _end, _step. buffer : of the iio_buffer.

    Returns
    -------
    ALL, the negative errno of a refill, or OTHER_SIZE : the last block, of other bytes or samples than asked for, is still
    in the buffer alone.
    """
    done[0] = 0
    while done[0] < n_blocks:
        code = _call(functions[0], buffer)
        if code < 0:
            return code
        start = _call(functions[1], buffer)
        if _call(functions[2], buffer) - start != block_bytes or _call(functions[3], buffer) != sample_bytes:
            return OTHER_SIZE
        _copy(memory + done[0] * block_bytes, start, block_bytes)
        done[0] += 1
    return ALL
