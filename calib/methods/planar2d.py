"""Planar arrays with sources at free azimuth and elevation: gains, phases and positions without labels.

The nulls of diffMUSIC (Chatelier et al. 2025) with two angles per source. A Gauss-Newton search with the
directions projected out finds the basin; the eigen-scan or the log-peak loss can polish; maximum likelihood
finishes and the null depth, an absolute test, decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib import judge
from calib.export import impairments
from calib.layout import Layout, layout_of
from calib.model import Model
from calib.observations import Observations, Prepared, prepare
from calib.planar2d.anchors import Anchor2d, export_sigma, find_direction_anchors, same_copy, words
from calib.planar2d.gauge import (
    PlaneGauge,
    affine_prior,
    fit_direction_anchors,
    fit_visible,
    prior_covariance,
)
from calib.planar2d.identifiability import direction_covariance
from calib.planar2d.judge import PlaneResult, describe
from calib.planar2d.metrics import compare_planes
from calib.planar2d.model import Plane, azimuth_elevation
from calib.planar2d.refine import Fit, judged, polish
from calib.planar2d.scan import eigen_scan_unlabelled
from calib.planar2d.search import PlaneSearch, search_plane
from calib.planar2d.torus import disc_centre, fold, lattice_of, periods
from calib.planar2d.train import PlaneTrainSettings, train_plane
from calib.result import GaugeRequest, LearnResult, Prior, Progress
from hil.core.calibration import unknown_sigma
from hil.core.errors import ConfigError, NotIdentifiable
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import ideal

Finish = Literal["gauss-newton", "eigen-scan", "log-peak"]
_SEARCH_BLOCKS = 120


def learn_planar2d(
    obs: Observations,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
    gauge: GaugeRequest,
    *,
    prior: Prior | None = None,
    seed: int = 0,
    time_limit_s: float = 20.0,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    anchors_2d: tuple[Anchor2d, ...] = (),
    lowest_elevation_deg: float = 0.0,
    finish: Finish = "gauss-newton",
) -> LearnResult:
    """Same contract as `calib.learn.learn`, for sources anywhere above a planar array.

    Parameters
    ----------
    obs, geometry, fc_hz, n_sources, gauge, prior, seed, time_limit_s, progress, stop : as in `learn`;
        geometry must be planar. gauge "anchor" uses `anchors_2d`; "support" says nothing here, because a
        sector of azimuth bounds no direction of free elevation, and counts as "prior". gauge "anchor": its
        anchors with their elevations are used where `anchors_2d` is not given.
    anchors_2d : (azimuth_deg, elevation_deg, t0_s or None, t1_s or None): a source stands there from t0 to
        t1. One settles known positions; three that are not on one line in d settle everything. They are used
        whatever gauge.kind says, except "oracle".
    lowest_elevation_deg : no source is lower (used without anchors: bounds the ramps).
    finish : polish between search and maximum likelihood.

    Returns
    -------
    PlaneResult (a LearnResult with azimuth_deg and elevation_deg per block).

    Raises
    ------
    NotIdentifiable : too few elements for K, a line, an anchor that is not in the data, static sources.
    ShapeError, ConfigError : observations and geometry do not match.
    """
    begin = time.monotonic()
    if gauge.kind == "anchor" and not anchors_2d:
        elevations = gauge.anchor_elevations_deg or (0.0,) * len(gauge.anchors_deg)
        anchors_2d = tuple(
            (azimuth, elevation, t0, t1)
            for (azimuth, t0, t1), elevation in zip(gauge.anchors_deg, elevations, strict=True)
        )
    layout = layout_of(obs, geometry, fc_hz, prior or Prior())
    _check(layout, n_sources)
    prepared = prepare(obs, n_sources)
    n = obs.n_elements
    refusal = judge.unusable(prepared, n_sources)
    if not refusal and n - prepared.n_sources < 2:
        refusal = (
            f"{prepared.n_sources} sources in two angles need at least {prepared.n_sources + 2} elements"
        )
    if refusal:
        return PlaneResult(
            ideal(n), unknown_sigma(n), Gauge(), False, refusal,
            n_sources=prepared.n_sources, seconds=time.monotonic() - begin,
        )  # fmt: skip
    judge.require_motion(prepared)
    history: list[tuple[float, float]] = []

    def report(stage: str, excess: float) -> None:
        history.append((time.monotonic() - begin, excess))
        if progress is not None:
            progress(Progress(stage, excess, history[-1][0]))

    count = min(len(prepared.index), max(60, _SEARCH_BLOCKS // prepared.n_sources))
    subset = np.unique(np.linspace(0, len(prepared.index) - 1, count).astype(int))
    free = layout.position_std > 0
    job = PlaneSearch(
        prepared.covariance[subset], prepared.snapshots, prepared.n_sources, layout.nominal,
        layout.position_std, np.random.default_rng(seed), begin + time_limit_s, report, stop or (lambda: False),
    )  # fmt: skip
    model = search_plane(job).model
    if free:
        model = model.mapped(affine_prior(model, layout.nominal))
    if finish == "eigen-scan":
        model = eigen_scan_unlabelled(model, prepared.sub, free_positions=free, reach=0.02, n_rounds=4)
    elif finish == "log-peak":
        settings = PlaneTrainSettings(free_positions=free)
        trained = train_plane(
            model, prepared.sub, settings, seed=seed, on_step=lambda step, loss: job.expired()
        )
        model, job.steps[0] = trained.model, job.steps[0] + trained.steps
    fit = polish(model, prepared.sub, layout.nominal, free_positions=free)
    if free:
        level = fit.model.mapped(affine_prior(fit.model, layout.nominal)).normalised()
        fit = judged(level, prepared.sub, 1.15)
    basis = None if free else lattice_of(layout.nominal)
    if basis is not None:
        centre = disc_centre(fit.d[fit.weight > 0], basis)
        fit = judged(fit.model.shifted(-centre), prepared.sub, 1.15)
        fit = replace(fit, d=fold(fit.d, periods(basis)))
    report("polish", fit.score.excess)
    time_s = None if obs.time_s is None else obs.time_s[prepared.index]
    period = None if basis is None else periods(basis)
    lowest_rad = float(np.deg2rad(lowest_elevation_deg))
    result = _assemble(fit, prepared, layout, gauge, anchors_2d, time_s, lowest_rad, period)
    result.history, result.steps, result.seconds = history, job.steps[0], time.monotonic() - begin
    return result


def _check(layout: Layout, n_sources: int | None) -> None:
    n = len(layout.nominal)
    if layout.is_line:
        raise NotIdentifiable(
            "a line sees one angle of a direction", parameters=["elevation"],
            hint="use --method cold-start for a line, or describe the array's second dimension",
        )  # fmt: skip
    if n_sources is not None and not 1 <= n_sources <= n - 2:
        raise ConfigError(
            f"{n_sources} sources in two angles: {n} elements separate 1 to {n - 2}", where="--sources"
        )


def _assemble(
    fit: Fit,
    prepared: Prepared,
    layout: Layout,
    request: GaugeRequest,
    anchors: tuple[Anchor2d, ...],
    time_s: NDArray[np.float64] | None,
    lowest_rad: float,
    period: NDArray[np.float64] | None,
) -> PlaneResult:
    free = layout.position_std > 0
    valid = fit.weight > 0
    spread = direction_covariance(fit.model, prepared.sub, fit.d)
    spread *= np.exp(max(fit.score.excess - 0.1, 0.0))
    prior = prior_covariance(fit.model, layout.nominal, layout.position_std) if free else None
    lit = fit.d[valid]
    if request.kind == "oracle" and request.truth is not None:
        error = request.truth.position_error_m[layout.order, :2] / layout.wavelength_m
        true = Plane(request.truth.gain[layout.order] * prepared.whitening, layout.nominal + error)
        match = compare_planes(true.normalised(), fit.model, free_positions=free)
        linear = np.asarray(np.linalg.inv(match.linear), np.float64)
        found = PlaneGauge(linear, -linear @ match.offset, np.zeros((6, 6)), 0.0, settled=3)
    elif anchors:
        seen = find_direction_anchors(anchors, fit.d, spread, valid, time_s)
        if period is not None:
            seen = same_copy(seen, period)
        found = fit_direction_anchors(seen, prior, lit)
    else:
        noise = float(np.sqrt(np.median(np.trace(spread, axis1=-2, axis2=-1)) / 2))
        found = fit_visible(lit, noise, prior, lowest_elevation_rad=lowest_rad)
        if period is not None:
            for _ in range(2):
                # a direction near the horizon may have been taken for its copy on the other side
                lit = fold(lit + found.offset, period) - found.offset
                found = fit_visible(lit, noise, prior, lowest_elevation_rad=lowest_rad)
    kind, assumes, open_ = words(request, anchors, found.settled, layout.position_std, lowest_rad)
    block = found.covariance
    gauge = Gauge(
        kind, assumes,
        offset_sigma_deg=float(np.rad2deg(np.sqrt(np.trace(block[4:, 4:]) / 2))),
        scale_sigma=float(np.sqrt(np.diag(block)[:4].max())),
        angle_sigma_deg=float(np.rad2deg(found.angle_sigma_rad)),
    )  # fmt: skip
    n = fit.model.n_elements
    result = PlaneResult(ideal(n), unknown_sigma(n), gauge, True, n_sources=prepared.n_sources)
    result.not_identifiable = open_
    fixed_d = fit.d @ found.linear.T + found.offset
    if period is not None:
        fixed_d = fold(fixed_d, period)
        if np.linalg.norm(period, axis=0).min() < 1.99:
            result.notes.append(
                "spacings over half a wavelength: directions repeat, the highest one is given"
            )
    result.n_dwells = int(valid.any(axis=1).sum())
    if request.kind == "support":
        result.notes.append("a sector of azimuth bounds no direction of free elevation: not used")
    if np.ptp(prepared.whitening) > 0:
        result.notes.append("the elements' noise powers differ; the covariances were whitened")
    covariance = describe(result, fit, prepared.sub, fixed_d[valid], free_positions=free, found=found)
    final = fit.model.mapped(found.linear).shifted(found.offset).normalised()
    result.impairments = impairments(Model(final.g, final.r), layout, prepared.whitening)
    result.sigma = export_sigma(final, covariance, found, layout, free_positions=free)
    azimuth, elevation = azimuth_elevation(fixed_d)
    for name, angle in (("azimuth_deg", azimuth), ("elevation_deg", elevation)):
        out = np.full((len(prepared.rank), prepared.n_sources), np.nan)
        out[prepared.index] = np.where(valid, np.rad2deg(angle), np.nan)
        setattr(result, name, out)
    result.peaks_deg = result.azimuth_deg
    return result
