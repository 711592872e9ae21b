"""`hil sweep`: puts together what was asked for, and runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drivers.positioner.positioner import Positioner
from drivers.positioner.registry import open_positioner
from hil.campaign.folder import Campaign, open_campaign
from hil.campaign.plan import Plan, parse_angles
from hil.campaign.plan_file import CampaignFile, load_campaign
from hil.core.device import RxConfig
from hil.core.errors import ConfigError
from hil.core.geometry import parse_array
from hil.session import Session, open_session
from hil.sweep.prepare import prepare
from hil.sweep.preview import ASSUMED_SPEED_DEG_PER_S, check_limits, preview
from hil.sweep.progress import SweepControl, Tell
from hil.sweep.sweep import Sweep, SweepResult

_ASSUMED_FS_HZ = 2.5e6


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What the user said. out : folder. plan_file : --plan. angles : --angles. connect : fields of CampaignFile, change :
    fields of Plan, each None where it was not said. resume, bad_again : of a campaign that is there."""

    out: Path | None
    plan_file: Path | None
    resume: bool
    bad_again: bool
    angles: str | None
    connect: Mapping[str, Any]
    change: Mapping[str, Any]

    def file(self) -> CampaignFile | None:
        """The campaign; None if nothing of a plan was said. Raises ConfigError."""
        change = {key: value for key, value in self.change.items() if value is not None}
        if self.plan_file is not None:
            base = load_campaign(self.plan_file)
        elif self.angles is not None:
            base = CampaignFile(Plan(parse_angles(self.angles)))
        elif self.resume and not change:
            return None
        elif self.resume and self.out is not None:
            base = open_campaign(self.out).file
        else:
            raise ConfigError("no angles", where="--angles", hint="give --angles -60:60:1, or --plan FILE")
        if self.angles is not None:
            change["angles_deg"] = parse_angles(self.angles)
        return self.connected(replace(base, plan=replace(base.plan, **change)))

    def connected(self, file: CampaignFile) -> CampaignFile:
        """With what was said about devices."""
        return replace(file, **{key: value for key, value in self.connect.items() if value is not None})


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """result : of the sweep. interrupted : by Ctrl-C."""

    result: SweepResult
    interrupted: bool

    @property
    def campaign(self) -> Campaign:
        """As the folder has it now."""
        return self.result.campaign

    @property
    def exit_code(self) -> int:
        """0: every point is good. 4: some are bad. 130: interrupted."""
        return 130 if self.interrupted else 4 if self.campaign.bad else 0

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of `hil sweep`."""
        campaign = self.campaign
        total = len(campaign.file.plan.angles_deg)
        words = "interrupted" if self.interrupted else f"{len(campaign.bad)} of {total} points are bad"
        status = (
            {"status": "interrupted" if self.interrupted else "failed", "reason": words, "hint": self._hint()}
            if self.exit_code
            else {}
        )
        return status | {
            "exit_code": self.exit_code,
            "folder": str(campaign.folder),
            "points": total,
            "done": len(campaign.points),
            "bad": [{"angle_deg": b.set_deg, "attempts": b.attempts, "why": b.why} for b in campaign.bad],
            "left": len(campaign.open_indices),
            "finished_now": self.result.finished,
            "seconds": self.result.seconds,
            "runs": campaign.runs,
            "epochs": len({p.epoch for p in campaign.points}),
            "retries": sum(e["event"] == "retry" for e in campaign.events),
        }

    def _hint(self) -> str:
        more = "" if self.interrupted else " --retry-bad"
        return f"go on with: hil sweep --out {self.campaign.folder} --resume{more}"


def run_sweep(request: SweepRequest, tell: Tell) -> SweepOutcome:
    """Do it. Raises ConfigError, DeviceError, CaptureError; what is finished is kept."""
    if request.out is None:
        raise ConfigError("no folder", where="--out", hint="--out night, a new folder")
    file = request.file()
    kept = None if request.resume else _connected(file)
    if kept is not None:
        with _table(kept) as table:  # before a folder is made for nothing
            check_limits(kept.plan, table.info)
    file = _connected(request.connected(prepare(request.out, file, resume=request.resume)))
    control = SweepControl()
    sweep = Sweep(request.out, lambda: _receiver(file), lambda: _table(file), tell=tell, control=control)
    try:
        return SweepOutcome(sweep.run(bad_again=request.bad_again), False)
    except KeyboardInterrupt:
        return SweepOutcome(
            SweepResult(open_campaign(request.out), sweep.finished, sweep.seconds, True), True
        )


def preview_sweep(request: SweepRequest) -> dict[str, Any]:
    """What would be done, and how long it takes: nothing moves, nothing is written. Asks the devices if they are named."""
    file = request.file()
    if file is None:
        raise ConfigError("no angles", where="--angles", hint="give --angles -60:60:1, or --plan FILE")
    plan, from_deg = file.plan, 0.0
    if file.positioner is not None:
        with _table(file) as table:
            check_limits(plan, table.info)
            from_deg = table.read_back().azimuth_deg
    fs_hz, n_channels = file.fs_hz or _ASSUMED_FS_HZ, 1
    if file.device is not None:
        with _receiver(file) as session:
            fs_hz, n_channels = session.stream.fs_hz, session.stream.n_channels
    elif file.array is not None:
        n_channels = parse_array(file.array, file.fc_hz or 1e9).n_elements
    found = preview(plan, fs_hz=fs_hz, n_channels=n_channels, from_deg=from_deg)
    order = [plan.angles_deg[i] for i in plan.visits]
    return {
        "points": found.points, "first_deg": order[0], "last_deg": order[-1], "angles_deg": order,
        "samples": plan.samples, "seconds": found.seconds, "moving_s": found.moving_s, "waiting_s": found.waiting_s,
        "recording_s": found.recording_s, "way_deg": found.way_deg, "bytes": found.bytes,
        "speed_deg_per_s": ASSUMED_SPEED_DEG_PER_S, "n_channels": n_channels, "fs_hz": fs_hz,
    }  # fmt: skip


def _connected(file: CampaignFile | None) -> CampaignFile:
    """Raises ConfigError if device or table is missing."""
    if file is None:
        raise ConfigError("no angles", where="--angles", hint="give --angles -60:60:1, or --plan FILE")
    if file.device is None:
        raise ConfigError(
            "no receiver", where="DEVICE", hint="hil sweep iio:ip:192.168.2.1 ..., or device = in the plan"
        )
    if file.positioner is None:
        raise ConfigError(
            "no turntable", where="--positioner", hint="--positioner rotctld:127.0.0.1:4533, or sim:"
        )
    return file


def _table(file: CampaignFile) -> Positioner:
    return open_positioner(file.positioner or "")


def _receiver(file: CampaignFile) -> Session:
    array = file.array

    def want(n_elements: int | None) -> RxConfig:
        return RxConfig(
            fc_hz=file.fc_hz, fs_hz=file.fs_hz, gain_db=file.gain_db, block_samples=file.plan.block_samples,
            channels=None if n_elements is None else tuple(range(n_elements)),
        )  # fmt: skip

    return open_session(
        file.device or "", None if array is None else lambda fc_hz: parse_array(array, fc_hz), want
    )
