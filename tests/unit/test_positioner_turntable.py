"""The model of a table against a numerical integration, its past, and what is frozen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hil.core.errors import ConfigError
from sim_backend.turntable import TableSpec, Turntable


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def _integrated(spec: TableSpec, commands: list[tuple[float, float | None]], times: np.ndarray) -> np.ndarray:
    """(n, 2): motor and plate by small steps: full thrust, and braking as late as it can; None: brake."""
    dt, ramp, half = (
        1e-5,
        2 * spec.speed if spec.acceleration is None else spec.acceleration,
        spec.backlash / 2,
    )
    motor = plate = spec.start
    rate, target, out, at, queue = 0.0, None, [], 0.0, list(commands)
    for t in times:
        while at < t - 1e-9:
            while queue and queue[0][0] <= at + 1e-9:
                target = queue.pop(0)[1]
            if target is None:
                rate -= math.copysign(min(ramp * dt, abs(rate)), rate)
            elif abs(target - motor) > 1e-9 or rate:
                left = target - motor
                want = math.copysign(min(math.sqrt(2 * ramp * abs(left)), spec.speed), left)
                rate += min(max(want - rate, -ramp * dt), ramp * dt)
            motor += rate * dt
            plate = min(max(plate, motor - half), motor + half)
            at += dt
        out.append((motor, plate))
    return np.array(out)


@pytest.mark.parametrize(
    "commands",
    [
        [(0.0, 20.0)],
        [(0.0, 0.7), (1.5, -3.0)],
        [(0.0, 20.0), (0.8, 3.0)],  # back while it moves
        [(0.0, 20.0), (0.3, 25.0), (1.0, None), (1.4, 4.0)],
    ],
)
def test_it_moves_as_a_table_with_that_speed_and_acceleration(
    commands: list[tuple[float, float | None]],
) -> None:
    spec, clock = TableSpec(speed=12.0, acceleration=30.0, backlash=0.6), Hand()
    table = Turntable(spec, clock)
    for at, target in commands:
        clock.now = 50.0 + at
        if target is None:
            table.stop()
        else:
            table.move_to(target)
    times = np.linspace(0.0, 3.0, 61)
    expected = _integrated(spec, commands, times)
    assert [table.motor_deg(50.0 + t) for t in times] == pytest.approx(expected[:, 0], abs=5e-3)
    assert table.plates_deg(50.0 + times) == pytest.approx(expected[:, 1], abs=5e-3)


def test_the_past_stays_and_what_is_frozen_too() -> None:
    clock = Hand()
    table = Turntable(TableSpec(speed=10.0), clock)
    table.move_to(30.0)
    past = np.linspace(45.0, 52.0, 50)
    before = table.plates_deg(past)
    clock.now = 51.0
    table.freeze(51.5)
    version = table.version
    table.move_to(-30.0)
    assert table.version == version + 1
    assert np.array_equal(table.plates_deg(past[past <= 51.5]), before[past <= 51.5])
    clock.now = 70.0
    assert table.motor_deg() == -30.0
    assert np.array_equal(table.plates_deg(past[past <= 51.5]), before[past <= 51.5])
    assert (table.moving(), table.still_until(70.0), table.direction()) == (False, math.inf, 0.0)
    for k in range(300):  # the memory is bounded
        clock.now += 1.0
        table.move_to(float(k % 7))
    assert len(table._pieces) < 400


def test_hurry_makes_time_faster_and_a_stall_holds_until_it_goes_back() -> None:
    clocks = Hand(), Hand()
    slow, fast = Turntable(TableSpec(), clocks[0]), Turntable(TableSpec(hurry=20.0), clocks[1])
    for table in (slow, fast):
        table.move_to(77.0)
    for seconds in (0.1, 1.0, 3.0, 6.0):
        assert slow.plate_deg(50.0 + seconds) == pytest.approx(fast.plate_deg(50.0 + seconds / 20), abs=1e-9)
    clock = Hand()
    table = Turntable(TableSpec(stall_at=10.0, backlash=0.2), clock)
    for _ in range(2):
        table.move_to(50.0)
        clock.now += 30.0
        assert (table.motor_deg(), table.moving(), table.held()) == (pytest.approx(9.99), True, True)
    table.stop()
    assert not table.moving()
    table.move_to(-5.0)
    clock.now += 30.0
    assert (table.motor_deg(), table.plate_deg()) == (-5.0, pytest.approx(-4.9))


def test_it_never_overshoots_its_limits() -> None:
    rng, clock = np.random.default_rng(4), Hand()
    table = Turntable(TableSpec(speed=25.0, low=-40.0, high=60.0), clock)
    seen = []
    for _ in range(300):
        clock.now += float(rng.uniform(0, 0.8))
        seen.append(table.motor_deg())
        if rng.random() < 0.2:
            table.stop()
        else:
            table.move_to(float(rng.uniform(-40, 60)))
    assert -40 <= min(seen) < -10
    assert 30 < max(seen) <= 60
    with pytest.raises(ValueError, match="outside"):
        table.move_to(60.5)


@pytest.mark.parametrize(
    "fields",
    [{"speed": 0.0}, {"acceleration": -1.0}, {"hurry": 0.0}, {"low": 5.0}, {"start": math.nan}, {"backlash": -1.0},
     {"high": math.inf}],
)  # fmt: skip
def test_what_no_table_is(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        TableSpec(**fields)
