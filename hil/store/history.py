"""The calibrations of this user: append-only, with undo, redo and restore.

Every calibration is a file that is never changed or deleted; `journal.jsonl` notes what was done, one JSON
object a line, flushed to the disk. Which calibration is current for a device follows from reading the journal
from the start. A half line at the end (power cut) is ignored. A lock file keeps concurrent writers in order.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from drivers.user_folder import user_folder
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.store.files import from_bytes, read_limited, to_bytes, write_atomically

_MAX_NOTE = 500


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One stored calibration.

    Attributes
    ----------
    id, serial, model, method, fc_hz, converged, created_utc : of the calibration. added_utc : when it came in.
    current : it is the one in use for its device. path : its file. note : what the user wrote to it last. origin : the
        file that it was first imported from, with its format and SHA-256; "" if it was learned here.
    """

    id: str
    serial: str
    model: str
    method: str
    fc_hz: float
    converged: bool
    created_utc: str
    added_utc: str
    current: bool
    path: Path
    note: str = ""
    origin: str = ""


@dataclass(slots=True)
class _Line:
    """Calibrations of one device in the order in which they came into use."""

    ids: list[str] = field(default_factory=list)
    position: int = -1

    def use(self, identity: str) -> None:
        self.ids = [*self.ids[: self.position + 1], identity]
        self.position = len(self.ids) - 1

    @property
    def current(self) -> str | None:
        return self.ids[self.position] if self.position >= 0 else None


class Store:
    """Append-only store in `home`/calibrations, by default in the user data folder."""

    def __init__(self, home: str | os.PathLike[str] | None = None) -> None:
        self.folder = (Path(home) if home is not None else user_folder()) / "calibrations"
        self._journal = self.folder / "journal.jsonl"

    def add(self, calibration: Calibration, origin: str = "") -> str:
        """Store a calibration and make it current for its device; returns its id.

        origin : where an imported one comes from, in words; kept in the journal.
        Raises CalibrationError if it cannot be written, or another one has the same id.
        """
        data = to_bytes(calibration)
        path = self._path(calibration.id)
        with self._locked(write=True):
            if path.exists():
                if path.read_bytes() != data:
                    raise CalibrationError(
                        f"another calibration with id {calibration.id} is in the store",
                        hint="give the new one an id of its own",
                    )
            else:
                write_atomically(path, data)
            self._append(
                {
                    "op": "add",
                    "id": calibration.id,
                    "serial": calibration.device_serial,
                    "model": calibration.device_model,
                    "method": calibration.method,
                    "fc_hz": calibration.fc_hz,
                    "converged": calibration.converged,
                    "created_utc": calibration.created_utc,
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
                | ({"origin": " ".join(origin.split())[:_MAX_NOTE]} if origin else {})
            )
        return calibration.id

    def get(self, identity: str) -> Calibration:
        """A stored calibration by id, or by the beginning of one if only one has it."""
        full = self._resolve(identity)
        return from_bytes(read_limited(self._path(full)), str(self._path(full)))

    def history(self, serial: str | None = None) -> list[HistoryEntry]:
        """Every calibration ever added, oldest first; `serial`: of one device."""
        with self._locked(write=False):
            added, lines, _ = self._replay()
        return [
            HistoryEntry(
                id=identity,
                serial=e["serial"],
                model=str(e.get("model", "")),
                method=str(e.get("method", "")),
                fc_hz=float(e.get("fc_hz", 0.0)),
                converged=bool(e.get("converged", False)),
                created_utc=str(e.get("created_utc", "")),
                added_utc=str(e.get("utc", "")),
                current=lines[e["serial"]].current == identity,
                path=self._path(identity),
                note=str(e.get("note", "")),
                origin=str(e.get("origin", "")),
            )
            for identity, e in added.items()
            if serial is None or e["serial"] == serial
        ]

    def current_id(self, serial: str | None = None) -> str | None:
        """Id of the calibration in use for a device (None: the device last worked on), or None."""
        with self._locked(write=False):
            _, lines, last = self._replay()
        line = lines.get(last if serial is None else serial)
        return None if line is None else line.current

    def current(self, serial: str | None = None) -> Calibration | None:
        """The calibration in use for a device, or None."""
        identity = self.current_id(serial)
        return None if identity is None else self.get(identity)

    def undo(self, serial: str | None = None) -> str | None:
        """Go back to the calibration used before; returns its id, None if there was none before."""
        return self._step("undo", -1, serial)

    def redo(self, serial: str | None = None) -> str | None:
        """Take the last undo back; returns the id of what is current now."""
        return self._step("redo", +1, serial)

    def restore(self, identity: str) -> str:
        """Make a stored calibration current again; returns its full id."""
        full = self._resolve(identity)
        self.get(full)  # what cannot be read cannot be put to use
        with self._locked(write=True):
            added, _, _ = self._replay()
            self._append({"op": "restore", "id": full, "serial": added[full]["serial"]})
        return full

    def note(self, identity: str, text: str) -> str:
        """Write a line to a stored calibration ("" for none), in place of the one before; returns its full id.

        The file stays as it is: the note is in the journal, where no earlier one is lost.
        """
        full, line = self._resolve(identity), " ".join(text.split())
        if len(line) > _MAX_NOTE:
            raise CalibrationError(f"the note has {len(line)} letters", hint=f"at most {_MAX_NOTE}")
        with self._locked(write=True):
            added, _, _ = self._replay()
            self._append({"op": "note", "id": full, "serial": added[full]["serial"], "note": line})
        return full

    def mark(self) -> tuple[int, int]:
        """Another one whenever something was done to the store; (0, 0) while there is none."""
        try:
            found = self._journal.stat()
        except OSError:
            return 0, 0
        return found.st_size, found.st_mtime_ns

    def _step(self, name: str, by: int, serial: str | None) -> str | None:
        with self._locked(write=True):
            _, lines, last = self._replay()
            where = last if serial is None else serial
            line = lines.get(where)
            if line is None or not -1 <= line.position + by < len(line.ids):
                _nothing(f"nothing to {name}" + (f" for device {where!r}" if where else ""))
            self._append({"op": name, "serial": where})
            line.position += by
            return line.current

    def _resolve(self, identity: str) -> str:
        with self._locked(write=False):
            added, _, _ = self._replay()
        if identity in added:
            return identity
        found = [known for known in added if identity and known.startswith(identity)]
        if len(found) != 1:
            what = "no calibration" if not found else f"{len(found)} calibrations"
            _nothing(f"{what} with id {identity[:64]!r}")
        return found[0]

    def _path(self, identity: str) -> Path:
        return self.folder / f"{identity}.h5"

    def _replay(self) -> tuple[dict[str, dict[str, Any]], dict[str, _Line], str]:
        """What was added, the line of each device, and the device last worked on."""
        added: dict[str, dict[str, Any]] = {}
        lines: dict[str, _Line] = {}
        last = ""
        try:
            content = self._journal.read_bytes() if self._journal.exists() else b""
        except OSError as err:
            raise CalibrationError(f"{self._journal}: {err.strerror}") from err
        for raw in content.split(b"\n"):
            entry = _entry(raw)
            if entry is None:
                continue
            op, serial = entry["op"], entry["serial"]
            last = last if op == "note" else serial
            line = lines.setdefault(serial, _Line())
            if op == "add":
                added.setdefault(entry["id"], entry)
                line.use(entry["id"])
            elif op == "restore" and entry.get("id") in added:
                line.use(entry["id"])
            elif op == "note" and entry.get("id") in added:
                added[entry["id"]] = added[entry["id"]] | {"note": entry.get("note", "")}
            elif op in ("undo", "redo"):
                step = -1 if op == "undo" else 1
                line.position = min(max(line.position + step, -1), len(line.ids) - 1)
        return added, lines, last

    def _append(self, entry: dict[str, Any]) -> None:
        entry = {"utc": datetime.now(UTC).isoformat(timespec="milliseconds")} | entry
        data = json.dumps(entry, allow_nan=True).encode() + b"\n"
        try:
            with self._journal.open("a+b") as file:
                file.seek(0, os.SEEK_END)
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        data = b"\n" + data  # a half line was left by a crash: it stays, and is ignored
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as err:
            raise CalibrationError(f"{self._journal}: cannot write: {err.strerror}") from err

    @contextlib.contextmanager
    def _locked(self, *, write: bool) -> Iterator[None]:
        if not write and not self.folder.is_dir():
            yield  # looking at a store that does not exist does not make one
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("ab")
        except OSError as err:
            if not write:
                yield  # a store on a read-only disk can still be looked at
                return
            raise CalibrationError(
                f"{self.folder}: {err.strerror}", hint="set HIL_HOME to a folder that can be written"
            ) from err
        with lock:
            _lock(lock.fileno(), exclusive=write)
            yield


def _lock(fd: int, *, exclusive: bool) -> None:
    """Wait for the lock; closing the file, or the end of the process, releases it."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    except ImportError:
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_LOCK, 1)  # pyright: ignore[reportAttributeAccessIssue]


def _entry(raw: bytes) -> dict[str, Any] | None:
    """One journal line, None if it is not whole."""
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("serial"), str)
        or not isinstance(entry.get("op"), str)
    ):
        return None
    return None if entry["op"] == "add" and not isinstance(entry.get("id"), str) else entry


def _nothing(message: str) -> NoReturn:
    raise CalibrationError(message, hint="hil calib history lists what is there")
