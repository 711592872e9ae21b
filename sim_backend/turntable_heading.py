"""The heading of a simulated array over scene time: a programme of the scene, or a turntable that somebody commands.

Degrees clockwise seen from above. What was asked once about the time up to `cover` stays so: samples remain a function of
their index, whoever reads them and in whatever pieces.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from typing import NamedTuple, Protocol

import numpy as np

from sim_backend.clock import Clock, RealTimeClock
from sim_backend.motion import Table
from sim_backend.turntable import Turntable

#: A moving table is held over pieces in which it turns by so much: half of it to either side.
STEP_DEG = 0.03
_KNOT_DEG = (
    1e-3  # straight lines between the knots of the truth file differ by no more from the way of the table
)
_AHEAD_S = 0.02
_SHORTEST_PIECE, _LONGEST_PIECE_S = 32, 5e-3


class Held(NamedTuple):
    """A heading, the scene sample up to which it is held, and whether the table rests."""

    heading_deg: float
    end: int
    rests: bool


class Stretch(NamedTuple):
    """What the truth file says of a table: knots (t_s, heading_deg) from one scene second to another; `rests`: one."""

    begins_s: float
    ends_s: float
    knots: list[tuple[float, float]]
    rests: bool


class Heading(Protocol):
    """Heading of the array."""

    @property
    def version(self) -> int:
        """Changes where samples not yet covered may come out otherwise than made before."""
        ...

    def cover(self, t_s: float) -> float:
        """From now on nothing before this scene second changes, nor up to the one returned."""
        ...

    def at(self, sample: int, end: int, fs_hz: float) -> Held:
        """The heading from a scene sample on, up to `end` at most."""
        ...


class Programmed:
    """`steps_deg` of the scene."""

    version = 0

    def __init__(self, table: Table) -> None:
        self._table = table

    def cover(self, t_s: float) -> float:
        """It is all known."""
        return t_s

    def at(self, sample: int, end: int, fs_hz: float) -> Held:
        """The heading from a scene sample on."""
        index = self._table.index(sample, fs_hz)
        return Held(self._table.heading_deg(index), min(end, self._table.border(index + 1, fs_hz)), True)


class Commanded(Heading, Protocol):
    """A table that turns while the scene runs."""

    def stretch(self, t0_s: float, t1_s: float) -> Stretch:
        """The first one from one scene second on, up to another at most."""
        ...

    def rests_until(self, t_s: float) -> float:
        """Scene second up to which it rests from t_s on, as far as is known; t_s if it moves."""
        ...


class Paced:
    """A table in real time: scene second t is that of the clock."""

    def __init__(self, table: Turntable, clock: RealTimeClock) -> None:
        self._table, self._clock = table, clock

    @property
    def _start_s(self) -> float:
        return self._clock.start_s

    @property
    def version(self) -> int:
        """Commands so far."""
        return self._table.version

    def cover(self, t_s: float) -> float:
        """Commands begin afterwards, at steps of 20 ms, so that the truth file need not be written at every read."""
        until_s = math.ceil(t_s / _AHEAD_S) * _AHEAD_S
        self._table.freeze(self._start_s + until_s + _LONGEST_PIECE_S)  # the last cell with samples before it
        return until_s

    def at(self, sample: int, end: int, fs_hz: float) -> Held:
        """The heading of the cell that the sample lies in: a function of the cell alone."""
        length = self._cell(fs_hz)
        begins = sample // length * length
        now_s = self._start_s + begins / fs_hz
        still_s = self._table.still_until(now_s) - self._start_s
        cells = int(min(still_s * fs_hz, 2.0**62)) // length * length if still_s > 0 else 0
        if cells > begins:
            return Held(self._table.plate_deg(now_s), min(cells, end), True)
        middle_s = self._start_s + (begins + length / 2) / fs_hz
        return Held(self._table.plate_deg(middle_s), min(begins + length, end), False)

    def _cell(self, fs_hz: float) -> int:
        most = min(STEP_DEG / self._table.top_speed, _LONGEST_PIECE_S) * fs_hz
        return max(_SHORTEST_PIECE, 1 << max(int(math.log2(max(most, 1.0))), 0))

    def stretch(self, t0_s: float, t1_s: float) -> Stretch:
        """A rest, or a piece of a move."""
        rests_s = self.rests_until(t0_s)
        if rests_s > t0_s:
            return Stretch(
                t0_s, min(rests_s, t1_s), [(t0_s, self._table.plate_deg(self._start_s + t0_s))], True
            )
        ends_s = self._table.moves_until(self._start_s + t0_s) - self._start_s
        ends_s = min(max(ends_s, t0_s + 1e-6), t1_s)
        spec = self._table.spec
        knot_s = math.sqrt(8 * _KNOT_DEG / spec.ramp) / spec.hurry
        times = np.linspace(t0_s, ends_s, 2 + min(int((ends_s - t0_s) / knot_s), 10_000))
        plates = self._table.plates_deg(self._start_s + times)
        return Stretch(t0_s, ends_s, list(zip(times.tolist(), plates.tolist(), strict=True)), False)

    def rests_until(self, t_s: float) -> float:
        """Scene second up to which it rests."""
        still_s = self._table.still_until(self._start_s + t_s) - self._start_s
        return still_s if still_s > t_s + 1e-9 else t_s


class Unpaced:
    """A table in real time under samples that are not: they are made with the angle that it has just then."""

    def __init__(self, table: Turntable) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._ends_s, self._headings = [0.0], [table.plate_deg()]
        self.version = 0

    def cover(self, t_s: float) -> float:
        """Samples that are new are made at the present angle."""
        with self._lock:
            if t_s > self._ends_s[-1]:
                here = self._table.plate_deg()
                if here == self._headings[-1]:
                    self._ends_s[-1] = t_s
                else:
                    self._ends_s.append(t_s)
                    self._headings.append(here)
                    self.version += 1
        return t_s

    def at(self, sample: int, end: int, fs_hz: float) -> Held:
        """The heading with which the sample was made, or would be by what is known."""
        with self._lock:
            i = self._index((sample + 1e-3) / fs_hz)
            last = i + 1 == len(self._ends_s)
            border = end if last else math.ceil(self._ends_s[i] * fs_hz - 1e-3)
            return Held(self._headings[i], max(min(border, end), sample + 1), True)

    def stretch(self, t0_s: float, t1_s: float) -> Stretch:
        """A step."""
        ends_s = min(self.rests_until(t0_s), t1_s)
        with self._lock:
            heading = self._headings[self._index(t0_s + 1e-12)]
        return Stretch(t0_s, ends_s, [(t0_s, heading)], True)

    def rests_until(self, t_s: float) -> float:
        """The end of a step."""
        with self._lock:
            i = self._index(t_s + 1e-12)
            return self._ends_s[i] if i + 1 < len(self._ends_s) else math.inf

    def _index(self, t_s: float) -> int:
        return min(bisect_right(self._ends_s, t_s), len(self._ends_s) - 1)


def heading_of(table: Turntable, clock: Clock) -> Paced | Unpaced:
    """How a table turns an array whose time is that of a clock."""
    return Paced(table, clock) if isinstance(clock, RealTimeClock) else Unpaced(table)
