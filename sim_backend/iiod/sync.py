"""Common start of buffers: what `sync_start_enable` arms and `trigger_manual` releases, on all boards at once."""

from __future__ import annotations

import threading
from typing import Protocol

from sim_backend.source import SampleSource


class Armable(Protocol):
    """A buffer that can wait for the trigger."""

    board: int

    def hold(self) -> None:
        """Stop the stream until `release`."""
        ...

    def release(self, at: int) -> None:
        """Start it with scene sample `at` of its board, if it is open."""
        ...


class SyncBus:
    """The trigger line that the boards of a scene share.

    One instant is taken for all: the latest `now` of the armed boards, so that no board starts with samples from
    before it was armed. Boards at the same rate start with the same scene sample.
    """

    def __init__(self, source: SampleSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._armed: list[Armable] = []

    def arm(self, stream: Armable) -> None:
        """Hold `stream` until the next trigger."""
        with self._lock:
            if stream not in self._armed:
                self._armed.append(stream)
                stream.hold()

    def disarm(self, stream: Armable) -> None:
        """Let `stream` run without a trigger; one that was held starts now."""
        with self._lock:
            if stream in self._armed:
                self._armed.remove(stream)
                stream.release(self._source.now(stream.board))

    def is_armed(self, stream: Armable) -> bool:
        """True while it waits for a trigger."""
        with self._lock:
            return stream in self._armed

    def trigger(self) -> None:
        """Start everything that is armed at one instant; the arming is used up."""
        with self._lock:
            armed, self._armed = self._armed, []
            boards = {stream.board for stream in armed}
            if not boards:
                return
            clock = {b: (self._source.now(b), self._source.fs_hz(b)) for b in boards}
            latest = max(boards, key=lambda b: clock[b][0] / clock[b][1])
            sample, fs_hz = clock[latest]
            for stream in armed:
                own = clock[stream.board][1]
                stream.release(sample if own == fs_hz else round(sample / fs_hz * own))
