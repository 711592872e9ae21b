"""A cold start without the last word on angles: the learned array in its own frame, for detectors."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from calib import judge
from calib.cold_start import Search, finish_line, search_line
from calib.cold_start_planar import Sector, finish_planar, search_planar
from calib.dwells import find_dwells
from calib.fit_uncertainty import peak_sigma
from calib.gauges.fix import Evidence
from calib.layout import Layout, layout_of
from calib.observations import Observations, Prepared, prepare
from calib.refine import Fit
from calib.result import Prior
from hil.core.errors import NotConverged
from hil.core.geometry import ArrayGeometry

_SEARCH_BLOCKS = 240
_MOST_OUTLIERS = 0.15


@dataclass(frozen=True, slots=True)
class FittedArray:
    """A fit with what it was made from. `fits`: noise explains the null depths."""

    fit: Fit
    prepared: Prepared
    layout: Layout
    evidence: Evidence

    @property
    def fits(self) -> bool:
        """True if the array found explains the data."""
        score = self.fit.score
        return (
            score.excess < score.threshold + judge.EXCESS_ALLOWANCE
            and score.outlier_fraction < _MOST_OUTLIERS
        )


def fit_array(
    obs: Observations,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
    *,
    position_std_m: float | None = None,
    seed: int = 0,
    time_limit_s: float = 5.0,
) -> FittedArray:
    """Cold start of an array with free positions; the frame (al, be or rotation) is left as the search has it.

    Raises
    ------
    NotIdentifiable : nothing moves, or an array that cannot be learned. NotConverged : unusable blocks.
    """
    layout = layout_of(obs, geometry, fc_hz, Prior(position_std_m))
    cov = obs.covariance[:, layout.order[:, None], layout.order[None, :]]
    prepared = prepare(Observations(cov, obs.n_snapshots, obs.time_s), n_sources)
    reason = judge.unusable(prepared, n_sources)
    if reason:
        raise NotConverged(reason, hint="check --sources, or record more")
    judge.require_motion(prepared)
    count = min(len(prepared.index), max(60, _SEARCH_BLOCKS // prepared.n_sources))
    subset = np.unique(np.linspace(0, len(prepared.index) - 1, count).astype(int))
    job = Search(
        covariance=prepared.covariance[subset], snapshots=prepared.snapshots, n_sources=prepared.n_sources,
        nominal=layout.nominal, position_std=layout.position_std, support_u=None,
        rng=np.random.default_rng(seed), deadline=time.monotonic() + time_limit_s,
        free_positions=layout.position_std > 0,
    )  # fmt: skip
    free = layout.position_std > 0
    if layout.is_line:
        fit = finish_line(search_line(job).model, prepared.sub, layout.nominal, free)
    else:
        fit = finish_planar(search_planar(job, Sector()).model, prepared.sub, layout.nominal, free)
    sigma = peak_sigma(fit.model, prepared.sub, fit.theta)
    valid = fit.weight > 0
    time_s = None if obs.time_s is None else obs.time_s[prepared.index]
    dwells = find_dwells(fit.theta, sigma, valid, periodic=not layout.is_line)
    evidence = Evidence(fit.theta, sigma, valid, time_s, dwells, fit, prepared.sub, layout)
    return FittedArray(fit, prepared, layout, evidence)
