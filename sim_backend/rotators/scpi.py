"""A controller in the manner of Franconia's FC-02: SCPI with short and long headers, an error queue, and an offset.

Traps kept: a position outside the limits is an entry of the error queue and nothing else; the offset shifts what is read
and written, but not the limits.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable

from sim_backend.turntable import Turntable

_MOST_ERRORS = 20
_NO_ERROR = '0,"No error"'
_HEADERS = {
    "POSition:ANGLe": "angle", "LIMit:HIGH": "high", "LIMit:LOW": "low", "VELocity": "speed", "OFFSet": "offset",
    "SYSTem:ERRor": "error", "ABORt": "abort", "*IDN": "name", "*CLS": "clear", "*RST": "clear", "*OPC": "complete",
}  # fmt: skip


class ScpiController:
    """All connections command one controller."""

    def __init__(self, table: Turntable) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._offset = 0.0
        self._errors: deque[str] = deque(maxlen=_MOST_ERRORS)

    def session(self) -> Callable[[str], bytes]:
        """A new connection."""
        return self._line

    def _line(self, line: str) -> bytes:
        with self._lock:
            answers = [self._command(part.strip()) for part in line.split(";") if part.strip()]
        told = ";".join(a for a in answers if a)
        return f"{told}\n".encode() if told else b""

    def _command(self, text: str) -> str:
        header, _, value = text.partition(" ")
        what = _meaning(header.rstrip("?"))
        if what is None:
            self._errors.append('-113,"Undefined header"')
            return ""
        if header.endswith("?"):
            return self._query(what)
        if what in ("abort", "clear"):
            self._errors.clear() if what == "clear" else self._table.stop()
            return ""
        try:
            self._set(what, float(value))
        except ValueError:
            self._errors.append('-104,"Data type error"')
        return ""

    def _query(self, what: str) -> str:
        table = self._table
        if what == "error":
            return self._errors.popleft() if self._errors else _NO_ERROR
        if what == "complete":
            return "0" if table.moving() else "1"
        if what == "name":
            return "simulated,turntable,0,1"
        values = {
            "angle": table.motor_deg() - self._offset, "high": table.spec.high, "low": table.spec.low,
            "speed": table.spec.speed, "offset": self._offset,
        }  # fmt: skip
        return f"{values[what]:.2f}" if what in values else ""

    def _set(self, what: str, value: float) -> None:
        if what == "angle":
            if not self._table.allows(value + self._offset):
                self._errors.append('-222,"Data out of range"')
                return
            self._table.move_to(value + self._offset)
        elif what == "offset":
            self._offset = value
        elif what == "speed":
            self._table.set_speed(value)


def _meaning(header: str) -> str | None:
    """Of a header in its short or long form."""
    parts = header.lstrip(":").split(":")
    for known, what in _HEADERS.items():
        forms = known.split(":")
        if len(forms) == len(parts) and all(
            part.upper() in (re.sub("[a-z]", "", form), form.upper()) for part, form in zip(parts, forms, strict=True)
        ):  # fmt: skip
            return what
    return None
