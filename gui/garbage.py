"""Python's cycle collector, run only in the window's thread.

Left alone it runs in whichever thread allocates next; a Qt object in a cycle is then destroyed outside its thread, and
the program crashes some time later. Reference counting is not touched.

A full collection looks at everything and holds Python's lock meanwhile: 50 to 100 ms once all libraries are loaded, in which no thread
takes samples from a receiver that keeps 64 ms of them. So while something streams many objects, as a library brings that is loaded, and
what has survived a collection that took long, are set aside (`gc.freeze`), and looked at again when nothing streams.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer

_PERIOD_MS = 250
_FULL_EVERY = 40
_LONG_S = 0.01
_MANY = 25_000  # objects that take some 10 ms


class GarbageOfThisThread(QObject):
    """Collects on a timer of its thread from construction to `end`. busy : whether a receiver must be kept up with."""

    def __init__(self, parent: QObject | None = None, busy: Callable[[], bool] = lambda: False) -> None:
        super().__init__(parent)
        self._busy = busy
        self._ticks = 0
        self._aside = False
        gc.collect()
        gc.freeze()  # what is there by now stays: a full collection looks only at what came later
        gc.disable()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.collect)
        self._timer.start(_PERIOD_MS)

    def end(self) -> None:
        """As it was before. Idempotent."""
        if self._timer.isActive():
            self._timer.stop()
            gc.unfreeze()
            gc.enable()

    def collect(self) -> None:
        """The young objects; now and then all."""
        self._ticks += 1
        if self._ticks % _FULL_EVERY:
            gc.collect(1)
            return
        busy = self._busy()
        if self._aside and not busy:
            gc.unfreeze()
            self._aside = False
        if busy and len(gc.get_objects(2)) > _MANY:
            gc.freeze()
            self._aside = True
            return
        began = time.thread_time()
        gc.collect()
        if time.thread_time() - began > _LONG_S:
            gc.freeze()
            self._aside = busy
