"""The calibration of `--calibration` on training sets: of the same array and carrier, and of the epoch or confirmed by the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from hil import store
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationMismatch
from hil.core.geometry import ArrayGeometry
from hil.processing.dataset import Dataset

if TYPE_CHECKING:
    from calib.verdict import Verdict

_SAME_WAVELENGTHS = 1e-3
_FC_TOLERANCE_HZ = 1.0
_POINTS, _ROWS = 32, 16
_FEWEST = 20


class _Data(Protocol):
    @property
    def geometry(self) -> ArrayGeometry: ...
    @property
    def fc_hz(self) -> float: ...
    @property
    def epochs(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True, eq=False)
class GivenCalibration:
    """calibration : with the reason in it where it was forced. notes : one line for each thing to know."""

    calibration: Calibration
    notes: tuple[str, ...] = ()


def calibration_of(
    path: Path | None,
    stale_ok: str | None,
    origin: _Data,
    sets: Sequence[Dataset],
    used: Sequence[NDArray[np.int64]],
    kind: str,
) -> GivenCalibration | None:
    """Load it and decide whether it may be used; None without a path.

    An epoch other than the calibration's must confirm it by its null depth, or there must be a reason.

    Raises CalibrationError: not a calibration. CalibrationMismatch: of another array or carrier, or refuted.
    """
    if path is None:
        return None
    reason = (stale_ok or "").strip()
    calibration = fitting(store.load(path), origin.geometry, origin.fc_hz, reason)
    own = None if calibration.epoch is None else calibration.epoch.id
    notes: list[str] = []
    for epoch in origin.epochs:
        if epoch == own:
            continue
        covariance, count = _sample(sets, used, kind, epoch)
        if len(covariance) < _FEWEST or count <= calibration.geometry.n_elements:
            notes.append(f"calibration unverified in epoch {epoch}: too few rows to confirm it")
            continue
        verdict = _verdict(calibration, covariance, count, sets[0].angle_deg.shape[1])
        if verdict.verified:
            continue
        if not reason:
            raise CalibrationMismatch(
                f"calibration refuted by the data of epoch {epoch}: {verdict.words}", field="epoch",
                hint="learn one from this epoch (hil learn), or give a reason with --stale-ok",
            )  # fmt: skip
        notes.append(f"calibration stale in epoch {epoch} ({verdict.words}): used because {reason}")
        calibration = replace(calibration, stale_reason=reason)
    return GivenCalibration(calibration, tuple(notes))


def fitting(calibration: Calibration, geometry: ArrayGeometry, fc_hz: float, reason: str) -> Calibration:
    """The same, with the reason where it is used out of its range. Raises CalibrationMismatch: of another array or carrier."""
    n, have = geometry.n_elements, calibration.geometry.n_elements
    if n != have:
        raise CalibrationMismatch(
            f"the calibration has {have} elements, the data {n}",
            field="n_elements",
            hint="give the calibration of this array",
        )
    tolerance_m = _SAME_WAVELENGTHS * 299_792_458.0 / fc_hz
    here = geometry.positions_m - geometry.positions_m.mean(axis=0)
    there = calibration.geometry.positions_m - calibration.geometry.positions_m.mean(axis=0)
    wrong = []
    if np.max(np.abs(here - there)) > tolerance_m:
        wrong.append(("geometry", "the calibration is of another array than the data state"))
    valid = calibration.valid
    if not valid.fc_min_hz - _FC_TOLERANCE_HZ <= fc_hz <= valid.fc_max_hz + _FC_TOLERANCE_HZ:
        wrong.append(
            (
                "fc_hz",
                f"the calibration holds from {valid.fc_min_hz:g} to {valid.fc_max_hz:g} Hz, the data are at {fc_hz:g} Hz",
            )
        )
    if wrong and not reason:
        raise CalibrationMismatch(
            wrong[0][1],
            field=wrong[0][0],
            hint="give the calibration of these data, or a reason with --stale-ok",
        )
    return replace(calibration, stale_reason=reason) if wrong else calibration


def _verdict(
    calibration: Calibration, covariance: NDArray[np.complex128], n_snapshots: int, n_sources: int
) -> Verdict:
    from calib.observations import Observations
    from calib.verdict import verify

    return verify(
        Observations(covariance, n_snapshots),
        calibration.impairments,
        calibration.geometry,
        calibration.fc_hz,
        n_sources,
    )


def _sample(
    sets: Sequence[Dataset], used: Sequence[NDArray[np.int64]], kind: str, epoch: str
) -> tuple[NDArray[np.complex128], int]:
    """Covariances (B, M, M) of some rows of some points of an epoch, and the snapshots of each."""
    out: list[NDArray[np.complex128]] = []
    count = 0
    for data, points in zip(sets, used, strict=True):
        mine = [p for p in points.tolist() if data.epochs[data.points["epoch"][p]] == epoch]
        for point in mine[:: max(1, len(mine) // _POINTS)]:
            rows = data.rows_of(kind, point)
            found = data.read(kind, rows.start, min(_ROWS, rows.stop - rows.start)).astype(np.complex128)
            found = found[np.all(np.isfinite(found), axis=(1, 2)) & np.any(found != 0, axis=(1, 2))]
            if kind == "covariances":
                count = data.block_samples(kind)
                out.append(found)
            else:
                count = found.shape[2]
                out.append(found @ found.conj().swapaxes(1, 2) / count)
    m = sets[0].geometry.n_elements
    return (np.concatenate(out) if out else np.zeros((0, m, m), np.complex128)), count
