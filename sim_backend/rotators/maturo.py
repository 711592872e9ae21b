"""Maturo NCD and innco CO2000/CO3000 controllers: words, of which some take the number that `LD` has loaded.

One answer to a message, five characters at least as the older ones have it; the later ones confirm commands. Traps kept: BU
rises a while after GO, and pulses where the table is there already; without confirmation a position outside the limits is
ignored without a word; nothing works until a device has been selected; GP selects another one.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from sim_backend.turntable import Turntable

_DEVICE = 0
_RISES_S, _PULSE_S = 0.3, 0.5
_MOST_SPEED = 8


class MaturoController:
    """All connections command one controller, with what is loaded and selected."""

    def __init__(self, table: Turntable, *, confirms: bool) -> None:
        self._table, self._confirms = table, confirms
        self._lock = threading.Lock()
        self._device: int | None = None
        self._loaded = 0.0
        self._next: float | None = None
        self._speed = _MOST_SPEED
        self._went = -1e9

    def session(self) -> Callable[[str], bytes]:
        """A new connection."""
        return self._line

    def _line(self, line: str) -> bytes:
        words, answer = line.upper().split(), ""
        with self._lock:
            while words:
                word = words.pop(0)
                if word == "LD" and words and re.fullmatch(r"[-+]?\d+(\.\d*)?", words[0]):
                    self._loaded = float(words.pop(0))
                    answer = self._confirmed(f"{self._loaded:g}")
                elif word not in ("DG", "CM"):
                    answer = self._word(word)
        return f"{answer:>5}\n".encode() if answer else b""

    def _confirmed(self, text: str = "1") -> str:
        return text if self._confirms else ""

    def _word(self, word: str) -> str:
        if word == "*IDN?":
            return "simulated turntable NCD"
        if word in ("DV", "GP"):
            self._device = int(self._loaded)
            return self._confirmed(f"{self._device}")
        if self._device != _DEVICE:
            return self._confirmed("E - no device")
        table, spec = self._table, self._table.spec
        if word in ("RP", "CP"):
            return f"{table.motor_deg():+.1f}"
        if word in ("WL", "CL"):
            return f"{spec.high if word == 'WL' else spec.low:+.1f}"
        if word == "BU":
            return "1" if self._busy() else "0"
        if word == "SP":
            return str(self._speed)
        if word == "NP":
            self._next = self._loaded
        elif word == "NSP":
            self._speed = int(min(max(self._loaded, 1), _MOST_SPEED))
            table.set_speed(spec.speed * self._speed / _MOST_SPEED)
        elif word == "GO":
            if self._next is None or not table.allows(self._next):
                return self._confirmed("E - limit")
            self._go(self._next)
        elif word in ("CW", "CC"):
            self._go(spec.high if word == "CW" else spec.low)
        elif word == "ST":
            self._went = -1e9
            table.stop()
        else:
            return self._confirmed("E - unknown")
        return self._confirmed()

    def _go(self, azimuth_deg: float) -> None:
        self._table.move_to(azimuth_deg)
        self._went = self._table.clock()

    def _busy(self) -> bool:
        since_s = (self._table.clock() - self._went) * self._table.spec.hurry
        if since_s < _RISES_S:
            return False
        return since_s < _RISES_S + _PULSE_S or self._table.moving()
