"""Pilot calibration: gains, positions and, where the labels determine it, coupling from known directions."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv

from calib import judge
from calib.layout import Layout, layout_of
from calib.model import find_peaks
from calib.observations import Observations, Prepared, prepare
from calib.pilot.agree import Agreement, agree, needed_angles, seen_at
from calib.pilot.fit import Labelled, Unknowns, attach, equations, located, nulls, weights
from calib.pilot.labels import Labels, labels_of_blocks
from calib.pilot.model import CoupledModel, toeplitz_patterns
from calib.pilot.sigma import Spread, spread_of
from calib.result import LearnResult, Prior
from calib.score import median_sigma
from hil.core.calibration import Sigma, unknown_sigma
from hil.core.errors import ConfigError, NotIdentifiable
from hil.core.gauge import Gauge, canonical
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments, ideal


def pilot_calibrate(
    obs: Observations,
    angles_deg: ArrayLike | Labels,
    geometry: ArrayGeometry,
    fc_hz: float,
    *,
    positions: bool = True,
    coupling_bands: int = 0,
    elevation_deg: ArrayLike | None = None,
    angle_sigma_deg: ArrayLike | None = None,
    prior: Prior | None = None,
    n_sources: int | None = None,
    seed: int = 0,
) -> LearnResult:
    """Gains, phases and positions by maximum likelihood from blocks whose directions are known.

        min sum_b ||P_b a(u_b)||^2 / v_b + sum_g delta_g^2 / sigma_g^2 + ||r - r0||^2 / position_std^2

    No gauge is left open once the labels name two different angles on a line (three on a plane).

    Parameters
    ----------
    obs : covariances of B blocks. angles_deg : (B,) or (B, K) broadside angles or azimuths in degrees, NaN
        where not known; equal angles of consecutive blocks are one statement; or `Labels`.
    geometry : nominal array, a line on x or planar. fc_hz : carrier. positions : False: they are exact.
    coupling_bands : neighbours 1..L of a line couple (symmetric banded Toeplitz C), 0: none.
    elevation_deg, angle_sigma_deg : of the shape of angles_deg or scalars. The uncertainty None is
        estimated from the labels' agreement. prior : spread of the position errors. n_sources : sources in
        each block, None: as many as are labelled.

    Returns
    -------
    LearnResult with gauge.kind "anchor"; wrong labels are named in `notes`, labels that contradict one
    another are a `reason`. score : median log null depth at the known angles.

    Raises
    ------
    NotIdentifiable : too few different angles, with counts. ShapeError, ConfigError : inputs that do not fit.
    Source: maximum-likelihood array calibration with sources at known places (Ng and See 1996, eq. 9-14).
    """
    begin = time.monotonic()
    if isinstance(angles_deg, Labels):
        labels = angles_deg
    else:
        labels = labels_of_blocks(angles_deg, obs.n_blocks, elevation_deg, angle_sigma_deg)
    prior = (prior or Prior()) if positions else Prior(0.0)
    layout, prepared = sorted_blocks(obs, geometry, fc_hz, prior, n_sources or max(labels.most_per_block, 1))
    unknowns = Unknowns(
        layout.nominal,
        layout.position_std,
        toeplitz_patterns(obs.n_elements, coupling_bands) if coupling_bands else None,
    )
    if coupling_bands and not layout.is_line:
        raise ConfigError("coupling bands are places along a line; this array is planar")
    if not 0 <= coupling_bands < obs.n_elements:
        raise ConfigError(f"coupling_bands: {coupling_bands} for {obs.n_elements} elements")
    lab, lost = attach(labels, prepared, line=layout.is_line)
    require_angles(lab, unknowns, obs.n_elements)
    found = agree(lab, unknowns, seed=seed)
    result = describe(found, lab, prepared, layout, unknowns)
    result.notes += [f"label {name}: no usable block" for name in lost]
    result.seconds = time.monotonic() - begin
    return result


def sorted_blocks(
    obs: Observations, geometry: ArrayGeometry, fc_hz: float, prior: Prior, n_sources: int | None
) -> tuple[Layout, Prepared]:
    """The array in the order of the search and its blocks, whitened and gated by rank."""
    layout = layout_of(obs, geometry, fc_hz, prior)
    if n_sources is not None and not 1 <= n_sources < obs.n_elements:
        raise ConfigError(
            f"{n_sources} sources: {obs.n_elements} elements separate 1 to {obs.n_elements - 1}"
        )
    cov = obs.covariance[:, layout.order[:, None], layout.order[None, :]]
    return layout, prepare(Observations(cov, obs.n_snapshots, obs.time_s), n_sources)


def require_angles(lab: Labelled, unknowns: Unknowns, n_elements: int) -> None:
    """Raise NotIdentifiable if the labels name fewer different directions than the unknowns need."""
    needed = needed_angles(unknowns, lab)
    different = _n_different(lab.d)
    parts = (
        ["gains and phases"]
        + ["positions"] * (unknowns.position_std > 0)
        + ["coupling"] * (unknowns.n_coupling > 0)
    )
    dims = lab.d.shape[1]
    n = n_elements
    count = 2 * (n - 1) + dims * (n - 1) * (unknowns.position_std > 0) + 2 * unknowns.n_coupling
    what = f"{' and '.join(parts)} of {n} elements are {count} numbers"
    if different < needed:
        raise NotIdentifiable(
            f"{what}; each known angle tells at most {2 * (n - 1)}, and a phase and a position are told apart "
            f"by different angles only: needs {needed} different known angles, there "
            f"{'is' if different == 1 else 'are'} {different}",
            parameters=parts,
            hint="label more directions" + (", or take the positions as known" if needed > 1 else ""),
        )
    if unknowns.position_std > 0 and dims == 2:
        spread = np.linalg.svd(lab.d - lab.d.mean(axis=0), compute_uv=False)
        if spread[1] < 1e-3:
            raise NotIdentifiable(
                f"{what}; the {different} known directions lie on one line in (x, y) and leave one axis of the "
                "positions open",
                parameters=parts, hint="label a direction off that line",
            )  # fmt: skip


def describe(
    found: Agreement, lab: Labelled, prepared: Prepared, layout: Layout, unknowns: Unknowns
) -> LearnResult:
    """Verdict and uncertainties of a pilot fit, in the order of the receiver's channels."""
    model, part = found.model, found.lab
    weight = weights(model, part, found.sigma_rad, soft=False)
    d, _, _ = located(model, part, found.sigma_rad)
    now = nulls(model, part, d)
    excess = now.excess(part.dof)
    offset = float(np.log(2 * gammaincinv(part.dof / 2, 0.5)) - np.mean(_log_chi2(part.dof)))
    median = float(np.median(excess)) - offset
    inflate = float(np.exp(max(median - 0.1, 0.0)))
    normal = equations(model, part, weight, found.sigma_rad)
    spread = spread_of(model, normal.hessian / inflate, unknowns)
    n = model.n_elements
    score = float(np.median(np.log(np.maximum(now.depth, 1e-300))))
    angle = np.rad2deg(part.labels.azimuth_rad)
    result = LearnResult(
        impairments=impairments_of(model, layout, prepared.whitening),
        sigma=sigma_of(spread, layout, n),
        gauge=gauge_of(spread, angle, found),
        converged=True,
        score=score,
        predicted_score=score - median,
        excess=median,
        excess_threshold=judge.EXCESS_ALLOWANCE + 4 * median_sigma(part.dof, len(excess)),
        outlier_fraction=float(np.mean(excess > np.log(10.0))),
        lit_deg=(float(angle.min()), float(angle.max())),
        lit_coverage=1.0,
        field_loss=spread.field_loss,
        n_sources=prepared.n_sources,
        n_angles=_n_different(part.d),
        n_dwells=len(part),
    )
    result.peaks_deg = seen_angles(model, prepared, layout, unknowns)
    result.reason = _why_not(result, found)
    # an array of another kind makes right labels look wrong: accuse none then
    result.notes = remarks(found, lab) if result.excess < result.excess_threshold else []
    result.converged = not result.reason
    return result


def remarks(found: Agreement, lab: Labelled) -> list[str]:
    """What the user should know about the labels."""
    out: list[str] = []
    for g in np.setdiff1d(np.arange(len(lab)), found.kept).tolist():
        seen = seen_at(found.model, lab, g)
        where = "no source is seen there" if seen is None else f"the source is seen at {seen:.1f} degrees"
        out.append(f"label {lab.labels.names[g]} does not fit the others: {where}; left out")
    if found.checked < 1:
        out.append("every label is needed: a wrong one would not be noticed")
    if found.scatter_rad > 1e-5:
        out.append(
            f"the labels agree with one another to {np.rad2deg(found.scatter_rad):.2g} degrees, taken as the "
            "uncertainty of each"
        )
    return out


def gauge_of(spread: Spread, angle_deg: NDArray[np.float64], found: Agreement) -> Gauge:
    """ "anchor": the labels set the absolute angles."""
    count = _n_different(found.lab.d)
    assumes = (
        f"sources stood at {count} known angle{'s' * (count != 1)} from {angle_deg.min():g} to "
        f"{angle_deg.max():g} degrees as stated"
    )
    if found.checked < 1:
        assumes += " (unchecked)"
    return Gauge(
        "anchor",
        assumes,
        float(np.rad2deg(spread.offset_rad)),
        spread.scale,
        float(np.rad2deg(spread.angle_rad)),
    )


def impairments_of(model: CoupledModel, layout: Layout, whitening: NDArray[np.float64]) -> Impairments:
    """Forward-model impairments in the order of the receiver's channels."""
    n, dims = model.r.shape
    gain = np.empty(n, complex)
    gain[layout.order] = model.g / whitening
    error = np.zeros((n, 3))
    delta = (model.r - model.r.mean(axis=0)) - (layout.nominal - layout.nominal.mean(axis=0))
    error[layout.order, :dims] = delta * layout.wavelength_m
    coupling = np.eye(n, dtype=complex)
    coupling[np.ix_(layout.order, layout.order)] = model.coupling()
    return canonical(replace(ideal(n), gain=gain, position_error_m=error, coupling=coupling))


def sigma_of(spread: Spread, layout: Layout, n: int) -> Sigma:
    """One sigma per parameter, gains relative to ||g||, phases relative to element 0."""
    if not np.all(np.isfinite(spread.gain_db)):
        return unknown_sigma(n)
    gain, position = np.empty(n), np.zeros((n, 3))
    gain[layout.order] = spread.gain_db
    dims = spread.position.shape[1]
    position[layout.order, :dims] = spread.position * layout.wavelength_m
    phase = np.empty(n)
    reference = int(np.flatnonzero(layout.order == 0)[0])
    phase[layout.order] = np.rad2deg(spread.phase_against(reference))
    return Sigma(gain, phase, position, np.full(n, np.nan))


def seen_angles(
    model: CoupledModel, prepared: Prepared, layout: Layout, unknowns: Unknowns
) -> NDArray[np.float64]:
    """(B, K) angles of all blocks with the calibrated array (in its plane), NaN where unusable."""
    out = np.full((len(prepared.rank), prepared.n_sources), np.nan)
    if unknowns.n_coupling == 0 and model.turn is None and len(prepared.index):
        theta, _ = find_peaks(model.plain, prepared.sub, (-1.02, 1.02))
        out[prepared.index] = np.rad2deg(np.arcsin(np.clip(theta, -1, 1)) if layout.is_line else theta)
    return out


def _why_not(result: LearnResult, found: Agreement) -> str:
    if found.contradiction:
        return found.contradiction
    if not result.excess < result.excess_threshold:
        return (
            f"the nulls at the known angles are {np.exp(result.excess):.2g} times shallower than noise explains "
            f"(excess {result.excess:.2f}, limit {result.excess_threshold:.2f}): wrong labels, wrong number of "
            "sources, coherent sources or coupling"
        )
    limit = 0.03 if result.n_sources == 1 else 0.15
    if result.outlier_fraction > max(limit, 1.5 / max(len(found.lab.group), 1)):
        return f"{100 * result.outlier_fraction:.0f} % of the labelled blocks do not fit (limit {100 * limit:.0f} %)"
    if not result.field_loss < judge.MAX_FIELD_LOSS:
        result.not_identifiable.append("the array away from the known angles")
        return (
            "the known angles leave the array undetermined elsewhere: 1 - correlation up to "
            f"{result.field_loss:.1g} (limit {judge.MAX_FIELD_LOSS:g}); label more directions, farther apart"
        )
    return ""


def _n_different(d: NDArray[np.float64]) -> int:
    return len(np.unique(np.round(d / 2e-3), axis=0))


def _log_chi2(dof: int) -> NDArray[np.float64]:
    from scipy.special import psi

    return np.array([psi(dof / 2) + np.log(2)])
