"""Numbers as people write them: no more digits than mean something."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_MOST_PLACES = 3


def rounded(value: float | None, digits: int = 3) -> str:
    """At most `digits` significant digits, never an exponent for everyday sizes; "-" where it is not known."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if not -6 <= size < 7:
        return f"{value:.{digits - 1}e}"
    text = f"{round(value, digits - 1 - size):.{max(digits - 1 - size, 0)}f}"
    return text.replace("-", "\u2212")


def with_sigma(value: float, sigma: float) -> str:
    """Value and deviation to the same place, two digits of the deviation; 0 means fixed, NaN not known."""
    if not math.isfinite(sigma):
        return rounded(value)
    if sigma <= 0:
        return f"{rounded(round(value, 6))} (fixed)"
    places = min(max(1 - math.floor(math.log10(sigma)), 0), _MOST_PLACES)
    # + 0.0: no minus in front of zero
    text = f"{round(value, places) + 0.0:.{places}f} \u00b1 {max(sigma, 10.0**-places):.{places}f}"
    return text.replace("-", "\u2212")


def fixed(value: float, places: int = 2) -> str:
    """With so many places and a true minus."""
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "\u2212")


def utc(t_utc_ns: int) -> str:
    """A time for people."""
    return datetime.fromtimestamp(t_utc_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def degrees(value: float) -> str:
    """A direction, to the hundredth."""
    return f"{round(value, 2) + 0.0:g}".replace("-", "\u2212")
