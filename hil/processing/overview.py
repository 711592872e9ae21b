"""What a campaign's folder holds, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from drivers.sigmf_files import open_recording
from hil.campaign.folder import Campaign
from hil.core.errors import HilError


def overview(campaign: Campaign) -> dict[str, Any]:
    """The JSON object of `hil campaign show`; a recording that cannot be opened is named, not raised."""
    plan = campaign.file.plan
    runs: list[dict[str, Any]] = []
    for name in dict.fromkeys(p.recording for p in campaign.points):
        points = [p for p in campaign.points if p.recording == name]
        one: dict[str, Any] = {
            "recording": name, "points": len(points), "epochs": len({p.epoch for p in points}),
            "from_deg": min(p.table_deg for p in points), "to_deg": max(p.table_deg for p in points),
        }  # fmt: skip
        try:
            with open_recording(campaign.folder / name) as recording:
                stream = recording.stream
                one |= {
                    "samples": recording.n_samples, "complete": recording.complete, "fs_hz": stream.fs_hz,
                    "bytes": sum(f.stat().st_size for f in recording.data_files), "fc_hz": stream.fc_hz,
                    "n_channels": stream.n_channels, "device": stream.device.model, "serial": stream.device.serial,
                }  # fmt: skip
        except (HilError, OSError) as err:
            one["problem"] = str(err)
        runs.append(one)
    times_ns = [t for e in campaign.events if isinstance(t := e.get("t_utc_ns"), int)]
    snr_db = np.array([p.snr_db for p in campaign.points])
    return {
        "folder": str(campaign.folder), "points": len(plan.angles_deg), "done": len(campaign.points),
        "bad": [{"angle_deg": b.set_deg, "attempts": b.attempts, "why": b.why} for b in campaign.bad],
        "left": len(campaign.open_indices), "complete": campaign.complete,
        "first_deg": min(plan.angles_deg), "last_deg": max(plan.angles_deg),
        "emitters_deg": list(plan.emitters_deg), "reference_deg": plan.reference_deg,
        "samples_per_point": plan.samples, "starts": campaign.runs,
        "epochs": list(dict.fromkeys(p.epoch for p in campaign.points)), "runs": runs,
        "began_utc_ns": min(times_ns, default=None), "ended_utc_ns": max(times_ns, default=None),
        "bytes": sum(r.get("bytes", 0) for r in runs),
        "median_snr_db": float(np.nanmedian(snr_db)) if np.any(np.isfinite(snr_db)) else None,
        "note": plan.note,
    }  # fmt: skip
