"""`hil spectrum RECORDING --every S --out F.csv`: directions over the whole of a recording, however long it is.

    F.csv            one row a direction: time_s, first_sample, doa_deg, sigma_deg; a row without a direction where there is none
    .F.csv.parts/    while it is made: a file for every piece of the recording; what is there is not made again

Every piece is read by itself, so memory does not grow with the recording, and pieces are made by as many processes as wanted.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import Recording, Segment, open_recording
from hil.core.errors import ConfigError, HilError, RecordingError
from hil.core.frame import StreamInfo
from hil.jobs.directions import Estimator, SpectrumSettings
from hil.jobs.stated_array import stated_array
from hil.learning.observe import observe_recording
from hil.learning.using import CalibrationInUse, calibration_for
from hil.processing.task import TaskOutcome, made
from hil.processing.where import HERE, Where, outcomes_of
from hil.recorder.files import is_disk_full

COLUMNS = ("time_s", "first_sample", "doa_deg", "sigma_deg")
#: Samples of a piece, all channels: a second or two of work, far more than opening its file and writing it safely cost; less
#: where the recording is short, so that several processes have something to do.
_PIECE_VALUES = 1 << 26
_PIECES = 32
_LEAST_VALUES = 1 << 22
#: Samples read at a time, all channels: they and what is made of them stay in the cache of a core.
_READ_VALUES = 1 << 17
#: The system is told of so many, or of so many reads, before they are needed.
_AHEAD_VALUES, _AHEAD_READS = 1 << 22, 64
_CALIBRATION_BLOCKS = 1000


@dataclass(frozen=True, slots=True)
class OverTime:
    """What was found. estimates : looks. directions : rows with one. recording_s : length of the recording that they stand for.
    seconds : it took. bad : (from_s, to_s, why) of pieces that could not be used. calibration_status : by coherence epoch."""

    file: Path
    estimates: int
    directions: int
    recording_s: float
    seconds: float
    bad: tuple[tuple[float, float, str], ...]
    calibration_status: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "file": str(self.file), "estimates": self.estimates, "directions": self.directions,
            "recording_s": self.recording_s, "seconds": self.seconds,
            "times_real_time": self.recording_s / self.seconds if self.seconds > 0 else None,
            "bad": [{"from_s": a, "to_s": b, "why": why} for a, b, why in self.bad],
            "calibration_status": self.calibration_status,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one segment. start : place of the first look in the file; n : looks, `step` samples apart. global_index : of
    `start`. used : calibration of its epoch."""

    index: int
    recording: str
    out: str
    array: str | None
    settings: SpectrumSettings
    start: int
    n: int
    step: int
    global_index: int
    used: CalibrationInUse | None

    def run(self) -> TaskOutcome:
        """Write its rows."""
        return made(self.index, Path(self.out), self._write)

    def _write(self, path: Path) -> None:
        with open_recording(Path(self.recording)) as recording, path.open("w", newline="") as file:
            stream = _stream(recording.segment_at(self.start), self.array)
            estimator = Estimator(stream, self.settings, self.used)
            rows = csv.writer(file, lineterminator="\n")
            snapshots = self.settings.snapshots
            for first, count, wire in self._read(recording, stream.n_channels):
                samples, _ = wire_to_complex(wire, stream.device.full_scale_bits)
                for k in range(count):
                    at = self.global_index + (first + k) * self.step
                    found = estimator.estimate(
                        samples[:, k * self.step : k * self.step + snapshots], at, spectrum=False
                    )
                    when = f"{at / stream.fs_hz:.9f}"
                    for angle, sigma in zip(found.doa_deg, found.sigma_deg, strict=True):
                        rows.writerow(
                            (when, at, f"{angle:.5f}", f"{sigma:.5f}" if np.isfinite(sigma) else "")
                        )
                    if not len(found.doa_deg):
                        rows.writerow((when, at, "", ""))

    def _read(self, recording: Recording, n_channels: int) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """(first look, looks, their wire samples) of what is read at once; the system is told what comes after it."""
        together = self._together(n_channels)
        reads = [(first, min(together, self.n - first)) for first in range(0, self.n, together)]
        spans = [
            (self.start + first * self.step, (n - 1) * self.step + self.settings.snapshots)
            for first, n in reads
        ]
        ahead = max(1, min(_AHEAD_VALUES // (n_channels * spans[0][1]), _AHEAD_READS))
        for place, span in spans[:ahead]:
            recording.expect(place, span)
        for k, (first, count) in enumerate(reads):
            for place, span in spans[k + ahead : k + ahead + 1]:
                recording.expect(place, span)
            yield first, count, recording.read(*spans[k])

    def _together(self, n_channels: int) -> int:
        """Looks read at once; sparse ones are read one by one."""
        if self.step > 4 * self.settings.snapshots:
            return 1
        return max(1, (_READ_VALUES // n_channels - self.settings.snapshots) // self.step + 1)


def over_time(
    path: Path,
    array: str | None,
    settings: SpectrumSettings,
    out: Path,
    *,
    every_s: float,
    seconds: float | None = None,
    where: Where = HERE,
    progress: Callable[[int, int, int], None] = lambda done, total, bad: None,
) -> OverTime:
    """Directions every `every_s` seconds from `settings.at_s` on, for `seconds` or to the end, into a CSV file.

    Looks never straddle a gap or a retune. progress(pieces done, all, bad).

    Raises
    ------
    ConfigError : what is asked for does not fit. RecordingError : the recording cannot be read, the disk is full, or no look
        fits. CalibrationMismatch : the calibration must not be used for one of the epochs. What is finished is kept.
    """
    _check(out, every_s, seconds)
    begin = time.monotonic()
    with open_recording(path) as recording:
        pieces, status = _pieces(recording, array, settings, every_s, seconds)
        fs_hz, identity = (
            recording.stream.fs_hz,
            [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in recording.data_files],
        )
        used_s = sum(p.n * p.step for p in pieces) / fs_hz
    if not pieces:
        raise RecordingError(
            f"{path}: no look of {settings.snapshots} samples fits in",
            hint="fewer --snapshots, or another --at",
            exit_code=2,
        )
    parts = out.with_name(f".{out.name}.parts")
    wanted = [
        identity,
        array,
        {k: str(v) for k, v in asdict(settings).items()},
        every_s,
        seconds,
        sorted(status.items()),
    ]
    key = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]
    try:
        _emptied_of_others(parts, key)
        pieces = [replace(p, out=str((parts / f"{key}-{p.index:06d}.csv").resolve())) for p in pieces]
        bad = _made(pieces, where, [path.resolve().parent], parts, progress)
        estimates, directions = _joined(pieces, bad, out)
    except OSError as err:
        words = "free space and run the same command again" if is_disk_full(err) else "choose another --out"
        raise RecordingError(f"cannot write {out}: {err.strerror or err}", hint=words) from err
    if not bad:
        shutil.rmtree(parts, ignore_errors=True)
    spans = tuple(
        (p.global_index / fs_hz, (p.global_index + p.n * p.step) / fs_hz, bad[p.index])
        for p in pieces
        if p.index in bad
    )
    return OverTime(out, estimates, directions, used_s, time.monotonic() - begin, spans, status)


def read_rows(path: Path) -> Iterator[tuple[float, float, float]]:
    """(time_s, doa_deg, sigma_deg) of the rows with a direction; sigma NaN where it was not determined."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["doa_deg"]:
                yield float(row["time_s"]), float(row["doa_deg"]), float(row["sigma_deg"] or "nan")


def _check(out: Path, every_s: float, seconds: float | None) -> None:
    if out.suffix != ".csv":
        raise ConfigError(f"{out.name}: directions over time are a .csv file", where="--out")
    if not out.resolve().parent.is_dir():
        raise ConfigError(f"{out.parent} is not a folder", where="--out")
    if not (0 < every_s < 1e9):
        raise ConfigError(f"{every_s:g} s between looks", where="--every", hint="for example --every 0.01")
    if seconds is not None and not 0 < seconds < 1e9:
        raise ConfigError(f"{seconds:g} s of the recording", where="--seconds")


def _stream(segment: Segment, array: str | None) -> StreamInfo:
    return replace(segment.stream, geometry=stated_array(array, segment.stream))


def _pieces(
    recording: Recording, array: str | None, settings: SpectrumSettings, every_s: float, seconds: float | None
) -> tuple[list[Piece], dict[str, str]]:
    """What there is to do, without files, and the status of the calibration by epoch."""
    fs_hz = recording.stream.fs_hz
    low = round(settings.at_s * fs_hz) if 0 <= settings.at_s < recording.duration_s else -1
    if low < 0:
        raise ConfigError(f"{settings.at_s:g} s is outside the recording", where="--at")
    high = recording.n_samples if seconds is None else min(low + round(seconds * fs_hz), recording.n_samples)
    share = min(1.0, settings.snapshots / max(every_s * fs_hz, 1.0))  # of the samples that is looked at
    wanted = round(share * (high - low)) * recording.n_channels // _PIECES
    values = min(max(wanted, _LEAST_VALUES), _PIECE_VALUES)
    out: list[Piece] = []
    used: dict[str, CalibrationInUse | None] = {}
    for segment in recording.segments:
        stream = _stream(segment, array)
        step = max(1, round(every_s * stream.fs_hz))
        start, end = max(low, segment.start), min(high, segment.start + segment.n)
        looks = (end - start - settings.snapshots) // step + 1
        if looks < 1:
            continue
        epoch = stream.epoch.id
        if epoch not in used:
            Estimator(stream, settings, None)  # what does not fit is said before anything begins
            used[epoch] = _use(recording, segment, stream, settings)
        each = max(1, values // recording.n_channels // min(step, max(settings.snapshots, 1)))
        for first in range(0, looks, each):
            at = start + first * step
            out.append(
                Piece(
                    len(out), str(recording.path.resolve()), "", array, settings, at, min(each, looks - first), step,
                    segment.global_index + at - segment.start, used[epoch],
                )
            )  # fmt: skip
    return out, {epoch: "none" if one is None else one.status for epoch, one in used.items()}


def _use(
    recording: Recording, segment: Segment, stream: StreamInfo, settings: SpectrumSettings
) -> CalibrationInUse | None:
    if settings.calibration is None:
        return None
    batch = observe_recording(
        recording, segment.start, segment.start + segment.n, max_blocks=_CALIBRATION_BLOCKS
    )
    return calibration_for(
        settings.calibration, stream, batch, settings.n_sources,
        relearn_phase=settings.relearn_phase, stale_ok=settings.stale_ok,
    )  # fmt: skip


def _emptied_of_others(parts: Path, key: str) -> None:
    """The folder of the pieces, without those of other settings and half ones."""
    parts.mkdir(exist_ok=True)
    for file in parts.iterdir():
        if not file.name.startswith(f"{key}-"):
            with contextlib.suppress(OSError):
                file.unlink()


def _made(
    pieces: list[Piece],
    where: Where,
    folders: list[Path],
    parts: Path,
    progress: Callable[[int, int, int], None],
) -> dict[int, str]:
    """Make what is missing; why pieces are bad."""
    missing = [p for p in pieces if not Path(p.out).exists()]
    done, bad = len(pieces) - len(missing), dict[int, str]()
    progress(done, len(pieces), 0)
    with contextlib.closing(outcomes_of(missing, where, folders, parts)) as outcomes:
        for outcome in outcomes:
            if outcome.word == "stop":
                raise RecordingError(outcome.why, hint="free space and run the same command again")
            if outcome.word != "done":
                bad[outcome.index] = outcome.why
            done += 1
            progress(done, len(pieces), len(bad))
    if len(bad) == len(pieces):
        raise HilError(f"nothing could be made: {bad[pieces[0].index]}")
    return bad


def _joined(pieces: list[Piece], bad: dict[int, str], out: Path) -> tuple[int, int]:
    """One file of all pieces, whole or not at all; looks and directions in it."""
    temporary = out.with_name(f".{out.name}.tmp")
    estimates = directions = 0
    try:
        with temporary.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(COLUMNS)
            for piece in pieces:
                if piece.index not in bad:
                    estimates += piece.n
                    directions += _copied(Path(piece.out), file)
        temporary.replace(out)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return estimates, directions


def _copied(part: Path, file: TextIO) -> int:
    """Rows with a direction."""
    directions = 0
    with part.open(newline="") as lines:
        for line in lines:
            directions += not line.rstrip("\n").endswith(",,")
            file.write(line)
    return directions
