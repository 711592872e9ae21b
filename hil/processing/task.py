"""A piece of work: what is computed of it, in whatever process, and the file that it becomes."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hil.campaign.folder import CampaignPoint
from hil.core.compiled import plain
from hil.core.errors import HilError
from hil.processing.settings import ProcessSettings
from hil.recorder.files import is_disk_full, sync_folder

Word = Literal["done", "bad", "failed", "stop"]


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """How a task ended: "done"; "bad": its data cannot be used; "failed": it may work another time; "stop": no task can
    be done (the disk is full). why : in words."""

    index: int
    word: Word
    why: str = ""


class Task(Protocol):
    """All that a worker is told: plain values and paths, which it must reach."""

    @property
    def index(self) -> int:
        """Which of all it is."""
        ...

    def run(self) -> TaskOutcome:
        """Do it. Raises nothing that is about this piece alone."""
        ...


@dataclass(frozen=True, slots=True)
class PointTask:
    """One point of a campaign.

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

    @property
    def index(self) -> int:
        """Of the point."""
        return self.point.index

    def run(self) -> TaskOutcome:
        """Compute the point and write its file."""
        from hil.processing.measure import measure

        return made(self.index, Path(self.out), lambda path: measure(self, path))


def run_task(task: Task) -> TaskOutcome:
    """As a cluster calls it."""
    return task.run()


def made(index: int, out: Path, write: Callable[[Path], None]) -> TaskOutcome:
    """Write a file, whole or not at all, if it is not there. Raises nothing that is about this file."""
    if out.exists():
        return TaskOutcome(index, "done")
    temporary = out.with_name(f".{out.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with plain():
            write(temporary)
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
