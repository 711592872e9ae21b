"""How a recording is played: speed, pause, loop, seeking. Any thread asks, the reader obeys at its next block."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

#: A gap in the recording is waited for at most so long: a sweep may have paused for an hour.
LONGEST_GAP_S = 1.0
_MOST_BEHIND_S = 1.0
SLOWEST, FASTEST = 0.01, 1000.0


@dataclass(frozen=True, slots=True)
class PlayState:
    """position_s, length_s : in the samples of the file. speed : inf is as fast as it is read. ended : at the end, and
    it waits there. seams : jumps that were played since the start, each a place where nothing was lost."""

    position_s: float
    length_s: float
    speed: float
    paused: bool
    loop: bool
    ended: bool
    seams: int


class Playback:
    """What a listener asks of a replay. All methods belong to any thread, except those of the reader.

    Parameters
    ----------
    fs_hz, n_samples : of the recording. speed : 1 as it was recorded, inf as fast as it is read.

    Attributes
    ----------
    loop : begin again at the end. hold : wait at the end instead of ending the stream, so that one can seek back.
    """

    def __init__(self, fs_hz: float, n_samples: int, speed: float) -> None:
        self._fs_hz, self._n_samples = fs_hz, n_samples
        self._changed = threading.Condition()
        self._speed = speed
        self._paused = False
        self._seek: int | None = None
        self._anchor: tuple[float, int] | None = None  # when (s) the sample of this index is due
        self.loop = self.hold = False
        self.position, self.ended, self.seams = 0, False, 0  # written by the reader
        #: monotonic clock of this computer minus that of the samples delivered last
        self.offset_ns = 0

    @property
    def state(self) -> PlayState:
        """One moment."""
        length = self._n_samples / self._fs_hz
        position = self.position if self._seek is None else self._seek
        ended = self.ended and self._seek is None and not self.loop
        return PlayState(
            position / self._fs_hz, length, self._speed, self._paused, self.loop, ended, self.seams
        )

    def set_speed(self, speed: float) -> None:
        """1 as recorded, inf as fast as it is read. Raises ValueError for what is not between 0.01 and 1000 or inf."""
        if not (SLOWEST <= speed <= FASTEST or speed == math.inf):
            raise ValueError(f"speed {speed}: {SLOWEST:g} to {FASTEST:g}, or inf")
        with self._changed:
            self._speed, self._anchor = speed, None
            self._changed.notify_all()

    def pause(self, paused: bool = True) -> None:
        """Deliver nothing, or go on."""
        with self._changed:
            self._paused, self._anchor = paused, None
            self._changed.notify_all()

    def seek(self, position_s: float) -> None:
        """Go on at this time of the file, cut to what there is. While paused one block of the new place is delivered."""
        sample = round(min(max(position_s, 0.0), self._n_samples / self._fs_hz) * self._fs_hz)
        with self._changed:
            self._seek, self._anchor = min(sample, self._n_samples), None
            self._changed.notify_all()

    # ---- for the reader -------------------------------------------------------------------------------

    def wake(self) -> None:
        """A wait in the reader looks again."""
        with self._changed:
            self._changed.notify_all()

    def restart(self) -> None:
        """From the beginning; a seek that was asked for is kept."""
        with self._changed:
            self._anchor, self.seams, self.ended = None, 0, False

    def take_seek(self) -> int | None:
        """The sample of the file that is asked for, once; None if none is."""
        with self._changed:
            sample, self._seek = self._seek, None
            return sample

    @property
    def resting(self) -> bool:
        """Nothing is to be delivered now."""
        return self._paused or (self.ended and self.hold and not self.loop)

    def rest(self, timeout_s: float, stopped: threading.Event) -> None:
        """Wait until something is asked for, or the time is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: stopped.is_set() or self._seek is not None or not self.resting, timeout_s
            )

    def due(self, index: int, n: int, gap: int, timeout_s: float, stopped: threading.Event) -> int:
        """How many of n samples from `index` on are due, after waiting for all of them or for the timeout.

        index : counts all samples since the start; gap : missing before it, which takes its time as well. Less than n if
        something was asked for meanwhile.
        """
        give_up = time.monotonic() + timeout_s
        with self._changed:
            while not stopped.is_set():
                if self._speed == math.inf:
                    return n
                now, per_s = time.monotonic(), self._fs_hz * self._speed
                if self._anchor is None or gap > LONGEST_GAP_S * self._fs_hz:
                    self._anchor = (now + min(gap / self._fs_hz, LONGEST_GAP_S) / self._speed, index)
                    gap = 0
                when, first = self._anchor
                ready = math.floor((now - when) * per_s) - (index - first)
                if ready >= n:
                    if ready - n > _MOST_BEHIND_S * per_s:
                        self._anchor = (
                            None  # what this computer could not keep up with is not made up for in a rush
                        )
                    return n
                if now >= give_up or self._paused or self._seek is not None:
                    return max(ready, 0)
                self._changed.wait(min(when + (index - first + n) / per_s, give_up) - now)
        return 0
