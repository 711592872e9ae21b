"""A few labels and many unlabelled blocks: one fit to both, each weighted by its own information.

The unlabelled nulls, with their angles projected out, tell the shape of the array; the labelled ones tell
the rest (offset and scale of sin(angle) on a line, the rotation on a plane) and add to the shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib import export, judge
from calib.dwells import find_dwells
from calib.fit_uncertainty import peak_sigma
from calib.gauges.fix import MAX_TENSION, Evidence, Fixed
from calib.gauges.line import ScalePrior
from calib.gauss_newton import noise_variance, normal_equations
from calib.layout import Layout
from calib.learn import learn
from calib.model import Model, find_peaks, refine_peaks
from calib.observations import Observations, Prepared
from calib.pilot.agree import Agreement, agree, distance, scatter_of
from calib.pilot.calibrate import describe as describe_pilot
from calib.pilot.calibrate import gauge_of, impairments_of, remarks, require_angles, sigma_of, sorted_blocks
from calib.pilot.fit import Labelled, Unknowns, attach, equations, solve, weights
from calib.pilot.labels import Labels, labels_of_blocks
from calib.pilot.match import Match, match_labels
from calib.pilot.model import CoupledModel
from calib.pilot.sigma import spread_of
from calib.refine import Fit
from calib.result import GaugeRequest, LearnResult, Prior, Progress
from calib.score import chi2_gate, degrees_of_freedom, score_peaks
from hil.core.errors import NotIdentifiable
from hil.core.geometry import ArrayGeometry

_SIGMAS = 5.0
_ROUNDS = 4

Learner = Callable[..., LearnResult]


def semi_supervised(
    obs: Observations,
    labels: ArrayLike | Labels,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None = 1,
    gauge: GaugeRequest | None = None,
    *,
    angle_sigma_deg: ArrayLike | None = None,
    elevation_deg: ArrayLike | None = None,
    prior: Prior | None = None,
    seed: int = 0,
    time_limit_s: float = 20.0,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    method: Learner = learn,
) -> LearnResult:
    """Gains, phases and positions from all blocks, of which some carry known directions.

        min  sum_unlabelled min_u ||P_b a(u)||^2 / v_b  +  sum_labelled ||P_b a(u_b)||^2 / v_b  +  priors

    Parameters
    ----------
    obs : covariances of B blocks. labels : (B,) or (B, K) angles in degrees with NaN where not known, or `Labels`.
    n_sources : K per block, None: estimated. gauge : what else may be assumed (a support centres the search).
    angle_sigma_deg, elevation_deg : of the labels, None: estimated from their agreement, 0. method : unlabelled
    learner that finds the basin, signature of `calib.learn.learn`. Others as in `calib.learn.learn`.

    Returns
    -------
    LearnResult with gauge.kind "anchor". If the unlabelled blocks fit no array but the labels do, the labels alone
    decide, and `notes` says so. Wrong labels are named in `notes`.

    Raises
    ------
    NotIdentifiable : neither the unlabelled blocks nor the labels can determine the array. ShapeError, ConfigError.
    """
    begin = time.monotonic()
    prior = prior or Prior()
    if not isinstance(labels, Labels):
        labels = labels_of_blocks(labels, obs.n_blocks, elevation_deg, angle_sigma_deg)
    layout, prepared = sorted_blocks(obs, geometry, fc_hz, prior, n_sources)
    refusal = judge.unusable(prepared, n_sources, min_blocks=1)
    lab, lost = attach(labels, prepared, line=layout.is_line)
    unknowns = Unknowns(layout.nominal, layout.position_std)
    if len(lab) == 0 or refusal:
        raise NotIdentifiable(
            f"no labelled block can be used{': ' * bool(refusal)}{refusal}", parameters=["angle offset"],
            hint="label times at which the source stands still and is alone, or name the number of sources",
        )  # fmt: skip
    alone = _labels_alone(lab, prepared, layout, unknowns, seed)
    request = gauge if gauge is not None and gauge.kind == "support" else GaugeRequest("none")
    base, problem = _unlabelled(
        method, obs, geometry, fc_hz, prepared.n_sources, request,
        prior=prior, seed=seed, time_limit_s=time_limit_s, progress=progress, stop=stop,
    )  # fmt: skip
    joint = None
    if base is not None:
        start = export.model_of(base.impairments, layout, prepared.whitening)
        if unknowns.position_std == 0:
            start = Model(start.g, layout.nominal).normalised()
        joint = _joint(start, lab, prepared, layout, unknowns, obs)
    if (joint is None or not joint.converged) and alone is not None and alone[1].converged:
        # unlabelled data that were too few for a search of their own may still sharpen a pilot fit
        second = _joint(alone[0].model.plain, lab, prepared, layout, unknowns, obs)
        joint = second if second.converged else joint
    result = _better(joint, alone[1] if alone is not None else None, problem)
    result.notes += [f"label {name}: no usable block" for name in lost]
    if base is not None:
        result.steps, result.history = base.steps, base.history
    result.seconds = time.monotonic() - begin
    return result


def _unlabelled(method: Learner, *args: object, **options: object) -> tuple[LearnResult | None, str]:
    """A start from the blocks without their labels, and why there is none."""
    try:
        result = method(*args, **options)
    except NotIdentifiable as error:
        return None, str(error)
    # the angles are the labels' business: only the shape must be right
    shaped = np.isfinite(result.excess) and result.excess < 1.0
    return (result, result.reason) if shaped else (None, result.reason)


def _labels_alone(
    lab: Labelled, prepared: Prepared, layout: Layout, unknowns: Unknowns, seed: int
) -> tuple[Agreement, LearnResult] | None:
    try:
        require_angles(lab, unknowns, layout.nominal.shape[0])
    except NotIdentifiable:
        return None
    found = agree(lab, unknowns, seed=seed)
    return found, describe_pilot(found, lab, prepared, layout, unknowns)


def _better(joint: LearnResult | None, alone: LearnResult | None, problem: str) -> LearnResult:
    if joint is not None and (joint.converged or alone is None or not alone.converged):
        return joint
    if alone is None:
        raise NotIdentifiable(
            f"the unlabelled blocks do not determine the array ({problem}), nor do so few labels",
            parameters=["gain", "phase", "position"],
            hint="let the emitter show more directions, or label more of them",
        )
    why = joint.reason if joint is not None else problem
    alone.notes.append(f"only the labels were used: {why or 'the unlabelled blocks added nothing'}")
    return alone


@dataclass(slots=True)
class _Unlabelled:
    """Nulls of all peaks but the labelled ones, followed from step to step."""

    prepared: Prepared
    taken: NDArray[np.bool_]
    calls: int = 0
    theta: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    def __call__(self, model: CoupledModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        plain, sub = model.plain, self.prepared.sub
        if self.calls in (0, 4):
            self.theta, depth = find_peaks(plain, sub, (-1.05, 1.05))
        else:
            self.theta, depth = refine_peaks(plain, sub, self.theta, 0.02, 1)
        weight = self.weight(plain, depth, soft=self.calls < 5)
        self.calls += 1
        found = normal_equations(plain, sub, self.theta, weight)
        return found.hessian, found.gradient

    def weight(self, plain: Model, depth: NDArray[np.float64], *, soft: bool) -> NDArray[np.float64]:
        sub = self.prepared.sub
        nu = degrees_of_freedom(plain.n_elements, sub.n_sources)
        v = noise_variance(plain, sub, self.theta)
        if soft:
            weight = np.where(depth < 0.999, nu / (nu * v + depth), 0.0)
        else:
            score = score_peaks(plain, sub, self.theta, depth)
            weight = np.where(score.per_peak < chi2_gate(nu) + max(score.excess, 0.0), 1 / v, 0.0)
        return np.where(self.taken, 0.0, weight)


def _joint(
    start: Model, lab: Labelled, prepared: Prepared, layout: Layout, unknowns: Unknowns, obs: Observations
) -> LearnResult:
    """Both kinds of nulls in one Gauss-Newton, from a model of the right shape in any gauge."""
    match = match_labels(start, lab, layout, unknowns)
    kept, model, scatter = match.kept, CoupledModel(match.model.g, match.model.r, np.zeros(0, complex)), 0.0
    given = lab.labels.sigma_rad
    needed = 1 if not layout.is_line or unknowns.position_std == 0 else 2
    for _ in range(_ROUNDS):
        part = lab.only(kept)
        extra = _Unlabelled(prepared, _taken(part, prepared, model))
        sigma = _filled(given[kept], scatter)
        model = solve(model, part, unknowns, sigma, n_soft=5, n_hard=5, extra=extra)
        before, scatter = scatter, scatter_of(model, part, needed)
        near = distance(model, part, _filled(given[kept], scatter)) < _SIGMAS
        if near.all() and abs(scatter - before) <= 0.2 * max(scatter, 1e-5):
            break
        if not near.all() and near.sum() >= max(needed, (len(lab) + 1) // 2):
            kept = kept[near]
    sigma = _filled(given[kept], scatter)
    found = Agreement(model, lab.only(kept), kept, sigma, scatter, len(kept) - needed, match.problem)
    return _verdict(found, lab, prepared, layout, unknowns, obs, match)


def _filled(given: NDArray[np.float64], scatter: float) -> NDArray[np.float64]:
    return np.where(np.isnan(given), scatter, given)


def _taken(part: Labelled, prepared: Prepared, model: CoupledModel) -> NDArray[np.bool_]:
    """(B, K) the peak of a labelled block that the label speaks of: it must not count twice."""
    theta, _ = find_peaks(model.plain, prepared.sub, (-1.05, 1.05))
    out = np.zeros(theta.shape, bool)
    rows = np.searchsorted(prepared.index, part.labels.block)
    gap = np.linalg.norm(model.plain.direction(theta[rows]) - part.d[part.group][:, None], axis=-1)
    out[rows, np.argmin(gap, axis=1)] = True
    return out


def _verdict(
    found: Agreement, lab: Labelled, prepared: Prepared, layout: Layout, unknowns: Unknowns, obs: Observations,
    match: Match,
) -> LearnResult:  # fmt: skip
    model, plain, part = found.model, found.model.plain, found.lab
    theta, depth = find_peaks(plain, prepared.sub, (-1.05, 1.05))
    score = score_peaks(plain, prepared.sub, theta, depth)
    unlabelled = _Unlabelled(prepared, _taken(part, prepared, model), theta=theta)
    free = unknowns.position_std > 0
    weight = np.where(
        score.per_peak < chi2_gate(degrees_of_freedom(plain.n_elements, prepared.n_sources)) + max(score.excess, 0),
        1 / noise_variance(plain, prepared.sub, theta), 0.0,
    )  # fmt: skip
    fit = Fit(plain, theta, depth, weight, score)
    hessian = normal_equations(
        plain, prepared.sub, theta, unlabelled.weight(plain, depth, soft=False)
    ).hessian  # fmt: skip
    hard = weights(model, part, found.sigma_rad, soft=False)
    hessian = hessian + equations(model, part, hard, found.sigma_rad).hessian
    spread = spread_of(model, hessian * np.exp(-max(score.excess - 0.1, 0.0)), unknowns)
    sigma_theta = peak_sigma(plain, prepared.sub, theta)
    dwells = find_dwells(theta, sigma_theta, weight > 0, periodic=not layout.is_line)
    time_s = None if obs.time_s is None else obs.time_s[prepared.index]
    evidence = Evidence(theta, sigma_theta, weight > 0, time_s, dwells)
    gauge = gauge_of(spread, np.rad2deg(part.labels.azimuth_rad), found)
    fixed = Fixed(plain, gauge, np.zeros((2, 2)), _tension(plain, layout, free), [])
    result = judge.describe(fit, prepared, layout.nominal, free, fixed, evidence, known_shape=True)
    result.impairments = impairments_of(model, layout, prepared.whitening)
    result.sigma = sigma_of(spread, layout, plain.n_elements)
    result.peaks_deg = export.peaks_deg(fit, prepared, fixed, layout.is_line)
    result.field_loss = spread.field_loss
    result.notes += remarks(found, lab)
    result.notes.append(f"{len(part)} labels and {len(prepared.index)} blocks")
    result.reason = match.problem or result.reason or _open(result)
    result.converged = not result.reason
    return result


def _open(result: LearnResult) -> str:
    if result.field_loss < judge.MAX_FIELD_LOSS:
        return ""
    return (
        "the angles seen leave the array undetermined elsewhere: 1 - correlation up to "
        f"{result.field_loss:.1g} (limit {judge.MAX_FIELD_LOSS:g})"
    )


def _tension(model: Model, layout: Layout, free: bool) -> float:
    """Sigmas between the labels' scale of angles and the nominal positions."""
    if not (layout.is_line and free):
        return 0.0
    nominal = layout.nominal[:, 0] - layout.nominal[:, 0].mean()
    mean, std = ScalePrior(model.r[:, 0] - model.r[:, 0].mean(), nominal, layout.position_std).moments()
    return min(abs(1 - mean) / max(std, 1e-9), 1e3 * MAX_TENSION)
