"""Numbers with units as people type them, and decibels.

Radians inside; degrees at the command line, in the GUI and in files.
"""

from __future__ import annotations

import math
import re

from hil.core.errors import ConfigError

SPEED_OF_LIGHT_M_S = 299_792_458.0

_SI = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9}
_QUANTITY = re.compile(
    r"^\s*([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?)\s*([kKMGTmuµn]?)\s*"
    r"(Hz|hz|HZ|S/s|Sps|s|m|dB|dBFS)?\s*$"
)

_EXAMPLES = {
    "Hz": "2.45e9, 2.45G or '2.45 GHz'",
    "dB": "20 or -3.5",
    "degrees": "20 or -3.5",
    "s": "2, 0.5 or '500 ms'",
}


def parse_quantity(text: str | float, *, where: str = "", unit: str = "") -> float:
    """Parse "2.45 GHz", "2,45e9", "30.72 MS/s" or a plain number into SI units.

    A decimal comma is accepted. Raises ConfigError that names `where`; `unit` appears in the hint.
    """
    if isinstance(text, int | float):
        return float(text)
    match = _QUANTITY.match(text)
    if match is None:
        raise ConfigError(
            f"cannot read {text!r} as a number{' in ' + unit if unit else ''}",
            where=where,
            hint=f"write for example {_EXAMPLES.get(unit, '1e6 or 1M')}",
        )
    number, prefix, _ = match.groups()
    value = float(number.replace(",", ".")) * _SI["k" if prefix == "K" else prefix]
    if not math.isfinite(value):
        raise ConfigError(f"{text!r} is not finite", where=where)
    return value


def format_si(value: float, unit: str, digits: int = 6) -> str:
    """Format with an SI prefix: 2.45e9, "Hz" -> "2.45 GHz"."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0),
                           ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9), ("p", 1e-12)):  # fmt: skip
        if abs(value) >= factor:
            return f"{value / factor:.{digits}g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"


def db_to_amplitude(db: float) -> float:
    """Amplitude ratio of a level in dB."""
    return 10.0 ** (db / 20.0)


def db_to_power(db: float) -> float:
    """Power ratio of a level in dB."""
    return 10.0 ** (db / 10.0)
