"""Works through a campaign: one file a point, made once, by this process or by many.

    OUT/WHAT/point-00012-3f9a...h5   a result; its name holds what it depends on
    OUT/WHAT/inputs/                 copies of the calibrations
    OUT/WHAT.json                    which result belongs to which point, written at the end of every call

Nothing else is kept: a call that was ended in any way leaves whole files only, and the next one makes what is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from drivers.sigmf_files import open_recording
from hil.campaign.folder import Campaign
from hil.core.errors import ConfigError, HilError, RecordingError
from hil.core.geometry import parse_array
from hil.processing.calibrations import CalibrationWanted, EpochCalibration, calibrations_by_epoch
from hil.processing.measure import require_fitting
from hil.processing.settings import ProcessSettings
from hil.processing.task import PointTask
from hil.processing.where import HERE, Where, outcomes_of
from hil.recorder.files import write_json

#: Called with the number of points done, of all, and of the bad ones.
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class Processed:
    """files : by point index. made : of them in this call. bad : point index -> why. manifest : the JSON file."""

    files: Mapping[int, Path]
    made: int
    bad: Mapping[int, str]
    manifest: Path


def process_campaign(
    campaign: Campaign,
    out: Path,
    settings: ProcessSettings,
    *,
    calibration: CalibrationWanted | None = None,
    waveform: Path | None = None,
    where: Where = HERE,
    progress: Progress = lambda done, total, bad: None,
) -> Processed:
    """Make the results that are missing; a point that cannot be used is named and stops nothing.

    Raises
    ------
    ConfigError : the settings do not fit. CalibrationMismatch : the calibration must not be used. HilError : no cluster,
        or the disk is full. What is finished is kept, also after KeyboardInterrupt.
    """
    if not campaign.points:
        raise ConfigError(f"{campaign.folder} has no finished point", hint="go on with hil sweep --resume")
    folder = out / settings.what
    settings = replace(settings, n_sources=settings.n_sources or max(1, len(campaign.file.plan.emitters_deg)))
    with _made(folder):
        tasks, bad = _tasks(campaign, folder, settings, calibration, waveform)
        missing = [task for task in tasks if not Path(task.out).exists()]
        done, made = len(tasks) - len(missing), 0
        progress(done, len(campaign.points), len(bad))
        try:
            with contextlib.closing(outcomes_of(missing, where, [campaign.folder], folder)) as outcomes:
                for outcome in outcomes:
                    if outcome.word == "stop":
                        raise RecordingError(outcome.why, hint="free space and run the same command again")
                    if outcome.word == "done":
                        made += 1
                    else:
                        bad[outcome.index] = outcome.why
                    progress(done + made, len(campaign.points), len(bad))
        finally:
            files = {task.point.index: Path(task.out) for task in tasks if Path(task.out).exists()}
            manifest = _manifest(campaign, out, settings, files, bad)
    return Processed(files, made, bad, manifest)


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder of the results, for one call at a time; without what a killed one left half written."""
    try:
        (folder / "inputs").mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as err:
        raise ConfigError(f"cannot write to {folder}: {err.strerror}", where="--out") from err
    with lock:
        with contextlib.suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"another call is writing to {folder}", where="--out", hint="wait until it is done"
                ) from None
        for left in folder.glob(".point-*.tmp"):
            left.unlink(missing_ok=True)
        yield


def _tasks(
    campaign: Campaign,
    folder: Path,
    settings: ProcessSettings,
    calibration: CalibrationWanted | None,
    waveform: Path | None,
) -> tuple[list[PointTask], dict[int, str]]:
    """One task a point; and the points whose recording cannot be opened."""
    if settings.what == "csi" and waveform is None:
        raise ConfigError(
            "channel responses need the waveform that was sent", where="--waveform", hint="--waveform w.toml"
        )
    by_epoch: Mapping[str, EpochCalibration] = {}
    if calibration is not None:
        by_epoch = calibrations_by_epoch(
            campaign, calibration, folder / "inputs", settings.array, settings.n_sources
        )
    _require_fitting(campaign, settings, calibrated=calibration is not None)
    digest = "" if waveform is None else _waveform_digest(waveform)
    identity: dict[str, Any] = {}
    tasks: list[PointTask] = []
    bad: dict[int, str] = {}
    for point in campaign.points:
        path = campaign.recording_path(point).resolve()
        if point.recording not in identity:
            identity[point.recording] = _identity(path)
        if isinstance(identity[point.recording], HilError):
            bad[point.index] = str(identity[point.recording])
            continue
        used = by_epoch.get(point.epoch)
        key = settings.key(
            point=[*asdict(point).values()], recording=identity[point.recording], waveform=digest,
            calibration=used.digest if used else "",
        )  # fmt: skip
        name = folder.resolve() / f"point-{point.index:05d}-{key[:16]}.h5"
        tasks.append(
            PointTask(
                point, str(path), str(name), settings, str(used.path.resolve()) if used else "",
                used.status if used else "", "" if waveform is None else str(waveform.resolve()),
            )
        )  # fmt: skip
    return tasks, bad


def _require_fitting(campaign: Campaign, settings: ProcessSettings, *, calibrated: bool) -> None:
    """Raise ConfigError for what is wrong with every point: said once, before anything begins."""
    for point in campaign.points:
        try:
            with open_recording(campaign.recording_path(point)) as recording:
                stream = recording.segment_at(point.start).stream
        except HilError:
            continue  # said of the point when its turn comes
        if settings.array is not None:
            stream = replace(stream, geometry=parse_array(settings.array, stream.fc_hz))
        require_fitting(settings, stream, point.n, calibrated=calibrated)
        return


def _identity(path: Path) -> list[list[Any]] | HilError:
    """Name, size and time of change of every data file; the error if they cannot be opened."""
    try:
        with open_recording(path) as recording:
            stats = [(file.name, file.stat()) for file in recording.data_files]
    except HilError as err:
        return err
    except OSError as err:
        return RecordingError(f"{err.filename}: {err.strerror}", exit_code=2)
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _waveform_digest(path: Path) -> str:
    """SHA-256 of what was sent, whatever file says it. Raises ConfigError: no waveform with subcarriers."""
    from hil.core.waveform_files import load_waveform

    waveform = load_waveform(path)
    if waveform.layout is None:
        raise ConfigError(
            f"a {waveform.kind} waveform has no subcarriers",
            where="--waveform",
            hint="give an OFDM or SRS waveform",
        )
    return hashlib.sha256(waveform.samples.tobytes() + repr(waveform.fs_hz).encode()).hexdigest()


def _manifest(
    campaign: Campaign,
    out: Path,
    settings: ProcessSettings,
    files: Mapping[int, Path],
    bad: Mapping[int, str],
) -> Path:
    path = out / f"{settings.what}.json"
    by_index = {point.index: point for point in campaign.points}
    table = {
        "campaign": str(campaign.folder.resolve()),
        "settings": asdict(settings),
        "points": [
            {"index": index, "table_deg": by_index[index].table_deg, "truth_deg": list(by_index[index].truth_deg),
             "file": f"{settings.what}/{file.name}"}
            for index, file in sorted(files.items())
        ],
        "bad": [{"index": index, "table_deg": by_index[index].table_deg, "why": why} for index, why in sorted(bad.items())],
        "left": len(campaign.points) - len(files) - len(bad),
    }  # fmt: skip
    try:
        write_json(path, table)
    except OSError as err:
        raise RecordingError(
            f"cannot write {path}: {err.strerror}", hint="free space, or check the folder"
        ) from err
    return path
