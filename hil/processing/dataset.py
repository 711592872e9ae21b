"""Reading training sets: bounded, streamed, and safe with files of unknown origin.

with open_dataset("set.h5") as data:
    for batch in data.batches("covariances", "train", 64, seed=0): ...
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError
from hil.core.geometry import ArrayGeometry
from hil.processing.dataset_file import KINDS, POINT_FIELDS, names_of, open_checked
from hil.processing.split import PARTS

#: Bytes that one read returns at most.
MOST_BYTES = 1 << 30
_SLICES_PER_BATCH = 16
_CHILD_SECONDS = 10
_CHILD_BYTES = 4 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """data : (B, M, M), (B, M, N) or (B, M, S). angle_deg : (B, K) degrees. angle_sigma_deg : (B,). point : (B,) rows of
    the points."""

    data: NDArray[np.complexfloating]
    angle_deg: NDArray[np.float64]
    angle_sigma_deg: NDArray[np.float64]
    point: NDArray[np.int64]


class Dataset:
    """An opened training set; `open_dataset` makes it. A context manager.

    Attributes
    ----------
    path. kinds : of rows that it holds: "covariances", "snapshots", "csi". geometry : elements that the data belong to.
    fc_hz, fs_hz. points : name -> (P,) or (P, K), see `hil.processing.dataset_file`. campaigns, runs, epochs : names.
    calibrations : id for each epoch, "" for none. attributes : of the file.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self._file = file
        self.path = path
        self.kinds = tuple(kind for kind in KINDS if kind in file)
        self.geometry = ArrayGeometry(file["positions_m"][()])
        self.attributes = {name: file.attrs[name] for name in file.attrs}
        self.fc_hz, self.fs_hz = float(file.attrs["fc_hz"]), float(file.attrs["fs_hz"])
        self.points: dict[str, NDArray[Any]] = {name: file["points"][name][()] for name in POINT_FIELDS}
        self.campaigns, self.runs, self.epochs, self.calibrations = (
            names_of(file[name][()]) for name in ("campaigns", "runs", "epochs", "epoch_calibration")
        )
        self._first_row = {kind: file[kind]["first_row"][()] for kind in self.kinds}

    @property
    def angle_deg(self) -> NDArray[np.float64]:
        """(P, K) directions of the emitters relative to the array, degrees."""
        return self.points["angle_deg"]

    @property
    def frequency_hz(self) -> NDArray[np.float64]:
        """(S,) of the subcarriers, from the carrier. Raises ConfigError: there are no channel responses."""
        self._need("csi")
        return self._file["csi"]["frequency_hz"][()]

    def part(self, name: str) -> NDArray[np.int64]:
        """Points of "train", "val" or "test". Raises ConfigError."""
        if name not in PARTS:
            raise ConfigError(f"{name!r} is no part", hint=f"one of {', '.join(PARTS)}")
        return np.flatnonzero(self.points["split"] == PARTS.index(name))

    def n_rows(self, kind: str) -> int:
        """Rows of a kind. Raises ConfigError: there are none."""
        return int(self._need(kind)[-1])

    def rows_of(self, kind: str, point: int) -> slice:
        """The rows of a point."""
        first_row = self._need(kind)
        return slice(int(first_row[point]), int(first_row[point + 1]))

    def block_samples(self, kind: str) -> int:
        """Samples of a block: what all distances of blocks of one point are multiples of; 0 if no point has two."""
        point, first = self._file[kind]["point"][()], self._file[kind]["first_sample"][()]
        steps = np.diff(first)[np.diff(point) == 0]
        return int(np.gcd.reduce(np.abs(steps))) if len(steps) else 0

    def read(self, kind: str, first: int, n: int) -> NDArray[np.complexfloating]:
        """Rows first..first+n. Raises ConfigError: out of range, or more than 1 GB; or the file is damaged there."""
        total, data = self.n_rows(kind), self._file[kind]["data"]
        if not (0 <= first <= first + n <= total):
            raise ConfigError(f"rows {first} to {first + n} of {total}", where=str(self.path))
        if n * data.dtype.itemsize * int(np.prod(data.shape[1:])) > MOST_BYTES:
            raise ConfigError(
                f"{n} rows at a time are more than {MOST_BYTES >> 30} GB",
                where=str(self.path),
                hint="read fewer",
            )
        try:
            return data[first : first + n]
        except (OSError, RuntimeError) as err:
            raise ConfigError(
                f"row {first} cannot be read", where=str(self.path), hint="make it again"
            ) from err

    def batches(self, kind: str, part: str, size: int, seed: int = 0) -> Iterator[Batch]:
        """Every row of a part once, in random order, `size` at a time (the last one may be smaller).

        A batch mixes short runs of neighbouring rows from all over the part, so that reading stays quick and memory
        is that of one batch. Raises ConfigError.
        """
        first_row, length = self._need(kind), max(1, size // _SLICES_PER_BATCH)
        points = self.part(part)
        runs = [self.rows_of(kind, int(p)) for p in points]
        starts = [np.arange(run.start, run.stop, length) for run in runs]
        of = np.repeat(points, [len(s) for s in starts])
        start = np.concatenate(starts) if starts else np.zeros(0, np.int64)
        order = np.random.default_rng(seed).permutation(len(start))
        waiting: list[tuple[NDArray[np.complexfloating], int]] = []
        n_waiting = 0
        for i in order:
            n = min(length, int(first_row[of[i] + 1] - start[i]))
            waiting.append((self.read(kind, int(start[i]), n), int(of[i])))
            n_waiting += n
            if n_waiting >= size:
                rest = self._joined(waiting)
                yield self._batch(rest[0][:size], rest[1][:size])
                waiting = [(rest[0][k : k + 1], int(rest[1][k])) for k in range(size, n_waiting)]
                n_waiting -= size
        if waiting:
            yield self._batch(*self._joined(waiting))

    def _joined(
        self, parts: list[tuple[NDArray[np.complexfloating], int]]
    ) -> tuple[NDArray[np.complexfloating], NDArray[np.int64]]:
        return (
            np.concatenate([data for data, _ in parts]),
            np.repeat([point for _, point in parts], [len(data) for data, _ in parts]).astype(np.int64),
        )

    def _batch(self, data: NDArray[np.complexfloating], point: NDArray[np.int64]) -> Batch:
        return Batch(data, self.angle_deg[point], self.points["angle_sigma_deg"][point], point)

    def _need(self, kind: str) -> NDArray[np.int64]:
        if kind not in self.kinds:
            raise ConfigError(
                f"holds no {kind}", where=str(self.path), hint=f"it holds {', '.join(self.kinds)}"
            )
        return self._first_row[kind]

    def close(self) -> None:
        """Idempotent."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Open a training set. A process of its own tries the file first: libhdf5 is C and may crash or hang on a forged one.

    Raises ConfigError: not there, damaged, hostile, or not a training set; one line.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError("there is no such file", where=str(path))
    _try(file)
    try:
        return Dataset(file, open_checked(file))
    except ConfigError as err:
        raise ConfigError(str(err), where=str(path), hint=err.hint) from err
    except (OSError, RuntimeError, KeyError, ValueError) as err:
        raise ConfigError("HDF5 cannot read it", where=str(path), hint="make it again") from err


def _try(file: Path) -> None:
    """Raises ConfigError."""
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from hil.processing.dataset_file import main; main()"
    environment = dict(os.environ) | {
        "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_PLUGIN_PATH": os.devnull,
    }  # fmt: skip
    command = [sys.executable, "-P", "-c", code, str(file.resolve()), str(_CHILD_BYTES), str(_CHILD_SECONDS)]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=6 * _CHILD_SECONDS, check=False, env=environment, stdin=subprocess.DEVNULL
        )  # fmt: skip
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired as err:
        raise ConfigError(f"cannot be read within {6 * _CHILD_SECONDS} s", where=str(file)) from err
    except ValueError:
        raise ConfigError("the HDF5 library fails on it", where=str(file), hint="make it again") from None
    if answer:
        raise ConfigError(str(answer["error"])[:200], where=str(file), hint=str(answer.get("hint", "")))
