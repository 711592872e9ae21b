"""`hil learn --labels`: known directions from a table or from the recording itself."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from calib.observations import Observations
from calib.pilot.calibrate import pilot_calibrate
from calib.pilot.labels import Interval, labels_of_intervals
from calib.pilot.semi_supervised import semi_supervised
from calib.registry import get_method
from calib.result import GaugeRequest, LearnOptions, LearnResult
from drivers.sigmf_files import Recording
from hil.core.errors import ConfigError
from hil.core.geometry import ArrayGeometry
from hil.learning.observe import CovarianceBatch

#: `--labels recording`: the directions that the recording's segments state.
FROM_RECORDING = "recording"
#: `--labels rotation`, of a campaign: only by how much its table turned.
FROM_ROTATION = "rotation"
_COLUMNS = ("t0_s", "t1_s", "angle_deg")
_EXTRA = ("elevation_deg", "sigma_deg")
_MOST_ROWS = 100_000
_MOST_BYTES = 16 << 20
_CELL_HINT = "columns are separated by commas, decimals written with a point"


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Rows of a table, or None: the recording's own segments."""

    rows: tuple[Interval, ...] | None
    where: str


def read_labels(text: str) -> LabelSource:
    """`recording`, `rotation`, or a CSV file `t0_s,t1_s,angle_deg[,elevation_deg][,sigma_deg]` with that header.

    Seconds count from the first sample learned from, as for `--anchor`. Raises ConfigError: file, line, column.
    """
    if text in (FROM_RECORDING, FROM_ROTATION):
        return LabelSource(None, text)
    path = Path(text)
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigError("more than 16 MB: not a table of labels", where=f"--labels {text}")
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except OSError as err:
        raise ConfigError(
            f"cannot read {text}: {err.strerror or err}", where="--labels",
            hint="a CSV file with t0_s,t1_s,angle_deg, or the word recording",
        ) from err  # fmt: skip
    except UnicodeDecodeError as err:
        raise ConfigError(
            f"{text} is not UTF-8 text", where="--labels", hint="save it as CSV in UTF-8"
        ) from err
    except csv.Error as err:
        raise ConfigError(f"{text} is not a CSV file: {err}", where="--labels") from err
    rows = [[cell.strip() for cell in line] for line in lines]
    numbered = [(i, r) for i, r in enumerate(rows, 1) if any(r) and not r[0].startswith("#")]
    header = numbered[0][1] if numbered else []
    if tuple(header[:3]) != _COLUMNS or not set(header[3:]) <= set(_EXTRA) or len(set(header)) < len(header):
        raise ConfigError(
            f"{text}: the first line must be t0_s,t1_s,angle_deg, then elevation_deg and sigma_deg if known",
            where="--labels", hint="for example: t0_s,t1_s,angle_deg / 0,0.5,-40 / 0.5,1.0,10",
        )  # fmt: skip
    if not 1 <= len(numbered) - 1 <= _MOST_ROWS:
        raise ConfigError(
            f"{text}: {len(numbered) - 1} rows",
            where="--labels",
            hint=f"write 1 to {_MOST_ROWS} labels under the header",
        )
    return LabelSource(tuple(_row(text, i, header, r) for i, r in numbered[1:]), text)


def _row(text: str, line: int, header: list[str], cells: list[str]) -> Interval:
    where = f"--labels {text} line {line}"
    if len(cells) != len(header):
        raise ConfigError(f"{len(cells)} values for {len(header)} columns", where=where, hint=_CELL_HINT)
    values: dict[str, float] = {}
    for name, cell in zip(header, cells, strict=True):
        if not cell and name in _EXTRA:
            continue
        try:
            values[name] = float(cell)
        except ValueError:
            raise ConfigError(
                f"{name}: {cell[:40]!r} is not a number", where=where, hint=_CELL_HINT
            ) from None
        if not math.isfinite(values[name]):
            raise ConfigError(f"{name}: {cell} is not finite", where=where)
    try:
        return Interval(
            values["t0_s"], values["t1_s"], values["angle_deg"], values.get("elevation_deg", 0.0),
            values.get("sigma_deg"),
        )  # fmt: skip
    except ConfigError as err:
        raise ConfigError(str(err).removeprefix("labels: "), where=where, hint=err.hint) from err


def of_recording(recording: Recording, batch: CovarianceBatch) -> tuple[Interval, ...]:
    """Directions that the segments of a recording state, seconds since the first block. Raises ConfigError."""
    zero, fs_hz = int(batch.first_sample[0]), batch.fs_hz
    rows: list[Interval] = []
    for segment in recording.segments:
        if segment.stream.epoch.counter != batch.epoch_counter:
            continue
        bearing = segment.keys.get("spatial:emitter_bearing")
        tilt = bearing.get("elevation", 0.0) if isinstance(bearing, dict) else 0.0
        tilt = float(tilt) if isinstance(tilt, int | float) and len(segment.emitter_angles_deg) == 1 else 0.0
        t0 = (segment.global_index - zero) / fs_hz
        t1 = (segment.global_index + segment.n - batch.n_snapshots - zero) / fs_hz
        if t1 > t0:
            rows += [Interval(t0, t1, angle, tilt) for angle in segment.emitter_angles_deg]
    if not rows:
        raise ConfigError(
            "the recording states no directions", where="--labels recording",
            hint="give a CSV file with t0_s,t1_s,angle_deg",
        )  # fmt: skip
    return tuple(rows)


@dataclass(slots=True)
class LabelTeacher:
    """Callable with the signature of a method: labels alone (method "pilot"), or with all other blocks."""

    source: LabelSource
    method: str
    rows: tuple[Interval, ...] = ()
    left_out: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As in the calibration file."""
        if self.method == "pilot":
            return self.method
        return "semi-supervised" if self.method == "cold-start" else f"semi-supervised ({self.method})"

    def look_up(self, batch: CovarianceBatch, recording: Recording | None) -> None:
        """Find the labels of the blocks at hand; those of later times are left out with a note.

        Raises ConfigError if none is left.
        """
        rows = self.source.rows
        if self.source.where == FROM_ROTATION:
            raise ConfigError(
                "only a campaign says how its table turned",
                where="--labels",
                hint="--rotations table.csv says it",
            )
        if rows is None:
            if recording is None:
                raise ConfigError("a device states no directions", where="--labels", hint="--labels F.csv")
            rows = of_recording(recording, batch)
        time_s = batch.time_s - batch.time_s[0]
        end = float(time_s[-1])
        self.rows = tuple(r for r in rows if r.t0_s <= end and r.t1_s >= 0 and _holds(r, time_s))
        lost = [r for r in rows if r not in self.rows]
        if not self.rows:
            raise ConfigError(
                f"none of {len(rows)} labels lies within the {end:.3g} s learned from", where="--labels",
                hint="seconds count from the start of the recording; its last fifth is held out",
            )  # fmt: skip
        self.left_out = [
            f"label {r.angle_deg:g} degrees at {r.t0_s:g} to {r.t1_s:g} s: no block there (learned from {end:.3g} s)"
            for r in lost
        ]

    def __call__(
        self,
        obs: Observations,
        geometry: ArrayGeometry,
        fc_hz: float,
        n_sources: int | None,
        gauge: GaugeRequest,
        **options: Unpack[LearnOptions],
    ) -> LearnResult:
        """Raises NotIdentifiable if the labels (and blocks) are too few."""
        labels = labels_of_intervals(self.rows, obs.time_s)
        if self.method == "pilot":
            prior = options.get("prior")
            result = pilot_calibrate(
                obs, labels, geometry, fc_hz, positions=prior is None or prior.position_std_m != 0,
                prior=prior, n_sources=n_sources, seed=options.get("seed", 0),
            )  # fmt: skip
        else:
            result = semi_supervised(
                obs, labels, geometry, fc_hz, n_sources, gauge, method=get_method(self.method), **options
            )
        result.notes += self.left_out
        return result


def _holds(row: Interval, time_s: NDArray[np.float64]) -> bool:
    return bool(np.any((time_s >= row.t0_s) & (time_s <= row.t1_s)))
