"""The calibrations behind the window, without Qt: the store of this user, page by page, and what is done with it.

    panel --look--> the newest Listing (one page), at once
    panel --keep, note, take in, export, compare--> done in a thread of its own, told by an Outcome and in the log

A store on a disk that does not answer delays neither the window nor start and stop of the device.
"""

from __future__ import annotations

import math
import shlex
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from gui.calibration_use import Use, Verdict, judge
from gui.errand import Done, Errands
from gui.lamps import Level, age_words
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, ConfigError, HilError
from hil.core.frame import StreamInfo
from hil.store import HistoryEntry, Store, load
from hil.store.difference import Difference, difference
from hil.store.status import parse_utc

#: What `Row.cells` gives.
COLUMNS = ("age", "±σ", "id", "carrier", "epoch", "array", "method", "made", "note")
#: Rows of one page; files that are kept in memory.
PAGE, _LOADED = 50, 200
_LOOK_S, _PATIENCE_S = 1.0, 3.0


@dataclass(frozen=True, slots=True)
class Row:
    """One calibration of the list. calibration : None if its file cannot be read, and problem says why. kept : it is in
    the store."""

    id: str
    verdict: Verdict
    calibration: Calibration | None = None
    problem: str = ""
    note: str = ""
    kept: bool = True

    def cells(self, now_utc: datetime) -> tuple[str, ...]:
        """As in COLUMNS."""
        c = self.calibration
        if c is None:
            return ("-", "-", self.id[:12], "-", "-", "-", "-", "-", self.note)
        created = parse_utc(c.created_utc)
        made = "-" if created is None else created.astimezone().strftime("%Y-%m-%d %H:%M")
        age_s = math.nan if created is None else (now_utc - created).total_seconds()
        array = c.geometry.name if c.geometry.name else f"{c.geometry.n_elements} elements"
        sigma_deg = c.gauge.angle_sigma_deg
        return (
            age_words(age_s), f"{sigma_deg:.2g}°" if math.isfinite(sigma_deg) else "?", c.id[:12],
            f"{c.fc_hz / 1e6:.3f} MHz", "-" if c.epoch is None else f"#{c.epoch.counter}", array, c.method, made,
            self.note if self.kept else "not in the store yet",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """One page, newest first. first : index of its first row among `total` that match. problem : "" or one line."""

    rows: tuple[Row, ...] = ()
    first: int = 0
    total: int = 0
    folder: str = ""
    problem: str = ""


@dataclass(slots=True)
class Outcome:
    """What becomes of an errand: read it from time to time. words : the result in one line. value : of `compare`."""

    finished: bool = False
    words: str = ""
    error: HilError | None = None
    value: Difference | None = None


class AlreadyThereError(ConfigError):
    """A file of this name exists."""


@dataclass(frozen=True, slots=True)
class _Question:
    first: int
    text: str
    stream: StreamInfo | None = field(compare=False)
    in_use: Calibration | None = field(compare=False)


class Shelf:
    """All methods return at once. `close` ends its thread."""

    def __init__(self) -> None:
        self._errands = Errands("hil-calibrations")
        self._listing = Listing()
        self._asked: _Question | None = None
        self._asked_s = -math.inf
        self._looking = False
        self._first, self._text = 0, ""
        self._entries: tuple[tuple[int, int], list[HistoryEntry]] = ((0, 0), [])
        self._loaded: OrderedDict[tuple[object, ...], Calibration | str] = OrderedDict()

    def done(self) -> list[Done]:
        """For the log."""
        return [done for done in self._errands.take() if done.words or done.script or done.error]

    def close(self, timeout_s: float) -> bool:
        """What runs is finished; True if the thread has ended."""
        return self._errands.close(timeout_s)

    # ---- the list -------------------------------------------------------------------------------------

    def look(self, stream: StreamInfo | None, in_use: Calibration | None) -> Listing:
        """The newest page; the next one is read in the background, once a second or when something is new."""
        now = time.monotonic()
        wanted = _Question(self._first, self._text, stream, in_use)
        asked = self._asked
        new = asked is None or wanted != asked or asked.stream is not stream or asked.in_use is not in_use
        if not self._looking and (new or now - self._asked_s > _LOOK_S):
            self._asked, self._asked_s = wanted, now
            self._looking = True
            if not self._errands.send("Look at the calibrations", lambda: self._look(wanted)):
                self._looking = False
        waited_s = now - self._asked_s
        if self._looking and waited_s > _PATIENCE_S:
            busy = self._errands.busy or "waiting"
            return replace(
                self._listing, problem=f"The store has not answered for {waited_s:.0f} s ({busy})."
            )
        return self._listing

    def turn(self, by: int) -> None:
        """Pages towards older (+) or newer (-) ones."""
        last = max(self._listing.total - 1, 0) // PAGE * PAGE
        self._first = min(max(self._first + by * PAGE, 0), last)

    def search(self, text: str) -> None:
        """List only what has these words in id, device, method, carrier, date or note."""
        self._text, self._first = text.strip().casefold(), 0

    # ---- errands --------------------------------------------------------------------------------------

    def keep(self, calibration: Calibration) -> Outcome:
        """Put a calibration into the store; it becomes current for its device."""
        return self._do("Keep calibration", lambda: f"{Store().add(calibration)} is in the store")

    def note(self, identity: str, text: str) -> Outcome:
        """Write a line to a stored calibration."""
        script = calib_script("note", identity, text)
        return self._do("Note", lambda: f"noted for {Store().note(identity, text)[:12]}", script)

    def take_in(self, path: Path) -> Outcome:
        """Put a calibration file into the store (not to use)."""

        def work() -> str:
            from hil.export import read

            calibration = read(path)
            Store().add(calibration)
            return f"{calibration.id} is in the store; select it and press Use"

        return self._do("Import", work, calib_script("import", str(path)))

    def export(self, calibration: Calibration, path: Path, name: str, *, replacing: bool = False) -> Outcome:
        """Write a file in a format of `hil.export`. It fails with AlreadyThereError where a file is, unless replacing."""

        def work() -> str:
            from hil.export import export

            if path.exists() and not path.is_file():
                raise ConfigError(f"{path} is not a plain file", hint="choose another name")
            if not replacing and _is_there(path):
                raise AlreadyThereError(f"{path} exists", hint="press Replace, or choose another name")
            export(calibration, path, name)
            return f"{path}, {path.stat().st_size:,} bytes" + _kept_too(calibration)

        return self._do("Export", work, export_script(calibration, path, name))

    def compare(self, first: Calibration, second: Calibration) -> Outcome:
        """What changed from the first to the second, see hil.store.difference."""
        outcome = Outcome()

        def work() -> str:
            outcome.value = difference(first, second)
            return ""

        return self._do("Compare", work, calib_script("diff", first.id, second.id), outcome)

    def note_use(self, use: Use, name: str = "Use calibration") -> Outcome:
        """Make the calibration in use current in the store, too, if it is there: `hil calib history` shows it."""
        c = use.calibration
        if c is None:
            return self._do(name, lambda: "none is in use")

        def work() -> str:
            entry = next((e for e in Store().history() if e.id == c.id), None)
            if entry is not None and not entry.current:
                Store().restore(c.id)
            words = f"{c.id[:12]} is in use" + (
                f", although it does not fit: {use.forced}" if use.forced else ""
            )
            return words if entry is not None else f"{words}; it is not in the store"

        return self._do(name, work, calib_script("restore", c.id))

    def _do(
        self, name: str, work: Callable[[], str], script: str = "", outcome: Outcome | None = None
    ) -> Outcome:
        told = outcome or Outcome()

        def errand() -> str:
            try:
                told.words = work()
            except HilError as err:
                told.error = err
                raise
            except OSError as err:
                told.error = CalibrationError(
                    f"{err.filename or name}: {err.strerror}", hint="check the folder"
                )
                raise told.error from err
            except Exception as err:
                told.error = HilError(f"{type(err).__name__}: {err}", hint="please report it")
                raise
            finally:
                self._asked = None  # look again
                told.finished = True
            return told.words

        if not self._errands.send(name, errand, script):
            told.error, told.finished = HilError(f"{name}: too much is waiting", hint="try again"), True
        return told

    # ---- in the thread of the errands -----------------------------------------------------------------

    def _look(self, wanted: _Question) -> str:
        try:
            self._listing = self._list(Store(), wanted)
        except HilError as err:
            self._listing = replace(self._listing, problem=in_words(err))
        except OSError as err:
            self._listing = replace(self._listing, problem=f"The store cannot be read: {err}.")
        finally:
            self._looking = False
        return ""

    def _list(self, store: Store, wanted: _Question) -> Listing:
        mark, entries = store.mark(), self._entries[1]
        if mark != self._entries[0]:
            if mark == (0, 0) and entries and not store.folder.is_dir():
                return replace(self._listing, problem=f"The store {store.folder} is not there any more.")
            entries = store.history()[::-1]
            self._entries = (mark, entries)
        found = [e for e in entries if _has(e, wanted.text)]
        rows = [self._row(e, wanted.stream) for e in found[wanted.first : wanted.first + PAGE]]
        c = wanted.in_use
        if c is not None and not wanted.first and not wanted.text and all(e.id != c.id for e in entries):
            rows.insert(0, Row(c.id, judge(c, wanted.stream), c, kept=False))
        return Listing(tuple(rows), wanted.first, len(found), str(store.folder))

    def _row(self, entry: HistoryEntry, stream: StreamInfo | None) -> Row:
        found = self._load(entry)
        if isinstance(found, str):
            verdict = Verdict(Level.BAD, "DAMAGED", found, "restore the file from a backup", False, False)
            return Row(entry.id, verdict, None, found, entry.note)
        return Row(entry.id, judge(found, stream), found, note=entry.note)

    def _load(self, entry: HistoryEntry) -> Calibration | str:
        """From memory while the file is as it was; what cannot be read is remembered as well."""
        try:
            info = entry.path.stat()
        except OSError as err:
            return f"{entry.path}: {err.strerror}"
        key = (entry.id, info.st_mtime_ns, info.st_size)
        if key not in self._loaded:
            try:
                found: Calibration | str = load(entry.path)
                if found.id != entry.id:
                    found = f"{entry.path}: holds another calibration, {found.id[:12]}"
            except CalibrationError as err:
                found = str(err)
            self._loaded[key] = found
            if len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(key)
        return self._loaded[key]


def calib_script(*words: str) -> str:
    """`hil calib ...`."""
    return shlex.join(("hil", "calib", *words))


def export_script(calibration: Calibration, path: Path, name: str) -> str:
    """`hil calib export`."""
    return calib_script("export", calibration.id, str(path), "--format", name)


def in_words(err: HilError) -> str:
    """What happened and what to do, in sentences."""
    return f"{err}." + (f" {err.hint[:1].upper()}{err.hint[1:]}." if err.hint else "")


def now_utc() -> datetime:
    """For ages."""
    return datetime.now(UTC)


def _has(entry: HistoryEntry, text: str) -> bool:
    all_of_it = f"{entry.id} {entry.serial} {entry.model} {entry.method} {entry.fc_hz / 1e6:g} MHz {entry.created_utc} {entry.note}"
    return all(word in all_of_it.casefold() for word in text.split())


def _is_there(path: Path) -> bool:
    """Also a link to nowhere is there."""
    return path.is_symlink() or path.exists()


def _kept_too(calibration: Calibration) -> str:
    """What was exported is in the store as well, so that the command finds it; "" or what hinders it."""
    try:
        if all(e.id != calibration.id for e in Store().history()):
            Store().add(calibration)
    except HilError as err:
        return f"; not in the store: {err}"
    return ""
