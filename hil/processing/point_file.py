"""The HDF5 file of one processed point: written row by row, says everything about itself."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from hil import __version__
from hil.core.calibration import Calibration
from hil.core.frame import StreamInfo
from hil.processing.settings import SCHEMA

if TYPE_CHECKING:
    from hil.processing.task import PointTask

FORMAT = "hil-point"
_CHUNK_BYTES = 1 << 18


class PointFile:
    """A context manager; see `hil.processing.measure` for what it holds.

    The same computation gives the same content: neither times nor names of machines are in it.
    """

    def __init__(
        self, path: Path, task: PointTask, stream: StreamInfo, calibration: Calibration | None
    ) -> None:
        import h5py

        self._file = h5py.File(path, "w")
        point = task.point
        geometry = stream.geometry
        if calibration is not None:
            positions = calibration.positions_m
        else:
            positions = np.zeros((0, 3)) if geometry is None else geometry.positions_m
        self._write(
            "positions_m", positions, "m", "of the elements that the data now belong to; none: not known"
        )
        for name, value in (
            ("format", FORMAT), ("schema", SCHEMA), ("version", __version__), ("what", task.settings.what),
            ("point", point.index), ("attempt", point.attempt), ("recording", point.recording),
            ("start", point.start), ("n", point.n), ("epoch", point.epoch), ("set_deg", point.set_deg),
            ("table_deg", point.table_deg), ("table_error_deg", point.table_error_deg),
            ("truth_deg", np.asarray(point.truth_deg, np.float64)), ("snr_db", point.snr_db),
            ("t_utc_ns", point.t_utc_ns), ("fc_hz", stream.fc_hz), ("fs_hz", stream.fs_hz),
            ("calibration", "" if calibration is None else calibration.id), ("calibration_status", task.status),
            ("stale_reason", "" if calibration is None else calibration.stale_reason or ""),
        ):  # fmt: skip
            self.attribute(name, value)

    def attribute(self, name: str, value: Any) -> None:
        """A small value about the whole."""
        self._file.attrs[name] = value

    def append(self, name: str, rows: NDArray[Any], unit: str, about: str) -> None:
        """Rows of a dataset, along the first axis; a dataset is made with its first rows."""
        if name not in self._file:
            self._write(name, rows, unit, about)
            return
        data = self._file[name]
        have = len(data)  # pyright: ignore[reportArgumentType]
        data.resize(have + len(rows), axis=0)  # pyright: ignore[reportAttributeAccessIssue]
        data[have:] = rows  # pyright: ignore[reportIndexIssue]

    def _write(self, name: str, rows: NDArray[Any], unit: str, about: str) -> None:
        row_bytes = max(1, rows[:1].nbytes)
        chunk = (max(1, _CHUNK_BYTES // row_bytes), *(max(1, n) for n in rows.shape[1:]))
        data = self._file.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]), chunks=chunk)
        data.attrs["unit"], data.attrs["about"] = unit, about

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
