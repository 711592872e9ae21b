"""Pilot calibration from a turntable: many known angles, perhaps over several coherence epochs, coupling if it shows.

Positions, moduli and coupling are those of the array and the same in all epochs; groups of elements that share an LO get a new
phase in each. Those phases are eliminated exactly (calib.pilot.fit), so that epochs that saw different angles still tell
about one another.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.layout import Layout
from calib.observations import Observations, Prepared
from calib.pilot.agree import Agreement, needed_angles, seen_at
from calib.pilot.calibrate import describe, require_angles, sorted_blocks
from calib.pilot.fit import Labelled, Unknowns, attach, located, nulls, solve
from calib.pilot.labels import Labels
from calib.pilot.model import CoupledModel, free_patterns, toeplitz_patterns
from calib.pilot.start import start
from calib.result import LearnResult, Prior
from hil.core.errors import ConfigError
from hil.core.geometry import ArrayGeometry

_SIGMAS = 6.0
_FEWEST_NEIGHBOURS = 8
_MOST_BANDS = 3
_MOST_FREE = 16  # elements with unconstrained coupling


@dataclass(frozen=True, slots=True)
class SweepFit:
    """A pilot fit with what it rests on.

    result : as of `calib.pilot.calibrate.pilot_calibrate`. found, layout, prepared : in the order of the search.
    coupling : "none", "toeplitz:L" or "free". turn_rad : (E, M) by how much each channel is turned in each epoch
        against epoch 0.
    """

    result: LearnResult
    found: Agreement
    layout: Layout
    prepared: Prepared
    coupling: str
    turn_rad: NDArray[np.float64]


def calibrate_sweep(
    obs: Observations,
    labels: Labels,
    geometry: ArrayGeometry,
    fc_hz: float,
    *,
    epoch: NDArray[np.intp],
    groups: Sequence[Sequence[int]] = (),
    prior: Prior | None = None,
    n_sources: int | None = None,
) -> SweepFit:
    """Gains, positions and coupling by maximum likelihood from known angles, over all epochs at once.

    Parameters
    ----------
    obs : covariances of B blocks. labels : known angle of every block, its sigma the table's error (a statement
        without one counts as exact). epoch : (B,) coherence epoch of each block; phases are learned for epoch 0.
    groups : channels whose phase is new in every epoch, a partition of all; () : none is.
    prior : spread of the position errors. n_sources : sources in each block, None: as many as are labelled.

    Coupling: the model with the lowest BIC (Schwarz 1978) among those that explain the blocks: none, symmetric Toeplitz with
    1 to 3 neighbours on a line, unconstrained; none beyond the first that reaches the noise is tried. If none explains them: no coupling, and the result is not converged.

    Raises
    ------
    NotIdentifiable : too few different angles. ShapeError, ConfigError : inputs that do not fit.
    Source: maximum-likelihood array calibration with sources at known places (Ng and See 1996, eq. 9-14).
    """
    begin = time.monotonic()
    layout, prepared = sorted_blocks(
        obs, geometry, fc_hz, prior or Prior(), n_sources or max(labels.most_per_block, 1)
    )
    parts = group_parts(groups, layout.order)
    several = len(np.unique(epoch)) > 1 and len(parts) > 0
    lab, lost = attach(
        labels,
        prepared,
        line=layout.is_line,
        epoch=epoch if several else None,
        parts=parts if several else None,
    )
    require_angles(lab, Unknowns(layout.nominal, layout.position_std), obs.n_elements)
    best: tuple[str, Agreement, LearnResult] | None = None
    lowest = np.inf
    for name, patterns in _couplings(lab, layout):
        unknowns = Unknowns(layout.nominal, layout.position_std, patterns)
        found = _fit(lab, unknowns)
        result = describe(found, lab, prepared, layout, unknowns)
        cost = _bic(found, unknowns)
        if best is None or (result.converged and (cost < lowest or not best[2].converged)):
            best, lowest = (name, found, result), cost
        if result.converged and _at_noise(found):
            break
    assert best is not None
    name, found, result = best
    # named here: describe() accuses none where the array is of another kind
    result.notes = []
    for g in np.setdiff1d(np.arange(len(lab)), found.kept).tolist():
        seen = seen_at(found.model, lab, g)
        where = "no source is seen there" if seen is None else f"the source is seen at {seen:.2f} degrees"
        result.notes.append(f"{lab.labels.names[g]} does not fit its neighbours: {where}; left out")
    result.notes += [f"label {lost_name}: no usable block" for lost_name in lost]
    if name != "none":
        c = found.model.c
        result.notes.append(f"coupling learned ({name}), up to {20 * np.log10(np.abs(c).max()):.1f} dB")
    result.seconds = time.monotonic() - begin
    return SweepFit(result, found, layout, prepared, name, turns_of(found.model, lab, layout))


def _couplings(lab: Labelled, layout: Layout) -> list[tuple[str, NDArray[np.float64] | None]]:
    """Models of coupling that so many angles could determine."""
    n = layout.nominal.shape[0]
    out: list[tuple[str, NDArray[np.float64] | None]] = [("none", None)]
    if layout.is_line:
        most = min(
            _MOST_BANDS,
            n - 2,
            len(lab) - needed_angles(Unknowns(layout.nominal, layout.position_std), lab) - 1,
        )
        out += [(f"toeplitz:{bands}", toeplitz_patterns(n, bands)) for bands in range(1, most + 1)]
    if n <= _MOST_FREE and len(lab) >= 2 * n + 4:
        out.append(("free", free_patterns(n)))
    return out


def _fit(lab: Labelled, unknowns: Unknowns) -> Agreement:
    """Robust fit to all statements, then without those that do not fit their neighbours."""
    sigma = np.nan_to_num(lab.labels.sigma_rad)
    model = solve(start(lab, unknowns), lab, unknowns, sigma, n_soft=12, n_hard=0)
    needed, kept = needed_angles(unknowns, lab), np.flatnonzero(~_odd(model, lab, sigma))
    if 3 * len(kept) < 2 * len(lab) or len(kept) <= needed:
        kept = np.arange(len(lab))
    model = solve(model, lab.only(kept), unknowns, sigma[kept], n_soft=2, n_hard=6)
    return Agreement(model, lab.only(kept), kept, sigma[kept], 0.0, len(kept) - needed)


def _odd(model: CoupledModel, lab: Labelled, sigma: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(G,) True where a source is seen elsewhere than its neighbours in angle, shifted alike, would have it.

    A response that depends on the angle shifts all sources, but evenly; a wrong read-back shifts one.
    """
    if len(lab) < _FEWEST_NEIGHBOURS:
        return np.zeros(len(lab), bool)
    _, delta, spread = located(model, lab, np.full(len(lab), 1.0))
    order = np.argsort(lab.labels.azimuth_rad, kind="stable")
    angle, shift = lab.labels.azimuth_rad[order], delta[order, 0]
    inner = np.arange(3, len(lab) - 3)
    between = []
    for k in (1, 2, 3):
        low, high = inner - k, inner + k
        part = (angle[inner] - angle[low]) / np.maximum(angle[high] - angle[low], 1e-12)
        between.append(shift[low] + part * (shift[high] - shift[low]))
    # towards the ends there are no two sides: only what is far beyond all others is told there
    away = np.abs(shift) / 3
    away[inner] = np.abs(shift[inner] - np.median(between, axis=0))
    scale = np.full(len(lab), np.median(np.abs(shift)))
    scale[inner] = np.median(away[inner])
    own = np.hypot(sigma[order], np.sqrt(spread[order, 0, 0]))
    out = np.zeros(len(lab), bool)
    out[order] = away > _SIGMAS * np.maximum(own, 1.48 * scale)
    return out


def _at_noise(found: Agreement) -> bool:
    """True if the mean null is as deep as noise allows: a richer model has nothing left to explain."""
    now, dof = nulls(found.model, found.lab), found.lab.dof
    ratio = float(np.mean(now.depth / (dof * now.variance)))
    return ratio < 1.01 + 4 * np.sqrt(2 / (dof * len(now.depth)))


def _bic(found: Agreement, unknowns: Unknowns) -> float:
    """Bayesian information criterion of the robust misfit."""
    lab, model = found.lab, found.model
    now = nulls(model, lab)
    entries = len(lab.group) * lab.dof
    return float(
        np.sum(lab.dof * np.log1p(now.depth / (lab.dof * now.variance)))
        + 2 * unknowns.n_coupling * np.log(entries)
    )


def group_parts(groups: Sequence[Sequence[int]], order: NDArray[np.intp]) -> NDArray[np.float64]:
    """(L, N) ones where the elements of a group are, all groups but that of channel 0, in the order of the search."""
    if not groups:
        return np.zeros((0, len(order)))
    if sorted(m for group in groups for m in group) != list(range(len(order))):
        raise ConfigError(f"coherent groups must name each of {len(order)} channels once")
    rows = [np.isin(order, group).astype(float) for group in groups if 0 not in group]
    return np.array(rows).reshape(len(rows), len(order))


def turns_of(model: CoupledModel, lab: Labelled, layout: Layout) -> NDArray[np.float64]:
    """(E, M) in the order of the channels."""
    out = np.zeros((lab.n_epochs, model.n_elements))
    if model.turn is not None and lab.parts is not None:
        out[:, layout.order] = model.turn @ lab.parts
    return out
