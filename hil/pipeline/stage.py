"""One thread of the pipeline: started once, stopped from outside, never lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from hil.core.errors import CaptureError, HilError, StreamStopped


class Closeable(Protocol):
    """A queue's end."""

    def close(self) -> None:
        """No more items. Idempotent."""
        ...


#: Runs until its input ends or the event is set.
Body = Callable[[threading.Event], None]


class Stage:
    """A named thread around `body(stop_event)`.

    Parameters
    ----------
    body : returns when its input is finished or soon after the event is set.
    closes : queues that this stage ends when it ends, whatever the reason: inputs that nobody will take
        from any more and outputs that nobody will feed.
    source : it ends only when told to; any other stage ends when its input is finished.
    unblock : called by `stop` after the event is set, to wake a body that waits elsewhere (`device.stop`).

    An exception of the body is stored in `error`; StreamStopped after `stop` is not an error.
    """

    def __init__(
        self,
        name: str,
        body: Body,
        *,
        source: bool = False,
        closes: Sequence[Closeable] = (),
        unblock: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.error: Exception | None = None
        #: Called in the stage's own thread when it has ended (Graph).
        self.on_end: Callable[[Stage], None] | None = None
        self._body = body
        self._closes = tuple(closes)
        self._unblock = unblock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"hil-{name}", daemon=True)

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    @property
    def started(self) -> bool:
        """True from `start` on."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Start the thread; once only."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, from any thread; does not wait. Idempotent."""
        self._stop.set()
        if self._unblock is not None:
            try:
                self._unblock()
            except HilError as err:
                self.error = self.error or err

    def join(self, timeout_s: float) -> None:
        """Return with the thread dead.

        Raises
        ------
        CaptureError : it still runs after `timeout_s`; the message names it.
        """
        if not self.started:
            return
        self._thread.join(max(0.0, timeout_s))
        if self._thread.is_alive():
            raise CaptureError(
                f"thread {self.name!r} still runs {timeout_s:.3g} s after it was asked to stop",
                hint="the device or disk may hang; restart the program if it stays busy",
            )

    def _run(self) -> None:
        try:
            self._body(self._stop)
        except StreamStopped as err:
            if not self._stop.is_set():
                self.error = err
        except Exception as err:  # noqa: BLE001 - top level of a thread: stored, ends the graph, reaches the user
            self.error = err
        finally:
            for queue in self._closes:
                queue.close()
            if self.on_end is not None:
                self.on_end(self)


class Deadline:
    """Time left of one budget that several waits share."""

    def __init__(self, timeout_s: float) -> None:
        self._end = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds left, not below 0."""
        return max(0.0, self._end - time.monotonic())
