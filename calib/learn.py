"""Learn an array's gains, phases and positions from covariances of live signals, without labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib import judge
from calib.cold_start import Found, Search, finish_line, search_line
from calib.cold_start_planar import Sector, finish_planar, search_planar
from calib.dwells import find_dwells
from calib.gauge_fix import Evidence, fix_gauge
from calib.identifiability import peak_sigma
from calib.observations import Observations, Prepared, prepare
from calib.refine import Fit
from calib.result import GaugeRequest, LearnResult, Prior, Progress
from hil.core.calibration import unknown_sigma
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import ideal
from hil.core.units import SPEED_OF_LIGHT_M_S

__all__ = ["GaugeRequest", "LearnResult", "Observations", "Prior", "Progress", "learn"]

_DEFAULT_POSITION_STD = 0.1  # wavelengths
_SEARCH_BLOCKS = 240


@dataclass(frozen=True, slots=True)
class Layout:
    """The nominal array as the search sees it: order (N,) sorts elements, nominal (N, D) wavelengths."""

    order: NDArray[np.intp]
    nominal: NDArray[np.float64]
    wavelength_m: float
    position_std: float

    @property
    def is_line(self) -> bool:
        """True for elements on x."""
        return self.nominal.shape[1] == 1


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
) -> LearnResult:
    """Cold start: every phase unknown, nothing labelled.

    Parameters
    ----------
    obs : covariances of short blocks. geometry : nominal array (line on x, or planar with sources in its
        plane). fc_hz : carrier. n_sources : K per block, None: estimated (MDL). gauge : what may be assumed
        about absolute angles. prior : size of the position errors. seed : of the randomised restarts.
    time_limit_s : of the search; what is best by then is judged. stop : asked often, True ends the search.

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

    found, job = _search(prepared, layout, gauge, seed, begin + time_limit_s, report, stop)
    free = layout.position_std > 0
    finish = finish_line if layout.is_line else finish_planar
    fit = finish(found.model, prepared.sub, layout.nominal, free)
    report("polish", fit.score.excess)
    result = _assemble(fit, prepared, layout, obs, gauge)
    result.history = history
    result.steps = job.steps[0]
    result.seconds = time.monotonic() - begin
    return result


def layout_of(obs: Observations, geometry: ArrayGeometry, fc_hz: float, prior: Prior) -> Layout:
    """Check the array and put its elements in the order of the search."""
    if obs.n_elements != geometry.n_elements:
        raise ShapeError(f"covariances of {obs.n_elements} elements for an array of {geometry.n_elements}")
    if not fc_hz > 0:
        raise ConfigError("fc_hz: must be positive")
    wavelength_m = SPEED_OF_LIGHT_M_S / fc_hz
    std = _DEFAULT_POSITION_STD if prior.position_std_m is None else prior.position_std_m / wavelength_m
    positions = geometry.positions_m / wavelength_m
    positions = positions - positions.mean(axis=0)
    if geometry.kind == "volume":
        raise NotIdentifiable(
            "elements that do not lie on one line or in one plane are not supported",
            parameters=["gain", "position"],
            hint="learn the planar part of the array, with sources in its plane",
        )
    if geometry.kind == "line":
        order = np.argsort(positions[:, 0])
        nominal = positions[order, :1]
        if np.any(np.diff(nominal[:, 0]) < 1e-3):
            raise ConfigError("two elements have the same nominal place", where="array")
        return Layout(order, nominal, wavelength_m, std)
    plane = positions[:, :2]
    spread = np.linalg.svd(plane, compute_uv=False)
    if spread[1] < 0.05 * spread[0]:
        raise NotIdentifiable(
            "the elements lie on a line that is not the x axis: front and back look the same",
            parameters=["azimuth"], hint="describe the line along x; angles are then counted from its broadside",
        )  # fmt: skip
    return Layout(np.arange(len(plane)), plane, wavelength_m, std)


def _search(
    prepared: Prepared,
    layout: Layout,
    gauge: GaugeRequest,
    seed: int,
    deadline: float,
    report: Callable[[str, float], None],
    stop: Callable[[], bool] | None,
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
        return search_line(job), job
    sector = Sector()
    if gauge.support_deg is not None:
        sector = Sector(*(float(v) for v in np.deg2rad(gauge.support_deg)))
    return search_planar(job, sector), job


def _assemble(
    fit: Fit, prepared: Prepared, layout: Layout, obs: Observations, gauge: GaugeRequest
) -> LearnResult:
    sigma_theta = peak_sigma(fit.model, prepared.sub, fit.theta)
    valid = fit.weight > 0
    dwells = find_dwells(fit.theta, sigma_theta, valid, periodic=not layout.is_line)
    time_s = None if obs.time_s is None else obs.time_s[prepared.index]
    evidence = Evidence(fit.theta, sigma_theta, valid, time_s, dwells)
    fixed = fix_gauge(fit.model, layout.nominal, layout.position_std, gauge, evidence)
    result = judge.describe(fit, prepared, layout.nominal, layout.position_std > 0, fixed, evidence)
    result.impairments = judge.impairments(fixed.model, layout, prepared.whitening)
    result.sigma = judge.sigma_of(fit, prepared.sub, layout, fixed)
    result.peaks_deg = judge.peaks_deg(fit, prepared, fixed, layout.is_line)
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
