"""When a move has come to its end: read-back within tolerance for a dwell, or no progress."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from drivers.positioner.positioner import Positioner, ReadBack, check_reachable
from hil.core.errors import DeviceTimeout, HilError, StreamStopped

_POLL_S = 0.05

Progress = Literal["moving", "arrived", "stalled"]
Approach = Literal["any", "cw", "ccw"]


@dataclass(frozen=True, slots=True)
class ArrivalRule:
    """tolerance_deg : distance of the read-back from the target that counts as there. dwell_s : for so long without a
    break. stall_s : without progress towards the target."""

    tolerance_deg: float = 0.1
    dwell_s: float = 0.3
    stall_s: float = 3.0


class Arrival:
    """Judges one move by what is read back, at any pace. Times are in seconds of one clock."""

    def __init__(self, target_deg: float, rule: ArrivalRule | None = None) -> None:
        self.target_deg, self.rule = target_deg, rule or ArrivalRule()
        self._inside_since: float | None = None
        self._seen: float | None = None
        self._progress_at = 0.0

    def judge(self, azimuth_deg: float, now_s: float) -> Progress:
        """After each read-back. A table that never stands still for the dwell, or nowhere near, has stalled at last."""
        rule = self.rule
        if abs(azimuth_deg - self.target_deg) <= rule.tolerance_deg:
            self._inside_since = now_s if self._inside_since is None else self._inside_since
            return "arrived" if now_s - self._inside_since >= rule.dwell_s else "moving"
        self._inside_since = None
        if self._seen is None or abs(azimuth_deg - self._seen) > rule.tolerance_deg / 2:
            self._seen, self._progress_at = azimuth_deg, now_s
        return "stalled" if now_s - self._progress_at >= rule.stall_s else "moving"


def stops(azimuth_deg: float, from_deg: float, approach: Approach, approach_deg: float) -> tuple[float, ...]:
    """Where a table goes to reach an azimuth from the wanted side: beyond it first where it stands on another one."""
    if approach == "cw" and from_deg > azimuth_deg - approach_deg:
        return azimuth_deg - approach_deg, azimuth_deg
    if approach == "ccw" and from_deg < azimuth_deg + approach_deg:
        return azimuth_deg + approach_deg, azimuth_deg
    return (azimuth_deg,)


def drive_to(
    positioner: Positioner,
    azimuth_deg: float,
    timeout_s: float = 120.0,
    rule: ArrivalRule | None = None,
    *,
    approach: Approach = "any",
    approach_deg: float = 2.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> ReadBack:
    """Move and wait until it has arrived; returns the last read-back.

    Parameters
    ----------
    approach : side from which it is reached, because of backlash: "cw" turning clockwise, so from smaller azimuths, from
        `approach_deg` at least; the table goes beyond first where it stands on the other side.
    should_stop : asked several times a second; True stops the table and ends the call.

    Raises DeviceTimeout if it stalls or is late, StreamStopped if it should stop; the table is stopped first.
    UnsupportedSetting, before anything moves; DeviceError.
    """
    give_up = time.monotonic() + timeout_s
    way = stops(azimuth_deg, positioner.read_back().azimuth_deg, approach, approach_deg)
    for target in reversed(way):
        check_reachable(positioner.info, target)
    try:
        for target in way[:-1]:
            _drive(positioner, target, give_up, rule, should_stop)
        return _drive(positioner, way[-1], give_up, rule, should_stop)
    except BaseException:
        with contextlib.suppress(HilError):
            positioner.stop()
        raise


def _drive(
    positioner: Positioner,
    target_deg: float,
    give_up: float,
    rule: ArrivalRule | None,
    should_stop: Callable[[], bool],
) -> ReadBack:
    arrival, uri = Arrival(target_deg, rule), positioner.info.uri
    positioner.move_to(target_deg)
    while True:
        back, now = positioner.read_back(), time.monotonic()
        progress = arrival.judge(back.azimuth_deg, now)
        if progress == "arrived":
            return back
        if progress == "stalled" or now > give_up:
            why = "does not move on" if progress == "stalled" else "is not there in time"
            raise DeviceTimeout(
                f"{uri}: {why}: stands at {back.azimuth_deg:.2f} of {target_deg:.2f} degrees",
                uri=uri, hint="check the table for an obstacle, its motor and its limits",
            )  # fmt: skip
        if should_stop():
            raise StreamStopped(f"{uri}: stopped at {back.azimuth_deg:.2f} degrees", uri=uri)
        time.sleep(_POLL_S)
