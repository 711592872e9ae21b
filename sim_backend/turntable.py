"""A turntable that is computed: speed, acceleration, backlash, limits and a stall, exact at any time. No thread.

The motor runs in pieces of constant acceleration, each in one direction. The plate, which carries the array, lags behind
it by half the backlash after a change of direction; a table reads back its motor.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError

_KEPT_S = 60.0  # of the past
_TINY_DEG = 1e-9
_SHORT_OF_DEG = 0.01  # where a motor stands that cannot get past an angle


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What a table is.

    Attributes
    ----------
    speed (deg/s), acceleration (deg/s^2, None: twice the speed in a second). backlash : degrees between the plate's two
        ends of play. low, high : limits of what it reads back. start : where it stands first. stall_at : the motor does
        not get past this azimuth. hurry : its time runs so many times faster.

    Raises ConfigError.
    """

    speed: float = 12.0
    acceleration: float | None = None
    backlash: float = 0.0
    low: float = -180.0
    high: float = 180.0
    start: float = 0.0
    stall_at: float = math.nan
    hurry: float = 1.0

    def __post_init__(self) -> None:
        fine = [getattr(self, f.name) for f in fields(self) if f.name != "stall_at"]
        if not all(value is None or abs(value) < 1e9 for value in fine):
            raise ConfigError("a number of the table is not finite", where="turntable")
        if not (self.speed > 0 and self.ramp > 0 and self.backlash >= 0 and self.hurry > 0):
            raise ConfigError(
                "speed, acceleration and hurry are positive, backlash is not negative", where="turntable"
            )
        if not self.low <= self.start <= self.high:
            raise ConfigError(
                f"start {self.start:g} is outside {self.low:g} to {self.high:g}", where="turntable"
            )

    @property
    def ramp(self) -> float:
        """Acceleration in deg/s^2."""
        return 2 * self.speed if self.acceleration is None else self.acceleration


@dataclass(frozen=True, slots=True)
class _Piece:
    """From `begins` on: motor = motor + rate t + acceleration t^2 / 2. plate : at the beginning. busy : as it says."""

    begins: float
    motor: float
    rate: float = 0.0
    acceleration: float = 0.0
    plate: float = 0.0
    busy: bool = False

    def motor_at(self, t: float) -> float:
        if self.rests:
            return self.motor
        dt = t - self.begins
        return self.motor + self.rate * dt + self.acceleration * dt * dt / 2

    @property
    def rests(self) -> bool:
        return self.rate == 0 and self.acceleration == 0


class Turntable:
    """One turntable. Thread-safe. Azimuths in degrees, clockwise seen from above; times in seconds of `clock`.

    Attributes
    ----------
    clock : what time it is. version : counts commands that changed its way.
    """

    def __init__(self, spec: TableSpec | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.version = 0
        self._spec = spec or TableSpec()
        self._speed = self._spec.speed
        self._frozen = -math.inf
        self._lock = threading.RLock()
        start = self._spec.start
        self._pieces = [_Piece(-math.inf, start, plate=start)]
        self._begins = [-math.inf]

    @property
    def spec(self) -> TableSpec:
        """What it is."""
        return self._spec

    @property
    def top_speed(self) -> float:
        """Degrees per second of the clock, at most."""
        return max(self._speed, self._spec.speed) * self._spec.hurry

    def become(self, spec: TableSpec) -> None:
        """Another speed, other limits and so on, where it stands; it comes to rest first if it moves."""
        with self._lock:
            self.stop()
            self._spec, self._speed = spec, spec.speed
            self.version += 1

    def set_speed(self, speed: float) -> None:
        """Degrees per second of the moves from now on; that of the spec at most."""
        self._speed = min(max(speed, 1e-3), self._spec.speed)

    def allows(self, azimuth_deg: float) -> bool:
        """Within the limits."""
        return self._spec.low <= azimuth_deg <= self._spec.high

    # Where it is; now unless a time is given

    def motor_deg(self, at: float | None = None) -> float:
        """What is read back."""
        with self._lock:
            t = self.clock() if at is None else at
            return self._at(t).motor_at(t)

    def plate_deg(self, at: float | None = None) -> float:
        """Where the plate really is: what a real table does not tell."""
        with self._lock:
            t = self.clock() if at is None else at
            piece, half = self._at(t), self._spec.backlash / 2
            motor = piece.motor_at(t)
            return min(max(piece.plate, motor - half), motor + half)

    def plates_deg(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Plate (n,) at times (n,) float64, from a minute ago to whenever, as it is on its way now."""
        with self._lock:
            index = np.searchsorted(self._begins, at, side="right") - 1
            used = [self._pieces[i] for i in np.maximum(index, 0)]
            half = self._spec.backlash / 2
        motor = np.array([p.motor_at(t) for p, t in zip(used, at, strict=True)])
        return np.clip(np.array([p.plate for p in used]), motor - half, motor + half)

    def moving(self) -> bool:
        """It is on its way, or is held up."""
        with self._lock:
            return self._at(self.clock()).busy

    def held(self) -> bool:
        """It is held up on its way."""
        with self._lock:
            now = self._at(self.clock())
            return now.busy and now.rests

    def direction(self) -> float:
        """1.0 where it turns clockwise, -1.0 counter-clockwise, 0.0 where it rests."""
        with self._lock:
            now = self._at(self.clock())
            return 0.0 if now.rests else math.copysign(1.0, now.rate or now.acceleration)

    def still_until(self, at: float) -> float:
        """Until when it does not move from a time on, as far as is known; the time itself if it moves then."""
        with self._lock:
            i = self._index(at)
            if not self._pieces[i].rests:
                return at
            return self._begins[i + 1] if i + 1 < len(self._begins) else math.inf

    def moves_until(self, at: float) -> float:
        """When the piece of its way ends that a time lies in."""
        with self._lock:
            i = self._index(at)
            return self._begins[i + 1] if i + 1 < len(self._begins) else math.inf

    # What it does

    def move_to(self, azimuth_deg: float) -> None:
        """Begin to move. Raises ValueError outside the limits."""
        if not self.allows(azimuth_deg):
            raise ValueError(f"{azimuth_deg:g} is outside {self._spec.low:g} to {self._spec.high:g}")
        with self._lock:
            self._go(azimuth_deg)

    def stop(self) -> None:
        """Brake."""
        with self._lock:
            if not self._at(max(self.clock(), self._frozen)).busy:
                return
            self._go(None)

    def freeze(self, until: float) -> None:
        """What was asked about the time before holds: commands begin then at the earliest."""
        with self._lock:
            self._frozen = max(self._frozen, until)

    def _index(self, t: float) -> int:
        return max(bisect_right(self._begins, t) - 1, 0)

    def _at(self, t: float) -> _Piece:
        return self._pieces[self._index(t)]

    def _go(self, target: float | None) -> None:
        """Another way from now on. None: brake."""
        t = max(self.clock(), self._frozen)
        index = self._index(t)
        now = self._pieces[index]
        motor = now.motor_at(t)
        rate = 0.0 if now.rests else now.rate + now.acceleration * (t - now.begins)
        plate = self.plate_deg(t)
        old = next((i for i, begins in enumerate(self._begins[1:]) if begins > t - _KEPT_S), index)
        self._pieces, self._begins = self._pieces[old : index + 1], self._begins[old : index + 1]
        ramp = self._spec.ramp * self._spec.hurry**2
        way = _way(motor, rate, target, self._speed * self._spec.hurry, ramp)
        self._lay(t, motor, plate, way)
        self.version += 1

    def _lay(self, t: float, motor: float, plate: float, way: list[tuple[float, float, float]]) -> None:
        """Pieces of (seconds, rate, acceleration) from t on, and rest after them; cut short by a stall."""
        half, stall, held = self._spec.backlash / 2, self._spec.stall_at, False
        last = motor + sum(rate * t_s + acceleration * t_s**2 / 2 for t_s, rate, acceleration in way)
        for seconds, rate, acceleration in way:
            end = motor + rate * seconds + acceleration * seconds**2 / 2
            towards = math.copysign(1.0, end - motor)
            edge = stall - towards * _SHORT_OF_DEG
            beyond = (end - stall) * towards  # a piece may also end just there and the next one go on
            beyond = beyond if abs(beyond) > _TINY_DEG else (last - stall) * towards
            held = (stall - motor) * towards > _TINY_DEG and beyond > _TINY_DEG
            if held and (edge - motor) * towards > 0:
                seconds, end = _when(edge - motor, rate, acceleration), edge
            if not held or (edge - motor) * towards > 0:
                self._add(_Piece(t, motor, rate, acceleration, plate, True))
                t, motor = t + seconds, end
                plate = min(max(plate, motor - half), motor + half)
            if held:
                break
        self._add(_Piece(t, motor, plate=plate, busy=held))

    def _add(self, piece: _Piece) -> None:
        while len(self._begins) > 1 and self._begins[-1] >= piece.begins:
            self._pieces.pop()
            self._begins.pop()
        self._pieces.append(piece)
        self._begins.append(piece.begins)


def _way(
    motor: float, rate: float, target: float | None, top: float, ramp: float
) -> list[tuple[float, float, float]]:
    """The fastest way to a target, or to rest, in pieces of (seconds, rate, acceleration)."""
    brake = [] if rate == 0 else [(abs(rate) / ramp, rate, -math.copysign(ramp, rate))]
    if target is None:
        return brake
    left = target - motor
    sign = math.copysign(1.0, left)
    if rate * sign < 0 or rate**2 / (2 * ramp) > abs(left) * (1 + 1e-9):
        stands = motor + math.copysign(rate**2 / (2 * ramp), rate)
        return brake + _way(stands, 0.0, target, top, ramp)
    if left == 0:
        return []
    now, far = abs(rate), abs(left)
    peak = min(math.sqrt(ramp * far + now**2 / 2), max(top, 0.0))
    first = (abs(peak - now) / ramp, now, math.copysign(ramp, peak - now))
    used = abs(peak**2 - now**2) / (2 * ramp) + peak**2 / (2 * ramp)
    pieces = [first, (max(far - used, 0.0) / peak, peak, 0.0), (peak / ramp, peak, -ramp)]
    return [(s, sign * r, sign * a) for s, r, a in pieces if s > 0]


def _when(way: float, rate: float, acceleration: float) -> float:
    """Seconds after which a piece has gone so far."""
    if acceleration == 0:
        return way / rate
    root = math.sqrt(max(rate**2 + 2 * acceleration * way, 0.0))
    return 2 * way / (rate + math.copysign(root, way))
