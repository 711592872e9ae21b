"""Bits of a converter that never change, from the sample words.

A bit is stuck if it is the same in every word of a piece in which lower and higher ones change: two's complement
moves all bits above the signal with its sign, and a format that leaves its lowest bits empty has no lower ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SAMPLES = 512
_LEAST_WORDS = 32  # different ones: a few levels of a tone without noise prove nothing


def stuck_bits(samples: NDArray[np.complex64], full_scale_bits: int) -> NDArray[np.int64]:
    """(M,) mask of the stuck bits of each channel, I and Q together, 0: none.

    samples : (M, n) of integer words, full scale 1; full_scale_bits : of a word, with the sign.
    """
    m = len(samples)
    values = samples[:, :_SAMPLES].view(np.float32) * np.float32(2.0 ** (full_scale_bits - 1))
    words = values.astype(np.int16)
    pairs = words.view(np.uint32)  # I and Q at once
    low = np.bitwise_and.reduce(pairs, axis=1).view(np.uint16).reshape(m, 2).astype(np.int64)
    high = np.bitwise_or.reduce(pairs, axis=1).view(np.uint16).reshape(m, 2).astype(np.int64)
    out = np.zeros(m, np.int64)
    field = (1 << full_scale_bits) - 1
    moving = (low ^ high) & field  # (M, 2)
    # all bits from the lowest that moves up to the sign move: nothing is stuck (the common case)
    holes = (field & ~moving) & ~((moving & -moving) - 1)
    for channel, part in zip(*np.nonzero(holes), strict=True):
        signed = moving[channel, part] >> (full_scale_bits - 1) & 1
        if signed and len(np.unique(words[channel, part::2])) >= _LEAST_WORDS:
            out[channel] |= holes[channel, part]
    return out


def bits_of(mask: int) -> list[int]:
    """Numbers of the bits of a mask, 0 is the least significant."""
    return [k for k in range(int(mask).bit_length()) if int(mask) >> k & 1]
