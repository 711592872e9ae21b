"""One point of a campaign: what is computed of it, in whatever process, and the file that it becomes."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hil.campaign.folder import CampaignPoint
from hil.core.errors import HilError
from hil.processing.settings import ProcessSettings
from hil.recorder.files import is_disk_full, sync_folder

Word = Literal["done", "bad", "failed", "stop"]


@dataclass(frozen=True, slots=True)
class PointTask:
    """All that a worker is told: plain values and paths, which it must reach.

    Attributes
    ----------
    point : the samples. recording : their file. out : file of the result. settings. calibration, status : file of the
        calibration that is applied, "" for none, and why it may be used. waveform : file, "" for none.
    """

    point: CampaignPoint
    recording: str
    out: str
    settings: ProcessSettings
    calibration: str = ""
    status: str = ""
    waveform: str = ""


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """How a task ended: "done"; "bad": its data cannot be used; "failed": it may work another time; "stop": no task can
    be done (the disk is full). why : in words."""

    index: int
    word: Word
    why: str = ""


def run_task(task: PointTask) -> TaskOutcome:
    """Compute one point and write its file, whole or not at all. Raises nothing that is about this point."""
    index, out = task.point.index, Path(task.out)
    if out.exists():
        return TaskOutcome(index, "done")
    temporary = out.with_name(f".{out.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        from hil.processing.measure import measure

        measure(task, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(out)
        sync_folder(out.parent)
    except OSError as err:
        words = f"cannot write {out}: {err.strerror or err}"
        return TaskOutcome(index, "stop" if is_disk_full(err) else "failed", words)
    except HilError as err:
        return TaskOutcome(index, "bad", str(err))
    except Exception as err:  # noqa: BLE001 - named with its point by the caller, who tries again
        return TaskOutcome(index, "failed", f"{type(err).__name__}: {err}")
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return TaskOutcome(index, "done")
