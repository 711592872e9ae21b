"""A turntable sweep behind the window, on the stream and the table that are there. No Qt, no waiting.

    window -> begin, pause, go_on, abort -> thread "hil-sweep": hil.sweep.Sweep
                                            -> the session's recording branch, the table desk
Stream and table stay the window's: the plots go on, STOP and Esc end the sweep.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from drivers.positioner.positioner import PositionerInfo, ReadBack
from gui.facts import TableFacts
from gui.positions import TableDesk
from hil.campaign.folder import open_campaign
from hil.campaign.plan import Plan
from hil.campaign.plan_file import CampaignFile
from hil.core.errors import ConnectionLost, DeviceStateError, HilError
from hil.core.frame import StreamInfo
from hil.session import Session
from hil.session_stages import BlockSink
from hil.sweep.prepare import prepare
from hil.sweep.progress import SweepControl, SweepProgress
from hil.sweep.sweep import Sweep

_JOIN_S = 10.0
_ANSWER_S = 0.5  # the desk reads the table back several times in it

SweepState = Literal["none", "runs", "paused", "ending", "complete", "ended", "failed"]
PointState = Literal["open", "now", "again", "done", "bad"]


@dataclass(frozen=True, slots=True)
class SweepView:
    """One moment. progress : newest. points : of each angle of the plan. words : newest message. problem : why it
    failed, with what to do."""

    state: SweepState = "none"
    folder: Path | None = None
    plan: Plan | None = None
    progress: SweepProgress | None = None
    points: tuple[PointState, ...] = ()
    words: str = ""
    problem: str = ""

    @property
    def running(self) -> bool:
        """Stream and table are in use."""
        return self.state in ("runs", "paused", "ending")


@dataclass(slots=True)
class _Map:
    """States of the points while it runs."""

    points: list[PointState] = field(default_factory=list)
    now: int | None = None

    def take(self, progress: SweepProgress, *, finished: bool) -> None:
        """finished : the point before is."""
        if self.now is not None and progress.index != self.now:
            self.points[self.now] = "done" if finished else "open"  # or bad, as the journal will say
        self.now = progress.index
        if progress.index is not None:
            self.points[progress.index] = "again" if progress.attempt else "now"


class SweepDesk:
    """Methods return at once; `view` tells what became of them.

    Parameters
    ----------
    session : gives the session of the window. table : the turntable of the window.
    """

    def __init__(self, session: Callable[[], Session | None], table: TableDesk) -> None:
        self._session, self._table = session, table
        self.view = SweepView()
        self._control = SweepControl()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def begin(
        self, folder: Path, file: CampaignFile | None, *, resume: bool = False, bad_again: bool = False
    ) -> None:
        """Begin a campaign in a new folder, or go on with one. Raises what refuses it before anything moves."""
        if self.view.running:
            raise DeviceStateError("a sweep runs", hint="wait for it, or press End sweep")
        session = self._session()
        if session is None or not session.running:
            raise DeviceStateError("nothing streams", hint="press Start first")
        if self._table.view.limits_deg is None:
            raise DeviceStateError(
                "no turntable is connected", hint="press Connect table in the Chamber panel first"
            )
        kept = prepare(folder, file, resume=resume)
        self._control = SweepControl()
        sweep = Sweep(
            folder, lambda: _LentReceiver(self._session), lambda: _LentTable(self._table), tell=self._told,
            control=self._control,
        )  # fmt: skip
        self._points = _Map(["open"] * len(kept.plan.angles_deg))
        self.view = SweepView("runs", folder, kept.plan, None, tuple(self._points.points))
        self._look()
        self._thread = threading.Thread(
            target=self._run, args=(sweep, bad_again), name="hil-sweep", daemon=True
        )
        self._thread.start()

    def pause(self, paused: bool = True) -> None:
        """After the present point, or go on."""
        if paused:
            self._control.pause()
        else:
            self._control.go_on()
            self._set(state="runs") if self.view.state == "paused" else None

    def abort(self) -> None:
        """As soon as possible; what is finished stays."""
        if self.view.running:
            self._control.abort()
            self._set(state="ending")

    def table_facts(self) -> TableFacts | None:
        """For the status strip: the table's, with the sweep's progress."""
        facts, view = self._table.facts(), self.view
        if facts is None or view.progress is None or not view.running:
            return facts
        return replace(facts, sweep=f"{view.progress.done}/{view.progress.total}")

    def close(self) -> bool:
        """End it; True if its thread has ended. Idempotent."""
        self.abort()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        return self._thread is None or not self._thread.is_alive()

    def _set(self, **fields: object) -> None:
        with self._lock:
            self.view = replace(self.view, **fields)  # pyright: ignore[reportArgumentType]

    def _told(self, progress: SweepProgress) -> None:
        """In the sweep's thread."""
        view, before = self.view, self.view.progress
        finished = before is not None and progress.done > before.done
        self._points.take(progress, finished=finished)
        if before is None or before.bad != progress.bad:
            self._look()
        state = view.state if view.state == "ending" else "paused" if progress.stage == "paused" else "runs"
        self._set(
            progress=progress,
            points=tuple(self._points.points),
            state=state,
            words=progress.words or self.view.words,
        )

    def _look(self) -> None:
        """What the folder says of the points."""
        folder = self.view.folder
        if folder is None:
            return
        campaign = open_campaign(folder)
        for point in campaign.points:
            self._points.points[point.index] = "done"
        for point in campaign.bad:
            self._points.points[point.index] = "bad"

    def _run(self, sweep: Sweep, bad_again: bool) -> None:
        try:
            result = sweep.run(bad_again=bad_again)
        except HilError as err:
            self._end("failed", f"{err}. {err.hint}." if err.hint else f"{err}.")
        except Exception as err:  # noqa: BLE001 - top level of a thread: told to the user
            self._end("failed", f"{type(err).__name__}: {err}. Please report it.")
        else:
            self._end("ended" if result.aborted else "complete", "")

    def _end(self, state: SweepState, problem: str) -> None:
        self._points.points = ["open" if p in ("now", "again") else p for p in self._points.points]
        self._look()
        self._set(state=state, problem=problem, points=tuple(self._points.points))


class _LentReceiver:
    """The window's session, for a while: recording begins and ends, the stream goes on."""

    def __init__(self, session: Callable[[], Session | None]) -> None:
        found = session()
        if found is None or not found.running:
            raise DeviceStateError("nothing streams", hint="connect and press Start")
        self._session, self._present = found, session

    @property
    def stream(self) -> StreamInfo:
        return self._session.stream

    @property
    def finished(self) -> bool:
        """The stream has ended, or another one has begun."""
        return self._session.finished or not self._session.running or self._present() is not self._session

    def start(self, *, recorder: BlockSink) -> None:
        self._session.record(recorder)

    def stop(self) -> object:
        return self._session.stop_recording() if self._session.running else None

    def raise_error(self) -> None:
        if self.finished:
            raise ConnectionLost("the stream has ended", hint="connect and press Start")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """It stays open."""


class _LentTable:
    """The window's turntable, for a while."""

    def __init__(self, desk: TableDesk) -> None:
        self._desk = desk
        view = desk.view
        if view.limits_deg is None:
            raise ConnectionLost(
                view.problem or "no turntable is connected", hint="press Connect table in the Chamber panel"
            )
        self.info = PositionerInfo(view.uri, "lent", view.uri, view.limits_deg, view.sigma_deg)

    def move_to(self, azimuth_deg: float) -> None:
        self._desk.move_to(azimuth_deg)

    def read_back(self) -> ReadBack:
        """An answer that was given after the question."""
        asked = time.monotonic()
        while True:
            view = self._desk.view
            if view.link != "ready" or view.limits_deg is None:
                raise ConnectionLost(view.problem or "the turntable is lost", hint="connect it again")
            if view.read_at_s > asked:
                return ReadBack(view.azimuth_deg, view.moving)
            if time.monotonic() > asked + _ANSWER_S:
                raise ConnectionLost(
                    view.problem or "the turntable does not answer", hint="check its controller"
                )
            time.sleep(0.01)

    def stop(self) -> None:
        self._desk.stop()

    def close(self) -> None:
        """It stays open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """It stays open."""
