"""Sysfs files of a device: values, permissions and what a write is checked against, as the kernel does."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from sim_backend.iiod.errors import IioError

_INT = re.compile(r"[+-]?\d+\Z")
_FIXED = re.compile(r"([+-]?)(\d+)(?:\.(\d*))?(?:\s*dB)?\Z")
_TRUE = frozenset({"1", "y", "yes", "on"})
_FALSE = frozenset({"0", "n", "no", "off"})
#: Longest attribute text kept; a profile or a gain table is some kilobytes.
MAX_VALUE_CHARS = 65536


def parse_int(text: str) -> int:
    """A decimal integer as the kernel's strict parsers take it; -EINVAL for a decimal point or words."""
    if not _INT.match(text) or len(text) > 20:
        raise IioError(errno.EINVAL)
    return int(text)


def parse_fixed(text: str) -> float:
    """A decimal number with at most a fraction and "dB", no exponent; -EINVAL otherwise."""
    match = _FIXED.match(text)
    if not match or len(text) > 40:
        raise IioError(errno.EINVAL)
    value = float(f"{match[2]}.{(match[3] or '0')[:9]}")
    return -value if match[1] == "-" else value


def parse_bool(text: str) -> bool:
    """0, 1, y, n, on, off; -EINVAL for "True" as kernels before 6.x do."""
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise IioError(errno.EINVAL)


def parse_range(text: str) -> tuple[float, float, float]:
    """`[minimum step maximum]` -> (minimum, maximum, step)."""
    low, step, high = (float(part) for part in text.strip("[]").split())
    return low, high, step


@dataclass(slots=True)
class File:
    """One sysfs file; several channels may show the same one.

    Attributes
    ----------
    key : file name in the device's folder; "buffer/..." and "debug/..." for those folders.
    kind : "text", "int", "fixed" (%f), "gain" (%f dB), "bool" or "choice".
    mode : "rw", "r" or "w". read_errno, write_errno : answered instead, 0: none.
    minimum, maximum, step : limits of a number. range_key : file that holds them as "[min step max]".
    on_read() -> text; on_write(text as it would be stored) -> text to store, or None to leave the value.
    """

    key: str
    kind: str = "text"
    mode: str = "rw"
    value: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float = 0.0
    choices: tuple[str, ...] = ()
    range_key: str = ""
    read_errno: int = 0
    write_errno: int = 0
    on_read: Callable[[], str] | None = None
    on_write: Callable[[str], str | None] | None = None

    def normalise(self, text: str, limits: tuple[float, float, float] | None) -> str:
        """Check `text` and return it in the form in which it reads back; IioError(EINVAL) if not allowed."""
        if self.kind == "text":
            return text
        if self.kind == "choice":
            if text not in self.choices:
                raise IioError(errno.EINVAL)
            return text
        if self.kind == "bool":
            return "1" if parse_bool(text) else "0"
        low, high, step = limits or (self.minimum, self.maximum, self.step)
        value = float(parse_int(text)) if self.kind == "int" else parse_fixed(text)
        if (low is not None and value < low) or (high is not None and value > high):
            raise IioError(errno.EINVAL)
        if self.kind == "int":
            return str(parse_int(text))
        if step:
            value = math.copysign(math.floor(abs(value) / step + 1e-6) * step, value)
        return f"{value:.6f} dB" if self.kind == "gain" else f"{value:.6f}"


@dataclass(slots=True)
class FileStore:
    """All files of one device."""

    files: dict[str, File] = field(default_factory=dict)

    def __getitem__(self, key: str) -> File:
        return self.files[key]

    def __contains__(self, key: str) -> bool:
        return key in self.files

    def add(self, file: File) -> None:
        """Add a file; a second channel that shows the same file adds nothing."""
        self.files.setdefault(file.key, file)

    def read(self, key: str) -> str:
        """Text of the file, without the final newline."""
        file = self.files[key]
        if file.read_errno:
            raise IioError(file.read_errno)
        if "r" not in file.mode:
            raise IioError(errno.EACCES)
        return file.on_read() if file.on_read else file.value

    def write(self, key: str, text: str) -> None:
        """Write as user space does; raises IioError and changes nothing if the driver would refuse."""
        file = self.files[key]
        if "w" not in file.mode:
            raise IioError(errno.EACCES)
        if file.write_errno:
            raise IioError(file.write_errno)
        if len(text) > MAX_VALUE_CHARS:
            raise IioError(errno.EFBIG)
        limits = parse_range(self.read(file.range_key)) if file.range_key else None
        value: str | None = file.normalise(text, limits)
        if file.on_write and value is not None:
            value = file.on_write(value)
        if value is not None and "r" in file.mode:
            file.value = value

    def number(self, key: str) -> float:
        """Present value of a number file, unit stripped."""
        return parse_fixed(self.files[key].value)
