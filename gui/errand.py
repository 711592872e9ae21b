"""Work that would make the window wait: done one after the other in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hil.core.errors import HilError

_MOST_WAITING = 32
_KEPT = 200


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one errand. name : as shown. script : the command that does the same, "" if there is none.
    error : None if it went well. words : the result in one line."""

    name: str
    script: str = ""
    error: HilError | None = None
    words: str = ""


@dataclass(slots=True)
class _Errand:
    name: str
    work: Callable[[], str | None]
    script: str = ""


class Errands:
    """`send` from any thread; `take` what was done. Errors come back as results, never through the window."""

    def __init__(self, name: str = "hil-errands") -> None:
        self._queue: queue.Queue[_Errand | None] = queue.Queue(_MOST_WAITING)
        self._done: deque[Done] = deque(maxlen=_KEPT)
        self._present = ""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> str:
        """Name of what is being done, "" if nothing is."""
        return self._present

    def send(self, name: str, work: Callable[[], str | None], script: str = "") -> bool:
        """Do `work` next; what it returns is shown. False if too much waits or all is over."""
        if self._closed:
            return False
        try:
            self._queue.put_nowait(_Errand(name, work, script))
        except queue.Full:
            self._done.append(
                Done(name, script, HilError(f"{name}: too much is waiting", hint="wait for what runs"))
            )
            return False
        return True

    def take(self) -> list[Done]:
        """What was done since the last call, oldest first."""
        out = []
        while self._done:
            out.append(self._done.popleft())
        return out

    def close(self, timeout_s: float) -> bool:
        """Finish what runs, forget what waits; True if the thread has ended within the time."""
        self._closed = True
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (errand := self._queue.get()) is not None:
            self._present = errand.name
            try:
                done = Done(errand.name, errand.script, words=errand.work() or "")
            except HilError as err:
                done = Done(errand.name, errand.script, err)
            except Exception as err:  # noqa: BLE001 - top level of a thread: told to the user
                done = Done(
                    errand.name,
                    errand.script,
                    HilError(f"{type(err).__name__}: {err}", hint="please report it"),
                )
            self._done.append(done)
            self._present = ""
