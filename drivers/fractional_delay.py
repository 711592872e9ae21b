"""Delay of a stream by a part of a sample: boards whose converters sample at different instants."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

#: Taps on each side of the middle: -80 dB of error up to 0.4 of the rate.
REACH = 16
_BETA = 8.0


class FractionalDelay:
    """y[n] = x(n - fraction) of a stream of wire samples, by a windowed sinc of 2 REACH + 1 taps.

    Parameters
    ----------
    fraction : of a sample, -0.5..0.5, positive: later.
    first : (2 REACH, C, 2) the first wire samples. What `push` then gives begins at the time of first[REACH].
    """

    def __init__(self, fraction: float, first: NDArray[Any]) -> None:
        n = np.arange(-REACH, REACH + 1)
        taps = np.sinc(n - fraction) * np.kaiser(2 * REACH + 1, _BETA)
        self._taps = (taps / taps.sum()).astype(np.float32)[:, None]
        self._kept = np.asarray(first, np.float32).reshape(2 * REACH, -1)
        self._integer = np.issubdtype(first.dtype, np.integer)
        self._dtype = first.dtype

    def push(self, wire: NDArray[Any]) -> NDArray[Any]:
        """The next samples (n, C, 2) in, as many out, REACH samples earlier; rounded where they are integers."""
        x = np.concatenate((self._kept, np.asarray(wire, np.float32).reshape(len(wire), -1)))
        self._kept = x[len(x) - 2 * REACH :]
        out = oaconvolve(x, self._taps, mode="valid", axes=0)
        if self._integer:
            limits = np.iinfo(self._dtype)
            np.clip(np.rint(out, out=out), limits.min, limits.max, out=out)
        return out.astype(self._dtype).reshape(wire.shape)
