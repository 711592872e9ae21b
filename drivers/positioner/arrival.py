"""When a move has come to its end: read-back within tolerance for a dwell, or no progress."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from drivers.positioner.positioner import Positioner, ReadBack
from hil.core.errors import DeviceTimeout

_POLL_S = 0.05

Progress = Literal["moving", "arrived", "stalled"]


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


def drive_to(
    positioner: Positioner, azimuth_deg: float, timeout_s: float = 120.0, rule: ArrivalRule | None = None
) -> ReadBack:
    """Move and wait until it has arrived; returns the last read-back.

    Raises DeviceTimeout if it stalls or is late (it is stopped first); UnsupportedSetting; DeviceError.
    """
    arrival = Arrival(azimuth_deg, rule)
    positioner.move_to(azimuth_deg)
    give_up = time.monotonic() + timeout_s
    while True:
        back, now = positioner.read_back(), time.monotonic()
        progress = arrival.judge(back.azimuth_deg, now)
        if progress == "arrived":
            return back
        if progress == "stalled" or now > give_up:
            positioner.stop()
            why = "does not move on" if progress == "stalled" else f"is not there after {timeout_s:g} s"
            raise DeviceTimeout(
                f"{positioner.info.uri}: {why}: stands at {back.azimuth_deg:.2f} of {azimuth_deg:.2f} degrees",
                uri=positioner.info.uri, hint="check the table for an obstacle, its motor and its limits",
            )  # fmt: skip
        time.sleep(_POLL_S)
