"""Calls into a SoapySDR driver on a thread of their own, each with a deadline."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

from hil.core.errors import ConnectionLost

#: Python's names for what a driver throws: std::runtime_error, invalid_argument, out_of_range, overflow_error,
#: other std::exceptions, bad_alloc.
DRIVER_ERRORS = (RuntimeError, ValueError, IndexError, OverflowError, SystemError, MemoryError)


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
        self._lock = threading.Lock()  # nothing is queued behind the end
        self._refusal = ""
        self._present: _Call | None = None
        self._hung: _Call | None = None
        self._thread = threading.Thread(target=self._run, name=f"soapy-control {uri}", daemon=True)
        self._thread.start()

    @property
    def hung(self) -> bool:
        """True after a call that did not return in time."""
        return self._hung is not None

    def run(
        self, what: str, function: Callable[..., Any], *args: Any, deadline_s: float, last: bool = False
    ) -> Any:
        """function(*args), or what it raises. Raises ConnectionLost when it takes longer than the deadline.

        last : nothing runs after it, later calls are refused.
        """
        call = _Call(function, args)
        with self._lock:
            if self._refusal:
                raise self._refused()
            if last:
                self._refusal = "the connection was closed"
            self._queue.put(call)
        if not call.done.wait(deadline_s):
            self._give_up(call, f"{what} did not return")
            raise ConnectionLost(
                f"{self._uri}: {what}: no answer within {deadline_s:g} s",
                uri=self._uri,
                hint="check the device and its server, then open it again",
            )
        if call.error is not None:
            raise call.error
        return call.result

    def _refused(self) -> ConnectionLost:
        return ConnectionLost(
            f"{self._uri}: {self._refusal}", uri=self._uri, hint="configure() connects again"
        )

    def _give_up(self, call: _Call, why: str) -> None:
        with self._lock:
            self._refusal = self._refusal or why
            self._hung = self._hung or self._present or call
            with contextlib.suppress(queue.Empty):
                while (waiting := self._queue.get_nowait()) is not None:
                    waiting.error = self._refused()
                    waiting.done.set()
            self._queue.put(None)

    def returned(self, timeout_s: float) -> bool:
        """Wait for the call that hung; True once it has returned."""
        return self._hung is None or self._hung.done.wait(timeout_s)

    def close(self) -> None:
        """End the thread after what is queued, unless it hangs. Later calls are refused."""
        with self._lock:
            self._refusal = self._refusal or "the connection was closed"
            self._queue.put(None)
        if (not self.hung or self.returned(0.0)) and self._thread is not threading.current_thread():
            self._thread.join(5.0)

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            self._present = call
            try:
                call.result = call.function(*call.args)
            except BaseException as err:  # noqa: BLE001 - handed to the caller
                call.error = err
            self._present = None
            call.done.set()
            del call  # or the last device would live until the next call
