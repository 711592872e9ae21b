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
    "diffmusic-jain": "calib.methods.diffmusic:learn_diffmusic_jain",
    "eigen-scan": "calib.methods.eigen_scan:learn_eigen_scan",
    "weiss-friedlander": "calib.methods.weiss_friedlander:learn_weiss_friedlander",
    "pilot": "calib.methods.pilot:learn_pilot",
    "planar-2d": "calib.methods.planar2d:learn_planar2d",
}

#: Methods that start from OFDM channel responses (`calib.csi.ChannelResponses`) in the place of covariances:
#: f(csi, geometry, fc_hz, gauge, *, prior, seed, time_limit_s, progress, stop).
CSI_METHODS: dict[str, str] = {
    "gain-phase-isac": "calib.methods.gain_phase_isac:learn_gain_phase",
    "differentiable-omp": "calib.methods.differentiable_omp:learn_element_positions",
}


def method_names() -> tuple[str, ...]:
    """Names for `hil learn --method`."""
    return (*METHODS, *(name for name in CSI_METHODS if name not in METHODS))


def get_method(name: str) -> Callable[..., LearnResult]:
    """The function of a method. Raises ConfigError for an unknown name."""
    entry = METHODS.get(name) or CSI_METHODS.get(name)
    if entry is None:
        raise ConfigError(
            f"unknown method {name!r}", where="--method", hint=f"one of {', '.join(method_names())}"
        )
    module, _, function = entry.partition(":")
    return getattr(importlib.import_module(module), function)
