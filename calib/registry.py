"""The table of learning methods: name -> function with the signature of `calib.learn.learn`."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from calib.result import LearnResult
from hil.core.errors import ConfigError

#: name -> "module:function"; imported when asked for, so that torch is loaded only by methods that need it.
METHODS: dict[str, str] = {
    "cold-start": "calib.learn:learn",
    "diffmusic": "calib.methods.diffmusic:learn_diffmusic",
}


def method_names() -> tuple[str, ...]:
    """Names for `hil learn --method`."""
    return tuple(METHODS)


def get_method(name: str) -> Callable[..., LearnResult]:
    """The function of a method. Raises ConfigError for an unknown name."""
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}", where="--method", hint=f"one of {', '.join(METHODS)}")
    module, _, function = METHODS[name].partition(":")
    return getattr(importlib.import_module(module), function)
