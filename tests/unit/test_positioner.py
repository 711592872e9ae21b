"""Turntables: limits, motion, backlash, arrival, stall, and STOP whatever else is going on."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from drivers.positioner.arrival import Arrival, ArrivalRule, drive_to
from drivers.positioner.positioner import STOP_S, Positioner
from drivers.positioner.registry import open_positioner
from drivers.positioner.simulated import LineFaults, SimulatedPositioner
from gui.positions import TableDesk, TableView
from hil.core.errors import ConfigError, ConnectionLost, DeviceStateError, DeviceTimeout, UnsupportedSetting
from sim_backend.turntable import TableSpec, Turntable


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _settle(table: SimulatedPositioner, clock: Clock, limit_s: float = 120.0) -> float:
    """Seconds until it says that it stands."""
    begin = clock.now
    while table.read_back().moving:
        clock.now += 0.01
        assert clock.now - begin < limit_s
    return clock.now - begin


@pytest.mark.parametrize(("start", "target"), [(0.0, 90.0), (90.0, -45.0), (10.0, 11.0), (0.0, 0.0)])
def test_a_move_takes_the_time_that_speed_and_acceleration_give(start: float, target: float) -> None:
    clock = Clock()
    table = SimulatedPositioner(Turntable(TableSpec(speed=12.0, acceleration=24.0, start=start), clock))
    table.move_to(target)
    took = _settle(table, clock)
    assert table.read_back().azimuth_deg == target
    way = abs(target - start)
    ramp = 12.0**2 / 24.0  # speeding up and braking together
    expected = way / 12.0 + 12.0 / 24.0 if way > ramp else 2 * math.sqrt(way / 24.0)
    assert took == pytest.approx(expected, rel=0.05, abs=0.15)


def test_it_never_leaves_its_limits_and_refuses_what_is_outside() -> None:
    clock = Clock()
    table = SimulatedPositioner(Turntable(TableSpec(low=-30, high=45), clock))
    assert (table.info.limits_deg.minimum, table.info.limits_deg.maximum) == (-30, 45)
    for wrong in (45.01, -31.0, math.nan, math.inf):
        with pytest.raises(UnsupportedSetting) as caught:
            table.move_to(wrong)
        assert caught.value.hint
    table.move_to(45.0)
    seen = []
    while table.read_back().moving:
        clock.now += 0.02
        seen.append(table.read_back().azimuth_deg)
    assert max(seen) == 45.0


def test_backlash_hides_in_the_read_back() -> None:
    clock = Clock()
    table = SimulatedPositioner(Turntable(TableSpec(backlash=0.6), clock))
    plates = []
    for target in (20.0, 10.0, 0.0, 10.0):
        table.move_to(target)
        _settle(table, clock)
        assert table.read_back().azimuth_deg == target
        plates.append(table.plate_deg)
    assert plates == pytest.approx([19.7, 10.3, 0.3, 9.7])


def test_stop_brakes_where_it_is() -> None:
    clock = Clock()
    table = SimulatedPositioner(Turntable(TableSpec(speed=12, acceleration=24), clock))
    table.move_to(90.0)
    clock.now += 2.0
    at = table.read_back().azimuth_deg
    table.stop()
    table.stop()
    assert _settle(table, clock) == pytest.approx(0.5, abs=0.15)
    assert table.read_back().azimuth_deg == pytest.approx(at + 12.0**2 / 48, abs=0.2)


def test_arrived_is_a_dwell_within_tolerance_and_stalled_is_no_progress() -> None:
    rule = ArrivalRule(tolerance_deg=0.1, dwell_s=0.3, stall_s=1.0)
    arrival = Arrival(10.0, rule)
    assert arrival.judge(10.05, 0.0) == "moving", "passing by is not being there"
    assert arrival.judge(10.3, 0.1) == "moving"
    assert arrival.judge(9.95, 0.2) == "moving"
    assert arrival.judge(9.95, 0.45) == "moving"
    assert arrival.judge(9.95, 0.51) == "arrived"
    stuck = Arrival(10.0, rule)
    assert stuck.judge(4.0, 0.0) == "moving"
    assert stuck.judge(4.5, 0.9) == "moving"
    assert stuck.judge(4.52, 1.8) == "moving"
    assert stuck.judge(4.51, 1.95) == "stalled"
    assert stuck.judge(6.0, 2.0) == "moving", "it goes on"


def test_drive_to_returns_when_it_is_there_and_says_where_it_is_stuck() -> None:
    with open_positioner("sim:?speed=400&acceleration=4000") as table:
        assert drive_to(table, -33.5).azimuth_deg == -33.5
    with open_positioner("sim:?speed=400&acceleration=4000&stall_at=12") as table:
        with pytest.raises(DeviceTimeout, match="does not move on: stands at 1") as caught:
            drive_to(table, 30.0, rule=ArrivalRule(stall_s=0.3))
        assert caught.value.hint
        assert drive_to(table, -5.0).azimuth_deg == -5.0, "the other way is free"


@pytest.mark.parametrize(
    "uri",
    ["none:", "rotctld", "sim", "", "sim:?speed=fast", "sim:?colour=3", "sim:?speed=0",
     "sim:?start=500", "sim:?speed=nan"],
)  # fmt: skip
def test_a_wrong_uri_is_one_clear_line(uri: str) -> None:
    with pytest.raises(ConfigError):
        open_positioner(uri)


def test_every_call_ends() -> None:
    with open_positioner("sim:?silent_after=1&deadline_s=0.05") as table:
        table.read_back()
        with pytest.raises(DeviceTimeout):
            table.read_back()
    with open_positioner("sim:?lost_after=0") as table, pytest.raises(ConnectionLost):
        table.move_to(1.0)
    table.close()
    with pytest.raises(DeviceStateError):
        table.read_back()


# ---- behind the window --------------------------------------------------------------------------------


def _until(desk: TableDesk, when: Callable[[TableView], bool], limit_s: float = 20.0) -> TableView:
    give_up, pause = time.monotonic() + limit_s, threading.Event()
    while not when(view := desk.view):
        assert time.monotonic() < give_up, view
        pause.wait(0.01)
    return view


@pytest.fixture
def desk() -> Iterator[TableDesk]:
    made = TableDesk()
    yield made
    assert made.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-table")]


def _ready(desk: TableDesk, uri: str) -> None:
    desk.connect(uri)
    _until(desk, lambda v: v.link == "ready" and not math.isnan(v.azimuth_deg))


def test_the_desk_moves_steps_and_tells_what_is_going_on(desk: TableDesk) -> None:
    assert desk.facts() is None
    with pytest.raises(DeviceStateError):
        desk.move_to(1.0)
    _ready(desk, "sim:?speed=60&acceleration=400&low=-20&high=30")
    assert desk.view.word == "standing"
    desk.move_to(15.0)
    facts = desk.facts()
    assert facts is not None
    assert (facts.moving, facts.target_deg) == (True, 15.0)
    assert _until(desk, lambda v: v.word == "arrived").azimuth_deg == 15.0
    facts = desk.facts()
    assert facts is not None
    assert (facts.moving, facts.target_deg, facts.problem) == (False, None, "")
    assert desk.jog(10.0) == 25.0
    assert desk.jog(-1.0) == 24.0, "from the target while it moves"
    assert desk.jog(10.0) == 30.0, "cut at the limit"
    _until(desk, lambda v: v.word == "arrived" and v.azimuth_deg == 30.0)
    with pytest.raises(UnsupportedSetting):
        desk.move_to(30.5)


def test_a_stall_is_told_and_a_lost_line_too(desk: TableDesk) -> None:
    _ready(desk, "sim:?speed=100&acceleration=1000&stall_at=7")
    desk.move_to(20.0)
    view = _until(desk, lambda v: v.word == "stalled")
    assert "stands at" in view.problem
    facts = desk.facts()
    assert facts is not None
    assert facts.problem
    desk.stop()
    _until(desk, lambda v: v.word == "stopped" and not v.problem)
    desk.connect("sim:?lost_after=5")
    view = _until(desk, lambda v: v.link == "lost")
    assert "connection was closed" in view.problem
    desk.connect("none:")
    assert "not the URI" in _until(desk, lambda v: v.link == "lost" and "URI" in v.problem).problem
    _ready(desk, "sim:")


class Watching(SimulatedPositioner):
    """Notes when it was told what."""

    def __init__(self, spec: TableSpec, faults: LineFaults | None = None) -> None:
        super().__init__(Turntable(spec), faults)
        self.stops: list[float] = []
        self.moves: list[float] = []

    def move_to(self, azimuth_deg: float) -> None:
        self.moves.append(time.monotonic())
        super().move_to(azimuth_deg)

    def stop(self) -> None:
        self.stops.append(time.monotonic())
        super().stop()


def _watched(spec: TableSpec, faults: LineFaults | None = None) -> tuple[TableDesk, Watching]:
    watching = Watching(spec, faults)

    def opened(uri: str) -> Positioner:
        return watching

    return TableDesk(opened), watching


def test_stop_is_with_the_table_in_time_while_another_call_waits_for_its_deadline() -> None:
    desk, table = _watched(TableSpec(speed=1.0), LineFaults(silent_after=2, deadline_s=5.0))
    desk.connect("x")
    _until(desk, lambda v: not math.isnan(v.azimuth_deg))
    desk.move_to(90.0)
    _until(desk, lambda v: len(table.moves) > 0)  # and its thread hangs in the next call now
    begin = time.monotonic()
    desk.stop()
    _until(desk, lambda v: len(table.stops) > 0)
    assert table.stops[0] - begin < 10 * STOP_S  # the bar itself is measured where nothing else runs
    table.close()  # ends the call that hangs
    assert desk.close()


def test_moves_that_wait_are_forgotten_by_a_stop(desk: TableDesk) -> None:
    _ready(desk, "sim:?speed=5")
    for _ in range(5):
        desk.jog(10.0)
    desk.stop()
    view = _until(desk, lambda v: v.word == "stopped")
    assert abs(view.azimuth_deg) < 3.0
    desk.jog(1.0)
    assert desk.view.target_deg == pytest.approx(view.azimuth_deg + 1.0, abs=0.2)


def test_closing_stops_the_table() -> None:
    desk, table = _watched(TableSpec(speed=5.0))
    desk.connect("x")
    _until(desk, lambda v: v.link == "ready" and not math.isnan(v.azimuth_deg))
    desk.move_to(90.0)
    _until(desk, lambda v: v.azimuth_deg > 0.1)
    assert desk.close()
    assert table.stops
