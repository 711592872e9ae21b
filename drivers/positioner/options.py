"""Options at the end of a positioner's URI: `?speed=6&backlash=0.3`."""

from __future__ import annotations

from collections.abc import Collection

from hil.core.errors import ConfigError


def read_options(query: str, names: Collection[str], uri: str) -> dict[str, str]:
    """Options by name. Raises ConfigError: one of another name, or twice."""
    found: dict[str, str] = {}
    for part in query.split("&") if query else []:
        name, _, text = part.partition("=")
        if name not in names:
            raise ConfigError(f"unknown option {name!r}", where=uri, hint=f"one of {', '.join(names)}")
        if name in found:
            raise ConfigError(f"{name} is given twice", where=uri)
        found[name] = text
    return found


def read_numbers(query: str, names: Collection[str], uri: str) -> dict[str, float]:
    """Options that are numbers. Raises ConfigError."""
    return {name: number(name, text, uri) for name, text in read_options(query, names, uri).items()}


def number(name: str, text: str, uri: str) -> float:
    """The number of one option. Raises ConfigError."""
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(
            f"{name}={text!r} is not a number", where=uri, hint=f"for example {name}=6"
        ) from None
    if not abs(value) < 1e9:
        raise ConfigError(f"{name}={text!r} is not a finite number", where=uri)
    return value
