"""What a recording says about itself: SigMF global, captures and collection objects.

SigMF values do not carry over between captures segments, so every segment repeats all keys. Keys of our own
live under the extension `hil` (schema: hil/schema/hil-recording.schema.json).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from drivers.sigmf_files import check_extension
from hil import __version__
from hil.core.errors import RecordingError
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry

SIGMF_VERSION = "1.2.5"
EXTENSIONS = [
    {"name": "spatial", "version": "1.1.0", "optional": True},
    {"name": "hil", "version": "1.0.0", "optional": True},
]
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Point:
    """What the user or a sweep knows about the samples that follow; None: not known.

    Attributes
    ----------
    table_azimuth_deg, table_azimuth_error_deg : turntable as read back, clockwise seen from above.
    emitter_angles_deg : true directions of arrival relative to the aperture (the program's angle, which is
        also SigMF's azimuth); the first one becomes `spatial:emitter_bearing`.
    temperature_c : of the receiver. cal_id : calibration that was applied to the samples.
    extras : further captures keys, each with its namespace.
    """

    table_azimuth_deg: float | None = None
    table_azimuth_error_deg: float | None = None
    emitter_angles_deg: Sequence[float] = ()
    temperature_c: float | None = None
    cal_id: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)

    def keys(self) -> dict[str, Any]:
        """The captures keys that say this."""
        out: dict[str, Any] = {}
        if self.table_azimuth_deg is not None:
            out["spatial:aperture_azimuth"] = float(self.table_azimuth_deg) % 360.0
            out["hil:table_azimuth_deg"] = float(self.table_azimuth_deg)
        if self.table_azimuth_error_deg is not None:
            out["hil:table_azimuth_error_deg"] = float(self.table_azimuth_error_deg)
        if self.emitter_angles_deg:
            angles = [float(a) for a in self.emitter_angles_deg]
            out["spatial:emitter_bearing"] = {"azimuth": angles[0]}
            out["hil:emitter_angles_deg"] = angles
        if self.temperature_c is not None:
            out["hil:temperature_c"] = float(self.temperature_c)
        if self.cal_id:
            out["hil:cal_id"] = self.cal_id
        return out | dict(self.extras)


def gains_db(stream: StreamInfo) -> list[float]:
    """(M,) gains of a read-back configuration in dB."""
    gain = stream.config.gain_db
    if gain is None or isinstance(gain, int | float):
        return [float(gain or 0.0)] * stream.n_channels
    return [float(g) for g in gain]


def rfc3339(t_utc_ns: int) -> str:
    """Time with microseconds and Z, as `core:datetime` wants it."""
    when = _UNIX_EPOCH + timedelta(microseconds=t_utc_ns // 1000)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def element_geometry(geometry: ArrayGeometry | None, n_channels: int) -> list[dict[str, Any]]:
    """Value of `spatial:element_geometry`: points in metres, SigMF's axes."""
    if geometry is None:
        return [{"unknown": True}] * n_channels
    return [{"point": point} for point in geometry.to_sigmf_points()]


def global_object(
    stream: StreamInfo, texts: Mapping[str, str], truth: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Keys of `global` that all members share; the writer adds those of one file."""
    device = stream.device
    out: dict[str, Any] = {
        "core:datatype": device.wire.value,
        "core:version": SIGMF_VERSION,
        "core:sample_rate": float(stream.config.fs_hz or 0.0),
        "core:hw": f"{device.model} {device.serial}".strip(),
        "core:recorder": f"coherent-array-hil {__version__}",
        "core:extensions": EXTENSIONS,
        "spatial:num_elements": stream.n_channels,
        "hil:full_scale_bits": device.full_scale_bits,
        "hil:stream": {
            "device": asdict(device) | {"wire": device.wire.value},
            "channels": list(stream.config.channels or range(stream.n_channels)),
        },
        "hil:complete": False,
    }
    out |= {f"core:{key}": text for key, text in texts.items() if text}
    if stream.geometry is not None:
        out["hil:array"] = {"name": stream.geometry.name, "labels": list(stream.geometry.labels)}
    if truth:
        out["hil:truth"] = dict(truth)
    return out


def segment_object(
    stream: StreamInfo,
    *,
    sample_start: int,
    global_index: int,
    t_utc_ns: int,
    t_mono_ns: int,
    dropped_before: int | None,
    cause: str,
    point: Mapping[str, Any],
) -> dict[str, Any]:
    """One captures segment with all its keys."""
    epoch, config = stream.epoch, stream.config
    out: dict[str, Any] = {
        "core:sample_start": sample_start,
        "core:global_index": global_index,
        "core:datetime": rfc3339(t_utc_ns),
        "spatial:element_geometry": element_geometry(stream.geometry, stream.n_channels),
        "hil:cause": cause,
        "hil:epoch_id": epoch.id,
        "hil:epoch": asdict(epoch),
        "hil:gains_db": gains_db(stream),
        "hil:gain_mode": str(config.gain_mode),
        "hil:bandwidth_hz": float(config.bandwidth_hz or 0.0),
        "hil:block_samples": int(config.block_samples or 0),
        "hil:overload_count": [0] * stream.n_channels,
        "hil:dropped_before": dropped_before,
        "hil:t_utc_ns": t_utc_ns,
        "hil:t_mono_ns": t_mono_ns,
    }
    if config.fc_hz is not None and math.isfinite(config.fc_hz):
        out["core:frequency"] = float(config.fc_hz)
    return out | dict(point)


def check_segment(segment: Mapping[str, Any]) -> None:
    """Raise RecordingError if a segment breaks the schema or uses a namespace that is not declared."""
    allowed = {"core", *(str(e["name"]) for e in EXTENSIONS)}
    for key in segment:
        if key.partition(":")[0] not in allowed:
            raise RecordingError(
                f"captures key {key!r}: only the namespaces {', '.join(sorted(allowed))} are declared",
                hint="write own keys as hil:name",
            )
    check_extension({"captures": [dict(segment)]}, "the new segment")
