"""The alternating eigen-scan as a learning method: closed form instead of gradients, no torch.

It shares the closed-form starts, the last Gauss-Newton steps, the gauge and the verdict of the cold start.
Where no start leads it to the basin the cold start's growth from sub-arrays is used, and said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from calib.cold_start import Found, Search, prior_scale, search, search_line, starts
from calib.cold_start_planar import Sector, align_rotation, planar_start, search_planar
from calib.eigen_scan import ScanSettings, scan_unlabelled
from calib.learn import GaugeRequest, LearnResult, Observations, learn
from calib.model import Model
from calib.observations import Subspaces
from calib.refine import middle
from calib.result import LearnOptions
from hil.core.geometry import ArrayGeometry

_PHASE_ROUNDS = 6
_RANDOM_STARTS = 4
_CIRCLE = (-np.pi, np.pi)
_FIELD = (-1.25, 1.25)


def learn_eigen_scan(
    obs: Observations,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
    gauge: GaugeRequest,
    *,
    settings: ScanSettings | None = None,
    **options: Unpack[LearnOptions],
) -> LearnResult:
    """Same contract as `calib.learn.learn`, searched by the eigen-scan of `settings`."""
    helped: list[bool] = []

    def search_from_starts(job: Search, sector: Sector | None) -> Found:
        found = search_scan(job, sector, settings)
        if found.accepted or job.expired():
            return found
        helped.append(True)
        other = search_line(job) if sector is None else search_planar(job, sector)
        return other if other.excess < found.excess else found

    result = learn(obs, geometry, fc_hz, n_sources, gauge, search_with=search_from_starts, **options)
    if helped:
        result.notes.append("no start led the eigen-scan to the array; the cold start's search took over")
    return result


def search_scan(job: Search, sector: Sector | None, settings: ScanSettings | None = None) -> Found:
    """The eigen-scan from closed-form starts, then from randomised ones, until one passes the verdict.

    sector : where a planar array's sources may be; None for a line, whose `job.nominal` ascends in x.
    """
    base = settings or ScanSettings()
    plan = replace(base, free_positions=base.free_positions and job.free_positions)
    sub = job.subspaces()
    models = (_scan(job, sub, start, plan) for start in _starts(job, sector))
    return search(job, models, _FIELD if sector is None else _CIRCLE)


def _scan(job: Search, sub: Subspaces, start: Model, plan: ScanSettings) -> Model:
    def regauge(model: Model, theta: NDArray[np.float64], depth: NDArray[np.float64]) -> Model:
        if not model.is_line:
            return align_rotation(model, job.nominal) if plan.free_positions else model
        model = model.shifted(-middle(theta, depth))
        return prior_scale(model, job.nominal) if plan.free_positions else model

    phases = replace(plan, n_rounds=_PHASE_ROUNDS, free_positions=False, eps=(1.0, 0.1), limit=1.0)
    job.steps[0] += plan.n_rounds + _PHASE_ROUNDS
    model = scan_unlabelled(start, sub, phases, regauge=regauge, stop=job.expired).model
    return scan_unlabelled(model, sub, plan, regauge=regauge, stop=job.expired).model


def _starts(job: Search, sector: Sector | None) -> Iterator[Model]:
    closed = list(starts(job)) if sector is None else [planar_start(job, job.nominal, sector)]
    if sector is not None and not sector.is_full:
        closed.append(planar_start(job, job.nominal, Sector()))
    yield from closed
    for attempt in range(_RANDOM_STARTS):
        start = closed[attempt % len(closed)]
        noise = 0.5 * job.rng.standard_normal(start.n_elements)
        shape = start.r.shape
        move = job.position_std * job.rng.standard_normal(shape) * job.free_positions
        yield Model(start.g * np.exp(1j * noise), start.r + move).normalised()
