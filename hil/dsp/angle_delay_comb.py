"""Sums over times or subcarriers with the phases of a shift, on a grid of shifts: by FFT where their steps are equal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.dsp.angle_delay_model import Complex, Real

#: Values this far from equal steps (part of a step) are still taken for equal; with more holes than that they are not.
_UNEVEN = 0.02
_MOST_HOLES = 8
#: Points per resolution cell of the table of likenesses.
_TABLE = 16
#: Offsets looked at together where there is no table.
_AT_ONCE = 512


def step_of(values: Real) -> float:
    """The step of values (N,) that are in equal steps but for holes, else their mean difference; 0 for less than two.

    Two values close together by chance must not ask for a search without end.
    """
    steps = np.diff(values)
    if not len(steps):
        return 0.0
    for step in (float(steps.min()), float(np.median(steps))):
        if step > 0:
            count = float(np.rint(np.sum(np.rint(steps / step))))
            mean = float(np.ptp(values)) / max(count, 1.0)
            places = (values - values[0]) / mean
            if count <= _MOST_HOLES * len(values) and np.max(np.abs(places - np.rint(places))) < _UNEVEN:
                return mean
    return float(np.ptp(values)) / len(steps)


class Comb:
    """Sums exp(-j 2 pi values shift) over values, for shifts low..high some points per resolution cell apart.

    Attributes
    ----------
    shifts : (X,) ascending, in units of one over those of the values (N,). span : their extent; for values in equal
    steps never more than one over a step, beyond which everything repeats.
    """

    def __init__(self, values: Real, low: float, high: float, per_cell: float) -> None:
        self._values = np.asarray(values, float)
        self._matrix: NDArray[np.complex64] | None = None
        self._table: Real | None = None
        self._step = step_of(self._values)
        if self._step <= 0:
            self.shifts, self.span = np.zeros(1), 0.0
            self._matrix = np.ones((len(self._values), 1), np.complex64)
            return
        places = (self._values - self._values[0]) / self._step
        self._index = np.rint(places).astype(np.int64)
        self._length = int(self._index[-1]) + 1
        even = float(np.max(np.abs(places - self._index))) < _UNEVEN
        self.span = high - low
        if even and self._length <= _MOST_HOLES * len(self._values):
            from scipy.fft import next_fast_len

            self.span = min(self.span, 1 / self._step)
            n = next_fast_len(int(np.ceil(per_cell * self._length)))
            assert n is not None
            self._n = int(n)
            grid = self._step * self._n
            first = int(np.ceil(low * grid - 1e-6))
            k = np.arange(first, min(int(np.floor(high * grid + 1e-6)), first + self._n - 1) + 1)
            self.shifts = k / grid
            self._take = k % self._n
            mask = np.zeros(self._length)
            mask[self._index] = 1 / len(self._values)
            table = np.abs(np.fft.fft(mask, _TABLE * self._length)) ** 2
            self._table = np.append(table, table[0])
        else:
            cells = self.span * float(np.ptp(self._values))
            self.shifts = np.linspace(low, high, max(5, int(np.ceil(per_cell * cells)) + 1))
            turns = np.exp(-2j * np.pi * np.outer(self._values, self.shifts))
            self._matrix = turns.astype(np.complex64)

    def __call__(self, data: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.complex64]:
        """(..., X) of data (..., N), each up to a phase of its own per shift."""
        if self._matrix is not None:
            return data.astype(np.complex64) @ self._matrix
        if self._length == len(self._values):
            even = data.astype(np.complex64, copy=False)
        else:
            even = np.zeros((*data.shape[:-1], self._length), np.complex64)
            even[..., self._index] = data
        over: NDArray[Any] = np.fft.fft(even, self._n, axis=-1)
        return over[..., self._take].astype(np.complex64, copy=False)

    @property
    def work(self) -> float:
        """Rough effort of one sum per value: products without equal steps, else an FFT."""
        return 20.0 + (0.0 if self._matrix is None else len(self.shifts) / 20)

    def likeness(self, offset: Real) -> Real:
        """|mean exp(-j 2 pi values offset)|^2 for offsets of any shape."""
        at = np.asarray(offset, float)
        if self._table is None:
            out = np.empty(at.size)
            for low in range(0, at.size, _AT_ONCE):
                turns: Complex = np.exp(-2j * np.pi * np.outer(at.flat[low : low + _AT_ONCE], self._values))
                out[low : low + _AT_ONCE] = np.abs(turns.mean(axis=1)) ** 2
            return out.reshape(at.shape)
        n = len(self._table) - 1
        place = (at * self._step % 1.0) * n
        below = np.minimum(place.astype(np.int64), n - 1)
        part = place - below
        return self._table[below] * (1 - part) + self._table[below + 1] * part
