"""The journal of a campaign: one JSON object a line, on the disk before the next thing happens.

A line that was cut off (the power failed while it was written) is passed over; the point that it told of is made again.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Self

from hil.core.errors import ConfigError, RecordingError

NAME = "journal.jsonl"
_MOST_BYTES = 256 << 20
_MOST_LINE = 64 << 10


class CampaignJournal:
    """Appends events; after `append` returned neither a kill nor a power failure loses one. A context manager.

    Only one program writes: the file is locked (released by the system when the program ends, however it ends).
    """

    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                _lock(self._fd, folder)
                size = os.fstat(self._fd).st_size
                if size and os.pread(self._fd, 1, size - 1) != b"\n":
                    os.write(self._fd, b"\n")  # ends what was cut off
            except BaseException:
                os.close(self._fd)
                raise
        except OSError as err:
            raise RecordingError(
                f"cannot write {path}: {err.strerror}", hint="check the folder and its space"
            ) from err

    def append(self, event: str, **fields: Any) -> None:
        """Write one event with the time. Raises RecordingError: the disk is full or gone."""
        line = json.dumps({"event": event, "t_utc_ns": time.time_ns()} | fields, allow_nan=False) + "\n"
        try:
            data = line.encode()
            if os.write(self._fd, data) != len(data):
                raise OSError(28, "No space left on device")
            os.fsync(self._fd)
        except OSError as err:
            raise RecordingError(
                f"cannot write the journal: {err.strerror}", hint="free space, then go on with --resume"
            ) from err

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def read_events(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of the journal, in order; [] if there is none. Raises RecordingError: too long to be one."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as err:
        raise RecordingError(f"cannot read {path}: {err.strerror}", exit_code=2) from err
    if len(data) > _MOST_BYTES:
        raise RecordingError(f"{path} is longer than {_MOST_BYTES >> 20} MB: no journal", exit_code=2)
    events = []
    for line in data.split(b"\n"):
        if not line or len(line) > _MOST_LINE:
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and isinstance(found.get("event"), str):
            events.append(found)
    return events


def _lock(fd: int, folder: Path) -> None:
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"another sweep is writing to {folder}", where="--out", hint="wait until it is done, or stop it"
        ) from None
