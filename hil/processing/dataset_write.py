"""Makes training sets of campaigns: every point is processed (hil.processing.process), then the rows are put together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil import __version__
from hil.campaign.folder import Campaign, CampaignPoint
from hil.core.errors import ConfigError, RecordingError
from hil.processing.calibrations import CalibrationWanted
from hil.processing.dataset_file import DATA_DTYPE, FORMAT, KINDS, POINT_FIELDS, SCHEMA, TEXT
from hil.processing.process import process_campaign
from hil.processing.settings import ProcessSettings
from hil.processing.split import PARTS, SplitSettings, least_step_deg, places, split_points
from hil.processing.where import HERE, Where
from hil.recorder.files import sync_folder

_SOURCE = {"covariances": "covariance", "snapshots": "snapshots", "csi": "csi"}
_UNIT = {"covariances": "full scale squared", "snapshots": "full scale", "csi": "1"}
_ABOUT = {
    "covariances": "sample covariance X X^H / N of a block: element, element",
    "snapshots": "samples of a block: element, snapshot",
    "csi": "channel response: element, subcarrier",
}
_CHUNK_BYTES, _SMALL_CHUNK_BYTES = 1 << 20, 1 << 16
_SAME_M = 1e-6
_CONVENTION = (
    "degrees from broadside, positive towards +x (a line lies on x), clockwise seen from above; "
    "a_m = exp(+j 2 pi fc r_m.u / c)"
)


@dataclass(frozen=True, slots=True)
class MadeDataset:
    """rows : by kind. points : by part, "left out" for those in none. bad : (campaign, point index, why)."""

    path: Path
    rows: dict[str, int]
    points: dict[str, int]
    bad: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A point with its processed files by kind. nominal_deg : direction of the first emitter, had the table been exact."""

    campaign: int
    point: CampaignPoint
    truth_deg: tuple[float, ...]
    nominal_deg: float
    files: dict[str, Path]

    @property
    def run(self) -> tuple[int, str]:
        return self.campaign, self.point.recording


def make_dataset(
    campaigns: Sequence[Campaign],
    out: Path,
    kinds: Sequence[ProcessSettings],
    split: SplitSettings,
    *,
    emitters_deg: tuple[float, ...] | None = None,
    calibration: CalibrationWanted | None = None,
    waveform: Path | None = None,
    where: Where = HERE,
    progress: Callable[[int, int, int], None] = lambda done, total, bad: None,
) -> MadeDataset:
    """Process the points, split them and write one file, whole or not at all.

    emitters_deg : azimuths in the room, for campaigns that were made without them. An interrupted call is taken up by the
    same call: processed points wait in OUT.parts.

    Raises
    ------
    ConfigError : no truth, arrays or carriers that differ, the same data twice, too few angles or runs to split.
    """
    _check_request(campaigns, out, kinds, emitters_deg)
    _split(campaigns, [e for k, c in enumerate(campaigns) for e in _entries(c, k, {}, emitters_deg)], split)
    parts = out.with_name(out.name + ".parts")
    entries: list[_Entry] = []
    bad: list[tuple[str, int, str]] = []
    total = len(kinds) * sum(len(c.points) for c in campaigns)
    before = 0
    for number, campaign in enumerate(campaigns):
        files: dict[str, dict[int, Path]] = {}
        for settings in kinds:
            base, known = before, len(bad)
            made = process_campaign(
                campaign, parts / f"{number:03d}", settings, calibration=calibration, waveform=waveform, where=where,
                progress=lambda done, _, worse, base=base, known=known: progress(base + done, total, known + worse),
            )  # fmt: skip
            files[settings.what] = dict(made.files)
            bad += [(str(campaign.folder), index, why) for index, why in made.bad.items()]
            before += len(campaign.points)
        entries += _entries(campaign, number, files, emitters_deg)
    if not entries:
        raise ConfigError(f"no point can be used; the first: {bad[0][2]}")
    part = _split(campaigns, entries, split)
    rows = _write(out, campaigns, entries, part, [k.what for k in kinds], split)
    shutil.rmtree(parts, ignore_errors=True)
    counts = {name: int(np.count_nonzero(part == k)) for k, name in enumerate((*PARTS, "left out"))}
    return MadeDataset(out, rows, counts, tuple(bad))


def _check_request(
    campaigns: Sequence[Campaign],
    out: Path,
    kinds: Sequence[ProcessSettings],
    emitters_deg: tuple[float, ...] | None,
) -> None:
    if out.suffix not in (".h5", ".hdf5"):
        raise ConfigError(f"{out.name}: data sets are HDF5", where="--out", hint="--out set.h5")
    if out.exists():
        raise ConfigError(f"{out} is there already", where="--out", hint="choose another name, or delete it")
    for settings in kinds:
        if settings.what not in KINDS:
            raise ConfigError(
                f"{settings.what} are no training data", where="--what", hint=f"of {', '.join(KINDS)}"
            )
    if len({k.what for k in kinds}) != len(kinds):
        raise ConfigError("names one kind twice", where="--what")
    seen: dict[tuple[Any, ...], Path] = {}
    for campaign in campaigns:
        if not campaign.points:
            raise ConfigError(
                f"{campaign.folder} has no finished point", hint="go on with hil sweep --resume"
            )
        if emitters_deg is None and not all(p.truth_deg for p in campaign.points):
            raise ConfigError(
                f"{campaign.folder} does not say where the emitters are", where="--emitter",
                hint="give their azimuths in the room: --emitter 0",
            )  # fmt: skip
        first = campaign.points[0]
        key = (first.t_utc_ns, first.epoch, first.start)
        if key in seen:
            raise ConfigError(
                f"{campaign.folder} holds the same data as {seen[key]}", hint="name each campaign once"
            )
        seen[key] = campaign.folder


def _entries(
    campaign: Campaign,
    number: int,
    files: dict[str, dict[int, Path]],
    emitters_deg: tuple[float, ...] | None,
) -> list[_Entry]:
    plan = campaign.file.plan
    if emitters_deg is not None:
        plan = replace(plan, emitters_deg=emitters_deg)
    entries: list[_Entry] = []
    for point in campaign.points:
        if all(point.index in made for made in files.values()):
            truth = point.truth_deg if emitters_deg is None else plan.truth_deg(point.table_deg)
            nominal = (plan.truth_deg(point.set_deg) or truth)[0]
            own = {kind: made[point.index] for kind, made in files.items()}
            entries.append(_Entry(number, point, truth, nominal, own))
    return entries


def _split(
    campaigns: Sequence[Campaign], entries: Sequence[_Entry], split: SplitSettings
) -> NDArray[np.uint8]:
    if len({len(e.truth_deg) for e in entries}) > 1:
        raise ConfigError("the campaigns have different numbers of emitters", hint="make a data set of each")
    # angles of one plan are never one place; those of two plans are if they lie closer than a quarter step
    tolerance_deg = least_step_deg([c.file.plan.angles_deg for c in campaigns]) / 4
    place = places(np.array([e.nominal_deg for e in entries]), tolerance_deg)
    runs = sorted({e.run for e in entries})
    return split_points(place, np.array([runs.index(e.run) for e in entries], np.int64), split)


def _write(
    out: Path,
    campaigns: Sequence[Campaign],
    entries: Sequence[_Entry],
    part: NDArray[np.uint8],
    kinds: Sequence[str],
    split: SplitSettings,
) -> dict[str, int]:
    import h5py

    temporary = out.with_name(out.name + ".tmp")
    try:
        with h5py.File(temporary, "w") as file:
            head = _Head(entries[0].files[kinds[0]])
            calibrations = {e.point.epoch: _Head(e.files[kinds[0]]) for e in entries}
            for name, value in (
                ("format", FORMAT), ("schema", SCHEMA), ("version", __version__),
                ("created_utc", datetime.now(UTC).isoformat(timespec="seconds")), ("fc_hz", head.fc_hz),
                ("fs_hz", head.fs_hz), ("angle_convention", _CONVENTION), ("split_by", split.by), ("seed", split.seed),
                ("val", split.val), ("test", split.test),
                ("stale_reason", "; ".join(sorted({h.stale_reason for h in calibrations.values()} - {""}))),
            ):  # fmt: skip
                file.attrs[name] = value
            _dataset(file, "positions_m", head.positions_m, "m", "elements that the data belong to")
            _points(file, campaigns, entries, part, calibrations)
            rows = {kind: _rows(file.create_group(kind), kind, entries, head) for kind in kinds}
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(out)
        sync_folder(out.parent)
    except OSError as err:
        raise RecordingError(
            f"cannot write {out}: {err.strerror or err}", hint="free space, then run the same command again"
        ) from err
    finally:
        temporary.unlink(missing_ok=True)
    return rows


class _Head:
    """What a processed file says of its array."""

    def __init__(self, path: Path) -> None:
        import h5py

        with h5py.File(path, "r") as file:
            self.path = path
            self.positions_m: NDArray[np.float64] = file["positions_m"][()]  # pyright: ignore
            self.fc_hz, self.fs_hz = float(file.attrs["fc_hz"]), float(file.attrs["fs_hz"])  # pyright: ignore
            self.calibration, self.stale_reason = (
                str(file.attrs["calibration"]), str(file.attrs["stale_reason"]),
            )  # fmt: skip
        if not len(self.positions_m):
            raise ConfigError(
                "the array is not known", where="--array", hint="give for example --array ula:4:0.5"
            )

    def require_same(self, other: _Head, point: CampaignPoint) -> None:
        """Raises ConfigError."""
        same = self.positions_m.shape == other.positions_m.shape and np.allclose(
            self.positions_m, other.positions_m, rtol=0, atol=_SAME_M
        )
        if not same:
            raise ConfigError(f"{point.recording} is of another array", hint="make a data set of each array")
        for name in ("fc_hz", "fs_hz"):
            if abs(getattr(self, name) - getattr(other, name)) > 1.0:
                raise ConfigError(
                    f"{point.recording} has {name} = {getattr(other, name):g}, the first point {getattr(self, name):g}",
                    hint="make a data set of each setting",
                )


def _points(
    file: Any,
    campaigns: Sequence[Campaign],
    entries: Sequence[_Entry],
    part: NDArray[np.uint8],
    calibrations: dict[str, _Head],
) -> None:
    runs = sorted({e.run for e in entries})
    epochs = list(calibrations)
    _names(file, "campaigns", [c.folder.name for c in campaigns], "folders")
    _names(file, "runs", [f"{campaigns[c].folder.name}/{name}" for c, name in runs], "starts of the sweep")
    _names(file, "epochs", epochs, "coherence epochs: phases hold within one")
    _names(file, "epoch_calibration", [calibrations[e].calibration for e in epochs], "applied, empty: none")
    run_of, epoch_of = {run: k for k, run in enumerate(runs)}, {epoch: k for k, epoch in enumerate(epochs)}
    values: dict[str, list[Any]] = {
        "angle_deg": [e.truth_deg for e in entries],
        "angle_sigma_deg": [e.point.table_error_deg for e in entries],
        "split": part.tolist(),
        "campaign": [e.campaign for e in entries],
        "run": [run_of[e.run] for e in entries],
        "epoch": [epoch_of[e.point.epoch] for e in entries],
    }
    group = file.create_group("points")
    for name, (dtype, unit, about) in POINT_FIELDS.items():
        column = values.get(name) or [getattr(e.point, name) for e in entries]
        _dataset(group, name, np.array(column, dtype), unit, about)


def _rows(group: Any, kind: str, entries: Sequence[_Entry], head: _Head) -> int:
    """Copy the rows of all points; how many there are."""
    import h5py

    first_row = np.zeros(len(entries) + 1, np.int64)
    with h5py.File(entries[0].files[kind], "r") as first:
        shape: tuple[int, ...] = first[_SOURCE[kind]].shape[1:]  # pyright: ignore
        frequency = first["frequency_hz"][()] if kind == "csi" else None  # pyright: ignore
    columns: dict[str, tuple[Any, tuple[int, ...], str, str]] = {"data": (DATA_DTYPE[kind], shape, _UNIT[kind], _ABOUT[kind]),
               "point": (np.int32, (), "1", "row of /points"),
               "first_sample": (np.int64, (), "samples", "in the original stream")}  # fmt: skip
    if kind == "csi":
        columns["symbols"] = (np.int64, (), "1", "symbols averaged")
        _dataset(group, "frequency_hz", frequency, "Hz", "of the subcarriers, from the carrier")
    for name, (dtype, inner, unit, about) in columns.items():
        row_bytes = np.dtype(dtype).itemsize * int(np.prod(inner, dtype=np.int64))
        chunk = max(1, (_CHUNK_BYTES if inner else _SMALL_CHUNK_BYTES) // row_bytes)
        data = group.create_dataset(
            name,
            (0, *inner),
            dtype,
            maxshape=(None, *inner),
            chunks=(chunk, *inner),
        )
        data.attrs["unit"], data.attrs["about"] = unit, about
    at = 0
    for p, entry in enumerate(entries):
        path = entry.files[kind]
        head.require_same(_Head(path), entry.point)
        with h5py.File(path, "r") as file:
            source: Any = file[_SOURCE[kind]]
            if source.shape[1:] != shape or (
                kind == "csi" and not np.array_equal(file["frequency_hz"][()], frequency)  # pyright: ignore
            ):
                raise ConfigError(
                    f"{entry.point.recording} has rows of another shape", hint="make a data set of each"
                )
            n = len(source)
            for name in columns:
                group[name].resize(at + n, axis=0)
            step = group["data"].chunks[0]
            for low in range(0, n, step):
                group["data"][at + low : at + min(low + step, n)] = source[low : low + step]
            group["point"][at:] = p
            for name in set(columns) - {"data", "point"}:
                group[name][at:] = file[name][()]  # pyright: ignore
        at += n
        first_row[p + 1] = at
    _dataset(group, "first_row", first_row, "1", "rows of point p are first_row[p] .. first_row[p + 1]")
    return at


def _dataset(group: Any, name: str, values: Any, unit: str, about: str) -> None:
    data = group.create_dataset(name, data=values)
    data.attrs["unit"], data.attrs["about"] = unit, about


def _names(file: Any, name: str, texts: Sequence[str], about: str) -> None:
    _dataset(file, name, np.array([t.encode()[: TEXT.itemsize] for t in texts], TEXT), "1", about)
