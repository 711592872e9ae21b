"""Other transmitters in the band: what is no path is no noise of receivers if it has one pattern over the elements.

The receivers' own noise is independent from element to element. A signal that is not the known waveform is spread by
the reciprocal filter over all delays and Doppler shifts, but keeps its direction: it raises one eigenvalue of the
covariance of the elements. Whitened by that covariance the data are as without it, but for that direction (Capon 1969).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.dsp.angle_delay_direct import noise_window
from hil.dsp.angle_delay_model import Complex

#: Places over delay and Doppler per element that are needed.
_LEAST = 32
#: The largest eigenvalue against the mean of the others, beyond what chance allows.
_STANDS_OUT = 1.5
#: Places with so many times the usual energy hold paths.
_PATHS = 3.0
_ROUNDS = 3
#: Other signals are named from this rise of the noise on.
_WORTH_SAYING_DB = 1.0


def whitener_of(data: NDArray[np.complexfloating[Any, Any]]) -> tuple[Complex, float]:
    """(matrix (M, M) that makes the noise white, by how many dB other signals raise the noise).

    data (B, M, S) : each element divided by the deviation of its noise. The unit matrix and 0 if nothing stands out.
    """
    heard = np.any(data, axis=(0, 2))
    b, m, s = len(data), int(np.count_nonzero(heard)), data.shape[2]
    unit: Complex = np.eye(len(heard), dtype=np.complex128)
    if m < 2 or b * s < _LEAST * m:
        return unit, 0.0
    over = np.fft.fft2(data[:, heard] * noise_window(b, s)[:, None, :], axes=(0, 2))
    places = over.transpose(1, 0, 2).reshape(m, -1)
    whitener: Complex = np.eye(m, dtype=np.complex128)
    for n in range(_ROUNDS):
        white = whitener @ places
        energy = np.sum(white.real**2 + white.imag**2, axis=0)
        white = white[:, energy < _PATHS * float(np.median(energy))]
        if white.shape[1] < _LEAST * m:
            break
        values, vectors = np.linalg.eigh(white @ white.conj().T / white.shape[1])
        others = float(np.mean(values[:-1]))
        if not others > 0:
            return unit, 0.0
        least = _STANDS_OUT * (1 + np.sqrt(m / white.shape[1])) ** 2 * others
        if n == 0 and float(values[-1]) < least:
            return unit, 0.0
        whitener = np.asarray((vectors / np.sqrt(values)) @ vectors.conj().T @ whitener, np.complex128)
    values = np.sort(1 / np.linalg.svd(whitener, compute_uv=False) ** 2)
    unit[np.ix_(heard, heard)] = whitener
    return unit, float(10 * np.log10(np.mean(values) / values[(m - 1) // 2]))


def words_on_others(rise_db: float) -> list[str]:
    """A note if other transmitters in the band raise the noise by that."""
    if rise_db < _WORTH_SAYING_DB:
        return []
    return [
        f"another signal in the band raises the noise by {rise_db:.2g} dB: it comes from one direction and does not "
        "follow the waveform; weak paths, and those near that direction, are hidden. Look for it while nothing is "
        "transmitted (hil spectrum), and choose a clear frequency (--fc)"
    ]
