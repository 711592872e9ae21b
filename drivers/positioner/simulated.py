"""A turntable that is computed: speed, acceleration, backlash, limits, and the faults that tables have. No thread."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

from drivers.positioner.positioner import PositionerInfo, ReadBack
from hil.core.device import Range
from hil.core.errors import ConfigError, ConnectionLost, DeviceStateError, DeviceTimeout, UnsupportedSetting

_STEP_S = 0.005
_SIGMA_DEG = 0.01
_CREEP_DEG = 0.05  # way in which the last speed is lost at the target


@dataclass(frozen=True, slots=True)
class SimulatedTable:
    """speed (deg/s), acceleration (deg/s^2). backlash : degrees that the plate lags behind the motor, which is what is
    read back, after a change of direction. low, high : limits. start : where it stands. stall_at : the motor does not
    get past this azimuth. silent_after, lost_after : calls that are answered before a deadline passes, the line breaks.
    """

    speed: float = 12.0
    acceleration: float = 24.0
    backlash: float = 0.0
    low: float = -180.0
    high: float = 180.0
    start: float = 0.0
    stall_at: float = math.nan
    silent_after: float = math.inf
    lost_after: float = math.inf
    deadline_s: float = 1.0

    def __post_init__(self) -> None:
        if not (self.speed > 0 and self.acceleration > 0 and self.backlash >= 0 and self.deadline_s > 0):
            raise ConfigError(
                "speed, acceleration and deadline_s are positive, backlash not negative", where="rotator:sim"
            )
        if not self.low <= self.start <= self.high:
            raise ConfigError(
                f"start {self.start:g} is outside {self.low:g} to {self.high:g}", where="rotator:sim"
            )


class SimulatedPositioner:
    """A Positioner. clock : seconds; another one makes it faster or slower than real time."""

    def __init__(
        self,
        table: SimulatedTable | None = None,
        *,
        uri: str = "rotator:sim",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table = table or SimulatedTable()
        self.info = PositionerInfo(
            uri, "sim", "simulated turntable", Range(table.low, table.high), _SIGMA_DEG
        )
        self._clock, self._now = clock, clock()
        self._lock = threading.Lock()
        self._gone = threading.Event()
        self._motor = self._plate = table.start
        self._rate = 0.0
        self._target: float | None = None
        self._calls = 0

    @property
    def plate_deg(self) -> float:
        """Where the plate really is: what a real table does not tell."""
        with self._lock:
            self._advance()
            return self._plate

    def move_to(self, azimuth_deg: float) -> None:
        """Begin to move."""
        self._answer()
        if not self.info.limits_deg.contains(azimuth_deg):
            raise UnsupportedSetting(
                "azimuth", f"{azimuth_deg:g} degrees", f"{self.info.limits_deg} degrees", uri=self.info.uri,
                hint="give an angle within the limits of the table",
            )  # fmt: skip
        with self._lock:
            self._advance()
            self._target = azimuth_deg

    def read_back(self) -> ReadBack:
        """Where the motor is."""
        self._answer()
        with self._lock:
            self._advance()
            return ReadBack(round(self._motor, 2), self._target is not None)

    def stop(self) -> None:
        """The motor brakes as fast as it can."""
        with self._lock:
            self._advance()
            if self._target is not None:
                way = self._rate**2 / (2 * self._table.acceleration)
                end = self._motor + math.copysign(way, self._rate)
                self._target = min(max(end, self._table.low), self._table.high)

    def close(self) -> None:
        """Stop; a call that waits ends."""
        self.stop()
        self._gone.set()

    def _answer(self) -> None:
        """What goes wrong with calls."""
        if self._gone.is_set():
            raise DeviceStateError("closed", uri=self.info.uri, hint="open it again")
        self._calls += 1
        if self._calls > self._table.lost_after:
            raise ConnectionLost(
                f"{self.info.uri}: the connection was closed",
                uri=self.info.uri,
                hint="check cable and controller",
            )
        if self._calls > self._table.silent_after:
            self._gone.wait(self._table.deadline_s)
            raise DeviceTimeout(
                f"{self.info.uri}: no answer within {self._table.deadline_s:g} s", uri=self.info.uri,
                hint="check power and cable of the controller",
            )  # fmt: skip

    def _advance(self) -> None:
        """Up to now, in small steps; nothing happens to a table at rest."""
        now = self._clock()
        while self._target is not None and self._now < now:
            dt = min(_STEP_S, now - self._now)
            self._now += dt
            self._step(dt, self._target)
        self._now = now

    def _step(self, dt: float, target: float) -> None:
        table, left = self._table, target - self._motor
        allowed = min(math.sqrt(2 * table.acceleration * abs(left)), table.speed)
        want = math.copysign(allowed, left)
        change = table.acceleration * dt
        self._rate += min(max(want - self._rate, -change), change)
        moved = self._motor + self._rate * dt
        if self._motor != table.stall_at and (self._motor - table.stall_at) * (moved - table.stall_at) <= 0:
            self._rate = 0.0
            return
        self._motor = min(max(moved, table.low), table.high)
        crossed = left * (target - self._motor) <= 0
        if crossed and self._rate**2 / (2 * table.acceleration) <= _CREEP_DEG:
            self._motor, self._rate, self._target = target, 0.0, None
        half = table.backlash / 2
        self._plate = min(max(self._plate, self._motor - half), self._motor + half)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_simulated(options: str, uri: str) -> SimulatedPositioner:
    """From what follows `rotator:sim?`: `speed=6&backlash=0.3`. Raises ConfigError."""
    names = [f.name for f in fields(SimulatedTable)]
    table = SimulatedTable()
    for part in options.split("&") if options else []:
        name, _, text = part.partition("=")
        if name not in names:
            raise ConfigError(f"unknown option {name!r}", where=uri, hint=f"one of {', '.join(names)}")
        try:
            table = replace(table, **{name: float(text)})
        except ValueError:
            raise ConfigError(
                f"{name}={text!r} is not a number", where=uri, hint=f"for example {name}=6"
            ) from None
    return SimulatedPositioner(table, uri=uri)
