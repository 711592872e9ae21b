"""Which calibration each coherence epoch of a campaign is corrected with: checked by the data of that epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drivers.sigmf_files import open_recording
from hil.campaign.folder import Campaign, CampaignPoint
from hil.core.errors import ConfigError, RecordingError
from hil.core.geometry import parse_array
from hil.learning.observe import CovarianceBatch, join, observe_recording
from hil.learning.using import calibration_for
from hil.store import to_bytes
from hil.store.files import write_atomically

_POINTS = 32
_BLOCKS_PER_POINT = 32


@dataclass(frozen=True, slots=True)
class CalibrationWanted:
    """What the user said. path : the file. relearn_phase, stale_ok : see `hil.learning.using.calibration_for`."""

    path: Path
    relearn_phase: bool = False
    stale_ok: str | None = None


@dataclass(frozen=True, slots=True)
class EpochCalibration:
    """path : a copy in the folder of the results. digest : SHA-256 of it. status : "valid", "verified", ... ."""

    path: Path
    digest: str
    status: str


def calibrations_by_epoch(
    campaign: Campaign, wanted: CalibrationWanted, folder: Path, array: str | None, n_sources: int | None
) -> Mapping[str, EpochCalibration]:
    """By epoch id.

    Raises
    ------
    CalibrationError : not a calibration. CalibrationMismatch : of another array or epoch, or refuted by the data.
    """
    found: dict[str, EpochCalibration] = {}
    by_epoch: dict[str, list[CampaignPoint]] = {}
    for point in campaign.points:
        by_epoch.setdefault(point.epoch, []).append(point)
    for epoch, points in by_epoch.items():
        with open_recording(campaign.recording_path(points[0])) as recording:
            stream = recording.segment_at(points[0].start).stream
        if array is not None:
            stream = replace(stream, geometry=parse_array(array, stream.fc_hz))
        used = calibration_for(
            wanted.path, stream, _blocks(campaign, points), n_sources, relearn_phase=wanted.relearn_phase,
            stale_ok=wanted.stale_ok,
        )  # fmt: skip
        data = to_bytes(used.calibration)
        digest = hashlib.sha256(data).hexdigest()
        path = folder / f"calibration-{digest[:16]}.h5"
        if not path.exists():
            write_atomically(path, data)
        found[epoch] = EpochCalibration(path, digest, used.status)
    return found


def _blocks(campaign: Campaign, points: Sequence[CampaignPoint]) -> CovarianceBatch:
    """Some blocks of some points, spread over the epoch."""
    step = max(1, len(points) // _POINTS)
    parts: list[CovarianceBatch] = []
    for point in points[::step]:
        try:
            with open_recording(campaign.recording_path(point)) as recording:
                parts.append(
                    observe_recording(
                        recording, point.start, point.start + point.n, max_blocks=_BLOCKS_PER_POINT
                    )
                )
        except (RecordingError, ConfigError):
            continue  # said of the point when its turn comes
    return join(parts)
