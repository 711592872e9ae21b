"""Between grid points: the top of the parabola through the largest value and its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def parabola_top(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place (B,) of the largest value of rows (B, G), in steps from the first, at most half a step off the largest one."""
    row = np.arange(len(power))
    top = np.argmax(power, axis=1)
    middle = np.clip(top, 1, power.shape[1] - 2)
    below, at, above = (power[row, middle + k] for k in (-1, 0, 1))
    bend = 2 * at - below - above
    shift = np.where(bend > 0, (above - below) / np.where(bend > 0, 2 * bend, 1.0), 0.0)
    return np.where(top == middle, top + np.clip(shift, -0.5, 0.5), top)
