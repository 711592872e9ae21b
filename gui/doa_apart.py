"""A source that takes its time works in a thread of its own; what is shown is its newest answer.

    DSP thread --newest look--> this thread, within a share of a core --newest answer--> DSP thread

So a picture never waits for a network, nor for the libraries that it loads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gui.doa_sources import NOTHING, Look, Solver
from hil.core.errors import HilError
from hil.pipeline.latest import Latest

#: Share of a core that it may take.
_SHARE = 0.35
#: An answer older than this is not shown.
_FRESH_S = 1.5
_WAIT_S = 0.2
_JOIN_S = 20.0

Found = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """key : what it holds for. error : why there is none."""

    key: object
    at_s: float
    spectrum_db: NDArray[np.float64] | None = None
    found: Found = NOTHING
    error: HilError | None = None


class Apart:
    """Does the work of one solver at a time. `solver` and what it returns belong to the DSP thread."""

    def __init__(self) -> None:
        self._looks: Latest[tuple[ApartSolver, Look]] = Latest("dsp -> directions")
        self._answer: _Answer | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def solver(
        self,
        label: str,
        key: object,
        make: Callable[[], Solver],
        awake: Callable[[], object] | None = None,
    ) -> ApartSolver:
        """A solver that hands its work over. make : is called in the thread. key : answers to another solver with an equal
        one are shown until its own come, so that a calibration that follows the drift does not blank the screen. awake : is
        called at every look, for what must be asked often."""
        if self._thread is None and not self._ended.is_set():
            self._thread = threading.Thread(target=self._work, name="hil-directions", daemon=True)
            self._thread.start()
        return ApartSolver(self, label, key, make, awake)

    def close(self) -> bool:
        """End the thread; True if it has ended. Idempotent."""
        self._ended.set()
        self._looks.close()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        return self._thread is None or not self._thread.is_alive()

    def offer(self, solver: ApartSolver, look: Look) -> None:
        """The newest look; its frame is overwritten soon and stays behind."""
        kept = replace(look, frame=replace(look.frame, samples=look.frame.samples[:, :0]))
        self._looks.put((solver, kept), look.n_snapshots)

    def newest(self, key: object) -> _Answer | None:
        """The newest answer for a key, None if there is none or it is old."""
        answer = self._answer
        if answer is None or answer.key != key or time.monotonic() - answer.at_s > _FRESH_S:
            return None
        return answer

    def _work(self) -> None:
        while not self._ended.is_set():
            job = self._looks.take(_WAIT_S)
            if job is None:
                continue
            solver, look = job
            used = 0.0
            try:
                at_work = solver.at_work()
                used = time.thread_time()
                self._answer = _Answer(
                    solver.key, time.monotonic(), at_work.spectrum_db(look), at_work.find(look)
                )
                used = time.thread_time() - used
            except HilError as err:
                self._answer = _Answer(solver.key, time.monotonic(), error=err)
            except Exception as err:  # noqa: BLE001 - top level of a thread: told to the user
                told = HilError(f"{type(err).__name__}: {err}", hint="please report it")
                self._answer = _Answer(solver.key, time.monotonic(), error=told)
            self._ended.wait(min(used * (1 / _SHARE - 1), _FRESH_S / 2))


class ApartSolver:
    """Gives what the thread found last."""

    def __init__(
        self,
        apart: Apart,
        label: str,
        key: object,
        make: Callable[[], Solver],
        awake: Callable[[], object] | None,
    ) -> None:
        self._apart, self._label, self.key = apart, label, key
        self._make, self._awake = make, awake
        self._solver: Solver | None = None

    def at_work(self) -> Solver:
        """The solver itself, made when first asked for; in the thread."""
        if self._solver is None:
            self._solver = self._make()
        return self._solver

    def spectrum_db(self, look: Look) -> NDArray[np.float64] | None:
        """(G,) dB."""
        if self._awake is not None:
            self._awake()
        self._apart.offer(self, look)
        return self._newest().spectrum_db

    def find(self, look: Look) -> Found:
        """Directions and standard deviations, degrees, of the look that the spectrum is of."""
        del look
        return self._newest().found

    def _newest(self) -> _Answer:
        answer = self._apart.newest(self.key)
        if answer is None:
            raise HilError(f"{self._label} is at work on its first answer")
        if answer.error is not None:
            raise answer.error
        return answer
