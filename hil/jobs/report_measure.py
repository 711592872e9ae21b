"""Directions at many points with the nominal array and with each calibration: point by point, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import Recording, open_recording
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationMismatch, RecordingError
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.dsp.correction import correct_samples, is_ideal, receiver_errors
from hil.dsp.covariance import block_covariances
from hil.dsp.doa import DoaFinder
from hil.dsp.doa_accuracy import doa_crb_deg
from hil.dsp.response import ArrayResponse, array_response
from hil.evaluation.held_angles import readings_deg, seen_directions_deg
from hil.jobs.report_points import MeasuredPoint, Say, turn_rad, why_not
from hil.learning.observe import BLOCK_SNAPSHOTS, CovarianceBatch
from hil.reporting.accuracy import Accuracy

#: Samples read at a time: receiver errors are undone in them before they are cut into blocks.
_STRETCH = 16 * BLOCK_SNAPSHOTS
_MOST_BLOCKS = 40_000
_BLOCKS_PER_POINT = (2, 64)
_GROUP_BLOCKS = 1024
_SAY_EVERY_S = 2.0

Spectra = tuple[str, Mapping[str, NDArray[np.float64]], Sequence[float]]


@dataclass(slots=True)
class Measured:
    """accuracy : None if no point could be judged. judged : points, in its order. left_out : why -> names of points.
    folded : true directions behind a line array, seen in front."""

    accuracy: Accuracy | None = None
    judged: list[MeasuredPoint] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    folded: int = 0

    def leave_out(self, point: MeasuredPoint, why: str) -> None:
        """Note why a point does not count."""
        self.left_out.setdefault(why, []).append(point.name)


class Arrays:
    """The nominal array and the calibrations, by name, at one carrier."""

    def __init__(self, nominal: ArrayGeometry, calibrations: Mapping[str, Calibration], fc_hz: float) -> None:
        self.nominal, self.calibrations, self.fc_hz = nominal, calibrations, fc_hz
        self.all: dict[str, ArrayGeometry | Calibration] = {"nominal": nominal, **calibrations}
        self._receivers = {
            name: errors
            for name, cal in calibrations.items()
            if not is_ideal(errors := receiver_errors(cal.impairments))
        }

    @property
    def limits_deg(self) -> tuple[float, float]:
        """Directions that all of them describe."""
        limits = [array_response(array, self.fc_hz).limits_deg for array in self.all.values()]
        return max(low for low, _ in limits), min(high for _, high in limits)

    def covariances(
        self, stretches: Sequence[NDArray[np.complex64]], stream: StreamInfo
    ) -> dict[str, NDArray[np.complex128]]:
        """By name (B, M, M) of blocks of 256 snapshots; what a calibration knows of the receivers, and of the phases of
        the epoch against its own, is undone."""
        plain = np.concatenate([block_covariances(x, BLOCK_SNAPSHOTS) for x in stretches])
        out = dict.fromkeys(self.all, plain)
        for name, errors in self._receivers.items():
            mended = [
                block_covariances(correct_samples(x, errors, stream.fs_hz), BLOCK_SNAPSHOTS)
                for x in stretches
            ]
            out[name] = np.concatenate(mended)
        for name, cal in self.calibrations.items():
            turn = turn_rad(cal, stream.epoch.id)
            if turn is not None:
                out[name] = out[name] * np.exp(1j * (turn[None, :] - turn[:, None]))
        return out


def measure(points: Sequence[MeasuredPoint], arrays: Arrays, epochs: frozenset[str], say: Say) -> Measured:
    """Errors at points of known directions, all held out. Points that cannot be read or judged are left out and named."""
    found, parts = Measured(), _Parts(arrays)
    low_deg, high_deg = arrays.limits_deg
    fewest, most = _BLOCKS_PER_POINT
    n_blocks = int(np.clip(_MOST_BLOCKS // max(len(points), 1), fewest, most))
    said = time.monotonic()
    for i, (point, stream, stretches) in enumerate(read_points(points, n_blocks, found)):
        if time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            say(f"{i} of {len(points)} points")
        line = arrays.nominal.kind == "line"
        true = seen_directions_deg(np.array(point.truth_deg), line=line)
        why = next(
            filter(None, (why_not(c, n, stream, epochs, point.t_utc_ns) for n, c in arrays.calibrations.items())),
            "",
        )  # fmt: skip
        if np.any((true < low_deg) | (true > high_deg)):
            why = f"outside {low_deg:g} to {high_deg:g} degrees, which a learned table covers"
        if not 1 <= len(true) < stream.n_channels:
            why = (
                f"{len(true)} emitters: {stream.n_channels} elements separate at most {stream.n_channels - 1}"
            )
        covariance = {} if why else arrays.covariances(stretches, stream)
        if not why and not all(np.isfinite(r).all() for r in covariance.values()):
            why = "samples that are no numbers"
        bound = np.full(len(true), np.nan) if why else parts.bound_deg(covariance, true)
        if not why and not _apart(true, bound):
            why = "its emitters cannot be told apart there: the bound is larger than half of what is between them"
        if why:
            found.leave_out(point, why)
            continue
        found.folded += int(np.any(np.abs(true - np.array(point.truth_deg)) > 1e-6))
        found.judged.append(point)
        parts.add(covariance, true, bound)
    found.accuracy = parts.accuracy([p.table_error_deg for p in found.judged])
    return found


def _apart(true_deg: NDArray[np.float64], bound: NDArray[np.float64]) -> bool:
    """One emitter, or several that an unbiased estimate could tell apart."""
    if len(true_deg) < 2:
        return True
    between = np.abs((true_deg[:, None] - true_deg[None] + 180.0) % 360.0 - 180.0)
    np.fill_diagonal(between, np.inf)
    return bool(np.all(bound < between.min(axis=1) / 2))


class _Parts:
    """Errors of points, found in groups, so that neither samples nor covariances of all are held."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._waiting: list[tuple[dict[str, NDArray[np.complex128]], NDArray[np.float64]]] = []
        self._true: list[NDArray[np.float64]] = []
        self._crb: list[NDArray[np.float64]] = []
        self._point: list[NDArray[np.intp]] = []
        self._error: dict[str, list[NDArray[np.float64]]] = {name: [] for name in arrays.all}
        first = next(iter(arrays.calibrations))
        self._bound_of = first, array_response(arrays.all[first], arrays.fc_hz)
        self._n_waiting = 0

    def bound_deg(
        self, covariance: dict[str, NDArray[np.complex128]], true_deg: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(K,) Cramer-Rao bound of a block, for the first calibration's array."""
        name, response = self._bound_of
        return bound_deg(covariance[name].mean(axis=0), response, true_deg)

    def add(
        self,
        covariance: dict[str, NDArray[np.complex128]],
        true_deg: NDArray[np.float64],
        bound: NDArray[np.float64],
    ) -> None:
        """Another point, with its covariances by name of the array."""
        self._point.append(np.full(len(covariance["nominal"]), len(self._true)))
        self._true.append(true_deg)
        self._crb.append(bound)
        self._waiting.append((covariance, true_deg))
        self._n_waiting += len(covariance["nominal"])
        if self._n_waiting >= _GROUP_BLOCKS:
            self._settle()

    def _settle(self) -> None:
        true = np.concatenate([np.tile(t, (len(c["nominal"]), 1)) for c, t in self._waiting])
        for name, array in self._arrays.all.items():
            r = np.concatenate([c[name] for c, _ in self._waiting])
            batch = CovarianceBatch(r, np.arange(len(r)) * BLOCK_SNAPSHOTS, BLOCK_SNAPSHOTS, 1.0)
            error = readings_deg(batch, true, array, self._arrays.fc_hz) - true
            self._error[name].append((error + 180.0) % 360.0 - 180.0)
        self._waiting.clear()
        self._n_waiting = 0

    def accuracy(self, table_error_deg: Sequence[float]) -> Accuracy | None:
        if self._waiting:
            self._settle()
        if not self._true:
            return None
        return Accuracy(
            np.array(self._true), np.array(table_error_deg, float), np.array(self._crb), np.concatenate(self._point),
            {name: np.concatenate(e) for name, e in self._error.items()}, BLOCK_SNAPSHOTS,
        )  # fmt: skip


def read_points(
    points: Sequence[MeasuredPoint], n_blocks: int, found: Measured
) -> Iterator[tuple[MeasuredPoint, StreamInfo, list[NDArray[np.complex64]]]]:
    """Samples of points, file by file: stretches (M, n) of whole blocks, spread evenly over each point."""
    recording: Recording | None = None
    failed: dict[object, str] = {}
    try:
        for point in sorted(points, key=lambda p: (str(p.path), p.start)):
            if recording is None or recording.path != point.path:
                if recording is not None:
                    recording.close()
                    recording = None
                if point.path not in failed:
                    try:
                        recording = open_recording(point.path)
                    except RecordingError as err:
                        failed[point.path] = str(err)
            if recording is None:
                found.leave_out(point, failed[point.path])
                continue
            try:
                stretches, stream = _stretches(recording, point, n_blocks)
            except RecordingError as err:
                found.leave_out(point, str(err))
                continue
            if not stretches:
                found.leave_out(point, f"fewer than {BLOCK_SNAPSHOTS} samples of it are in {point.path.name}")
                continue
            yield point, stream, stretches
    finally:
        if recording is not None:
            recording.close()


def _stretches(
    recording: Recording, point: MeasuredPoint, n_blocks: int
) -> tuple[list[NDArray[np.complex64]], StreamInfo]:
    segment = recording.segment_at(point.start)
    n = min(point.n, segment.start + segment.n - point.start, recording.n_samples - point.start)
    whole = min(_STRETCH, n_blocks * BLOCK_SNAPSHOTS, max(n, 0) // BLOCK_SNAPSHOTS * BLOCK_SNAPSHOTS)
    if whole < BLOCK_SNAPSHOTS:
        return [], segment.stream
    count = min(-(-n_blocks * BLOCK_SNAPSHOTS // whole), n // whole)
    places = point.start + np.linspace(0, n - whole, count).astype(int)
    bits = segment.stream.device.full_scale_bits
    read = [wire_to_complex(recording.read(int(at), whole), bits)[0] for at in places]
    return read, segment.stream


def bound_deg(
    covariance: NDArray[np.complex128], response: ArrayResponse, true_deg: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(K,) Cramer-Rao bound of one block for the power over noise that a covariance shows; NaN where there is none."""
    none = np.full(len(true_deg), np.nan)
    m, k = len(covariance), len(true_deg)
    noise = float(np.mean(np.linalg.eigvalsh(covariance)[: m - k]))
    inverse = np.linalg.pinv(response.steering(true_deg))
    power = np.real(np.diag(inverse @ (covariance - noise * np.eye(m)) @ inverse.conj().T))
    if not noise > 0 or not np.all(power > 0):
        return none
    try:
        with np.errstate(all="ignore"):
            bound = doa_crb_deg(response, None, true_deg, 10 * np.log10(power / noise), BLOCK_SNAPSHOTS)
    except (np.linalg.LinAlgError, CalibrationMismatch):  # endfire; the slope at the end of a learned table
        return none
    return np.where(np.isfinite(bound) & (bound < 90), bound, np.nan)


def spectra(
    points: Sequence[MeasuredPoint], arrays: Arrays, n_sources: int
) -> tuple[NDArray[np.float64], list[Spectra]]:
    """MUSIC of the first block of each point in dB over a grid (G,)."""
    low, high = arrays.limits_deg
    grid = np.linspace(low, high, 1 + round((high - low) * 8))
    finders = {name: DoaFinder(array, arrays.fc_hz, grid) for name, array in arrays.all.items()}
    rows: list[Spectra] = []
    for point, stream, stretches in read_points(points, 1, Measured()):
        r = arrays.covariances(stretches[:1], stream)
        if not all(np.isfinite(x).all() for x in r.values()):
            continue
        shown = {n: 10 * np.log10(f.spectrum(r[n][0], n_sources)) for n, f in finders.items()}
        true = seen_directions_deg(np.array(point.truth_deg), line=arrays.nominal.kind == "line")
        title = (
            f"table at {point.name} degrees".replace("-", "\u2212")
            if np.isfinite(point.table_deg)
            else point.name
        )
        rows.append((title, shown, true.tolist()))
    return grid, rows
