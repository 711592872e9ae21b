"""What every positioner must do, as checks that need no test framework.

`check_positioner(make)` runs all of them on tables that `make()` opens, and raises NonConformance at the first that fails;
a Rig says more about a table, so that more is checked. The table turns: to `Rig.targets_deg` and not beyond.
Deadlines that guard against a hang are asserted at ten times the figure of the protocol.
"""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from drivers.conformance_case import NonConformance
from drivers.positioner.arrival import Approach, ArrivalRule, drive_to
from drivers.positioner.positioner import STOP_S, Positioner, ReadBack
from hil.core.errors import (
    ConnectionLost,
    DeviceStateError,
    DeviceTimeout,
    HilError,
    ProtocolError,
    StreamStopped,
    UnsupportedSetting,
)

_GRACE = 10
_REPEATS = 50
_HOSTILE = (
    b"\xff\xfe\x00\x80\n", b"A" * 40_000, b"Azimuth: nan\nElevation: 0\nRPRT 0\n", b"nan\nRPRT 0\n", b"1e999\nRPRT 0\n",
    b"RPRT 0\n", b"Azimuth: 9999999\nRPRT 0\n", b"9999999\n", b"12,5\nRPRT 0\n", b"HTTP/1.1 400 Bad Request\r\n\r\n",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rig:
    """A table and what can be done to it.

    Attributes
    ----------
    make : opens it. targets_deg : two azimuths within its limits that may be driven to; most checks stay in the first
        fifth between them. rule : of arrival.
    deadline_s : of one call, as the driver has it. uri : to open it from another program; "": not tried.
    slow : makes every answer late by so many seconds. fault : "silent", "half", "drop", or bytes to be answered; "" mends.
    restart : ends the server and starts it again, calling its argument in between. stall : holds the table up at an
        azimuth between the targets, None no more.
    """

    name: str
    make: Callable[[], Positioner]
    targets_deg: tuple[float, float] = (0.0, 20.0)
    rule: ArrivalRule = field(default_factory=ArrivalRule)
    deadline_s: float = 1.0
    uri: str = ""
    slow: Callable[[float], None] | None = None
    fault: Callable[[str | bytes], None] | None = None
    restart: Callable[[Callable[[], None]], None] | None = None
    stall: Callable[[float | None], None] | None = None

    @property
    def near_deg(self) -> tuple[float, float]:
        """The first target and an azimuth a fifth of the way to the second."""
        first, second = self.targets_deg
        return first, first + (second - first) / 5


def check_positioner(make: Callable[[], Positioner] | Rig) -> None:
    """Run all checks. Raises NonConformance, whose message begins with the names of the table and the check."""
    rig = make if isinstance(make, Rig) else Rig("table", make)
    for name, check in CHECKS.items():
        try:
            check(rig)
        except NonConformance as err:
            raise NonConformance(f"{rig.name}: {name}: {err}") from err


def check_limits(rig: Rig) -> None:
    """Limits are those of a table, and what is outside is refused before anything moves."""
    with rig.make() as table:
        info = table.info
        low, high = info.limits_deg.minimum, info.limits_deg.maximum
        _must(math.isfinite(low) and math.isfinite(high) and low < high, f"limits {low} to {high}")
        _must(bool(info.uri and info.driver and info.model), f"identity {info}")
        _must(0 <= info.sigma_deg < 10, f"sigma {info.sigma_deg}")
        drive_to(table, rig.targets_deg[0], rule=rig.rule)
        for outside in (low - 0.5, high + 0.5, math.nan, math.inf):
            with _raises(UnsupportedSetting, f"a move to {outside}"):
                table.move_to(outside)
            with _raises(UnsupportedSetting, f"a drive to {outside}"):
                drive_to(table, outside)
        with _raises(UnsupportedSetting, "an approach from outside"):
            drive_to(table, low, approach="cw")
        _must(_stands(table, rig.targets_deg[0], rig), "it moved all the same")


def check_moves(rig: Rig) -> None:
    """It arrives, reads back where it is, and says so if it says anything."""
    with rig.make() as table:
        for target in rig.near_deg:
            back = drive_to(table, target, rule=rig.rule)
            _must(abs(back.azimuth_deg - target) <= rig.rule.tolerance_deg, f"{back} instead of {target}")
        table.move_to(rig.near_deg[0])
        first = table.read_back()
        _must(first.moving is not False, "it says at once that it does not move")
        drive_to(table, rig.near_deg[0], rule=rig.rule)
        _until(lambda: not table.read_back().moving, "it says for ever that it moves")


def check_approach(rig: Rig) -> None:
    """An angle is reached from the side that is asked for, always; a move can be ended."""
    low, high = sorted(rig.near_deg)
    middle = (low + high) / 2
    with rig.make() as table:
        sides: tuple[tuple[float, Approach], ...] = ((low, "ccw"), (high, "cw"))
        for start, side in sides:
            drive_to(table, start, rule=rig.rule)
            way = _Watched(table)
            drive_to(way, middle, rule=rig.rule, approach=side, approach_deg=(high - low) / 4)
            beyond = min(way.seen) < middle - 0.1 if side == "cw" else max(way.seen) > middle + 0.1
            _must(beyond, f"from {start:g} {side}: went {min(way.seen):g} to {max(way.seen):g}")
        drive_to(table, low, rule=rig.rule)
        with _raises(StreamStopped, "a drive that should stop"):
            drive_to(table, high, rule=rig.rule, should_stop=lambda: True)
        _must(_rests(table), "it moves on")


def check_stop(rig: Rig) -> None:
    """STOP is with the table in time, from another thread, also while an answer is late; read-back goes on after it."""
    low, high = rig.targets_deg
    with rig.make() as table:
        for late in (0.0, 0.8 * rig.deadline_s) if rig.slow else (0.0,):
            drive_to(table, low, rule=rig.rule)
            table.move_to(high)
            if rig.slow:
                rig.slow(late)
            caller = threading.Thread(target=_ask_quietly, args=(table,))
            caller.start()
            begin = time.monotonic()
            table.stop()
            took = time.monotonic() - begin
            caller.join(_GRACE * rig.deadline_s)
            if rig.slow:
                rig.slow(0.0)
            _must(not caller.is_alive(), "a call under way never ended")
            _must(took < _GRACE * max(STOP_S, rig.deadline_s), f"stop() took {took:.2f} s")
            _must(_rests(table), "it moves on after STOP")
            at = table.read_back().azimuth_deg
            _must(abs(at - high) > rig.rule.tolerance_deg, f"it went on to {at:g} before it stopped")
        table.stop()
        drive_to(table, rig.near_deg[0], rule=rig.rule)


def check_stall(rig: Rig) -> None:
    """A table that is held up is told from one that arrives, and can go back."""
    if rig.stall is None:
        return
    low, high = rig.near_deg
    with rig.make() as table:
        drive_to(table, low, rule=rig.rule)
        rig.stall((low + high) / 2)
        try:
            with _raises(DeviceTimeout, "a drive into a stall"):
                drive_to(table, high, rule=ArrivalRule(rig.rule.tolerance_deg, rig.rule.dwell_s, 0.5))
        finally:
            rig.stall(None)
        _until(lambda: _drives(table, low, rig), "it does not come back")


def check_one_commander(rig: Rig) -> None:
    """A second one is refused, in this program and in another one, and may have it afterwards."""
    with rig.make():
        with _raises(DeviceStateError, "a second commander"):
            rig.make().close()
        if rig.uri:
            _must("DeviceStateError" in _elsewhere(rig.uri), "another program may have it, too")
    rig.make().close()
    if rig.uri:
        _must(_elsewhere(rig.uri) == "", f"another program cannot have it: {_elsewhere(rig.uri)}")


def check_reconnect(rig: Rig) -> None:
    """A server that ends is noticed once; when it is there again so is the table, which has not moved by itself."""
    if rig.restart is None:
        return
    with rig.make() as table:
        drive_to(table, rig.near_deg[1], rule=rig.rule)

        def gone() -> None:
            for _ in range(2):
                with _raises(ConnectionLost, "a read-back without a server"), _in_time(rig):
                    table.read_back()

        rig.restart(gone)
        with _in_time(rig):
            first = table.read_back()
        _must(_stands(table, first.azimuth_deg, rig), "it moves by itself")
        drive_to(table, rig.targets_deg[0], rule=rig.rule)


def check_bad_lines(rig: Rig) -> None:
    """Silence, half answers and nonsense end in time with an error that says so, and the next call is right again."""
    if rig.fault is None:
        return
    with rig.make() as table:
        before = table.read_back().azimuth_deg
        bad = {"silent": DeviceTimeout, "half": DeviceTimeout, "drop": ConnectionLost}
        for word, kind in bad.items():
            rig.fault(word)
            with _raises(kind, word), _in_time(rig):
                table.read_back()
            if word == "silent":
                with _raises(DeviceTimeout, "a move in silence"), _in_time(rig):
                    table.move_to(rig.targets_deg[1])
            rig.fault("")
            table.stop()
            table.read_back()
        for answer in _HOSTILE:
            rig.fault(answer)
            with _raises((ProtocolError, DeviceTimeout), repr(answer[:20])), _in_time(rig):
                table.read_back()
            rig.fault("")
            _until(lambda: not table.read_back().moving, "it moves")
        _must(abs(table.read_back().azimuth_deg - before) < 10, "it is elsewhere")


def check_close(rig: Rig) -> None:
    """Closing stops the table, twice is once, and nothing is left over."""
    table = rig.make()
    table.move_to(rig.targets_deg[1])
    table.close()
    table.close()
    table.stop()
    with _raises(DeviceStateError, "a read-back after close"):
        table.read_back()
    with rig.make() as table:
        _must(_rests(table), "it moves on after close")
        drive_to(table, rig.targets_deg[0], rule=rig.rule)
    threads, files = threading.active_count(), _open_files()
    for _ in range(_REPEATS):
        with rig.make() as table:
            table.read_back()
    _until(lambda: threading.active_count() <= threads, "threads are left over")
    _until(lambda: _open_files() <= files, "descriptors are left over")


CHECKS: dict[str, Callable[[Rig], None]] = {
    "limits": check_limits,
    "moves": check_moves,
    "approach": check_approach,
    "stop": check_stop,
    "stall": check_stall,
    "one_commander": check_one_commander,
    "bad_lines": check_bad_lines,
    "close": check_close,
    "reconnect": check_reconnect,
}


class _Watched:
    """A positioner whose read-backs are kept."""

    def __init__(self, table: Positioner) -> None:
        self._table, self.info = table, table.info
        self.seen: list[float] = []
        self.move_to, self.stop, self.close = table.move_to, table.stop, table.close

    def read_back(self) -> ReadBack:
        back = self._table.read_back()
        self.seen.append(back.azimuth_deg)
        return back

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _must(holds: bool, why: str) -> None:
    if not holds:
        raise NonConformance(why)


@contextmanager
def _raises(kind: type[HilError] | tuple[type[HilError], ...], what: str) -> Iterator[None]:
    try:
        yield
    except kind as err:
        _must(bool(str(err)) and "\n" not in str(err), f"{what}: {err!r} is not one clear line")
        return
    except HilError as err:
        raise NonConformance(f"{what}: {err!r}") from err
    raise NonConformance(f"{what}: no error")


@contextmanager
def _in_time(rig: Rig) -> Iterator[None]:
    begin = time.monotonic()
    try:
        yield
    finally:
        took = time.monotonic() - begin
        _must(took < _GRACE * rig.deadline_s, f"took {took:.1f} s")


def _until(holds: Callable[[], bool], why: str, limit_s: float = 10.0) -> None:
    give_up, pause = time.monotonic() + limit_s, threading.Event()
    while not holds():
        _must(time.monotonic() < give_up, why)
        pause.wait(0.02)


def _rests(table: Positioner) -> bool:
    """It comes to rest within a few seconds."""
    at, since, give_up = math.nan, 0.0, time.monotonic() + 5.0
    while time.monotonic() < give_up:
        now = table.read_back().azimuth_deg
        if now != at:
            at, since = now, time.monotonic()
        elif time.monotonic() - since > 0.2:
            return True
        threading.Event().wait(0.02)
    return False


def _stands(table: Positioner, at_deg: float, rig: Rig) -> bool:
    return _rests(table) and abs(table.read_back().azimuth_deg - at_deg) <= rig.rule.tolerance_deg


def _drives(table: Positioner, target_deg: float, rig: Rig) -> bool:
    try:
        drive_to(table, target_deg, rule=rig.rule)
    except HilError:
        return False
    return True


def _ask_quietly(table: Positioner) -> None:
    try:
        table.read_back()
    except HilError:
        return


def _elsewhere(uri: str) -> str:
    """Open and close it in another program; the name and text of its error, or ""."""
    program = (
        "import sys; from drivers.positioner.registry import open_positioner\n"
        "try: open_positioner(sys.argv[1]).close()\n"
        "except Exception as err: print(type(err).__name__, err)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, uri], capture_output=True, text=True, timeout=60, check=False
    )
    return (done.stdout + done.stderr).strip()


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
