"""Stages and edges as one thing that starts, stops and fails together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from hil.core.errors import CaptureError
from hil.pipeline.ledger import Edge, EdgeCounts, Ledger
from hil.pipeline.stage import Deadline, Stage


class Graph:
    """Threads of one session, in the order in which samples flow (sources first).

    An error in one stage stops all of them; the first one is kept. Usage::

        graph = Graph([reader, dsp, recorder], edges=[to_dsp, to_recorder])
        with graph:
            graph.wait(10.0)
        graph.ledger.check()
    """

    def __init__(self, stages: Sequence[Stage], edges: Sequence[Edge] = ()) -> None:
        self.ledger = Ledger()
        for edge in edges:
            self.ledger.add(edge)
        self._stages = tuple(stages)
        self._lock = threading.Lock()
        self._first_error: Exception | None = None
        self._done = threading.Event()
        self._running = len(self._stages)
        for stage in self._stages:
            stage.on_end = self._ended

    @property
    def error(self) -> Exception | None:
        """The first error of any stage."""
        return self._first_error

    def start(self) -> None:
        """Start the consumers before the producers."""
        for stage in reversed(self._stages):
            stage.start()

    def add(self, stage: Stage, edge: Edge) -> None:
        """Start one more consumer while the others run; raises the error that has ended them, if any.

        Raises ConfigError for an edge whose name is taken.
        """
        with self._lock:
            if self._first_error is None:
                self.ledger.add(edge)
                stage.on_end = self._ended
                self._stages = (*self._stages, stage)
                self._running += 1
        self.raise_error()
        stage.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all stages have ended or one has failed; False if neither happened in time.

        Raises
        ------
        Exception : the first error of a stage, as it was raised there.
        """
        ended = self._done.wait(timeout_s)
        self.raise_error()
        return ended

    def stop(self, timeout_s: float = 5.0) -> dict[str, EdgeCounts]:
        """End every thread, sources first, so that consumers empty their queues; returns the ledger's counts.

        Another stage that has not ended by itself after half of the time left is told to stop as well. Does not
        raise the stages' errors (`raise_error` does).

        Raises
        ------
        CaptureError : threads that still run after `timeout_s` (all named), or a ledger that does not add up.
        """
        deadline = Deadline(timeout_s)
        stuck: list[str] = []
        for stage in self._stages:
            if stage.source:
                stage.stop()
        for stage in self._stages:
            try:
                stage.join(deadline.left_s / 2)
            except CaptureError:
                stage.stop()
                try:
                    stage.join(deadline.left_s / 2)
                except CaptureError:
                    stuck.append(stage.name)
        if stuck:
            raise CaptureError(
                f"threads {', '.join(stuck)} still run {timeout_s:.3g} s after they were asked to stop",
                hint="the device or disk may hang; restart the program if it stays busy",
            )
        return self.ledger.check()

    def raise_error(self) -> None:
        """Raise the first error of a stage, if there is one."""
        if self._first_error is not None:
            raise self._first_error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, trace
        self.stop()
        if error is None:
            self.raise_error()

    def _ended(self, stage: Stage) -> None:
        """In the stage's own thread: note the error, end the others, tell who waits."""
        with self._lock:
            self._running -= 1
            last = self._running == 0
            first = stage.error is not None and self._first_error is None
            if first:
                self._first_error = stage.error
        if first:
            for other in self._stages:
                if other is not stage:
                    other.stop()
        if first or last:
            self._done.set()
