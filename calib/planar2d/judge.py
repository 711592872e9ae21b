"""Decides whether a planar result may be used. No test here needs the truth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calib.gauges.fix import MAX_TENSION
from calib.judge import EXCESS_ALLOWANCE, MAX_FIELD_LOSS, MAX_MISFIT, lit_range
from calib.model import Model
from calib.observations import Subspaces
from calib.planar2d.gauge import PlaneGauge
from calib.planar2d.identifiability import manifold_loss, parameter_covariance
from calib.planar2d.metrics import disc
from calib.planar2d.model import azimuth_elevation
from calib.planar2d.refine import Fit
from calib.planar2d.score import worst_region
from calib.result import LearnResult

_DIRECTION_CELL = 0.02
_FIELD_RADIUS = 0.98


@dataclass(slots=True)
class PlaneResult(LearnResult):
    """A LearnResult with two angles per source.

    azimuth_deg, elevation_deg (B, K): per block, NaN where unusable; peaks_deg holds the azimuths. Elevation
    is taken as not negative. lit_deg: azimuths, lit_elevation_deg (low, high): elevations that were seen.
    """

    azimuth_deg: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    elevation_deg: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    lit_elevation_deg: tuple[float, float] | None = None


def distinct_directions(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Representatives (n, 2) of directions (m, 2) so that no two are closer than 0.02: repeats count once."""
    kept = np.empty((len(d), 2))
    count = 0
    for place in d:
        if count and np.min(np.sum((kept[:count] - place) ** 2, axis=1)) < _DIRECTION_CELL**2:
            continue
        kept[count] = place
        count += 1
    return kept[:count].copy()


def describe(
    result: PlaneResult,
    fit: Fit,
    sub: Subspaces,
    fixed_d: NDArray[np.float64],
    *,
    free_positions: bool,
    found: PlaneGauge,
) -> NDArray[np.float64]:
    """Fill score, lit range, verdict and reason; return the parameter covariance (4N, 4N).

    fixed_d (n, 2): believed directions after the gauge.
    """
    covariance = parameter_covariance(fit, sub, free_positions)
    result.score, result.predicted_score = fit.score.score, fit.score.predicted_score
    result.excess = fit.score.excess
    result.excess_threshold = fit.score.threshold - 0.05 + EXCESS_ALLOWANCE
    result.outlier_fraction = fit.score.outlier_fraction
    seen = distinct_directions(fixed_d)
    result.n_angles = len(seen)
    if len(seen):
        azimuth, elevation = azimuth_elevation(seen)
        model = Model(fit.model.g, fit.model.r)
        result.lit_deg, result.holes_deg, result.lit_coverage = lit_range(model, np.sort(azimuth))
        result.lit_elevation_deg = (
            float(np.rad2deg(elevation.min())),
            float(np.rad2deg(elevation.max())),
        )
    # the directions that a calibration is used for, in the frame of the fit
    field_d = (disc(_FIELD_RADIUS, 150) - found.offset) @ np.linalg.inv(found.linear).T
    result.field_loss = float(manifold_loss(fit.model, covariance, field_d).max())
    result.reason = _why_not(result, fit, found.tension)
    result.converged = not result.reason
    return covariance


def _why_not(result: PlaneResult, fit: Fit, tension: float) -> str:
    n, k = fit.model.n_elements, result.n_sources
    slack = 0.0
    misfit = float(np.exp(fit.score.score) - np.exp(fit.score.predicted_score))
    if result.excess_threshold <= result.excess and misfit < MAX_MISFIT and result.n_angles >= 60:
        slack = result.excess
        result.notes.append(
            f"the array is not quite the one assumed (drift, coupling): about "
            f"{np.rad2deg(np.sqrt(misfit)):.1f} degrees rms of phase error remain"
        )
    elif not result.excess < result.excess_threshold:
        return (
            f"the nulls are {np.exp(result.excess):.2g} times shallower than noise explains (excess "
            f"{result.excess:.2f}, limit {result.excess_threshold:.2f}): no planar array of this kind fits the "
            "data (wrong number of sources, coherent sources, coupling, or the search failed)"
        )
    limit = 0.03 if k == 1 else 0.15
    outliers = float(np.mean(fit.score.per_peak > np.log(10.0) + slack))
    if outliers > limit:
        return (
            f"{100 * outliers:.0f} % of the nulls do not fit (limit {100 * limit:.0f} %): part of the "
            "directions or of the blocks follows another array"
        )
    region = worst_region(fit.score, fit.d, n, k)
    if region > 0.3 + 1.5 * slack:
        return (
            f"in one part of the sky the nulls are {np.exp(region):.2g} times shallower than noise explains"
        )
    if result.n_angles < n + 4:
        return f"only {result.n_angles} different directions were seen; at least {n + 4} are needed"
    result.field_loss += 4 * misfit * (slack > 0)
    if not result.field_loss < MAX_FIELD_LOSS:
        result.not_identifiable.append("the array towards directions from which nothing arrived")
        return (
            "the directions seen leave the array undetermined elsewhere: 1 - correlation up to "
            f"{result.field_loss:.1g} (limit {MAX_FIELD_LOSS:g})"
        )
    if tension > MAX_TENSION:
        return f"the assumption that {result.gauge.assumes} disagrees with the data by {tension:.1f} sigmas"
    return ""
