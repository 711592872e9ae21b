"""Pictures are painted in a thread of their own.

    DSP thread, which must take every frame --newest samples, now and then--> painter --newest picture--> window

So the spectra of a moment neither wait for the frames before it nor hold up those after it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gui.picture import SNAPSHOTS, Painter
from hil.core.frame import Frame
from hil.pipeline.latest import Latest

_WAIT_S = 0.2
_JOIN_S = 20.0


class Display:
    """Call it with every frame in the DSP thread; pictures are the painter's to give.

    An error of the painter that nobody foresaw is raised in the DSP thread, at its next frame.
    """

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self._frames: Latest[tuple[Frame, Collection[int]]] = Latest("dsp -> painter")
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def __call__(self, frame: Frame, clipped: NDArray[np.int64], silent: Collection[int] = ()) -> None:
        """See Painter. The frame's memory may be used again afterwards."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        n = frame.samples.shape[1]
        if not self._painter.due(clipped, n):
            return
        newest = frame.samples[:, -SNAPSHOTS:].copy()
        kept = replace(frame, samples=newest, first_sample=frame.first_sample + n - newest.shape[1])
        self._frames.put((kept, silent), n)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hil-painter", daemon=True)
            self._thread.start()

    def close(self) -> bool:
        """End the thread and what the painter has at work; True if all has ended. Idempotent."""
        self._frames.close()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        return self._painter.close() and (self._thread is None or not self._thread.is_alive())

    def _work(self) -> None:
        while not self._frames.finished:
            if (job := self._frames.take(_WAIT_S)) is None:
                continue
            try:
                self._painter.paint(*job)
            except Exception as err:  # noqa: BLE001 - top level of a thread: ends the session, reaches the user
                self._error = err
