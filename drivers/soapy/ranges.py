"""Values as SoapySDR lists them: several ranges for one setting, maps of words."""

from __future__ import annotations

from typing import Any

from hil.core.device import Range


def within(allowed: list[Range], value: float) -> bool:
    """True if the value lies in one of the ranges."""
    return any(r.minimum * (1 - 1e-9) <= value <= r.maximum * (1 + 1e-9) for r in allowed)


def say(allowed: list[Range]) -> str:
    """Ranges in words."""
    return ", ".join(f"{r.minimum:.10g}" if r.minimum == r.maximum else str(r) for r in allowed) or "anything"


def as_range(r: Any) -> Range:
    """SoapySDR's range."""
    return Range(float(r.minimum()), float(r.maximum()), float(r.step()))


def as_dict(kwargs: Any) -> dict[str, str]:
    """A C++ map of words."""
    return {str(key): str(kwargs[key]) for key in kwargs.keys()}  # noqa: SIM118
