"""Learn an array's gains, phases and positions from covariances of live signals, without labels."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from calib import export, judge
from calib.cold_start import Found, Search, finish_line, search_line
from calib.cold_start_planar import Sector, finish_planar, search_planar
from calib.dwells import find_dwells
from calib.fit_uncertainty import parameter_covariance, peak_sigma
from calib.gauges.fix import Evidence, fix_gauge
from calib.layout import Layout, layout_of
from calib.model import Model
from calib.observations import Observations, Prepared, Subspaces, prepare
from calib.refine import Fit
from calib.relearn import relearn_phase
from calib.result import GaugeRequest, LearnResult, Prior, Progress
from hil.core.calibration import unknown_sigma
from hil.core.errors import ConfigError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import ideal

__all__ = ["GaugeRequest", "LearnResult", "Observations", "Prior", "Progress", "learn", "relearn_phase"]

_SEARCH_BLOCKS = 240


def learn(
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
    polish_with: Callable[[Model, Subspaces, bool], Model] | None = None,
    search_with: Callable[[Search, Sector | None], Found] | None = None,
) -> LearnResult:
    """Cold start: every phase unknown, nothing labelled.

    Parameters
    ----------
    obs : covariances of short blocks. geometry : nominal array (line on x, or planar with sources in its
        plane). fc_hz : carrier. n_sources : K per block, None: estimated (MDL). gauge : what may be assumed
        about absolute angles. prior : size of the position errors. seed : of the randomised restarts.
    time_limit_s : of the search; what is best by then is judged. stop : asked often, True ends the search.
    polish_with : (model, subspaces, free_positions) -> model, another method's polish after the search.
    search_with : (search, sector or None for a line) -> found, another method's search.

    Returns
    -------
    LearnResult; `converged` False with `reason` if the verdict fails.

    Raises
    ------
    NotIdentifiable : the data or the array cannot determine the parameters, whatever the method.
    ShapeError, ConfigError : observations and geometry do not match, K too large.
    """
    begin = time.monotonic()
    layout = layout_of(obs, geometry, fc_hz, prior or Prior())
    n = obs.n_elements
    if n_sources is not None and not 1 <= n_sources < n:
        raise ConfigError(f"{n_sources} sources: {n} elements separate 1 to {n - 1}")
    ordered = Observations(
        obs.covariance[:, layout.order[:, None], layout.order[None, :]], obs.n_snapshots, obs.time_s
    )
    prepared = prepare(ordered, n_sources)
    refusal = judge.unusable(prepared, n_sources)
    if refusal:
        return _refused(n, refusal, prepared, begin)
    judge.require_motion(prepared)
    history: list[tuple[float, float]] = []

    def report(stage: str, excess: float) -> None:
        seconds = time.monotonic() - begin
        history.append((seconds, excess))
        if progress is not None:
            progress(Progress(stage, excess, seconds))

    found, job = _search(prepared, layout, gauge, seed, begin + time_limit_s, report, stop, search_with)
    free = layout.position_std > 0
    finish = finish_line if layout.is_line else finish_planar
    model = found.model
    if polish_with is not None and found.accepted:
        model = polish_with(model, prepared.sub, free)
    fit = finish(model, prepared.sub, layout.nominal, free)
    report("polish", fit.score.excess)
    result = assemble(fit, prepared, layout, obs, gauge)
    result.history = history
    result.steps, result.attempts = job.steps[0], found.attempts
    result.seconds = time.monotonic() - begin
    return result


def _search(
    prepared: Prepared,
    layout: Layout,
    gauge: GaugeRequest,
    seed: int,
    deadline: float,
    report: Callable[[str, float], None],
    stop: Callable[[], bool] | None,
    search_with: Callable[[Search, Sector | None], Found] | None = None,
) -> tuple[Found, Search]:
    count = min(len(prepared.index), max(60, _SEARCH_BLOCKS // prepared.n_sources))
    subset = np.unique(np.linspace(0, len(prepared.index) - 1, count).astype(int))
    support = gauge.support_deg if layout.is_line else None
    job = Search(
        covariance=prepared.covariance[subset],
        snapshots=prepared.snapshots,
        n_sources=prepared.n_sources,
        nominal=layout.nominal,
        position_std=layout.position_std,
        support_u=None if support is None else tuple(np.sin(np.deg2rad(np.clip(support, -90, 90)))),
        rng=np.random.default_rng(seed),
        deadline=deadline,
        free_positions=layout.position_std > 0,
        report=report,
        stop=stop or (lambda: False),
    )
    if layout.is_line:
        return search_with(job, None) if search_with else search_line(job), job
    sector = Sector()
    if gauge.support_deg is not None:
        sector = Sector(*(float(v) for v in np.deg2rad(gauge.support_deg)))
    return search_with(job, sector) if search_with else search_planar(job, sector), job


def assemble(
    fit: Fit, prepared: Prepared, layout: Layout, obs: Observations, gauge: GaugeRequest
) -> LearnResult:
    """Gauge, verdict and uncertainties of a fit: the same for every method. Raises NotIdentifiable."""
    sigma_theta = peak_sigma(fit.model, prepared.sub, fit.theta)
    sigma_theta *= np.exp(max(fit.score.excess - 0.1, 0.0) / 2)
    valid = fit.weight > 0
    dwells = find_dwells(fit.theta, sigma_theta, valid, periodic=not layout.is_line)
    time_s = None if obs.time_s is None else obs.time_s[prepared.index]
    evidence = Evidence(fit.theta, sigma_theta, valid, time_s, dwells, fit, prepared.sub, layout)
    fixed = fix_gauge(fit.model, layout.nominal, layout.position_std, gauge, evidence)
    free = layout.position_std > 0
    covariance = parameter_covariance(fit, prepared.sub, free)
    result = judge.describe(fit, prepared, layout.nominal, free, fixed, evidence, covariance=covariance)
    result.impairments = export.impairments(fixed.model, layout, prepared.whitening)
    result.sigma = export.sigma_of(fit, layout, fixed, covariance)
    result.peaks_deg = export.peaks_deg(fit, prepared, fixed, layout.is_line)
    return result


def _refused(n: int, reason: str, prepared: Prepared, begin: float) -> LearnResult:
    return LearnResult(
        impairments=ideal(n),
        sigma=unknown_sigma(n),
        gauge=Gauge(),
        converged=False,
        reason=reason,
        n_sources=prepared.n_sources,
        seconds=time.monotonic() - begin,
    )
