"""Channel responses as MoD-DNN takes them: (B, K, M) over tones and elements, free of what no direction depends on.

Every symbol comes with a phase and a delay of its own. Element 0 is turned to phase zero tone by tone and the whole
sample is scaled to unit rms: sample covariances and spectra stay as they are but for the scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ShapeError

#: Tones of one sample as published (Liu et al. 2025, section 5).
N_TONES = 16


def normalised(tones: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
    """Tones (B, K, M) with element 0 real and positive in every tone, rms 1 over K and M.

    Raises ShapeError for another number of axes, and where a sample is zero or not finite.
    """
    if tones.ndim != 3 or tones.shape[2] < 2:
        raise ShapeError(f"tones: shape {tones.shape}, needs (blocks, tones, elements) and 2 elements")
    values = np.asarray(tones, np.complex128)
    power = np.mean(np.abs(values) ** 2, axis=(1, 2))
    if not np.all(np.isfinite(power)) or np.any(power == 0):
        at = int(np.argmax(~np.isfinite(power) | (power == 0)))
        raise ShapeError(f"tones: block {at} is empty or not finite")
    first = values[:, :, :1]
    size = np.abs(first)
    turn = np.where(size > 0, first.conj() / np.where(size > 0, size, 1.0), 1.0)
    return (values * turn / np.sqrt(power)[:, None, None]).astype(np.complex64)


def pick_tones(n_subcarriers: int, n_tones: int = N_TONES) -> NDArray[np.intp]:
    """Indices (K,) of the tones kept of S subcarriers: the middles of K equal parts.

    Raises ShapeError if there are fewer subcarriers than tones.
    """
    if n_subcarriers < n_tones:
        raise ShapeError(f"{n_subcarriers} subcarriers are fewer than the {n_tones} tones of this network")
    return np.floor((np.arange(n_tones) + 0.5) * n_subcarriers / n_tones).astype(np.intp)


def covariances(tones: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """R = (1/K) sum over tones of h h^H, (B, M, M), of tones (B, K, M)."""
    h = np.asarray(tones, np.complex128)
    return np.swapaxes(h, 1, 2) @ h.conj() / h.shape[1]
