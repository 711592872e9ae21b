"""One vector per block: its strongest echo, matched in delay, on every element, in units of the noise.

    z_b = Y_b b(tau_b)^* / sqrt(S) = c_b a(u_b) + n,   n ~ CN(0, I),   a_k(u) = exp(+j 2 pi x_k u)

That is all a learner of positions keeps of a block: K numbers instead of K x S. The delay is where the energy
summed over the elements is largest, so nothing needs to be known of the array, and the same vectors serve from
the first guess to the last step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced

_POINTS_PER_CELL = 4
_CHUNK = 256


def strongest_echoes(data: Reduced) -> NDArray[np.complex64]:
    """z (B, K) complex64 with noise of variance 1, for data in units of N0 = 1."""
    cells = (data.window_s[1] - data.window_s[0]) * data.spacing_hz * data.n_subcarriers
    delays = np.linspace(*data.window_s, max(3, int(np.ceil(cells * _POINTS_PER_CELL)) + 1))
    filters = data.filters(delays) / np.float32(np.sqrt(data.n_subcarriers))
    z = np.empty((data.n_blocks, data.n_elements), np.complex64)
    for low in range(0, data.n_blocks, _CHUNK):
        taps = data.taps[low : low + _CHUNK]
        # sum_k |taps_k . f|^2 = f^H G f with the Gram matrix of the taps
        gram = np.matmul(taps.conj().swapaxes(1, 2), taps)
        energy = np.einsum("brd,rd->bd", np.matmul(gram, filters), filters.conj(), optimize=True).real
        best = filters.T[np.argmax(energy, axis=1)]
        z[low : low + _CHUNK] = np.matmul(taps, best[:, :, None])[:, :, 0]
    return z
