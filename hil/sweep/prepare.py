"""Makes the folder of a campaign, or finds the one to go on with."""

from __future__ import annotations

import os
from pathlib import Path

from hil.campaign.folder import is_campaign, open_campaign
from hil.campaign.plan_file import NAME, CampaignFile
from hil.core.errors import ConfigError, RecordingError
from hil.recorder.files import sync_folder


def prepare(folder: Path, file: CampaignFile | None, *, resume: bool) -> CampaignFile:
    """Make a new campaign's folder; with `resume` go on with the one that is there. Returns what is to be done.

    file : what was asked for; None with `resume`: as the folder says.

    Raises ConfigError: the folder is not empty, or its plan is another one. RecordingError: it cannot be made.
    """
    if resume:
        return _found(folder, file)
    if file is None:
        raise ConfigError("no plan", where="--angles", hint="give --angles -60:60:1, or --plan FILE")
    if is_campaign(folder):
        raise ConfigError(
            f"{folder} holds a campaign", where="--out", hint="go on with --resume, or choose another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty", where="--out", hint="choose a new folder")
        temporary = folder / (NAME + ".tmp")
        with temporary.open("w", encoding="utf-8") as out:
            out.write(file.to_toml())
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(folder / NAME)
        sync_folder(folder)
    except OSError as err:
        raise RecordingError(
            f"cannot make {folder}: {err.strerror}", hint="check the path and the free space"
        ) from err
    return file


def _found(folder: Path, file: CampaignFile | None) -> CampaignFile:
    kept = open_campaign(folder).file
    if file is not None and file.plan.fingerprint != kept.plan.fingerprint:
        raise ConfigError(
            f"{folder} has another plan than the one given", where="--resume",
            hint="leave out --plan and --angles to go on with the plan of the folder, or choose another folder",
        )  # fmt: skip
    return kept
