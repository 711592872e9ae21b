"""A turntable that is computed (sim_backend.turntable), with the faults that a line to a table has. No thread."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

from drivers.positioner.positioner import PositionerInfo, ReadBack, check_reachable
from hil.core.device import Range
from hil.core.errors import ConfigError, ConnectionLost, DeviceStateError, DeviceTimeout
from sim_backend.turntable import TableSpec, Turntable
from sim_backend.turntable_shared import Place

_SIGMA_DEG = 0.01


@dataclass(frozen=True, slots=True)
class LineFaults:
    """silent_after, lost_after : calls that are answered before a deadline passes, the line breaks."""

    silent_after: float = math.inf
    lost_after: float = math.inf
    deadline_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.deadline_s > 0:
            raise ConfigError("deadline_s is positive", where="sim:")


class SimulatedPositioner:
    """A Positioner over a table. released : called once it is closed."""

    def __init__(
        self,
        table: Turntable,
        faults: LineFaults | None = None,
        *,
        uri: str = "sim:",
        released: Callable[[], None] = lambda: None,
    ) -> None:
        self._table, self._faults, self._uri = table, faults or LineFaults(), uri
        self._gone = threading.Event()
        self._closing = threading.Lock()
        self._released: Callable[[], None] | None = released
        self._calls = 0

    @property
    def info(self) -> PositionerInfo:
        """Identity and limits."""
        spec = self._table.spec
        return PositionerInfo(self._uri, "sim", "simulated turntable", Range(spec.low, spec.high), _SIGMA_DEG)

    @property
    def plate_deg(self) -> float:
        """Where the plate really is: what a real table does not tell."""
        return self._table.plate_deg()

    def move_to(self, azimuth_deg: float) -> None:
        """Begin to move."""
        self._answer()
        check_reachable(self.info, azimuth_deg)
        self._table.move_to(azimuth_deg)

    def read_back(self) -> ReadBack:
        """Where the motor is."""
        self._answer()
        return ReadBack(round(self._table.motor_deg(), 2) + 0.0, self._table.moving())

    def stop(self) -> None:
        """The motor brakes as fast as it can."""
        if not self._gone.is_set():
            self._table.stop()

    def close(self) -> None:
        """Stop; a call that waits ends."""
        with self._closing:
            released, self._released = self._released, None
        if released is not None:
            self.stop()
            self._gone.set()
            released()

    def _answer(self) -> None:
        """What goes wrong with calls."""
        if self._gone.is_set():
            raise DeviceStateError(f"{self._uri}: closed", uri=self._uri, hint="open it again")
        self._calls += 1
        if self._calls > self._faults.lost_after:
            raise ConnectionLost(
                f"{self._uri}: the connection was closed",
                uri=self._uri,
                hint="check cable and controller",
            )
        if self._calls > self._faults.silent_after:
            self._gone.wait(self._faults.deadline_s)
            raise DeviceTimeout(
                f"{self._uri}: no answer within {self._faults.deadline_s:g} s", uri=self._uri,
                hint="check power and cable of the controller",
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_simulated(rest: str, uri: str) -> SimulatedPositioner:
    """The table of this process, from `?speed=6&backlash=0.3`. Raises ConfigError, DeviceStateError."""
    from drivers.positioner.options import read_numbers

    place, _, query = rest.partition("?")
    if place:
        raise ConfigError(
            f"{place!r} is no option of the simulated table", where=uri, hint="e.g. sim:?speed=6"
        )
    names = [f.name for kind in (TableSpec, LineFaults) for f in fields(kind)]
    given = read_numbers(query, names, uri)
    faults = LineFaults(**{f.name: given.pop(f.name) for f in fields(LineFaults) if f.name in given})
    place = Place(by_uri=given, commands=True)
    assert place.table is not None
    return SimulatedPositioner(place.table, faults, uri=uri, released=place.leave)
