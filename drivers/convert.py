"""Wire samples (n, M, 2) to frames (M, N) complex64 of full scale 1; the only place that transposes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.device import ReadResult, WireBuffer, WireFormat
from hil.core.errors import ShapeError
from hil.core.frame import Block, Frame, FrameFlag

_CHUNK_WORDS = 4 * 8192  # a transposed chunk of all channels stays in the second-level cache
_LEAST_CHUNK = 512


def wire_to_complex(
    wire: NDArray[Any], full_scale_bits: int, out: NDArray[np.complex64] | None = None
) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
    """Transpose and scale wire samples: `x = (I + 1j Q) / 2**(full_scale_bits - 1)` for int16, as is for float32.

    The factor is a power of two, hence exact in float32: recordings round-trip bit for bit.

    Parameters
    ----------
    wire : (n, M, 2) int16 or float32.
    full_scale_bits : bits of one of I, Q including sign (12: -2048..2047).
    out : (M, n) complex64 C-contiguous to fill, or None.

    Returns
    -------
    samples : (M, n) complex64.
    clipped : (M,) int64, samples of each channel whose I or Q is at full scale.

    Raises ShapeError for other shapes or dtypes.
    """
    if wire.ndim != 3 or wire.shape[2] != 2 or wire.dtype not in (np.dtype("<i2"), np.dtype("<f4")):
        raise ShapeError(f"wire samples: {wire.dtype} {wire.shape}, expected int16 or float32 (n, M, 2)")
    n, n_channels, _ = wire.shape
    if out is None:
        out = np.empty((n_channels, n), np.complex64)
    elif out.shape != (n_channels, n) or out.dtype != np.complex64 or not out.flags.c_contiguous:
        raise ShapeError(f"out: {out.dtype} {out.shape}, expected contiguous complex64 {(n_channels, n)}")
    wire = np.ascontiguousarray(wire)
    parts = out.view(np.float32).reshape(n_channels, n, 2)
    if wire.dtype == np.dtype("<f4"):
        parts[...] = wire.transpose(1, 0, 2)
        return out, _count_clipped_float(parts, full_scale_bits)
    # I and Q move as one 32-bit word: a transpose of words is several times faster than one of int16 pairs
    words = wire.view(np.int32)[..., 0]
    scale = np.float32(2.0 ** (1 - full_scale_bits))
    top = 2 ** (full_scale_bits - 1) - 1
    clipped = np.zeros(n_channels, np.int64)
    step = max(_LEAST_CHUNK, _CHUNK_WORDS // max(n_channels, 1))
    for low in range(0, n, step):
        chunk = np.ascontiguousarray(words[low : low + step].T)
        iq = chunk.view(np.int16).reshape(n_channels, -1, 2)
        np.multiply(iq, scale, out=parts[:, low : low + step], dtype=np.float32, casting="unsafe")
        if iq.max(initial=0) >= top or iq.min(initial=0) <= -top - 1:
            clipped += ((iq >= top) | (iq <= -top - 1)).any(axis=2).sum(axis=1)
    return out, clipped


def _count_clipped_float(parts: NDArray[np.float32], bits: int) -> NDArray[np.int64]:
    # the positive rail of a converter is one step below full scale
    top = np.float32(1.0 - 2.0 ** (1 - bits))
    return ((parts >= top) | (parts <= -1.0)).any(axis=2).sum(axis=1).astype(np.int64)


def convert(block: Block, out: NDArray[np.complex64] | None = None) -> tuple[Frame, NDArray[np.int64]]:
    """Frame of a block, with CLIPPED set where samples reach full scale, and the clip count per channel.

    Parameters
    ----------
    block : wire samples (n, M, 2).
    out : (M, n) complex64 to fill, or None.

    Returns
    -------
    frame : samples (M, n) complex64, header of the block.
    clipped : (M,) int64.
    """
    samples, clipped = wire_to_complex(block.wire, block.stream.device.full_scale_bits, out)
    flags = block.flags | FrameFlag.CLIPPED if clipped.any() else block.flags
    frame = Frame(
        samples=samples,
        first_sample=block.first_sample,
        seq=block.seq,
        t_mono_ns=block.t_mono_ns,
        t_utc_ns=block.t_utc_ns,
        flags=flags,
        stream=block.stream,
    )
    return frame, clipped


def to_frame(block: Block) -> Frame:
    """Frame of a block (see `convert`)."""
    return convert(block)[0]


def to_block(wire: WireBuffer, result: ReadResult, seq: int) -> Block:
    """Block of one `RxDevice.read`: a view of the first `result.n` samples of its buffer."""
    return Block(
        wire=wire[: result.n],
        first_sample=result.first_sample,
        seq=seq,
        t_mono_ns=result.t_mono_ns,
        t_utc_ns=result.t_utc_ns,
        flags=result.flags,
        stream=result.stream,
        lost_before=result.lost_before,
    )


def complex_to_wire(samples: NDArray[np.complex64], bits: int) -> NDArray[np.int16]:
    """Words for a converter of `bits` bits, left-justified to 16: `round(x 2**(bits-1)) 2**(16-bits)`.

    Parameters
    ----------
    samples : (C, n) complex64, C-contiguous, full scale 1.
    bits : of the converter, including sign; what lies below them it would cut off, not round.

    Returns
    -------
    (n, C, 2) int16. +1 has no code and becomes the largest one: nothing ever wraps.
    """
    n_channels, n = samples.shape
    top = 2.0 ** (bits - 1)
    parts = samples.view(np.float32).reshape(n_channels, n, 2)
    codes = np.clip(np.rint(parts * np.float32(top)), -top, top - 1).astype(np.int16)
    return np.ascontiguousarray((codes << (16 - bits)).transpose(1, 0, 2))


def wire_buffer(n_samples: int, n_channels: int, wire: WireFormat) -> WireBuffer:
    """(n_samples, n_channels, 2) zeros of the wire's dtype, for `RxDevice.read`."""
    return np.zeros((n_samples, n_channels, 2), wire.dtype)
