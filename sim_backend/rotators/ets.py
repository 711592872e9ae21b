"""A controller in the manner of ETS-Lindgren's 2090 and EMControl's 7006, with or without an address such as `1A`.

The 7006 confirms commands with OK or ERROR n, the 2090 does not. Traps kept: errors are bits of ERR?, and nothing moves until they have been read; ERR? clears them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from sim_backend.turntable import Turntable

#: Bits 2 and 5 of the register of errors.
_NOT_MOVING, _HARD_LIMIT = 1 << 2, 1 << 5
_INVALID = 5
_SPEEDS = 8


class EtsController:
    """All connections command one controller."""

    def __init__(self, table: Turntable, *, confirms: bool) -> None:
        self._table, self._confirms = table, confirms
        self._lock = threading.Lock()
        self._target = table.motor_deg()
        self._errors = 0

    def session(self) -> Callable[[str], bytes]:
        """A new connection."""
        return self._line

    def _line(self, line: str) -> bytes:
        found = re.fullmatch(r"\s*(?:\d?[AB])?\s*([A-Z*]+\d*\??)\s*([-+]?\d+(?:\.\d*)?)?\s*", line.upper())
        if found is None:
            return b"ERROR 3\n" if self._confirms else b""
        with self._lock:
            if self._table.held():
                self._table.stop()
                self._errors |= _NOT_MOVING
            word, value = found.groups()
            if word.endswith("?"):
                answer = self._query(word)
                return f"{answer}\n".encode() if answer else b""
            done = self._command(word, None if value is None else float(value))
            answer = "OK" if done else f"ERROR {_INVALID}"
            return f"{answer}\n".encode() if self._confirms else b""

    def _query(self, word: str) -> str:
        table, spec = self._table, self._table.spec
        if word == "ERR?":
            errors, self._errors = self._errors, 0
            return str(errors)
        if word == "*OPC?":
            return "0" if table.moving() else "1"
        if word == "DIR?":
            return f"{int(table.direction()):+d}" if table.moving() else "0"
        if word == "*IDN?":
            return "simulated turntable 2090"
        numbers = {"CP?": table.motor_deg(), "TG?": self._target, "WL?": spec.high, "CL?": spec.low}
        return f"{numbers[word]:05.1f}" if word in numbers else ""

    def _command(self, word: str, value: float | None) -> bool:
        """False if it is not taken."""
        table = self._table
        if word == "ST":
            table.stop()
        elif re.fullmatch(f"S[1-{_SPEEDS}]", word):
            table.set_speed(table.spec.speed * int(word[1]) / _SPEEDS)
        elif word == "TG" and value is not None:
            self._target = value
        elif word in ("SK", "SKP", "SKN", "SKR"):
            return self._seek(word, value)
        else:
            return False
        return True

    def _seek(self, word: str, value: float | None) -> bool:
        if value is not None:
            self._target = value + (self._table.motor_deg() if word == "SKR" else 0.0)
        if not self._errors and not self._table.allows(self._target):
            self._errors |= _HARD_LIMIT
        if self._errors:
            return False
        self._table.move_to(self._target)
        return True
