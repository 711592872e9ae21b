"""Hamlib's rotctld 4.5, plain and extended protocol, as its dummy rotator answers; written from dialogues with it.

Traps kept: an unknown command has no answer; a missing argument takes the next line's word; status flags come twice; a
rotator does not say that it is held up.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from sim_backend.turntable import Turntable

#: short name -> long name, arguments.
_COMMANDS = {
    "P": ("set_pos", 2), "p": ("get_pos", 0), "K": ("park", 0), "S": ("stop", 0), "R": ("reset", 1), "M": ("move", 2),
    "C": ("set_conf", 2), "V": ("set_level", 2), "v": ("get_level", 1), "_": ("get_info", 0), "s": ("get_status", 0),
    "1": ("dump_caps", 0), "w": ("send_cmd", 1),
}  # fmt: skip
_LONG = {name: (name, n) for name, n in _COMMANDS.values()} | {"dump_state": ("dump_state", 0)}
_OK, _INVALID, _NOT_THERE = 0, -1, -6
_LEFT, _RIGHT = "8", "16"
_HIGHEST_EL = 90.0


class RotctldController:
    """All connections command one rotator."""

    def __init__(self, table: Turntable) -> None:
        self._table = table
        self._elevation = 0.0
        self._speed = "0"
        self._lock = threading.Lock()

    def session(self) -> Callable[[str], bytes]:
        """A new connection."""
        rest = ""

        def feed(line: str) -> bytes:
            nonlocal rest
            rest, out = rest + line + "\n", b""
            while (taken := _take(rest)) is not None:
                name, arguments, separator, rest = taken
                if name:
                    with self._lock:
                        out += self._do(name, arguments, separator)
            return out

        return feed

    def _do(self, name: str, arguments: list[str], separator: str) -> bytes:
        if name == "quit":
            raise EOFError
        code, plain, labelled = self._result(name, arguments)
        gets = name.startswith(("get_", "dump_"))
        if not separator:
            if name == "dump_caps" or not gets or code:
                plain = [*plain, f"RPRT {code}"]
            return ("\n".join(plain) + "\n").encode()
        head = f"{name}:" + (f" {' '.join(arguments)}" if arguments else "")
        return (separator.join([head, *(labelled if code == _OK else []), f"RPRT {code}"]) + "\n").encode()

    def _result(self, name: str, arguments: list[str]) -> tuple[int, list[str], list[str]]:
        """Code, plain lines, labelled lines."""
        if name == "get_pos":
            values = [f"{self._table.motor_deg():.2f}", f"{self._elevation:.2f}"]
            return _OK, values, [f"Azimuth: {values[0]}", f"Elevation: {values[1]}"]
        if name == "get_status":
            flags = self._flags() * 2
            return _OK, [flags], [f"Status flags: {flags}"]
        if name == "get_info":
            return _OK, ["Simulated turntable"], ["Info: Simulated turntable"]
        if name == "dump_state":
            return _OK, *self._state()
        if name == "dump_caps":
            spec = self._table.spec
            caps = ["Caps dump for model:\t1", "Model name:\t\tSimulated turntable", "Rot type:\t\tAz-El"]
            caps += [f"Min Azimuth:\t\t{spec.low:.2f}", f"Max Azimuth:\t\t{spec.high:.2f}"]
            return _OK, caps, caps
        if name == "get_level":
            known = arguments[0] == "SPEED"
            return (_OK if known else _INVALID), [self._speed] if known else [], [self._speed]
        return self._change(name, arguments), [], []

    def _change(self, name: str, arguments: list[str]) -> int:
        if name == "set_pos":
            return self._set(*arguments)
        if name == "stop":
            self._table.stop()
        elif name == "park":
            self._elevation = 0.0
            return self._set("0", "0")
        elif name == "move" and arguments[0] in (_LEFT, _RIGHT):
            spec = self._table.spec
            self._table.move_to(spec.low if arguments[0] == _LEFT else spec.high)
        elif name == "set_level":
            if arguments[0] != "SPEED":
                return _INVALID
            self._speed = arguments[1]  # as with the dummy, it does not change the way
        elif name == "set_conf" and not arguments[0].isdigit():
            return _INVALID
        return _NOT_THERE if name == "send_cmd" else _OK

    def _set(self, azimuth: str, elevation: str) -> int:
        try:
            azimuth_deg, elevation_deg = float(azimuth), float(elevation)
        except ValueError:
            return _INVALID
        if not (self._table.allows(azimuth_deg) and 0 <= elevation_deg <= _HIGHEST_EL):
            return _INVALID
        self._elevation = elevation_deg
        self._table.move_to(azimuth_deg)
        return _OK

    def _flags(self) -> str:
        direction = self._table.direction()
        if not self._table.moving():
            return ""
        return f"MOVING MOVING_AZ MOVING_{'LEFT' if direction < 0 else 'RIGHT'} "

    def _state(self) -> tuple[list[str], list[str]]:
        spec = self._table.spec
        limits = (spec.low, spec.high, 0.0, _HIGHEST_EL)
        short = [f"{k}={v:f}" for k, v in zip(("min_az", "max_az", "min_el", "max_el"), limits, strict=True)]
        names = ("Minimum Azimuth", "Maximum Azimuth", "Minimum Elevation", "Maximum Elevation")
        long = [f"{k}: {v:f}" for k, v in zip(names, limits, strict=True)]
        tail = ["rot_type=AzEl", "done"]
        return (
            ["1", "1", *short, "south_zero=0", *tail],
            ["rotctld Protocol Ver: 1", "Rotor Model: 1", *long, "South Zero: 0", *tail],
        )


def _take(text: str) -> tuple[str, list[str], str, str] | None:
    """The first command: long name ("" for what is not known), arguments, separator of the extended protocol, and what
    is left; None until it is complete."""
    text, separator = text.lstrip(), ""
    while text[:1] in tuple("+;|,"):
        separator, text = ("\n" if text[0] == "+" else text[0]), text[1:].lstrip(" ")
    if not text:
        return None
    if text[0] == "#":
        return "", [], "", text.partition("\n")[2]
    if text[0] == "\\":
        word = re.match(r"\\\S*", text)
        assert word is not None
        command, text = _LONG.get(word.group()[1:]), text[word.end() :]
    else:
        if text[0] in "qQ":
            return "quit", [], "", ""
        command, text = _COMMANDS.get(text[0]), text[1:]
    if command is None:
        return "", [], "", text
    name, n = command
    words = re.match(r"\s*(\S+)" * n + r"(?=\s)", text) if n else re.match("", text)
    if words is None:
        return None
    return name, list(words.groups()), separator, text[words.end() :]
