"""One carrier phase for all blocks: what oscillators add to whole blocks is taken out, what targets do is left in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Scatter of the common phase that is left alone, radians.
_SMALL_RAD = 0.02
#: Share of the energy above noise that must follow one pattern for blocks to have a common phase at all.
_COMMON = 0.5


def aligned(csi: NDArray[np.complexfloating[Any, Any]]) -> tuple[NDArray[np.complex64], float, bool]:
    """Blocks (B, M, S) with one common phase, the scatter that was removed (rad, rms), whether they share a pattern.

    The phases are those of the strongest pattern that all blocks share (first left singular vector). A phase that grows
    evenly from block to block is a Doppler shift or a carrier offset and is left; only what is uneven beyond noise is
    removed. Blocks that share no pattern are returned as they are.
    """
    blocks = np.asarray(csi, np.complex64)
    b = len(blocks)
    if b < 3:
        return blocks, 0.0, True
    flat = blocks.reshape(b, -1)
    gram = (flat.astype(np.complex128) if flat.size < 1 << 22 else flat) @ flat.conj().T
    values, vectors = np.linalg.eigh(gram)
    v = vectors[:, -1]
    # more blocks than values in each: the other eigenvalues are zero, whatever the noise
    spread = values[max(b - flat.shape[1], 0) : -1]
    noise = max(float(np.median(spread[: max(len(spread) // 2, 1)])), 0.0)
    total = float(np.sum(values)) - b * noise
    if float(values[-1]) - noise < _COMMON * max(total, 1e-300):
        return blocks, 0.0, False
    turn = np.angle(np.sum(v[1:] * v[:-1].conj()))
    even = v * np.exp(-1j * turn * np.arange(b))
    even = even * np.exp(-1j * np.angle(np.sum(even)))
    scatter = float(np.sqrt(np.mean(np.angle(even) ** 2)))
    expected = np.sqrt(noise / 2 / max(float(values[-1]) / b, 1e-300))
    if scatter < max(_SMALL_RAD, 4 * float(expected)):
        return blocks, 0.0, True
    turned = blocks * np.exp(-1j * np.angle(v)).astype(np.complex64)[:, None, None]
    return turned, scatter, True
