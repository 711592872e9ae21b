"""Receiver front end: thermal noise, IQ image, DC and the converter.

Levels are in steps of the converter (LSB); a full-scale complex tone (0 dBFS) has amplitude 2^(bits-1).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sim_backend.drawn import stream
from sim_backend.events import BoardState
from sim_backend.motion import mix64

_ROWS = 1 << 19


@lru_cache(maxsize=8)
def noise_table(seed: int, board: int, n_channels: int, chunk: int, sigma: float) -> NDArray[np.float32]:
    """(rows, 2 C) float32: I and Q of C independent channels of a board, E|n|^2 = sigma^2 per channel.

    The columns are whitened, so that their covariance over the table is exactly the identity and averages
    over many chunks do not settle on a chance correlation of the table.
    """
    rng = stream(seed, "noise", board)
    table = rng.standard_normal((_ROWS + chunk, 2 * n_channels), dtype=np.float32)
    core = table[:_ROWS]
    table -= core.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = (core.T @ core).astype(np.float64) / _ROWS
    whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T * (sigma * np.sqrt(0.5))
    table = table @ whiten.astype(np.float32)
    table[_ROWS:] = table[:chunk]
    table.setflags(write=False)
    return table


def noise_row(key: int, board: int, chunk_index: int) -> int:
    """First row of the noise of one chunk of one board: a hash, so that boards are independent."""
    return mix64(key, board, chunk_index) % _ROWS


def impair_iq(samples: NDArray[np.float32], image: NDArray[np.complex64] | None) -> None:
    """x + image conj(x), in place; samples (n, 2 C) float32, image (C,)."""
    if image is not None:
        x = samples.view(np.complex64)
        x += image * np.conj(x)


def convert(samples: NDArray[np.float32], bits: int, out: NDArray[np.int16]) -> None:
    """Round to steps and clip to -2^(bits-1) .. 2^(bits-1) - 1, into `out` (n, 2 C); spoils `samples`."""
    top = float(1 << (bits - 1))
    np.rint(samples, out=samples)
    np.clip(samples, -top, top - 1, out=samples)
    np.copyto(out, samples, casting="unsafe")


def garbage(
    seed: int,
    board: int,
    states: tuple[BoardState, ...],
    n: int,
    bits: int,
    first: int,
    out: NDArray[np.int16],
) -> None:
    """Overwrite the n samples after every retune with full-scale noise; `out` begins at sample `first`."""
    top = 1 << (bits - 1)
    for count, state in enumerate(states):
        low, high = max(state.begins, first), min(state.begins + n, first + len(out))
        if state.retuned and low < high:
            block = stream(seed, "garbage", board, count).integers(-top, top, (n, out.shape[1]), np.int16)
            out[low - first : high - first] = block[low - state.begins : high - state.begins]
