"""Work that one thread asks another to do between two blocks."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

_POLL_S = 0.1


class Commands:
    """A queue of commands for the thread that calls `serve`. Any thread may `ask`."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Callable[[], Any], queue.Queue[Any]]] = queue.Queue()

    def ask(
        self, work: Callable[[], Any], alive: Callable[[], None], timeout_s: float, late: Exception
    ) -> Any:
        """What `work` returned or raised over there.

        Parameters
        ----------
        alive : raises what ended the other thread: one that has failed answers nobody.
        late : raised if the other thread did not serve within timeout_s.
        """
        answer: queue.Queue[Any] = queue.Queue(1)
        self._queue.put((work, answer))
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                result = answer.get(timeout=_POLL_S)
                break
            except queue.Empty:
                alive()
                if time.monotonic() > deadline:
                    raise late from None
        if isinstance(result, Exception):
            raise result
        return result

    def serve(self) -> None:
        """Do one piece of work, if any is asked for."""
        try:
            work, answer = self._queue.get_nowait()
        except queue.Empty:
            return
        try:
            answer.put(work())
        except Exception as err:  # noqa: BLE001 - handed to the thread that asked
            answer.put(err)
