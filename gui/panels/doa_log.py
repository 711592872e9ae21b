"""Directions over time, bounded, and as CSV. No Qt."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gui.history import History, Marks, StreamChanges
from gui.picture import Picture
from hil.core.errors import HilError

SPAN_S = 600.0
SLOT_S = 0.2
MOST_DIRECTIONS = 8
#: Columns of the CSV; new ones are only ever added at the end.
COLUMNS = (
    "time_utc", "time_s", "epoch", "method", "calibration", "n_sources", "rank", "doa_deg", "sigma_deg", "snr_db",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class KeptDirections:
    """What a log holds at one moment, for another thread. times_s (n,) monotonic; rows as in `DoaLog`; names : of the
    numbers in them; to_utc_s : from monotonic to Unix time."""

    times_s: NDArray[np.float64]
    rows: NDArray[np.float64]
    names: dict[int, tuple[str, str]]
    to_utc_s: float

    def table(self) -> list[tuple[str, ...]]:
        """A row for each direction, and one without a direction where there was none; columns as `COLUMNS`.

        time_utc of the samples' arrival, time_s since the first row, rank 0 the strongest.
        """
        out = []
        for time_s, row in zip(self.times_s, self.rows, strict=True):
            method, calibration = self.names[int(row[-1])]
            utc = datetime.fromtimestamp(time_s + self.to_utc_s, UTC).isoformat(timespec="milliseconds")
            begin = (
                utc.replace("+00:00", "Z"), f"{time_s - self.times_s[0]:.3f}", f"{row[-2]:.0f}", method, calibration,
                f"{row[-4]:.0f}",
            )  # fmt: skip
            found = [k for k in range(MOST_DIRECTIONS) if np.isfinite(row[k])]
            for k in found:
                sigma = row[MOST_DIRECTIONS + k]
                out.append((*begin, str(k), f"{row[k]:.4f}", _number(sigma), _number(row[-3])))
            if not found:
                out.append((*begin, "", "", "", _number(row[-3])))
        return out


class DoaLog:
    """Ten minutes of directions, at most five moments a second: the newest picture of each, nothing is averaged.

    marks : epochs, restarts, gaps.
    """

    def __init__(self) -> None:
        self.marks = Marks()
        # directions, their sigmas, then: sources, SNR, epoch counter, index of the words (method, calibration)
        self._history = History(2 * MOST_DIRECTIONS + 4, round(SPAN_S / SLOT_S))
        self._words: dict[tuple[str, str], int] = {}
        self._changes = StreamChanges()
        self._slot = -1

    def __len__(self) -> int:
        return len(self._history)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """(n,) monotonic seconds, oldest first."""
        return self._history.times_s

    @property
    def doa_deg(self) -> NDArray[np.float64]:
        """(n, 8) degrees, NaN where there are fewer."""
        return self._history.rows[:, :MOST_DIRECTIONS]

    @property
    def sigma_deg(self) -> NDArray[np.float64]:
        """(n, 8) degrees, one standard deviation, NaN where not known."""
        return self._history.rows[:, MOST_DIRECTIONS : 2 * MOST_DIRECTIONS]

    def add(self, picture: Picture) -> bool:
        """Take a picture; True if it was kept."""
        time_s, epoch = picture.t_mono_ns / 1e9, picture.stream.epoch
        words = self._changes.seen(epoch.id, epoch.cause, epoch.counter, picture.first_sample)
        if words:
            self.marks.add(time_s, words)
        slot = int(time_s / SLOT_S)
        if slot == self._slot:
            return False
        self._slot = slot
        row = np.full(self._history.width, np.nan)
        k = min(len(picture.doa_deg), MOST_DIRECTIONS)
        row[:k] = picture.doa_deg[:k]
        row[MOST_DIRECTIONS : MOST_DIRECTIONS + k] = picture.sigma_deg[:k]
        calibration = "" if picture.calibration is None else picture.calibration.id
        row[-4:] = picture.n_sources, picture.snr_db, epoch.counter, self._number(picture.method, calibration)
        self._history.append(time_s, row)
        return True

    def note_gaps(self, count: int, time_s: float) -> None:
        """Gaps of the stream so far."""
        if self._changes.gaps(count):
            self.marks.add(time_s, "gap", breaks=False)

    def clear(self) -> None:
        """Forget what was seen."""
        self._history.clear()
        self._words.clear()

    def kept(self) -> KeptDirections:
        """A copy of all that is kept."""
        names = {number: words for words, number in self._words.items()}
        return KeptDirections(
            self.times_s.copy(), self._history.rows.copy(), names, time.time() - time.monotonic()
        )

    def _number(self, method: str, calibration: str) -> int:
        """Of these words; calibrations that are followed change once a second, so that they are forgotten with their rows."""
        if len(self._words) > 2 * self._history.capacity:
            used = set(self._history.rows[:, -1].astype(int).tolist())
            self._words = {words: n for words, n in self._words.items() if n in used}
        return self._words.setdefault((method, calibration), max(self._words.values(), default=-1) + 1)


def write_csv(path: Path, kept: KeptDirections) -> str:
    """Write the rows with their header; returns what was written, in words. Raises HilError."""
    table = kept.table()
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(table)
    except OSError as err:
        raise HilError(f"cannot write {path}: {err.strerror}", hint="choose another place") from err
    return f"{len(table):,} rows in {path}"


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""
