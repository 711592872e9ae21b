"""Scene time: real, or as fast as samples are asked for."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Scene seconds."""

    def now_s(self) -> float:
        """Seconds since the scene began."""
        ...

    def wait_until_s(self, t_s: float, timeout_s: float) -> bool:
        """Block until `now_s() >= t_s`; False after the timeout."""
        ...

    def handed_out(self, t_s: float) -> None:
        """Samples up to this scene second have been handed out."""
        ...


class RealTimeClock:
    """Scene time runs with the monotonic clock.

    Attributes
    ----------
    start_s : when the scene began, in seconds of the monotonic clock: at construction, or at `begin`.
    """

    def __init__(self) -> None:
        self._never = threading.Event()
        self.begin()

    def begin(self) -> None:
        """The scene begins now."""
        self.start_s = time.monotonic()

    def now_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.start_s

    def wait_until_s(self, t_s: float, timeout_s: float) -> bool:
        """Block until `now_s() >= t_s`; False after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := t_s - self.now_s()) > 0:
            room_s = deadline_s - time.monotonic()
            if room_s <= 0:
                return False
            # an Event's wait has a finer grain than sleep under load and is interruptible
            self._never.wait(min(left_s, room_s))
        return True

    def handed_out(self, t_s: float) -> None:
        """No effect: real time passes by itself."""


class FreeRunningClock:
    """Scene time is the latest sample that was handed out; waiting never blocks."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._lock = threading.Lock()

    def now_s(self) -> float:
        """Scene second of the latest sample handed out."""
        return self._now_s

    def wait_until_s(self, t_s: float, timeout_s: float) -> bool:
        """True at once."""
        return True

    def handed_out(self, t_s: float) -> None:
        """Move on to t_s, never back."""
        with self._lock:
            self._now_s = max(self._now_s, t_s)
