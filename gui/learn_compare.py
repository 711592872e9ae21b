"""What a calibration has improved, on blocks that it was not learned from: nominal array against calibrated array.

Nothing here needs the truth, except where a truth file is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import HilError
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments, ideal
from hil.dsp.doa import DoaFinder
from hil.learning.observe import CovarianceBatch

#: Fewer blocks say nothing.
LEAST_BLOCKS = 60
_LIMIT = (-1.02, 1.02)
_SPECTRA = 20
_GRID_DEG = 0.2
_HALF_DB = 3.0


@dataclass(frozen=True, slots=True)
class ArrayFit:
    """How well one description of the array explains the blocks.

    null_db : median depth of MUSIC's nulls, 10 log10 of 1 - correlation^2. phase_error_deg : rms error of the phases that
    such nulls would have beyond noise. peak_db : median height of the highest peak of MUSIC over its own median.
    width_deg : median width of that peak 3 dB below. doa_error_deg : rms against the truth, NaN if it was not asked for.
    """

    null_db: float
    phase_error_deg: float
    peak_db: float
    width_deg: float
    doa_error_deg: float = math.nan


@dataclass(frozen=True, slots=True)
class Compared:
    """nominal, calibrated : on the same blocks. predicted_db : null depth that noise alone leaves. n_blocks : used.
    calibration_id : of the calibrated array. known_doa_error_deg : of the true array. problem : of the truth, or ""."""

    calibration_id: str
    n_blocks: int
    predicted_db: float
    nominal: ArrayFit
    calibrated: ArrayFit
    known_doa_error_deg: float = math.nan
    problem: str = ""


def compare(
    batch: CovarianceBatch, calibration: Calibration, n_sources: int, truth: Path | None = None
) -> Compared | None:
    """Both arrays on blocks (B, M, M) that came after those learned from; None if too few of them show a signal.

    truth : file of the simulator, or None. What is wrong with it is told in `problem`.
    """
    from calib.layout import layout_of
    from calib.observations import Observations, prepare
    from calib.result import Prior

    geometry, fc_hz = calibration.geometry, calibration.fc_hz
    time_s = batch.time_s - batch.time_s[0]
    layout = layout_of(Observations(batch.covariance, batch.n_snapshots, time_s), geometry, fc_hz, Prior())
    order = layout.order
    prepared = prepare(
        Observations(batch.covariance[:, order[:, None], order[None, :]], batch.n_snapshots, time_s),
        n_sources,
    )
    if len(prepared.index) < LEAST_BLOCKS // 4:
        return None
    fits, predicted_db = [], math.nan
    arrays: tuple[tuple[ArrayGeometry | Calibration, Impairments], ...] = (
        (geometry, ideal(geometry.n_elements)), (calibration, calibration.impairments),
    )  # fmt: skip
    for array, impairments in arrays:
        score, predicted = _nulls(prepared, impairments, layout)
        error_deg = math.degrees(math.sqrt(max(math.exp(score) - math.exp(predicted), 0.0)))
        peak_db, width_deg = _sharpness(batch, array, fc_hz, n_sources)
        fits.append(ArrayFit(_decibels(score), error_deg, peak_db, width_deg))
        predicted_db = _decibels(predicted)
    out = Compared(calibration.id, len(prepared.index), predicted_db, fits[0], fits[1])
    return out if truth is None else _with_truth(out, batch, calibration, truth)


def _nulls(prepared, impairments: Impairments, layout) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Median log null depth, and what noise alone predicts for it (`calib.verdict`)."""
    from calib.export import model_of
    from calib.model import find_peaks
    from calib.score import score_peaks

    model = model_of(impairments, layout, prepared.whitening)
    theta, depth = find_peaks(model, prepared.sub, _LIMIT)
    score = score_peaks(model, prepared.sub, theta, depth)
    return score.score, score.predicted_score


def _sharpness(
    batch: CovarianceBatch, array: ArrayGeometry | Calibration, fc_hz: float, n_sources: int
) -> tuple[float, float]:
    """Height over the median in dB and width in degrees of the highest peak, medians over some blocks."""
    finder = DoaFinder(array, fc_hz)
    low, high = finder.response.limits_deg
    finder = DoaFinder(array, fc_hz, np.linspace(low, high, round((high - low) / _GRID_DEG) + 1))
    spectra = 10 * np.log10(finder.spectrum(batch.thinned(_SPECTRA).covariance, n_sources))
    heights = spectra.max(axis=1) - np.median(spectra, axis=1)
    return float(np.median(heights)), float(np.median([_width_deg(row) for row in spectra]))


def _width_deg(level_db: NDArray[np.float64]) -> float:
    """Of the highest peak, between the points 3 dB below it on both sides."""
    top = int(np.argmax(level_db))
    below = level_db < level_db[top] - _HALF_DB
    left, right = np.flatnonzero(below[:top]), np.flatnonzero(below[top:])
    first = left[-1] + 1 if len(left) else 0
    last = top + right[0] - 1 if len(right) else len(level_db) - 1
    return float(last - first + 1) * _GRID_DEG


def _with_truth(
    compared: Compared, batch: CovarianceBatch, calibration: Calibration, truth_file: Path
) -> Compared:
    from hil.evaluation.outcome import evaluate
    from hil.evaluation.truth_match import scene_offset
    from sim_backend.truth import read_truth

    try:
        truth = read_truth(truth_file)
        found = evaluate(
            batch, truth, scene_offset(truth), calibration.geometry, calibration.fc_hz, calibration,
            calibration.gauge.support_deg,
        )  # fmt: skip
    except HilError as err:
        return replace(compared, problem=f"{err}. {err.hint}" if err.hint else str(err))
    errors = [row["doa_rmspe_deg"] for row in (found.before, found.after, found.known)]
    return replace(
        compared,
        nominal=replace(compared.nominal, doa_error_deg=errors[0]),
        calibrated=replace(compared.calibrated, doa_error_deg=errors[1]),
        known_doa_error_deg=errors[2],
    )


def _decibels(log_depth: float) -> float:
    return 10 * log_depth / math.log(10)
