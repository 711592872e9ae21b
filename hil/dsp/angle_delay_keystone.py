"""Targets that move farther than a small part of a range bin: their delay put back to that of the middle of the look.

What moves turns subcarrier f by nu (1 + f/fc): the carrier's Doppler shift, and the delay that changes. Read at the
times t/(1 + f/fc), each subcarrier turns by nu alone and the delay stands still, whatever the speed: the keystone
transform (Perry, DiPietro and Fante 1999).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.dsp.angle_delay_model import Real

#: Neighbours on each side that a value between two blocks is interpolated from, and the window's shape.
_SIDE = 8
_KAISER = 6.0
#: With more than that many missing blocks for each one that is there, nothing is interpolated.
_MOST_HOLES = 8


def keystone(
    csi: NDArray[np.complex64], frequency_hz: Real, time_s: Real, fc_hz: float
) -> NDArray[np.complex64]:
    """csi (B, M, S) with the delays that targets have at the mean of time_s (B,), which are about equal steps apart.

    frequency_hz (S,) from the carrier fc_hz. What stands still is not touched, nor
    blocks far apart.
    """
    _, m, s = csi.shape
    step_s = float(np.median(np.diff(time_s)))
    index = np.rint((time_s - time_s[0]) / step_s).astype(np.int64)
    if index[-1] > _MOST_HOLES * len(index):
        return csi
    middle = float(np.mean(time_s) - time_s[0]) / step_s
    still = csi.mean(axis=0)
    held = np.zeros((int(index[-1]) + 1 + 2 * _SIDE, m, s), np.complex64)
    held[index + _SIDE] = csi - still
    out = np.empty_like(csi)
    side = np.arange(-_SIDE + 1, _SIDE + 1)
    for k, f in enumerate(frequency_hz):
        place = np.clip(middle + (index - middle) / (1 + f / fc_hz), -0.5, index[-1] + 0.5)
        below = np.floor(place).astype(np.int64)
        off = side[None, :] - (place - below)[:, None]  # (B, taps)
        window = np.i0(_KAISER * np.sqrt(np.clip(1 - (off / _SIDE) ** 2, 0.0, None))) / np.i0(_KAISER)
        weight = (np.sinc(off) * window).astype(np.float32)
        column = held[:, :, k]
        out[:, :, k] = np.einsum("bt,btm->bm", weight, column[below[:, None] + side + _SIDE])
    return out + still
