"""What a sweep says of itself while it runs, and how it is steered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["opening", "moving", "settling", "recording", "paused", "waiting", "done"]


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """Where a sweep is.

    Attributes
    ----------
    stage : what it does now. total, done, bad : points. index : of the present point into the plan's angles, None
        between points. set_deg, table_deg : asked for and read back, None if not known. attempt : of this point.
    remaining_s : estimate, from the points so far. words : the newest message, "" if there is none.
    """

    stage: Stage
    total: int
    done: int
    bad: int
    index: int | None = None
    set_deg: float | None = None
    table_deg: float | None = None
    attempt: int = 0
    remaining_s: float | None = None
    words: str = ""


Tell = Callable[[SweepProgress], None]


class SweepControl:
    """Pauses and ends a sweep, from any thread."""

    def __init__(self) -> None:
        self._pause = threading.Event()
        self._abort = threading.Event()

    def pause(self) -> None:
        """After the present point; the stream goes on, so that the epoch stays."""
        self._pause.set()

    def go_on(self) -> None:
        """After a pause."""
        self._pause.clear()

    def abort(self) -> None:
        """As soon as possible: the table stops, what is finished stays, and the sweep can be resumed."""
        self._abort.set()

    @property
    def paused(self) -> bool:
        """A pause was asked for."""
        return self._pause.is_set()

    @property
    def aborted(self) -> bool:
        """An end was asked for."""
        return self._abort.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait; True if an end was asked for before the time was over."""
        return self._abort.wait(seconds)


class Estimate:
    """How long the rest takes: the mean of the points that this run has finished."""

    def __init__(self, first_guess_s: float) -> None:
        self._guess_s, self._spent_s, self._n = first_guess_s, 0.0, 0
        self._began = time.monotonic()

    def begin(self) -> None:
        """A point begins."""
        self._began = time.monotonic()

    def end(self) -> None:
        """It is finished."""
        self._spent_s += time.monotonic() - self._began
        self._n += 1

    def of(self, points: int) -> float:
        """Seconds that so many points take."""
        return points * (self._spent_s / self._n if self._n else self._guess_s)
