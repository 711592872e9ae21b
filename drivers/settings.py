"""Checks of requested settings, shared by the drivers. What fails raises UnsupportedSetting, nothing is clipped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hil.core.device import GainMode, Range, RxConfig
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


def restored(before: RxConfig | None, want: RxConfig) -> RxConfig:
    """The request after a reconnection: what it leaves open is as it was, not as the device powers up.

    Gains only where they were set by hand and the channels are the same.
    """
    if before is None:
        return want
    same = want.channels in (None, before.channels)
    by_hand = same and before.gain_mode is GainMode.MANUAL is want.gain_mode
    return RxConfig(
        fc_hz=before.fc_hz if want.fc_hz is None else want.fc_hz,
        fs_hz=before.fs_hz if want.fs_hz is None else want.fs_hz,
        bandwidth_hz=before.bandwidth_hz
        if want.bandwidth_hz is None and want.fs_hz is None
        else want.bandwidth_hz,
        gain_db=before.gain_db if want.gain_db is None and by_hand else want.gain_db,
        gain_mode=want.gain_mode,
        channels=before.channels if want.channels is None else want.channels,
        block_samples=before.block_samples if want.block_samples is None else want.block_samples,
    )
