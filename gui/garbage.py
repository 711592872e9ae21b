"""Python's cycle collector, run only in the window's thread.

Left alone it runs in whichever thread allocates next; a Qt object in a cycle is then destroyed outside its thread, and
the program crashes some time later. Reference counting is not touched.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

_PERIOD_MS = 250
_FULL_EVERY = 40


class GarbageOfThisThread(QObject):
    """Collects on a timer of its thread from construction to `end`."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._ticks = 0
        gc.collect()
        gc.freeze()  # what is there by now stays: a full collection looks only at what came later
        gc.disable()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._collect)
        self._timer.start(_PERIOD_MS)

    def end(self) -> None:
        """As it was before. Idempotent."""
        if self._timer.isActive():
            self._timer.stop()
            gc.unfreeze()
            gc.enable()

    def _collect(self) -> None:
        self._ticks += 1
        gc.collect(2 if self._ticks % _FULL_EVERY == 0 else 1)
