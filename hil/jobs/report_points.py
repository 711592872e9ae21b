"""What a report measures on: points of a campaign, or stretches of a recording; which of them a calibration has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.sigmf_files import Recording, open_recording
from hil.campaign.folder import Campaign
from hil.core.calibration import Calibration
from hil.core.errors import RecordingError
from hil.core.frame import StreamInfo
from hil.evaluation.scoring import held_out
from hil.learning.observe import BLOCK_SNAPSHOTS, longest_epoch
from hil.store.status import check, parse_utc

Say = Callable[[str], None]
_FEWEST = 5 * BLOCK_SNAPSHOTS


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """Samples in one direction of the emitters.

    index : in the campaign's plan, or of the segment. truth_deg : () if it is not known. table_deg, table_error_deg : NaN
    and 0 without a table. t_utc_ns : when it was finished, 0 if not known.
    """

    index: int
    path: Path
    start: int
    n: int
    truth_deg: tuple[float, ...]
    table_deg: float
    table_error_deg: float
    t_utc_ns: int

    @property
    def name(self) -> str:
        """In degrees of the table, else its place."""
        return (
            f"{round(self.table_deg, 2) + 0.0:g}"
            if math.isfinite(self.table_deg)
            else f"segment {self.index}"
        )


@dataclass(frozen=True, slots=True)
class SampleFile:
    """A recording: name, bytes of its data files, their SHA-256 in order, and the stretch that `hil learn` learns from."""

    name: str
    size: int
    sha256: str
    taught: tuple[int, int]


def points_of_campaign(campaign: Campaign) -> list[MeasuredPoint]:
    """Its finished points."""
    return [
        MeasuredPoint(
            p.index, campaign.recording_path(p), p.start, p.n, p.truth_deg, p.table_deg, p.table_error_deg, p.t_utc_ns
        )
        for p in campaign.points
    ]  # fmt: skip


def points_of_recording(recording: Recording) -> list[MeasuredPoint]:
    """Its segments, cut where the held-out part begins, with the directions that they state."""
    split = taught(recording)[1]
    out = []
    for s in recording.segments:
        table = s.keys.get("hil:table_azimuth_deg")
        table_deg = float(table) if isinstance(table, int | float) else math.nan
        cuts = [s.start, *([split] if s.start < split < s.start + s.n else []), s.start + s.n]
        for a, b in pairwise(cuts):
            end_ns = s.t_utc_ns + round((b - s.start) / recording.fs_hz * 1e9) if s.t_utc_ns else 0
            out.append(
                MeasuredPoint(
                    len(out), recording.path, a, b - a, s.emitter_angles_deg, table_deg, 0.0, end_ns
                )
            )
    return out


def taught(recording: Recording) -> tuple[int, int]:
    """Places (start, end) that `hil learn RECORDING` uses: the first four fifths of the longest epoch."""
    start, end = longest_epoch(recording)
    return start, held_out(end - start, start) if end - start >= _FEWEST else end


def sample_files(points: Sequence[MeasuredPoint], say: Say) -> dict[Path, SampleFile]:
    """The recordings of the points, read once for their hashes; those that cannot be opened are left out."""
    found: dict[Path, SampleFile] = {}
    for path in dict.fromkeys(p.path for p in points):
        try:
            with open_recording(path) as recording:
                size = sum(f.stat().st_size for f in recording.data_files)
                say(f"SHA-256 of {path.name} ({size / 1e6:.0f} MB)")
                found[path] = SampleFile(path.name, size, recording.sha256(), taught(recording))
        except (RecordingError, OSError):
            continue
    return found


@dataclass(frozen=True, slots=True)
class HeldOut:
    """indices : points that a calibration has not learned from. words : how that is known."""

    indices: frozenset[int]
    words: str


def held_out_of(
    cal: Calibration, points: Sequence[MeasuredPoint], files: Mapping[Path, SampleFile], fingerprint: str
) -> HeldOut:
    """Which points may judge a calibration. fingerprint : of the campaign's plan, "" for a recording."""
    made = parse_utc(cal.created_utc)
    made_ns = math.inf if made is None else (made.timestamp() + 1.0) * 1e9
    later = {p.index for p in points if p.t_utc_ns > made_ns}
    if len(later) == len(points):
        return HeldOut(frozenset(later), "all were measured after it was made")
    here = {path for path, file in files.items() if file.sha256 in cal.captures}
    listed = cal.settings.get("held_out_index")
    of_this_plan = bool(fingerprint) and cal.settings.get("campaign") == fingerprint
    if isinstance(listed, list) and of_this_plan and (here or not cal.captures):
        kept = {p.index for p in points if p.index in listed} | later
        return HeldOut(frozenset(kept), f"{len(kept)} were kept out of learning, as its settings list them")
    if here:
        kept = {p.index for p in points if p.path not in here or _not_taught(p, files[p.path])} | later
        return HeldOut(
            frozenset(kept), "learned from the first four fifths of the longest epoch of a recording used here: the rest is held out"
        )  # fmt: skip
    if cal.captures and not of_this_plan:
        return HeldOut(frozenset(p.index for p in points), "learned from other recordings (by their SHA-256)")
    return HeldOut(
        frozenset(later),
        "it does not say which samples it was learned from, and it was made after these: they may not judge it"
        if not cal.captures
        else "learned from this campaign when its recordings were different: only what was measured later may judge it",
    )


def _not_taught(point: MeasuredPoint, file: SampleFile) -> bool:
    return point.start >= file.taught[1] or point.start + point.n <= file.taught[0]


def why_not(cal: Calibration, name: str, stream: StreamInfo, epochs: frozenset[str], t_utc_ns: int) -> str:
    """Why a calibration says nothing about a point; "" if it does. epochs : of all points."""
    status = check(cal, stream, datetime.fromtimestamp(t_utc_ns / 1e9, UTC) if t_utc_ns else None)
    known = turn_rad(cal, stream.epoch.id) is not None
    if (status.status == "mismatch" and status.field != "converged") or status.status == "expired":
        return f"{name} does not hold there: {status.reason}"
    if status.status == "phases-expired" and not known:
        return f"{name} does not hold there: {status.reason}"
    if cal.epoch is not None and cal.epoch.id in epochs and cal.epoch.id != stream.epoch.id and not known:
        return f"{name} holds for another coherence epoch of this measurement"
    return ""


def turn_rad(cal: Calibration, epoch: str) -> NDArray[np.float64] | None:
    """(M,) by how much the channels of an epoch are turned against those that the calibration holds for, where learning
    has found it; None: not known."""
    turns = cal.settings.get("epoch_turns_deg")
    found = turns.get(epoch) if isinstance(turns, dict) else None
    if not isinstance(found, list) or len(found) != cal.geometry.n_elements:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in found):
        return None
    return np.deg2rad(np.array(found, np.float64))


def spread(points: Sequence[MeasuredPoint], n: int) -> list[MeasuredPoint]:
    """n of them, evenly over their directions, or over the table, or in order."""
    key = [p.truth_deg[0] if p.truth_deg else p.table_deg for p in points]
    order = np.argsort(key, kind="stable")
    places = np.unique(np.linspace(0, len(points) - 1, 2 * n + 1).round().astype(int)[1::2])
    return [points[int(order[i])] for i in places] if points else []
