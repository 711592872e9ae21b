"""New phases for an old calibration: after a retune only the phases between coherent groups are new.

Positions, |g| and the phases inside a group survive. With at least one group of two elements on a line the
ramp inside that group is known, so absolute angles survive too and no assumption is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib import export, judge
from calib.cold_start import Search, finish_line, search_line
from calib.dwells import find_dwells
from calib.fit_uncertainty import peak_sigma
from calib.gauges.fix import Evidence, Fixed, fix_gauge
from calib.gauss_newton import noise_variance, normal_equations
from calib.layout import layout_of
from calib.model import TWO_PI, Model, find_peaks
from calib.observations import Observations, Prepared, Subspaces, prepare
from calib.pilot.model import CoupledModel
from calib.pilot.sigma import angle_error
from calib.refine import Fit, limits
from calib.result import GaugeRequest, LearnResult, Prior
from calib.score import chi2_gate, degrees_of_freedom, score_peaks
from hil.core.calibration import Calibration, Sigma, unknown_sigma
from hil.core.errors import ConfigError, NotIdentifiable
from hil.core.gauge import Gauge, canonical
from hil.core.impairments import ideal

_ACCEPT_EXCESS = 1.0
_ATTEMPTS = 400
_SEARCH_BLOCKS = 120
_FIELD = (-1.02, 1.02)


def relearn_phase(
    obs: Observations,
    calibration: Calibration,
    n_sources: int | None = None,
    gauge: GaugeRequest | None = None,
    *,
    groups: tuple[tuple[int, ...], ...] | None = None,
    fc_hz: float | None = None,
    seed: int = 0,
    time_limit_s: float = 10.0,
    stop: Callable[[], bool] | None = None,
) -> LearnResult:
    """Learn only the phases between coherent groups.

    groups : elements that share LO and clock, default those of the calibration, else every element alone.
    gauge : needed only if the groups leave a ramp open (every element of a line alone); a support or
        anchors. fc_hz : carrier of the observations, default that of the calibration.

    Raises
    ------
    ConfigError : groups that are not a partition of the elements, or a gauge is needed and missing.
    """
    begin = time.monotonic()
    geometry, fc = calibration.geometry, fc_hz or calibration.fc_hz
    n = geometry.n_elements
    parts = groups or calibration.coherent_groups or tuple((m,) for m in range(n))
    if sorted(m for part in parts for m in part) != list(range(n)):
        raise ConfigError(f"coherent groups must name each of {n} elements once")
    layout = layout_of(obs, geometry, fc, Prior(0.0))
    cov = obs.covariance[:, layout.order[:, None], layout.order[None, :]]
    prepared = prepare(Observations(cov, obs.n_snapshots, obs.time_s), n_sources)
    reason = judge.unusable(prepared, n_sources, min_blocks=8)
    if reason:
        return LearnResult(ideal(n), unknown_sigma(n), calibration.gauge, False, reason)
    model = export.model_of(calibration.impairments, layout, prepared.whitening)
    shape = _group_basis(parts, layout.order)
    ramp_open = model.is_line and _in_span(model.r[:, 0], shape)
    if ramp_open and gauge is None:
        raise ConfigError(
            "every element has its own phase: the phase ramp along the line is open",
            hint="give a support or an anchor",
        )
    deadline = begin + time_limit_s
    subset = np.unique(np.linspace(0, len(prepared.index) - 1, _SEARCH_BLOCKS).astype(int))
    limit = _FIELD
    if ramp_open:
        best, steps, limit = _all_phases(model, prepared, subset, gauge, seed, deadline, stop)
    else:
        best, steps = _group_phases(model, prepared.sub.select(subset), shape, seed, deadline, stop)
    best = _iterate(best, prepared.sub, shape, 5, limit, ramp_open, final=True)
    theta, depth = find_peaks(best, prepared.sub, limit)
    score = score_peaks(best, prepared.sub, theta, depth)
    gate = chi2_gate(degrees_of_freedom(n, prepared.n_sources))
    weight = 1 / noise_variance(best, prepared.sub, theta)
    inside = score.per_peak < gate
    # nothing fits: the verdict says so, and its numbers need some blocks to be counted from
    weight = np.where(inside, weight, 0.0) if inside.any() else weight
    fit = Fit(best, theta, depth, weight, score)
    sigma_theta = peak_sigma(best, prepared.sub, theta)
    dwells = find_dwells(theta, sigma_theta, weight > 0, periodic=not best.is_line)
    time_s = None if obs.time_s is None else obs.time_s[prepared.index]
    evidence = Evidence(theta, sigma_theta, weight > 0, time_s, dwells)
    if ramp_open and gauge is not None:
        fixed = fix_gauge(best, layout.nominal, 0.0, gauge, evidence)
    else:
        covariance = _phase_covariance(fit, prepared.sub, shape)
        fixed = Fixed(best, _widened(calibration.gauge, best, covariance), np.zeros((2, 2)), 0.0, [])
    result = judge.describe(fit, prepared, layout.nominal, False, fixed, evidence, known_shape=True)
    learned = export.impairments(fixed.model, layout, prepared.whitening)
    result.impairments = canonical(
        replace(calibration.impairments, gain=learned.gain), calibration.reference_element
    )
    result.sigma = _sigma(
        fit, prepared.sub, shape, calibration.sigma, layout.order, ramp_open, fixed.covariance
    )
    result.peaks_deg = export.peaks_deg(fit, prepared, fixed, best.is_line)
    result.seconds, result.steps = time.monotonic() - begin, steps
    return result


def _group_phases(
    model: Model,
    sub: Subspaces,
    shape: NDArray[np.float64],
    seed: int,
    deadline: float,
    stop: Callable[[], bool] | None,
) -> tuple[Model, int]:
    """Best of many starts of the phases between groups, and the steps made."""
    rng = np.random.default_rng(seed)
    best, best_excess, steps = model, np.inf, 0
    for attempt in range(_ATTEMPTS):
        start = _turned(model, shape @ _start(attempt, shape.shape[1], rng))
        trial = _iterate(start, sub, shape, 8, _FIELD, ramp_open=False)
        steps += 8
        theta, depth = find_peaks(trial, sub, _FIELD)
        excess = score_peaks(trial, sub, theta, depth).excess
        if excess < best_excess:
            best, best_excess = trial, excess
        if excess < _ACCEPT_EXCESS or time.monotonic() > deadline or (stop is not None and stop()):
            break
    return best, steps


def _all_phases(
    model: Model,
    prepared: Prepared,
    subset: NDArray[np.intp],
    gauge: GaugeRequest | None,
    seed: int,
    deadline: float,
    stop: Callable[[], bool] | None,
) -> tuple[Model, int, tuple[float, float]]:
    """Every phase new on a line: a cold start with known positions, its sources centred on u = 0; their range.

    The ramp is open until the gauge is fixed: without centring it would push sources out of the visible range.
    """
    support = gauge.support_deg if gauge is not None else None
    job = Search(
        covariance=prepared.covariance[subset],
        snapshots=prepared.snapshots,
        n_sources=prepared.n_sources,
        nominal=model.r,
        position_std=0.0,
        support_u=None if support is None else tuple(np.sin(np.deg2rad(np.clip(support, -90, 90)))),
        rng=np.random.default_rng(seed),
        deadline=deadline,
        free_positions=False,
        stop=stop or (lambda: False),
    )
    found = search_line(job)
    fit = finish_line(found.model, prepared.sub, model.r, False)
    # the moduli survive a retune and are known better than a second of data tells them
    g = np.abs(model.g) * np.exp(1j * np.angle(fit.model.g))
    # the range comes from the fit: with equal spacing a wider one would see every source twice
    return replace(model, g=g).normalised(), job.steps[0], limits(fit.theta, fit.depth)


def _widened(gauge: Gauge, model: Model, covariance: NDArray[np.float64]) -> Gauge:
    """The old gauge with the angle error added that the new phases' own uncertainty causes."""
    size = (2 + model.r.shape[1]) * model.n_elements
    full = np.zeros((size, size))
    n = model.n_elements
    full[n : 2 * n, n : 2 * n] = covariance
    plain = CoupledModel(model.g, model.r, np.zeros(0, complex))
    offset, scale, angle = angle_error(plain, full)
    return replace(
        gauge,
        offset_sigma_deg=float(np.hypot(gauge.offset_sigma_deg, np.rad2deg(offset))),
        scale_sigma=float(np.hypot(gauge.scale_sigma, scale)),
        angle_sigma_deg=float(np.hypot(gauge.angle_sigma_deg, np.rad2deg(angle))),
    )


def _group_basis(parts: tuple[tuple[int, ...], ...], order: NDArray[np.intp]) -> NDArray[np.float64]:
    """(N, G - 1): phase of each group against the first, in the order of the search."""
    n = len(order)
    basis = np.zeros((n, len(parts)))
    for column, part in enumerate(parts):
        basis[np.isin(order, part), column] = 1.0
    if basis.shape[1] < 2:
        raise NotIdentifiable(
            "one coherent group: no phase between groups is open", parameters=["phase"],
            hint="a common phase changes nothing; learn again if the calibration no longer fits",
        )  # fmt: skip
    return basis[:, 1:]


def _in_span(values: NDArray[np.float64], basis: NDArray[np.float64]) -> bool:
    full = np.column_stack((np.ones(len(values)), basis))
    residual = values - full @ np.linalg.lstsq(full, values, rcond=None)[0]
    return bool(np.linalg.norm(residual) < 0.02 * np.linalg.norm(values - values.mean()))


def _start(attempt: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Unchanged phases first, then a scan for one unknown, random phases for more."""
    if attempt == 0:
        return np.zeros(count)
    if count == 1 and attempt < 24:
        return np.array([2 * np.pi * attempt / 24])
    return rng.uniform(-np.pi, np.pi, count)


def _turned(model: Model, phase: NDArray[np.float64]) -> Model:
    return replace(model, g=model.g * np.exp(1j * phase))


def _iterate(
    model: Model,
    sub: Subspaces,
    basis: NDArray[np.float64],
    n_steps: int,
    limit: tuple[float, float],
    ramp_open: bool,
    *,
    final: bool = False,
) -> Model:
    """Gauss-Newton on the group phases alone."""
    n = model.n_elements
    eps = np.geomspace(0.1, 1e-3, n_steps)
    pin = basis.T @ (model.r[:, 0] - model.r[:, 0].mean()) if ramp_open else np.zeros(basis.shape[1])
    for step in range(n_steps):
        theta, depth = find_peaks(model, sub, limit)
        weight = 1 / (depth + eps[step])
        if final:
            nu = degrees_of_freedom(n, sub.n_sources)
            weight = nu / (nu * noise_variance(model, sub, theta) + depth)
        weight = np.where(depth < 0.999, weight, 0.0)
        equations = normal_equations(model, sub, theta, weight)
        phases = slice(n, 2 * n)
        hessian = basis.T @ equations.hessian[phases, phases] @ basis
        hessian += equations.total_weight * np.outer(pin, pin)
        hessian[np.diag_indices_from(hessian)] *= 1.01
        hessian[np.diag_indices_from(hessian)] += 1e-9 * equations.total_weight
        x = -np.linalg.solve(hessian, basis.T @ equations.gradient[phases])
        model = _turned(model, basis @ (x / max(1.0, np.abs(x).max() / 0.7)))
    return model


def _sigma(
    fit: Fit,
    sub: Subspaces,
    basis: NDArray[np.float64],
    old: Sigma,
    order: NDArray[np.intp],
    ramp_open: bool,
    gauge: NDArray[np.float64],
) -> Sigma:
    """The old sigma with the group phases' own added, and what the gauge (2, 2) leaves open of the ramp."""
    n = fit.model.n_elements
    covariance = _phase_covariance(fit, sub, basis, ramp_open=ramp_open)
    if ramp_open:
        r = fit.model.r[:, 0] - fit.model.r[:, 0].mean()
        covariance = covariance + TWO_PI**2 * gauge[1, 1] * np.outer(r, r)
    at = int(np.flatnonzero(order == 0)[0])
    variance = np.diag(covariance) + covariance[at, at] - 2 * covariance[:, at]
    phase = np.empty(n)
    phase[order] = np.rad2deg(np.sqrt(np.maximum(variance, 0)))
    return replace(old, phase_deg=np.hypot(np.nan_to_num(old.phase_deg), phase))


def _phase_covariance(
    fit: Fit, sub: Subspaces, basis: NDArray[np.float64], *, ramp_open: bool = False
) -> NDArray[np.float64]:
    """(N, N) of the phases, from the information of the fitted nulls."""
    n = fit.model.n_elements
    equations = normal_equations(fit.model, sub, fit.theta, fit.weight)
    hessian = basis.T @ equations.hessian[n : 2 * n, n : 2 * n] @ basis
    hessian = hessian * np.exp(-max(fit.score.excess - 0.1, 0.0))
    if ramp_open:
        pin = basis.T @ (fit.model.r[:, 0] - fit.model.r[:, 0].mean())
        hessian += equations.total_weight * np.outer(pin, pin)
    return basis @ np.linalg.pinv(hessian) @ basis.T
