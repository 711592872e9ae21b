"""Calls into a SoapySDR driver on a thread of their own, each with a deadline."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from hil.core.errors import ConnectionLost


class _Call:
    """One call and what became of it."""

    __slots__ = ("args", "done", "error", "function", "result")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.function, self.args = function, args
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class Caller:
    """Runs functions one after the other on one thread.

    A driver's call can hang for ever (a network client whose server was killed in mid-answer); the thread is
    then given up, and every later call is refused. It is a daemon: the process can end.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._hung = ""
        self._thread = threading.Thread(target=self._run, name=f"soapy-control {uri}", daemon=True)
        self._thread.start()

    @property
    def hung(self) -> bool:
        """True after a call that did not return."""
        return bool(self._hung)

    def run(self, what: str, function: Callable[..., Any], *args: Any, deadline_s: float) -> Any:
        """function(*args), or what it raises. Raises ConnectionLost when it takes longer than the deadline."""
        if self._hung:
            raise ConnectionLost(f"{self._uri}: {self._hung} did not return", uri=self._uri)
        call = _Call(function, args)
        self._queue.put(call)
        if not call.done.wait(deadline_s):
            self._hung = what
            raise ConnectionLost(
                f"{self._uri}: {what}: no answer within {deadline_s:g} s",
                uri=self._uri,
                hint="check the device and its server, then open it again",
            )
        if call.error is not None:
            raise call.error
        return call.result

    def close(self) -> None:
        """End the thread, unless it hangs."""
        self._queue.put(None)
        if not self._hung:
            self._thread.join(5.0)

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                call.result = call.function(*call.args)
            except BaseException as err:  # noqa: BLE001 - handed to the caller
                call.error = err
            call.done.set()
            del call  # or the last device would live until the next call
