"""Checks of what a transmitter is asked for, shared by the drivers. Nothing is clipped or rounded silently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.device import Range
from hil.core.errors import ShapeError, UnsupportedSetting

#: I or Q may lie that much over full scale: the rounding of complex64.
_ROUNDING = 1e-6


def check_tx_samples(samples: Any, n_channels: int) -> NDArray[np.complex64]:
    """The samples (C, n) as contiguous complex64.

    Raises ShapeError for another shape or dtype, no sample at all, |I| or |Q| over 1, or a value that is not
    finite.
    """
    if not isinstance(samples, np.ndarray) or samples.dtype not in (np.complex64, np.complex128):
        kind = getattr(samples, "dtype", type(samples).__name__)
        raise ShapeError(f"samples to send are {kind}, expected complex64 ({n_channels}, n)")
    if samples.ndim != 2 or samples.shape[0] != n_channels or samples.shape[1] < 1:
        raise ShapeError(
            f"samples to send have shape {samples.shape}, expected ({n_channels}, n): one row per transmit channel"
        )
    wire = np.ascontiguousarray(samples, np.complex64)
    largest = float(np.abs(wire.view(np.float32)).max())
    if not math.isfinite(largest):
        raise ShapeError("samples to send hold a value that is not finite")
    if largest > 1.0 + _ROUNDING:
        raise ShapeError(
            f"samples to send reach {largest:.4g}, full scale of I and Q is 1", hint="scale them down"
        )
    return wire


def check_tx_channels(
    wanted: Sequence[int] | None, present: tuple[int, ...], n: int, uri: str
) -> tuple[int, ...]:
    """The selected transmit channels; `present` where nothing is asked. Raises UnsupportedSetting."""
    if wanted is None:
        return present
    channels = tuple(int(c) for c in wanted)
    if not channels or len(set(channels)) != len(channels) or not set(channels) <= set(range(n)):
        raise UnsupportedSetting(
            "channels", channels, f"each transmit channel of 0 to {n - 1} at most once", uri=uri
        )
    return channels


def check_attenuation(
    wanted: Sequence[float] | float | None, n_channels: int, allowed: Range, uri: str
) -> tuple[float, ...] | None:
    """(C,) dB, one number standing for all channels; None if nothing is asked.

    Raises UnsupportedSetting for a value out of range or between two steps, or a wrong number of values.
    """
    if wanted is None:
        return None
    values = (float(wanted),) * n_channels if isinstance(wanted, (int, float)) else tuple(map(float, wanted))
    if len(values) != n_channels:
        raise UnsupportedSetting(
            "attenuation_db", values, f"one value, or {n_channels} for the channels", uri=uri
        )
    for value in values:
        steps = (value - allowed.minimum) / allowed.step if allowed.step else 0.0
        fits = math.isfinite(value) and allowed.contains(value) and abs(steps - round(steps)) < 1e-3
        if not fits:
            raise UnsupportedSetting("attenuation_db", value, str(allowed), uri=uri)
    return values
