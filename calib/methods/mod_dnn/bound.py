"""What no method can beat: the Cramer-Rao bound of one direction through a known array."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def direction_bound_rad(
    response: NDArray[np.complexfloating], slope: NDArray[np.complexfloating], noise: ArrayLike
) -> NDArray[np.float64]:
    """Standard deviation (A,) in radians of one direction, with an unknown complex amplitude in every tone.

        var = noise / (2 sum over tones of |P a'|^2),   P the projector onto what is orthogonal to a

    (Stoica and Nehorai 1989, eq. 4.1 for one source and one snapshot a tone.)

    response : (A, K, M) complex, a, of a source of unit amplitude. slope : (A, K, M) complex, its derivative, 1/radian.
    noise : variance per element and tone, one number or (A,).
    """
    along = np.abs(np.sum(response.conj() * slope, axis=-1)) ** 2 / np.sum(np.abs(response) ** 2, axis=-1)
    information = np.sum(np.sum(np.abs(slope) ** 2, axis=-1) - along, axis=-1)
    return np.sqrt(np.asarray(noise, np.float64) / (2 * information))
