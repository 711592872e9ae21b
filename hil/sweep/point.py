"""One point of a sweep: drive, settle, record, check, and again if a check fails."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from drivers.positioner.arrival import ArrivalRule, drive_to
from drivers.positioner.positioner import Positioner
from hil.campaign.journal import CampaignJournal
from hil.campaign.plan import Plan
from hil.core.errors import DeviceError, StreamStopped
from hil.recorder.metadata import Point
from hil.sweep.checks import failures, snr_db
from hil.sweep.receiver import Receiver
from hil.sweep.window import Taken, Windows

if TYPE_CHECKING:
    from hil.sweep.sweep import Sweep

_REST_S = 0.5
_LONGEST_MOVE_S = 600.0
_TABLE_FAILURES = 3  # points in a row that the table does not reach
_PATIENCE_S = 10.0


class PointRun:
    """The points of one start."""

    def __init__(
        self,
        plan: Plan,
        table: Positioner,
        session: Receiver,
        windows: Windows,
        journal: CampaignJournal,
        sweep: Sweep,
    ) -> None:
        self._plan, self._table, self._session = plan, table, session
        self._windows, self._journal, self._sweep = windows, journal, sweep
        self._rule = ArrivalRule(plan.tolerance_deg, plan.dwell_s, plan.stall_s)
        self._not_reached: list[tuple[int, str]] = []
        self._given_up = 0

    def given_up(self) -> int:
        """Points given up since the last call."""
        n, self._given_up = self._given_up, 0
        return n

    def do(self, index: int) -> bool:
        """True once it is finished, False if it is bad.

        Raises DeviceError: the receiver is lost, or the table has not reached several points in a row. StreamStopped: the
        sweep is to end. RecordingError.
        """
        why = ""
        for attempt in range(self._plan.retries + 1):
            try:
                why = self._attempt(index, attempt)
            except StreamStopped:
                raise
            except _TableFailed as failed:
                why = str(failed)
                if attempt == self._plan.retries:
                    return self._was_not_reached(index, why, failed.cause)
            if not why:
                self.end()
                return True
            self._journal.append("retry", index=index, attempt=attempt, why=why)
            self._sweep.say(
                "moving", index, None, attempt, words=f"{self._plan.angles_deg[index]:g} degrees: {why}"
            )
        self.end()
        self._give_up(index, why)
        return False

    def _attempt(self, index: int, attempt: int) -> str:
        """Do it once; what is wrong with it, in words, "" if nothing is."""
        plan, set_deg = self._plan, self._plan.angles_deg[index]
        self._reach(index, attempt)
        self._sweep.say("settling", index, set_deg, attempt)
        self._wait(plan.settle_s)
        before_deg = self._read_back()
        stream = self._session.stream
        self._sweep.say("recording", index, before_deg, attempt)
        sigma_deg = self._table.info.sigma_deg
        taken = self._windows.take(
            plan.samples,
            Point(
                table_azimuth_deg=before_deg, table_azimuth_error_deg=sigma_deg,
                emitter_angles_deg=plan.truth_deg(before_deg),
                extras={"hil:point": index, "hil:attempt": attempt},
            ),
            time.monotonic_ns(),
            lambda: self._sweep.control.aborted or self._session.finished,
            timeout_s=_PATIENCE_S + 3 * plan.samples / stream.fs_hz,
        )  # fmt: skip
        after_deg = self._read_back()
        k = len(plan.emitters_deg) or None
        snr = snr_db(taken.covariance, k, taken.n)
        wrong = failures(plan, taken, set_deg, before_deg, after_deg, snr)
        if wrong:
            return "; ".join(wrong)
        assert self._windows.recorder is not None
        self._windows.recorder.sync()
        self._note(index, attempt, taken, before_deg, math.hypot(sigma_deg, after_deg - before_deg), snr)
        return ""

    def _note(
        self, index: int, attempt: int, taken: Taken, table_deg: float, error_deg: float, snr: float
    ) -> None:
        """It is finished."""
        assert self._windows.recorder is not None
        self._journal.append(
            "point", index=index, set_deg=self._plan.angles_deg[index], table_deg=table_deg, table_error_deg=error_deg,
            truth_deg=list(self._plan.truth_deg(table_deg)), recording=self._windows.recorder.path.name,
            start=taken.start, n=taken.n, epoch=taken.epochs[0], attempt=attempt,
            snr_db=snr if math.isfinite(snr) else None,
        )  # fmt: skip

    def _reach(self, index: int, attempt: int) -> None:
        """Drive to the angle from the side that the plan wants. Raises _TableFailed, StreamStopped."""
        plan = self._plan

        def should_stop() -> bool:
            self._sweep.say("moving", index, self._table.read_back().azimuth_deg, attempt)
            return self._sweep.control.aborted or self._session.finished

        try:
            drive_to(
                self._table, plan.angles_deg[index], _LONGEST_MOVE_S, self._rule,
                approach=plan.approach, approach_deg=plan.approach_deg, should_stop=should_stop,
            )  # fmt: skip
        except StreamStopped:
            raise
        except DeviceError as err:
            self._wait(_REST_S)
            raise _TableFailed(err) from err

    def _read_back(self) -> float:
        try:
            return self._table.read_back().azimuth_deg
        except DeviceError as err:
            raise _TableFailed(err) from err

    def _wait(self, seconds: float) -> None:
        """Raises StreamStopped: the sweep is to end, or the stream has."""
        if self._sweep.control.wait(seconds) or self._session.finished:
            raise StreamStopped("the stream ended")

    def _was_not_reached(self, index: int, why: str, cause: DeviceError) -> bool:
        """False; raises if it was not the first: then it is the table, and the points stay open."""
        self._journal.append("retry", index=index, attempt=self._plan.retries, why=why)
        self._not_reached.append((index, why))
        if len(self._not_reached) >= _TABLE_FAILURES:
            raise cause
        return False

    def end(self) -> None:
        """The table works, so what it did not reach before cannot be reached."""
        for index, why in self._not_reached:
            self._give_up(index, why)
        self._not_reached.clear()

    def _give_up(self, index: int, why: str) -> None:
        self._journal.append("bad", index=index, attempts=self._plan.retries + 1, why=why)
        self._given_up += 1


class _TableFailed(Exception):
    """The table did not do what it was told."""

    def __init__(self, cause: DeviceError) -> None:
        super().__init__(str(cause))
        self.cause = cause
