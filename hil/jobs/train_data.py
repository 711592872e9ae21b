"""Rows to train and judge on: channel responses or covariances of training sets, their errors taken out where they can be."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.geometry import ArrayGeometry, parse_array
from hil.evaluation.held_angles import seen_directions_deg
from hil.jobs.train_calibration import GivenCalibration, calibration_of
from hil.processing.dataset import Dataset, open_dataset

_READ_BYTES = 1 << 26
_MOST_ROWS = 200_000
_SAME_M = 1e-6
_AGAIN = "hil campaign dataset makes another one"


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where rows come from.

    names : data sets or scene. geometry : elements that the rows belong to. calibrated : their errors are out of them.
    calibration : id, "" for none. epochs : coherence epochs. given : the calibration of `--calibration`, which the rows
    went through.
    """

    names: tuple[str, ...]
    geometry: ArrayGeometry
    fc_hz: float
    calibrated: bool
    calibration: str
    epochs: tuple[str, ...]
    given: Calibration | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """values : csi (R, M, S) complex64 or covariances (R, M, M) complex128, of n_snapshots. angle_deg : (R, K) true directions
    as the array sees them, ascending. part : (R,) uint8, 0 train, 1 val, 2 test. frequency_hz : (S,) of csi, else (0,).
    decoder : what is still in the values and belongs into a decoder, None: nothing."""

    origin: Origin
    values: NDArray[np.complexfloating]
    angle_deg: NDArray[np.float64]
    part: NDArray[np.uint8]
    frequency_hz: NDArray[np.float64]
    n_snapshots: int
    decoder: Calibration | None = None

    def of(self, part: int) -> Rows:
        """Those of one part."""
        return self.some(self.part == part)

    def some(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Rows:
        """Some of them, by mask or index."""
        return replace(self, values=self.values[keep], angle_deg=self.angle_deg[keep], part=self.part[keep])

    def within(self, sector_deg: tuple[float, float]) -> Rows:
        """Those whose directions all lie in the sector."""
        low, high = sector_deg
        return self.some(np.all((self.angle_deg >= low - 1e-9) & (self.angle_deg <= high + 1e-9), axis=1))

    def __len__(self) -> int:
        return len(self.angle_deg)


@dataclass(frozen=True, slots=True)
class DataSettings:
    """How data sets are read. calibration, stale_ok : see `hil.jobs.train_calibration`. array : as `--array`, None: as stated."""

    calibration: Path | None = None
    stale_ok: str | None = None
    array: str | None = None


def csi_rows(paths: Sequence[Path], settings: DataSettings, picked: NDArray[np.float64] | int | None) -> Rows:
    """Channel responses of all sets.

    picked : frequencies (K,) in Hz whose nearest subcarriers are taken, or how many, evenly spread; None: all.

    Raises ConfigError, CalibrationError : what cannot be trained on, in one line.
    """
    return _read(paths, settings, ("csi",), picked)


def covariance_rows(paths: Sequence[Path], settings: DataSettings) -> Rows:
    """Covariances of all sets: as they are, of their snapshots, or over the tones of channel responses. Raises as `csi_rows`."""
    return _read(paths, settings, ("covariances", "snapshots", "csi"), None)


def _read(
    paths: Sequence[Path],
    settings: DataSettings,
    kinds: tuple[str, ...],
    picked: NDArray[np.float64] | int | None,
) -> Rows:
    with ExitStack() as stack:
        sets = [stack.enter_context(open_dataset(path)) for path in paths]
        kind = _kind(sets, kinds)
        origin = _origin(sets, settings)
        frequency = _frequency(sets) if kind == "csi" else np.zeros(0)
        used = [np.concatenate([data.part(name) for name in ("train", "val", "test")]) for data in sets]
        columns = columns_of(frequency, picked)
        given = calibration_of(settings.calibration, settings.stale_ok, origin, sets, used, kind)
        if given is not None:
            origin = _with(origin, given)
            kind = _correctable(sets, kind, kinds, given.calibration)
            frequency = _frequency(sets) if kind == "csi" else np.zeros(0)
            columns = columns_of(frequency, picked)
        if not origin.calibrated and len(origin.epochs) > 1:
            raise ConfigError(
                f"{len(origin.epochs)} coherence epochs without a calibration have phases of their own and cannot be trained "
                "together", hint="give --calibration, make the set with hil campaign dataset --calibration, or record in one go",
            )  # fmt: skip
        stride = max(1, -(-sum(data.n_rows(kind) for data in sets) // _MOST_ROWS))
        parts = [
            _of_set(data, kind, np.sort(points), columns, frequency, origin, kinds, stride)
            for data, points in zip(sets, used, strict=True)
        ]
        n_snapshots = _n_snapshots(sets[0], kind, len(frequency))
        decoder = None if kind == "csi" else origin.given
    values, angle = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    part = np.concatenate([p[2] for p in parts])
    if not len(values):
        raise ConfigError("holds no row of any part", where=str(paths[0]), hint=_AGAIN)
    return Rows(origin, values, angle, part, frequency[columns], n_snapshots, decoder)


def _kind(sets: Sequence[Dataset], kinds: tuple[str, ...]) -> str:
    for kind in kinds:
        if all(kind in data.kinds for data in sets):
            return kind
    lacking = next(data for data in sets if not set(kinds) & set(data.kinds))
    raise ConfigError(
        f"holds {', '.join(lacking.kinds)}, this method takes {' or '.join(kinds)}", where=str(lacking.path),
        hint=f"make it with hil campaign dataset --what {kinds[0]}"
        + (" --waveform W.toml" if kinds[0] == "csi" else ""),
    )  # fmt: skip


def _correctable(sets: Sequence[Dataset], kind: str, kinds: tuple[str, ...], given: Calibration) -> str:
    """The kind itself, or one from which delays, responses, images and DC can be taken: a covariance has lost them."""
    from hil.dsp.correction import is_ideal, receiver_errors

    if kind != "covariances" or is_ideal(receiver_errors(given.impairments)):
        return kind
    for other in kinds[1:]:
        if all(other in data.kinds for data in sets):
            return other
    raise ConfigError(
        "the calibration corrects delays, responses, IQ images or DC, which covariances do not show any more", where="--calibration",
        hint="make the set with --what snapshots, or with hil campaign dataset --calibration",
    )  # fmt: skip


def _origin(sets: Sequence[Dataset], settings: DataSettings) -> Origin:
    first = sets[0]
    geometry = first.geometry if settings.array is None else parse_array(settings.array, first.fc_hz)
    if geometry.n_elements != first.geometry.n_elements:
        raise ConfigError(
            f"{geometry.n_elements} elements, the data have {first.geometry.n_elements}",
            where="--array",
            hint="state the array of the data",
        )
    ids: set[str] = set()
    epochs: list[str] = []
    for data in sets:
        if not data.geometry.equals(first.geometry, _SAME_M) or abs(data.fc_hz - first.fc_hz) > 1.0:
            raise ConfigError(
                f"is of another array or carrier than {first.path.name}", where=str(data.path), hint="train on each alone"
            )  # fmt: skip
        if data.angle_deg.shape[1] != first.angle_deg.shape[1] or not np.all(np.isfinite(data.angle_deg)):
            raise ConfigError(
                f"states {data.angle_deg.shape[1]} directions a point, not all finite or not as many as {first.path.name}",
                where=str(data.path), hint=_AGAIN,
            )  # fmt: skip
        present = np.unique(data.points["epoch"][data.points["split"] < 3])
        if len(present) and present[-1] >= min(len(data.epochs), len(data.calibrations)):
            raise ConfigError(
                "damaged: names an epoch that it does not hold", where=str(data.path), hint=_AGAIN
            )
        ids |= {data.calibrations[e] for e in present}
        epochs += [data.epochs[e] for e in present if data.epochs[e] not in epochs]
    if "" in ids and len(ids) > 1:
        raise ConfigError(
            "some epochs were corrected with a calibration and some were not: they cannot be trained together",
            hint="make the sets alike: hil campaign dataset --calibration",
        )
    done = "" not in ids and bool(ids)
    if done and settings.calibration is not None:
        raise ConfigError(
            "the data were corrected with a calibration when the set was made", where="--calibration", hint="leave the option out"
        )  # fmt: skip
    return Origin(
        tuple(data.path.name for data in sets), geometry, first.fc_hz, done, ",".join(sorted(ids)), tuple(epochs)
    )  # fmt: skip


def _with(origin: Origin, given: GivenCalibration) -> Origin:
    calibration = given.calibration
    geometry = ArrayGeometry(calibration.positions_m)
    notes = (*origin.notes, *given.notes)
    return replace(
        origin, geometry=geometry, calibrated=True, calibration=calibration.id, given=calibration, notes=notes
    )


def _frequency(sets: Sequence[Dataset]) -> NDArray[np.float64]:
    frequency = sets[0].frequency_hz
    if not np.all(np.isfinite(frequency)) or np.any(np.diff(frequency) <= 0):
        raise ConfigError("damaged: its subcarriers do not ascend", where=str(sets[0].path), hint=_AGAIN)
    for data in sets[1:]:
        if not np.array_equal(data.frequency_hz, frequency):
            raise ConfigError(
                f"has other subcarriers than {sets[0].path.name}",
                where=str(data.path),
                hint="train on each alone",
            )
    return frequency


def columns_of(frequency: NDArray[np.float64], picked: NDArray[np.float64] | int | None) -> NDArray[np.intp]:
    """Indices (K,) of subcarriers, see `csi_rows`. Raises ConfigError."""
    if not len(frequency) or picked is None:
        return np.arange(len(frequency))
    if isinstance(picked, int):
        from calib.methods.mod_dnn.tones import pick_tones

        if picked > len(frequency):
            raise ConfigError(
                f"{picked} tones, the data have {len(frequency)} subcarriers", where="--tones",
                hint=f"give --tones {len(frequency)} or fewer, or send a waveform with more",
            )  # fmt: skip
        return pick_tones(len(frequency), picked)
    from calib.trained.csi import nearest_tones

    return nearest_tones(frequency, picked)


def _of_set(
    data: Dataset, kind: str, points: NDArray[np.int64], columns: NDArray[np.intp], frequency: NDArray[np.float64],
    origin: Origin, kinds: tuple[str, ...], stride: int,
) -> tuple[NDArray[np.complexfloating], NDArray[np.float64], NDArray[np.uint8]]:  # fmt: skip
    """Values, angles and parts."""
    line = origin.geometry.kind == "line"
    values: list[NDArray[np.complexfloating]] = []
    of: list[NDArray[np.int64]] = []
    step = max(1, _READ_BYTES // max(1, data.read(kind, 0, min(1, data.n_rows(kind))).nbytes))
    for point in points.tolist():
        rows = data.rows_of(kind, point)
        for first in range(rows.start, rows.stop, step):
            found = data.read(kind, first, min(step, rows.stop - first))[
                (rows.start - first) % stride :: stride
            ]
            good = np.all(np.isfinite(found), axis=(1, 2)) & np.any(found != 0, axis=(1, 2))
            if np.any(good):
                values.append(_ready(found[good], kind, kinds, columns, frequency, origin, data.fs_hz))
                of.append(np.full(len(values[-1]), point, np.int64))
    if not values:
        raise ConfigError("holds no row that can be used", where=str(data.path), hint=_AGAIN)
    point = np.concatenate(of)
    angle = np.sort(seen_directions_deg(data.angle_deg[point], line=line), axis=1)
    return np.concatenate(values), angle, data.points["split"][point]


def _ready(
    found: NDArray[np.complexfloating], kind: str, kinds: tuple[str, ...], columns: NDArray[np.intp],
    frequency: NDArray[np.float64], origin: Origin, fs_hz: float,
) -> NDArray[np.complexfloating]:  # fmt: skip
    given = origin.given
    if kind == "csi":
        csi = found[:, :, columns]
        if given is not None:
            from calib.trained.csi import corrected

            csi = corrected(csi, frequency[columns], given).astype(np.complex64)
        return csi if kinds == ("csi",) else _covariance(csi)
    if kind == "snapshots":
        if given is not None:
            from hil.dsp.correction import correct_samples, is_ideal, receiver_errors

            errors = receiver_errors(given.impairments)
            if not is_ideal(errors):
                found = np.stack([correct_samples(x, errors, fs_hz) for x in found])
        return _covariance(found)
    return found.astype(np.complex128)


def _covariance(x: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    y = x.astype(np.complex128)
    return y @ y.conj().swapaxes(1, 2) / y.shape[2]


def _n_snapshots(data: Dataset, kind: str, n_tones: int) -> int:
    if kind == "csi":
        return n_tones
    if kind == "snapshots":
        return int(data.read(kind, 0, 1).shape[2])
    return data.block_samples(kind)
