"""Checks of requested settings, shared by the drivers. What fails raises UnsupportedSetting, nothing is clipped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hil.core.device import Range
from hil.core.errors import UnsupportedSetting


def check_in_range(field: str, value: float | None, allowed: Range, uri: str) -> None:
    """Raise UnsupportedSetting if a value is given and lies outside the range."""
    if value is not None and not (math.isfinite(value) and allowed.contains(value)):
        raise UnsupportedSetting(field, value, str(allowed), uri=uri)


def check_channels(
    wanted: Sequence[int] | None, present: Sequence[int] | None, n_channels: int, uri: str
) -> tuple[int, ...]:
    """The selected channels in the order of the array's elements; `present` where nothing is asked."""
    if wanted is None:
        return tuple(range(n_channels)) if present is None else tuple(present)
    channels = tuple(int(c) for c in wanted)
    if not channels or len(set(channels)) != len(channels) or not set(channels) <= set(range(n_channels)):
        raise UnsupportedSetting("channels", channels, f"each of 0 to {n_channels - 1} at most once", uri=uri)
    return channels


def check_block_samples(value: int | None, uri: str) -> None:
    """Raise UnsupportedSetting unless None or 16..2**24."""
    if value is not None and not 16 <= value <= 2**24:
        raise UnsupportedSetting("block_samples", value, "16 to 16777216", uri=uri)


def gains_per_channel(
    wanted: Sequence[float] | float | None, n_channels: int, uri: str
) -> tuple[float, ...] | None:
    """(M,) dB: one number stands for all channels; None if nothing is asked."""
    if wanted is None:
        return None
    if isinstance(wanted, (int, float)):
        return (float(wanted),) * n_channels
    gains = tuple(float(g) for g in wanted)
    if len(gains) != n_channels:
        raise UnsupportedSetting("gain_db", gains, f"one value, or {n_channels} for the channels", uri=uri)
    return gains
