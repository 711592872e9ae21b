"""Calibrations of the campaigns of tests/campaign_folders.py, whose truth is known."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from drivers.sigmf_files import open_recording
from hil import store
from hil.campaign.folder import open_campaign
from hil.core.calibration import Calibration, Sigma, Validity
from hil.core.gauge import Gauge, canonical
from hil.core.geometry import parse_array
from hil.core.impairments import ideal
from tests.campaign_folders import FC_HZ, FS_HZ, M

ERRORS = np.array([1.0, 0.8 * np.exp(2.0j), 1.2 * np.exp(-1.1j), 0.9 * np.exp(0.5j)])


def calibration(folder: Path, *, held_out: list[int] | None = None, **changed: Any) -> Calibration:
    """The true array of `folder`, said to be learned from all its points but `held_out`."""
    campaign = open_campaign(folder)
    hashes = []
    for name in sorted({p.recording for p in campaign.points}):
        with open_recording(folder / name) as recording:
            hashes.append(recording.sha256())
    settings: dict[str, Any] = {"n_sources": 1}
    if held_out is not None:
        settings |= {"campaign": campaign.file.plan.fingerprint, "held_out_index": held_out}
    small = np.full(M, 0.01)
    imp = ideal(M)
    fields: dict[str, Any] = {
        "geometry": parse_array("ula:4:0.5", FC_HZ),
        "impairments": canonical(type(imp)(**{f: getattr(imp, f) for f in imp.__dataclass_fields__} | {"gain": ERRORS})),
        "sigma": Sigma(small, small, np.full((M, 3), 1e-5), np.zeros(M)), "gauge": Gauge("anchor", "known angles", angle_sigma_deg=0.01),
        "fc_hz": FC_HZ, "valid": Validity(FC_HZ - FS_HZ, FC_HZ + FS_HZ), "method": "pilot", "converged": True, "score": -9.0,
        "predicted_score": -9.0, "settings": settings, "captures": tuple(hashes), "seed": 5,
        "device_model": "test", "device_serial": "t", "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return Calibration(**fields | changed)


def saved(cal: Calibration, path: Path) -> Path:
    """Its file."""
    store.save(cal, path)
    return path


def spoil(folder: Path, indices: set[int]) -> None:
    """Make noise of the samples of some points."""
    rng = np.random.default_rng(99)
    for p in open_campaign(folder).points:
        if p.index in indices:
            for channel in range(M):
                name = f"{p.recording.removesuffix('.sigmf-collection')}-ch{channel:02d}.sigmf-data"
                data = np.memmap(folder / name, "<i2", "r+").reshape(-1, 2)
                data[p.start : p.start + p.n] = rng.integers(-400, 400, (p.n, 2))
                data.flush()
