"""Values over time for plots: bounded memory, contiguous views, marks where something happened."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

_MOST_MARKS = 40
_SAME_S = 5.0


class History:
    """The newest `capacity` rows (width,) with their times; older ones are forgotten.

    Rows are appended to a buffer of twice the capacity, so that a view of them never has to be put together.
    """

    def __init__(self, width: int, capacity: int, dtype: DTypeLike = np.float64) -> None:
        self.capacity = capacity
        self._rows = np.zeros((2 * capacity, width), dtype)
        self._times = np.zeros(2 * capacity)
        self._begin = self._end = 0

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def width(self) -> int:
        """Of a row."""
        return self._rows.shape[1]

    @property
    def times_s(self) -> NDArray[np.float64]:
        """(n,) of the rows, oldest first."""
        return self._times[self._begin : self._end]

    @property
    def rows(self) -> NDArray[Any]:
        """(n, width), oldest first; a view that the next `append` may change."""
        return self._rows[self._begin : self._end]

    def append(self, time_s: float, row: ArrayLike) -> None:
        """One more row."""
        if self._end == len(self._rows):
            n = self.capacity - 1
            self._rows[:n] = self._rows[self._end - n :]
            self._times[:n] = self._times[self._end - n :]
            self._begin, self._end = 0, n
        self._rows[self._end] = row
        self._times[self._end] = time_s
        self._end += 1
        self._begin = max(self._begin, self._end - self.capacity)

    def clear(self) -> None:
        """Forget everything."""
        self._begin = self._end = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened. breaks : values after it do not continue those before it."""

    time_s: float
    words: str
    breaks: bool


class Marks:
    """The newest marks; the same thing within 5 s is one mark."""

    def __init__(self) -> None:
        self._marks: deque[Mark] = deque(maxlen=_MOST_MARKS)

    def __iter__(self) -> Any:
        return iter(self._marks)

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, time_s: float, words: str, *, breaks: bool = True) -> None:
        """At a time, in words."""
        last = self._marks[-1] if self._marks else None
        if last is not None and last.words == words and time_s - last.time_s < _SAME_S and not breaks:
            return
        self._marks.append(Mark(time_s, words, breaks))

    def newest_break_s(self) -> float:
        """Time of the newest mark that breaks, -inf if there is none."""
        return max((m.time_s for m in self._marks if m.breaks), default=-np.inf)


class StreamChanges:
    """Says what happened between two pictures of a stream: epochs, restarts, gaps."""

    def __init__(self) -> None:
        self._epoch: str | None = None
        self._first_sample = 0
        self._gaps: int | None = None

    def seen(self, epoch_id: str, cause: str, counter: int, first_sample: int) -> str:
        """Words if phases may have changed since the picture before, else ""."""
        before, self._epoch = self._epoch, epoch_id
        again, self._first_sample = first_sample < self._first_sample, first_sample
        if before is None:
            return ""
        if before != epoch_id:
            return f"{_CAUSES.get(cause, cause)} #{counter}"
        return "start" if again else ""

    def gaps(self, count: int) -> bool:
        """True if there are more gaps than before."""
        before, self._gaps = self._gaps, count
        return before is not None and count > before


_CAUSES = {
    "lo": "retune", "rate": "rate", "gain": "gain", "agc": "AGC", "tracking": "tracking", "stream_restart": "restart",
    "reconnect": "reconnect", "power": "power", "open": "connect",
}  # fmt: skip
