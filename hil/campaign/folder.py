"""The folder that a sweep leaves: its plan, its journal, its recordings, and which samples belong to which angle.

    FOLDER/campaign.toml         the plan (hil.campaign.plan_file)
    FOLDER/journal.jsonl         what happened, in order (hil.campaign.journal)
    FOLDER/run-001.sigmf-...     one recording for each start of the sweep; one captures segment a point

A point counts when the journal says "point" with `ok`; its samples are then on the disk. Whatever else the recordings
hold (a point that was tried twice, one that a kill cut off) belongs to no point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.campaign.journal import read_events
from hil.campaign.plan_file import NAME, CampaignFile, load_campaign
from hil.core.errors import ConfigError, RecordingError


@dataclass(frozen=True, slots=True)
class CampaignPoint:
    """A finished point.

    Attributes
    ----------
    index : into `plan.angles_deg`. set_deg : asked for. table_deg, table_error_deg : the table's read-back while the
        samples were taken, and how far it may be off.
    truth_deg : directions of the emitters relative to the array, from the read-back; () if they are not known.
    recording : file name in the folder. start, n : its samples in that file, per channel.
    epoch : id of the coherence epoch. attempt : 0 for the first. snr_db : over all channels, NaN if not known.
    t_utc_ns : when it was finished.
    """

    index: int
    set_deg: float
    table_deg: float
    table_error_deg: float
    truth_deg: tuple[float, ...]
    recording: str
    start: int
    n: int
    epoch: str
    attempt: int
    snr_db: float
    t_utc_ns: int


@dataclass(frozen=True, slots=True)
class BadPoint:
    """A point that was given up. why : the check that failed last."""

    index: int
    set_deg: float
    attempts: int
    why: str


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as its folder has it.

    Attributes
    ----------
    folder. file : what was asked for. points : finished, by index. bad : given up, by index. runs : number of starts.
    events : of the journal, in order.
    """

    folder: Path
    file: CampaignFile
    points: tuple[CampaignPoint, ...]
    bad: tuple[BadPoint, ...]
    runs: int
    events: tuple[Mapping[str, Any], ...]

    @property
    def open_indices(self) -> tuple[int, ...]:
        """Points neither finished nor given up, in the order of the plan."""
        done = {p.index for p in (*self.points, *self.bad)}
        return tuple(i for i in self.file.plan.visits if i not in done)

    @property
    def complete(self) -> bool:
        """Nothing is left to do."""
        return not self.open_indices

    def recording_path(self, point: CampaignPoint) -> Path:
        """The recording that holds a point: for `drivers.sigmf_files.open_recording`, which cuts what is not there."""
        return self.folder / point.recording


def is_campaign(path: str | Path) -> bool:
    """True for the folder of a campaign."""
    return (Path(path) / NAME).is_file()


def open_campaign(folder: str | Path) -> Campaign:
    """Read a campaign, finished, running, or cut off at any moment.

    Raises ConfigError: no campaign, or its plan is damaged. RecordingError: its journal belongs to another plan.
    """
    folder = Path(folder)
    if not is_campaign(folder):
        raise ConfigError(
            f"{folder} is not the folder of a campaign: it has no {NAME}",
            where="campaign",
            hint="hil sweep makes one",
        )
    file = load_campaign(folder / NAME)
    plan, events = file.plan, read_events(folder)
    points: dict[int, CampaignPoint] = {}
    bad: dict[int, BadPoint] = {}
    runs = 0
    for event in events:
        kind = event["event"]
        if kind == "run":
            runs += 1
            if event.get("fingerprint") != plan.fingerprint:
                raise RecordingError(
                    f"{folder}: its journal belongs to another plan than its {NAME}", exit_code=2,
                    hint="give back the campaign.toml that the sweep wrote",
                )  # fmt: skip
        elif kind == "point":
            found = _point(event, folder)
            if found is not None and found.index < len(plan.angles_deg):
                points[found.index] = found
                bad.pop(found.index, None)
        elif kind == "bad":
            index, attempts = event.get("index"), event.get("attempts")
            if isinstance(index, int) and 0 <= index < len(plan.angles_deg) and index not in points:
                tried = attempts if isinstance(attempts, int) else 0
                bad[index] = BadPoint(index, plan.angles_deg[index], tried, str(event.get("why", "")))
        elif kind == "again":  # the user asked for the bad ones once more
            bad.clear()
    return Campaign(
        folder,
        file,
        tuple(points[i] for i in sorted(points)),
        tuple(bad[i] for i in sorted(bad)),
        runs,
        tuple(events),
    )


def _point(event: Mapping[str, Any], folder: Path) -> CampaignPoint | None:
    """From a journal's line; None if it is not one, or leads out of the folder."""
    try:
        snr_db = event.get("snr_db")
        point = CampaignPoint(
            index=int(event["index"]),
            set_deg=float(event["set_deg"]),
            table_deg=float(event["table_deg"]),
            table_error_deg=float(event["table_error_deg"]),
            truth_deg=tuple(float(a) for a in event["truth_deg"]),
            recording=str(event["recording"]),
            start=int(event["start"]),
            n=int(event["n"]),
            epoch=str(event["epoch"]),
            attempt=int(event["attempt"]),
            snr_db=math.nan if snr_db is None else float(snr_db),
            t_utc_ns=int(event["t_utc_ns"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    name = Path(point.recording)
    inside = len(name.parts) == 1 and name.parts[0] not in ("..", ".")
    finite = all(
        map(math.isfinite, (point.set_deg, point.table_deg, point.table_error_deg, *point.truth_deg))
    )
    return point if inside and finite and point.index >= 0 and point.start >= 0 and point.n > 0 else None
