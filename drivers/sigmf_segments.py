"""Turns SigMF captures objects into segments with a StreamInfo each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drivers.sigmf_checks import bad, integer, items, number, numbers, section, text
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import Epoch
from hil.core.errors import ShapeError
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry

if TYPE_CHECKING:
    from drivers.sigmf_files import Recording

_T_MAX_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RawSegment:
    """What a captures object says, checked."""

    start: int
    global_index: int
    fc_hz: float
    t_utc_ns: int
    t_mono_ns: int
    cause: str
    lost_unknown: bool
    overload_count: tuple[int, ...]
    emitter_angles_deg: tuple[float, ...]
    keys: Mapping[str, Any]


def read_segments(captures: list[Any], n_samples: int, where: Path) -> list[RawSegment]:
    """Captures that hold samples, in order; without any, one for all samples."""
    out: list[RawSegment] = []
    last = -1
    for keys in captures or [{"core:sample_start": 0}]:
        if not isinstance(keys, dict):
            raise bad(where, "a captures segment is not an object")
        start = integer(keys, "core:sample_start", where, 0)
        if start < last:
            raise bad(where, "captures are not in order")
        last = start
        if start >= n_samples:
            break  # described, but its samples were not written any more
        if out and out[-1].start == start:
            out.pop()  # an empty segment
        index = integer(keys, "core:global_index", where, start)
        angles = numbers(keys, "hil:emitter_angles_deg", where, 1e6)
        bearing = keys.get("spatial:emitter_bearing")
        if not angles and isinstance(bearing, dict):
            azimuth = number(bearing, "azimuth", where, math.nan, -1e6, 1e6)
            angles = () if math.isnan(azimuth) else (azimuth,)
        out.append(
            RawSegment(
                start=start,
                global_index=index,
                fc_hz=number(keys, "core:frequency", where, math.nan, -1e12, 1e12),
                t_utc_ns=_time_ns(keys, where),
                t_mono_ns=integer(keys, "hil:t_mono_ns", where, 0, -_T_MAX_NS),
                cause=text(keys, "hil:cause", where),
                lost_unknown="hil:dropped_before" in keys and keys["hil:dropped_before"] is None,
                overload_count=tuple(int(n) for n in numbers(keys, "hil:overload_count", where, _T_MAX_NS)),
                emitter_angles_deg=angles,
                keys=keys,
            )
        )
    if out and out[0].start > 0:
        raise bad(where, f"captures say nothing about the first {out[0].start} samples")
    return out


def _time_ns(keys: Mapping[str, Any], where: Path) -> int:
    if "hil:t_utc_ns" in keys:
        return integer(keys, "hil:t_utc_ns", where, 0)
    try:
        when = datetime.fromisoformat(text(keys, "core:datetime", where))
        return max(round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e6) * 1000, 0)
    except (ValueError, OverflowError, OSError):
        return 0  # missing or not a time: not worth refusing the samples


def geometry_of(
    keys: Mapping[str, Any],
    global_keys: Mapping[str, Any],
    collection: Mapping[str, Any],
    n_channels: int,
    where: Path,
) -> ArrayGeometry | None:
    """Nominal array from `spatial:element_geometry` (captures before collection); None if not known."""
    elements = keys.get("spatial:element_geometry", collection.get("spatial:element_geometry"))
    if elements is None:
        return None
    if not isinstance(elements, list) or len(elements) != n_channels:
        raise bad(where, f"spatial:element_geometry is not a list of {n_channels} points")
    points = [e.get("point") if isinstance(e, dict) else e for e in elements]
    if any(p is None for p in points):
        return None
    array = global_keys.get("hil:array", {})
    labels = tuple(items(array, "labels", where))
    try:
        if not all(isinstance(p, list) and len(p) == 3 for p in points):
            raise ShapeError("every point needs x, y and z")
        geometry = ArrayGeometry.from_sigmf_points(np.array(points, dtype=np.float64))
        if np.max(np.abs(geometry.positions_m)) > 1e6:
            raise ShapeError("a position is further away than 1000 km")
        return ArrayGeometry(geometry.positions_m, labels, text(array, "name", where))
    except (ShapeError, ValueError, TypeError, OverflowError) as err:
        raise bad(where, f"spatial:element_geometry: {str(err)[:80]}") from err


def stream_of(
    recording: Recording, segment: RawSegment, geometry: ArrayGeometry | None, identity: str, counter: int
) -> StreamInfo:
    """StreamInfo as recorded.

    What a foreign file does not tell is filled in cautiously: every channel is a coherent group of its own, and
    the file (`identity`) is a session in which each retune (`counter`) starts an epoch.
    """
    where, keys, m = recording.path, segment.keys, recording.n_channels
    about = recording.global_keys.get("hil:stream", {})
    device = about.get("device", {})
    channels = tuple(about.get("channels", range(m)))
    if len(channels) != m:
        raise bad(where, f"hil:stream names {len(channels)} channels, {m} are there")
    gains = numbers(keys, "hil:gains_db", where, 1000.0) or (0.0,) * m
    if len(gains) != m:
        raise bad(where, f"hil:gains_db has {len(gains)} values for {m} channels")
    bits = 16 if recording.wire is WireFormat.CI16 else 24
    info = DeviceInfo(
        uri=text(device, "uri", where, f"replay:{where}"),
        driver=text(device, "driver", where, "replay"),
        model=text(device, "model", where, text(recording.global_keys, "core:hw", where)),
        serial=text(device, "serial", where),
        firmware=text(device, "firmware", where),
        coherent_groups=tuple(tuple(g) for g in device.get("coherent_groups", [[c] for c in channels])),
        wire=recording.wire,
        full_scale_bits=int(device.get("full_scale_bits", bits)),
    )
    config = RxConfig(
        fc_hz=segment.fc_hz,
        fs_hz=recording.fs_hz,
        bandwidth_hz=number(keys, "hil:bandwidth_hz", where, recording.fs_hz, 0, 1e12),
        gain_db=gains,
        gain_mode=_gain_mode(keys, where),
        channels=channels,
        block_samples=integer(keys, "hil:block_samples", where, 0) or 65536,
    )
    if "hil:epoch" in keys:
        epoch = section(keys, "hil:epoch", where)
        noted = Epoch(
            text(epoch, "serial", where),
            text(epoch, "session", where),
            integer(epoch, "counter", where, 0),
            integer(epoch, "base", where, 0),
            text(epoch, "cause", where, "open"),
        )
    else:
        noted = Epoch(info.serial, identity, counter, cause="lo" if counter else "open")
    return StreamInfo(config, info, noted, geometry)


def _gain_mode(keys: Mapping[str, Any], where: Path) -> GainMode:
    try:
        return GainMode(keys.get("hil:gain_mode", "manual"))
    except ValueError:
        raise bad(where, f"hil:gain_mode {str(keys['hil:gain_mode'])[:20]!r} is not known") from None
