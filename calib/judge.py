"""Decides whether a result may be used. No test here needs the truth.

A median that noise explains is not enough: it sees only lit angles, and not an error that fewer than half
of the blocks show. So also: outliers, the misfit region by region, the number of independent angles, the
manifold's own uncertainty over the whole field of view, and the tension between assumption and array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.fit_uncertainty import manifold_loss, parameter_covariance, subspace_motion
from calib.gauges.fix import MAX_TENSION, Evidence, Fixed
from calib.model import Model
from calib.observations import Prepared, Subspaces
from calib.refine import Fit
from calib.result import LearnResult
from calib.score import Score, degrees_of_freedom, median_offset, median_sigma
from hil.core.calibration import unknown_sigma
from hil.core.errors import NotIdentifiable
from hil.core.impairments import ideal

MAX_FIELD_LOSS = 1e-3  # 1 - manifold correlation: the limit of a silent failure
MAX_MISFIT = 1e-4  # null depth from errors of the model that is still accepted, with a note
EXCESS_ALLOWANCE = 0.10  # sources closer than the resolution lift the median by up to 0.03
_NEAR_MISFIT = 0.02  # null depth up to which a fit still resembles the array: coupling of about -20 dB
_OUTLIER = float(np.log(10.0))  # excess of a null that does not fit
_MAX_OUTLIERS = 0.15
_NAMED_OUTLIERS = 0.03
_MIN_USABLE = 0.5
_REGIONS = 12
_LINE_FIELD_U = 0.98


def unusable(prepared: Prepared, n_sources: int | None, min_blocks: int = 20) -> str:
    """Why these blocks cannot be learned from, or an empty string."""
    counts = np.bincount(prepared.rank)
    common = int(counts.argmax())
    share = 100 * counts[common] / counts.sum()
    if n_sources is None and common == 0:
        return f"no source above the noise in {share:.0f} % of the blocks"
    if prepared.usable_fraction < _MIN_USABLE:
        if common == prepared.n_sources:
            return (
                f"the number of sources changes too often: {prepared.n_sources} in only {share:.0f} % of the "
                "blocks (blocks too long for the hops, or sources that come and go)"
            )
        return (
            f"{share:.0f} % of the blocks show {common} source{'s' * (common != 1)}, not {prepared.n_sources} "
            "(sources that are copies of each other count as one)"
        )
    if len(prepared.index) < min_blocks:
        return f"only {len(prepared.index)} usable blocks; at least {min_blocks} are needed"
    return ""


def require_motion(prepared: Prepared) -> None:
    """Raise NotIdentifiable if every block shows the same angles."""
    k = prepared.n_sources
    if subspace_motion(prepared.sub) < 3:
        raise NotIdentifiable(
            f"all blocks show the same {k} angle{'s' * (k != 1)}: one look determines no array",
            parameters=["gain", "phase", "position"],
            hint="the emitter must move or hop, or the array must turn",
        )


def describe(
    fit: Fit,
    prepared: Prepared,
    nominal: NDArray[np.float64],
    free_positions: bool,
    fixed: Fixed,
    evidence: Evidence,
    *,
    known_shape: bool = False,
    covariance: NDArray[np.float64] | None = None,
) -> LearnResult:
    """The verdict with everything it rests on (impairments and sigma are filled in elsewhere).

    covariance : of the parameters, if it is there already. known_shape : positions and gains inside groups are
    known from an earlier calibration, so that unlit directions need no data and few angles are enough.
    """
    model = fixed.model
    n = model.n_elements
    samples, _ = evidence.dwells.samples()
    angles = np.sort(fixed.al * samples + fixed.be)
    if not model.is_line:
        angles = np.sort((angles + np.pi) % (2 * np.pi) - np.pi)
    lit, holes, coverage = lit_range(model, angles)
    if covariance is None:
        covariance = parameter_covariance(fit, prepared.sub, free_positions)
    loss = np.zeros(1) if known_shape else manifold_loss(fit.model, covariance, _field(model, fixed))
    threshold = fit.score.threshold - 0.05 + EXCESS_ALLOWANCE
    result = LearnResult(
        impairments=ideal(n),
        sigma=unknown_sigma(n),
        gauge=fixed.gauge,
        converged=True,
        score=fit.score.score,
        predicted_score=fit.score.predicted_score,
        excess=fit.score.excess,
        excess_threshold=threshold,
        outlier_fraction=fit.score.outlier_fraction,
        lit_deg=lit,
        holes_deg=holes,
        lit_coverage=coverage,
        field_loss=float(loss.max()),
        n_sources=prepared.n_sources,
        n_angles=len(samples),
        n_dwells=len(evidence.dwells),
        not_identifiable=list(fixed.open),
        notes=list(fixed.notes),
    )
    if np.ptp(prepared.whitening) > 0:
        result.notes.append("the elements' noise powers differ; the covariances were whitened")
    n_distinct = count_distinct(angles, 0.05 / max(model.aperture, 0.25))
    result.reason = _why_not(result, fit, prepared, fixed, n_distinct, 1 if known_shape else n + 4)
    result.converged = not result.reason
    return result


def _why_not(
    result: LearnResult, fit: Fit, prepared: Prepared, fixed: Fixed, n_distinct: int, min_angles: int
) -> str:
    n = fit.model.n_elements
    slack = 0.0
    score = fit.score
    clear = resolved(prepared.sub)
    outliers = float(np.mean(score.per_peak[clear] > _OUTLIER))
    excess = result.excess
    if outliers <= _MAX_OUTLIERS:
        # blocks that fit no array at all shift the median of the others
        excess -= _shift_by_outliers(score)
    misfit = float(np.exp(score.predicted_score) * (np.exp(excess) - 1))
    if n_distinct < min_angles:
        return f"only {n_distinct} different angles were seen; at least {min_angles} are needed"
    if result.excess_threshold <= excess and misfit < MAX_MISFIT and result.n_angles >= 60:
        # a small error of the model itself, such as drift while capturing: far from every wrong minimum
        slack = excess
        result.notes.append(
            f"the array is not quite the one assumed (drift, coupling): about "
            f"{np.rad2deg(np.sqrt(misfit)):.1f} degrees rms of phase error remain"
        )
    elif not excess < result.excess_threshold:
        return _shallow(result, misfit)
    # before what does not fit: where the lit angles determine no array, anything may not
    result.field_loss += 4 * misfit * (slack > 0)
    if not result.field_loss < MAX_FIELD_LOSS:
        result.not_identifiable.append(
            f"the array outside {_degrees(result.lit_deg)}"
            + (" and inside its gaps" * bool(result.holes_deg))
        )
        return (
            "the angles seen leave the array undetermined elsewhere: 1 - correlation up to "
            f"{result.field_loss:.1g} (limit {MAX_FIELD_LOSS:g})"
        )
    outliers = float(np.mean(score.per_peak[clear] > _OUTLIER + slack))
    if outliers > _MAX_OUTLIERS:
        return (
            f"{100 * outliers:.0f} % of the nulls do not fit (limit {100 * _MAX_OUTLIERS:.0f} %): part of "
            "the angles or of the blocks follows another array"
        )
    region = worst_region(score, fit.theta, n, result.n_sources, clear)
    allowed = 0.3
    if slack > 0:
        allowed = max(0.3 + 1.5 * slack, float(np.log1p(4 * MAX_MISFIT / np.exp(score.predicted_score))))
    if region > allowed:
        return f"in one part of the angles the nulls are {np.exp(region):.2g} times shallower than noise explains"
    if outliers > _NAMED_OUTLIERS:
        result.notes.append(
            f"{100 * outliers:.0f} % of the nulls fit no angle of this array and were left out (other emitters, "
            "reflections, a channel that drops out)"
        )
    if fixed.tension > MAX_TENSION:
        return (
            f"the assumption that {fixed.gauge.assumes} disagrees with the nominal positions by "
            f"{fixed.tension:.1f} sigmas"
        )
    return ""


def _degrees(lit: tuple[float, float] | None) -> str:
    return "the lit angles" if lit is None else f"{lit[0]:.0f} to {lit[1]:.0f} degrees"


def count_distinct(angles: NDArray[np.float64], width: float) -> int:
    """How many of the angles (G,), ascending, can be picked with no two closer than `width`."""
    angles = angles[np.isfinite(angles)]
    count, at = 0, 0
    while at < len(angles):
        count += 1
        at = max(at + 1, int(np.searchsorted(angles, angles[at] + width, side="left")))
    return count


def _shallow(result: LearnResult, misfit: float) -> str:
    text = (
        f"the nulls are {np.exp(result.excess):.2g} times shallower than noise explains (excess "
        f"{result.excess:.2f}, limit {result.excess_threshold:.2f}): "
    )
    if misfit < _NEAR_MISFIT and result.n_angles >= 60:
        return text + (
            f"the best array of this kind is about {np.rad2deg(np.sqrt(misfit)):.1f} degrees rms of phase off "
            "(mutual coupling, reflections near the array, drift while capturing)"
        )
    return text + (
        "no array of this kind fits the data (wrong number of sources, coherent sources, coupling, or the "
        "search failed)"
    )


def resolved(sub: Subspaces) -> NDArray[np.bool_]:
    """(B,) blocks whose sources are far enough apart for nulls to be as deep as first order says.

    Two sources closer than the resolution leave one null between them, shallower than noise alone, whatever
    the array. Their weakest eigenvalue shows it without any array: under a fifth of its usual size.
    """
    if sub.n_sources == 1:
        return np.ones(len(sub), bool)
    weakest = sub.power.min(axis=1)
    return weakest >= 0.2 * np.median(weakest)


def _shift_by_outliers(score: Score) -> float:
    """How far outliers, all of them too shallow, lift the median: the other nulls' median lies lower."""
    inside = score.per_peak[score.per_peak <= _OUTLIER]
    return float(np.median(score.per_peak) - np.median(inside))


def worst_region(
    score: Score,
    theta: NDArray[np.float64],
    n_elements: int,
    n_sources: int,
    clear: NDArray[np.bool_] | None = None,
) -> float:
    """Largest median misfit over regions of equally many peaks, beyond five of its own sigmas.

    clear : (B,) blocks that count, all if None.
    """
    chosen = slice(None) if clear is None else clear
    order = np.argsort(theta[chosen], axis=None)
    per_peak = score.per_peak[chosen].ravel()[order]
    nu = degrees_of_freedom(n_elements, n_sources)
    parts = np.array_split(per_peak, max(1, min(_REGIONS, len(per_peak) // 20)))
    return max(float(np.median(part)) - median_offset(nu) - 5 * median_sigma(nu, len(part)) for part in parts)


def _field(model: Model, fixed: Fixed) -> NDArray[np.float64]:
    """Directions that a calibration is used for, in the frame of the fit."""
    if model.is_line:
        return (np.linspace(-_LINE_FIELD_U, _LINE_FIELD_U, 61) - fixed.be) / fixed.al
    return np.linspace(-np.pi, np.pi, 72, endpoint=False)


def lit_range(
    model: Model, angles: NDArray[np.float64]
) -> tuple[tuple[float, float] | None, list[tuple[float, float]], float]:
    """(low, high) degrees, gaps wider than half a beam, and the share of the range outside gaps.

    angles ascending: u on a line, azimuth in (-pi, pi] on a plane.
    """
    if len(angles) == 0:
        return None, [], 0.0
    widest = 0.5 / max(model.aperture, 0.25)
    if model.is_line:
        gaps = np.flatnonzero(np.diff(angles) > widest)
        total = max(float(angles[-1] - angles[0]), 1e-9)
        dark = float(np.sum(np.diff(angles)[gaps]))
        degrees = np.rad2deg(np.arcsin(np.clip(angles, -1, 1)))
        holes = [(float(degrees[i]), float(degrees[i + 1])) for i in gaps]
        return (float(degrees[0]), float(degrees[-1])), holes, 1 - dark / total
    circle = np.append(angles, angles[0] + 2 * np.pi)
    steps = np.diff(circle)
    start = int(np.argmax(steps))
    if steps[start] <= widest:
        return (-180.0, 180.0), [], 1.0
    ordered = np.concatenate((circle[start + 1 : -1], circle[: start + 1] + 2 * np.pi))
    inner = np.diff(ordered)
    gaps = np.flatnonzero(inner > widest)
    degrees = np.rad2deg(ordered)
    turn = 360.0 * np.floor((degrees[0] + 180) / 360)
    degrees = degrees - turn
    total = max(float(ordered[-1] - ordered[0]), 1e-9)
    holes = [(float(degrees[i]), float(degrees[i + 1])) for i in gaps]
    return (float(degrees[0]), float(degrees[-1])), holes, 1 - float(inner[gaps].sum()) / total
