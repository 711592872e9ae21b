"""A turntable behind the window. No Qt, no waiting.

window -> connect, move_to, jog -> thread "hil-table": opens, moves, reads back ten times a second
window -> stop                  -> thread "hil-table-stop": straight to the device, whatever the other one waits for
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from drivers.positioner.arrival import Arrival
from drivers.positioner.positioner import Positioner
from drivers.positioner.registry import open_positioner
from gui.facts import TableFacts
from hil.core.device import Range
from hil.core.errors import ConnectionLost, DeviceStateError, HilError, UnsupportedSetting

_POLL_S = 0.1
_JOIN_S = 2.0
_TURNED_DEG = 0.02  # between two read-backs

TableLink = Literal["none", "connecting", "ready", "lost"]
TableWord = Literal["", "standing", "moving", "arrived", "stopping", "stopped", "stalled"]


@dataclass(frozen=True, slots=True)
class TableView:
    """One moment. azimuth_deg : read back, NaN before the first answer; read_at_s : when it was asked for. target_deg : of the last move. word : what it
    does. problem : "" or a line with what to do."""

    link: TableLink = "none"
    uri: str = ""
    limits_deg: Range | None = None
    sigma_deg: float = math.nan
    azimuth_deg: float = math.nan
    read_at_s: float = -math.inf
    target_deg: float | None = None
    word: TableWord = ""
    problem: str = ""

    @property
    def moving(self) -> bool:
        """It turns, as far as is known."""
        return self.word in ("moving", "stopping")


class TableDesk:
    """Methods return at once; `view` tells what became of them.

    Parameters
    ----------
    open_uri : opens a positioner; another one than by URI is for devices that are open already.
    """

    def __init__(self, open_uri: Callable[[str], Positioner] = open_positioner) -> None:
        self._open_uri = open_uri
        self._run: _Run | None = None

    @property
    def view(self) -> TableView:
        """The newest moment."""
        run = self._run
        return TableView() if run is None else run.view

    def connect(self, uri: str) -> None:
        """Open a turntable, and leave the one before."""
        before = self._run
        if before is not None:
            before.end()
        self._run = run = _Run(uri, self._open_uri, before)
        run.start()

    def move_to(self, azimuth_deg: float) -> None:
        """Begin to move. Raises DeviceStateError if none is connected, UnsupportedSetting outside the limits."""
        run, view = self._run, self.view
        if run is None or view.limits_deg is None:
            raise DeviceStateError("no turntable is connected", hint="press Connect table first")
        if not view.limits_deg.contains(azimuth_deg):
            raise UnsupportedSetting(
                "azimuth", f"{azimuth_deg:g}°", f"{view.limits_deg} degrees", uri=view.uri,
                hint="give an angle within the limits drawn",
            )  # fmt: skip
        run.ask(azimuth_deg)

    def jog(self, step_deg: float) -> float:
        """A step from the target if it goes or is there, else from where it stands, cut at the limits; returns the target."""
        view = self.view
        base = view.target_deg if view.word in ("moving", "arrived") else None
        base = view.azimuth_deg if base is None else base
        if view.limits_deg is None or math.isnan(base):
            raise DeviceStateError("no turntable is connected", hint="press Connect table first")
        target = min(max(base + step_deg, view.limits_deg.minimum), view.limits_deg.maximum)
        self.move_to(target)
        return target

    def stop(self) -> None:
        """STOP, whatever else is going on; moves that wait are forgotten."""
        run = self._run
        if run is not None:
            run.halt()

    def facts(self) -> TableFacts | None:
        """For the status strip; None without a table."""
        view = self.view
        if view.link == "none" or (math.isnan(view.azimuth_deg) and not view.problem):
            return None
        target = view.target_deg if view.moving else None
        return TableFacts(view.azimuth_deg, target, view.moving, view.sigma_deg, view.problem)

    def close(self) -> bool:
        """Stop the table and leave it; True if the threads have ended. Idempotent."""
        run, self._run = self._run, None
        if run is None:
            return True
        run.end()
        return run.join(_JOIN_S)


class _Run:
    """One connection, from opening to closing."""

    def __init__(self, uri: str, open_uri: Callable[[str], Positioner], before: _Run | None) -> None:
        self.view = TableView("connecting", uri)
        self._open_uri, self._before = open_uri, before
        self._lock = threading.Lock()
        self._awake, self._halted, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._positioner: Positioner | None = None
        self._asked: float | None = None
        self._stops = 0
        self._arrival: Arrival | None = None
        self._threads = [
            threading.Thread(target=self._work, name="hil-table", daemon=True),
            threading.Thread(target=self._stopper, name="hil-table-stop", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def ask(self, azimuth_deg: float) -> None:
        with self._lock:
            self._asked = azimuth_deg
            self.view = replace(self.view, target_deg=azimuth_deg, word="moving", problem="")
        self._awake.set()

    def halt(self) -> None:
        with self._lock:
            self._stops += 1
            self._asked = self._arrival = None
            if self.view.word:
                self.view = replace(self.view, word="stopping")
        self._halted.set()

    def end(self) -> None:
        self._ended.set()
        self._awake.set()
        self._halted.set()

    def _stopper(self) -> None:
        """In its own thread: nothing that the device answers slowly can hold a STOP up."""
        while True:
            self._halted.wait()
            self._halted.clear()
            self._stop_now()
            if self._ended.is_set():
                return

    def _stop_now(self) -> None:
        positioner = self._positioner
        if positioner is not None:
            try:
                positioner.stop()
            except HilError as err:
                self._tell(f"STOP failed: {err}. {err.hint or 'Switch the table off'}.")
        self._awake.set()

    def _work(self) -> None:
        if self._before is not None:
            self._before.join(_JOIN_S)
            self._before = None
        try:
            with self._open_uri(self.view.uri) as positioner:
                info = positioner.info
                with self._lock:
                    self.view = replace(
                        self.view, link="ready", limits_deg=info.limits_deg, sigma_deg=info.sigma_deg
                    )
                self._positioner = positioner
                while not self._ended.is_set():
                    self._turn(positioner)
                    self._awake.wait(_POLL_S)
                    self._awake.clear()
        except HilError as err:
            self._tell(_line(err), lost=True)
        except Exception as err:  # noqa: BLE001 - top level of a thread: told to the user
            self._tell(f"{type(err).__name__}: {err}. Please report it.", lost=True)
        finally:
            self._positioner = None

    def _turn(self, positioner: Positioner) -> None:
        """Ask for what is wanted, look where it is. ConnectionLost ends the run; another answer may come next time."""
        with self._lock:
            asked, self._asked, stops = self._asked, None, self._stops
            if asked is not None:
                self._arrival = Arrival(asked)
        try:
            if asked is not None:
                positioner.move_to(asked)
                if stops != self._stops:
                    positioner.stop()  # STOP came while the move was on its way
            asked_s = time.monotonic()
            back = positioner.read_back()
        except ConnectionLost:
            raise
        except HilError as err:
            self._tell(_line(err))
            return
        self._note(back.azimuth_deg, back.moving, asked_s)

    def _note(self, azimuth_deg: float, moving: bool | None, asked_s: float) -> None:
        with self._lock:
            view, arrival = self.view, self._arrival
            turned = abs(azimuth_deg - view.azimuth_deg) > _TURNED_DEG or bool(
                moving
            )  # False for the first: NaN
            word, problem = view.word, ""
            if arrival is not None:
                word = arrival.judge(azimuth_deg, time.monotonic())
                if word == "arrived":
                    self._arrival = None
                if word == "stalled":
                    problem = (
                        f"The table does not move on: it stands at {azimuth_deg:.2f}° of {arrival.target_deg:.2f}°. "
                        "Press STOP and look for an obstacle."
                    )
            elif self._asked is not None:
                word = "moving"
            elif word == "stopping":
                word = "stopping" if turned else "stopped"
            elif turned:
                word = "moving"
            elif word not in ("arrived", "stopped"):
                word = "standing"
            self.view = replace(view, azimuth_deg=azimuth_deg, read_at_s=asked_s, word=word, problem=problem)

    def _tell(self, problem: str, *, lost: bool = False) -> None:
        with self._lock:
            self.view = replace(self.view, problem=problem, link="lost" if lost else self.view.link)
            if lost:
                self.view = replace(self.view, word="", limits_deg=None)


def _line(err: HilError) -> str:
    return f"{err}. {err.hint}." if err.hint else f"{err}."
