"""A turntable behind a controller that speaks ASCII lines over TCP; what it says is a row of `families`."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Iterator
from typing import Self

from drivers.positioner.families import FAMILIES, Family
from drivers.positioner.lease import Lease
from drivers.positioner.line import Line
from drivers.positioner.options import number, read_options
from drivers.positioner.positioner import PositionerInfo, ReadBack, check_reachable
from hil.core.device import Range
from hil.core.errors import ConfigError, DeviceError, DeviceStateError, DeviceTimeout, ProtocolError

_DEADLINE_S = 1.0
_LONGEST_MODEL = 80
_CONFIRM = 0.5  # of the deadline: until then a controller has confirmed a command, or never does
_OPTIONS = ("axis", "sigma", "low", "high", "deadline")
_REPORT = re.compile(r"(?m)^RPRT (-?[0-9]{1,4})\r?$")


class ControllerPositioner:
    """A Positioner. Use `open_controller`. limits_deg : None asks the device. lease : released by `close`."""

    def __init__(
        self, family: Family, host: str, port: int, info: PositionerInfo, lease: Lease, *, axis: str, deadline_s: float,
        limits_deg: tuple[float | None, float | None],
    ) -> None:  # fmt: skip
        self._lease = lease
        self._family, self._axis, self._deadline_s = family, axis, deadline_s
        self._line = Line(host, port, info.uri, self._greet)
        self._uri, self._info = info.uri, info
        self._calling = threading.Lock()
        self._closed = False
        self._elevation = 0.0
        self._has_busy = bool(family.busy)
        self._confirms: bool | None = None if family.trial else False
        self._began = -math.inf  # of a move whose `busy` has not been seen yet
        try:
            self._info = self._identify(info, limits_deg)
        except BaseException:
            self._line.close()
            raise

    @property
    def info(self) -> PositionerInfo:
        """Identity and limits."""
        return self._info

    def move_to(self, azimuth_deg: float) -> None:
        """Begin to move."""
        check_reachable(self._info, azimuth_deg)
        with self._call() as until:
            self._position(until)  # nothing moves on a line that does not answer
            self._fault(until)  # some do not move until it has been read
            for command in self._family.move:
                self._command(command, until, azimuth_deg)
            self._began = time.monotonic()
            fault = self._fault(until)
        if fault:
            raise DeviceError(
                f"{self._uri}: the table reports {fault!r}", uri=self._uri,
                hint="look it up in the manual of the controller",
            )  # fmt: skip

    def read_back(self) -> ReadBack:
        """Where it is."""
        with self._call() as until:
            azimuth_deg = self._position(until)
            return ReadBack(azimuth_deg, self._moving(until) if self._has_busy else None)

    def stop(self) -> None:
        """Stop, from any thread."""
        if self._closed:
            return
        command = self._family.stop.format(axis=self._axis)
        if not self._calling.acquire(blocking=False):
            self._line.shout(command)  # the call under way may wait for long
            self._calling.acquire()
        try:
            if not self._closed:
                self._halt(time.monotonic() + 2 * self._deadline_s)  # perhaps on a new connection
        finally:
            self._calling.release()

    def close(self) -> None:
        """Stop and release."""
        with contextlib.suppress(DeviceError):
            self.stop()
        with self._calling:
            self._closed = True
            self._line.close()
            self._lease.release()

    # ---- the dialogue ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _call(self) -> Iterator[float]:
        with self._calling:
            if self._closed:
                raise DeviceStateError(f"{self._uri}: closed", uri=self._uri, hint="open it again")
            yield time.monotonic() + self._deadline_s

    def _greet(self, until: float) -> None:
        for command in self._family.hello if self._confirms is not None else ():
            self._command(command, until)

    def _identify(
        self, info: PositionerInfo, limits_deg: tuple[float | None, float | None]
    ) -> PositionerInfo:
        """Ask for model and limits. Raises DeviceError."""
        f, until = self._family, time.monotonic() + self._deadline_s
        if f.trial:
            trial = f.trial.format(axis=self._axis)
            self._confirms = self._line.answers(trial, _CONFIRM * self._deadline_s, until)
        self._position(until)
        model = self._first(f.model)[:_LONGEST_MODEL] or info.model
        low, high = limits_deg
        if low is None or high is None:
            text = self._first(f.low)
            low = self._limit(f.low_number or f.number, text, 1) if low is None else low
            text = text if f.high == f.low else self._first(f.high)
            high = self._limit(f.high_number or f.number, text, 2) if high is None else high
        if not low < high:
            raise ProtocolError(
                f"{self._uri}: limits of {low:g} to {high:g} degrees", uri=self._uri,
                hint="give them, for example ?low=-180&high=180",
            )  # fmt: skip
        if self._has_busy:
            self._has_busy = bool(self._first(f.busy))
        return PositionerInfo(info.uri, info.driver, model, Range(low, high), info.sigma_deg)

    def _first(self, query: str) -> str:
        """The answer to a query that some controllers do not know, "" there."""
        until = time.monotonic() + self._deadline_s
        try:
            return self._strip(self._ask(query, until))
        except (DeviceTimeout, _Refused):
            return ""

    @staticmethod
    def _strip(text: str) -> str:
        return text.partition("Info: ")[2].partition("\n")[0].strip() or text.strip()

    def _limit(self, pattern: str, text: str, which: int) -> float:
        found = re.search(pattern, text + "\n")
        values = [] if found is None else [v for v in found.groups() if v is not None]
        if not values:
            raise ProtocolError(
                f"{self._uri}: the controller does not state its limits", uri=self._uri,
                hint="give them, for example ?low=-180&high=180",
            )  # fmt: skip
        return float(values[min(which, len(values)) - 1])

    def _position(self, until: float) -> float:
        query = self._family.read
        text = self._ask(query, until)
        found = re.search(self._family.number, text)
        value = math.nan if found is None else float(found.group(1))
        if not abs(value) <= 36_000:
            raise self._line.nonsense(text.encode(), query)
        tilt = re.search(r"(?m)^Elevation: (\S+)\s*$", text)
        if tilt is not None:
            with contextlib.suppress(ValueError):
                self._elevation = float(tilt.group(1))
        return value

    def _moving(self, until: float) -> bool:
        busy = re.search(self._family.busy_yes, self._ask(self._family.busy, until)) is not None
        if busy:
            self._began = -math.inf
        return busy or time.monotonic() - self._began < self._family.late_s

    def _fault(self, until: float) -> str:
        """What the controller reports, "" if nothing; reading clears it."""
        query = self._family.fault
        if not query:
            return ""
        text = self._ask(query, until).strip()
        return "" if re.search(self._family.no_fault, text) else text

    def _halt(self, until: float) -> None:
        self._began = -math.inf
        self._command(self._family.stop, until)

    def _command(self, command: str, until: float, azimuth_deg: float = 0.0) -> None:
        text = command.format(axis=self._axis, deg=azimuth_deg, el=self._elevation)
        if self._family.framed:
            self._ask(text, until)
        elif not self._confirms:
            self._line.tell(text, until)
        elif re.search(self._family.refused, answer := self._ask(text, until)):
            raise _Refused(
                f"{self._uri}: {text!r} was refused with {answer.strip()[:_LONGEST_MODEL]!r}", uri=self._uri,
                hint="look it up in the manual of the controller",
            )  # fmt: skip

    def _ask(self, query: str, until: float) -> str:
        text = query.format(axis=self._axis)
        if not self._family.framed:
            return self._line.ask(text, lambda answer: answer.endswith(b"\n"), until)
        answer = self._line.ask(
            text, lambda a: a.endswith(b"\n") and bool(_REPORT.search(a.decode("latin-1"))), until
        )
        report = _REPORT.search(answer)
        if report is not None and report.group(1) != "0":
            raise _Refused(
                f"{self._uri}: {text!r} was refused with RPRT {report.group(1)}", uri=self._uri,
                hint="see the codes in the manual page rotctld(1); -1: outside its limits, or not understood",
            )  # fmt: skip
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Refused(DeviceError):
    """It does not want to."""


def open_controller(rest: str, uri: str) -> ControllerPositioner:
    """Open HOST[:PORT][?axis=0&sigma=0.1&low=-180&high=180&deadline=1] of the family that the URI names.

    axis : address of the table at its controller. sigma : standard deviation of the read-back, degrees. low, high :
    limits, where the device does not state them or they are to be others. deadline : of one call, seconds.

    Raises ConfigError, DeviceNotFound, DeviceStateError (another commander has it), DeviceError.
    """
    name = uri.partition(":")[0].lower()
    family = FAMILIES[name]
    place, _, query = rest.partition("?")
    host, port = _address(place, family.port, uri)
    given = read_options(query, _OPTIONS, uri)
    axis = given.pop("axis", family.axis)
    if not re.fullmatch(family.axes, axis):
        raise ConfigError(f"axis={axis!r} is no address of a {name} controller", where=uri)
    numbers = {key: number(key, text, uri) for key, text in given.items()}
    deadline_s, sigma_deg = numbers.get("deadline", _DEADLINE_S), numbers.get("sigma", family.sigma_deg)
    if not (0.05 <= deadline_s <= 60 and sigma_deg >= 0):
        raise ConfigError("deadline is 0.05 to 60 seconds, sigma not negative", where=uri)
    info = PositionerInfo(uri, name, name, Range(0.0, 0.0), sigma_deg)
    lease = Lease(name, host, port, uri)
    try:
        return ControllerPositioner(
            family, host, port, info, lease, axis=axis, deadline_s=deadline_s,
            limits_deg=(numbers.get("low"), numbers.get("high")),
        )  # fmt: skip
    except BaseException:
        lease.release()
        raise


def _address(place: str, port: int, uri: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [HOST]:PORT. Raises ConfigError."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/\s]+))(?::([0-9]{1,5}))?", place)
    if found is None or not 0 < int(found.group(3) or port) < 65536:
        raise ConfigError(f"{place!r} is not HOST:PORT", where=uri, hint=f"for example 127.0.0.1:{port}")
    return found.group(1) or found.group(2), int(found.group(3) or port)
