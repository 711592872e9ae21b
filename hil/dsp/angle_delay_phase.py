"""One carrier phase for all blocks: what oscillators add to whole blocks is taken out, what targets do is left in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Scatter of the common phase that is left alone, radians.
_SMALL_RAD = 0.02
#: Share of the energy above noise that must follow one pattern for blocks to have a common phase at all.
_COMMON = 0.5
#: Blocks of which the pattern is found: the effort grows with their third power.
_MOST_BLOCKS = 512


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
    v, values = strongest_pattern(flat)
    n = len(values)
    # more blocks than values in each: the other eigenvalues are zero, whatever the noise
    spread = values[max(n - flat.shape[1], 0) : -1]
    noise = max(float(np.median(spread[: max(len(spread) // 2, 1)])), 0.0)
    total = float(np.sum(values)) - n * noise
    if float(values[-1]) - noise < _COMMON * max(total, 1e-300):
        return blocks, 0.0, False
    turn = np.angle(np.sum(v[1:] * v[:-1].conj()))
    even = v * np.exp(-1j * turn * np.arange(b))
    even = even * np.exp(-1j * np.angle(np.sum(even)))
    # a block without signal has no phase
    scatter = float(np.sqrt(np.average(np.angle(even) ** 2, weights=np.abs(v) ** 2)))
    expected = np.sqrt(noise / 2 / max(float(values[-1]) / n, 1e-300))
    if scatter < max(_SMALL_RAD, 4 * float(expected)):
        return blocks, 0.0, True
    turned = blocks * np.exp(-1j * np.angle(v)).astype(np.complex64)[:, None, None]
    return turned, scatter, True


def merged(csi: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.complex64]:
    """One block (1, M, S) out of blocks (B, M, S) of one pattern, whatever their phases."""
    blocks = np.asarray(csi, np.complex64)
    v, _ = strongest_pattern(blocks.reshape(len(blocks), -1))
    return np.einsum("b,bms->ms", np.exp(-1j * np.angle(v)).astype(np.complex64) / len(v), blocks)[None]


def strongest_pattern(flat: NDArray[np.complex64]) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """(B,) each row's part in the strongest pattern of rows (B, n); eigenvalues, ascending, of what it was found in."""
    few = flat[:: -(-len(flat) // _MOST_BLOCKS)]
    gram = (few.astype(np.complex128) if few.size < 1 << 22 else few) @ few.conj().T
    values, vectors = np.linalg.eigh(gram)
    v = np.asarray(vectors[:, -1], np.complex128)
    if len(few) < len(flat):
        v = np.asarray(flat @ (v.conj() @ few).conj(), np.complex128)
    return v, np.asarray(values, float)
