"""A one-slot mailbox: the newest value wins."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from hil.pipeline.ledger import EdgeCounts

T = TypeVar("T")


class Latest(Generic[T]):
    """Hands the newest value from one thread to another; a value that was not taken is superseded.

    Meant for displays: the producer never waits and the consumer never falls behind.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._condition = threading.Condition()
        self._value: T | None = None
        self._waiting = 0
        self._full = False
        self._closed = False
        self._produced = self._delivered = self._superseded = 0

    @property
    def name(self) -> str:
        """Name of the edge."""
        return self._name

    @property
    def finished(self) -> bool:
        """True when closed and empty."""
        with self._condition:
            return self._closed and not self._full

    def put(self, value: T, n_samples: int) -> bool:
        """Put a value that stands for `n_samples` samples; False if closed."""
        with self._condition:
            if self._closed:
                return False
            if self._full:
                self._superseded += self._waiting
            self._value, self._waiting, self._full = value, n_samples, True
            self._produced += n_samples
            self._condition.notify_all()
            return True

    def take(self, timeout_s: float = 0.0) -> T | None:
        """The newest value that was not taken yet, or None if there is none within the time."""
        with self._condition:
            if not self._full and timeout_s > 0:
                self._condition.wait_for(lambda: self._full or self._closed, timeout_s)
            if not self._full:
                return None
            value, self._value, self._full = self._value, None, False
            self._delivered += self._waiting
            self._waiting = 0
            return value

    def close(self) -> None:
        """No more values; the one that waits can still be taken. Idempotent."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def counts(self) -> EdgeCounts:
        """Counters in samples."""
        with self._condition:
            return EdgeCounts(self._produced, self._delivered, 0, self._superseded, self._waiting)
