"""Cold start of a plane with sources at free azimuth and elevation: all phases unknown, nothing labelled.

1. A start: redundant spacings of a lattice with its emptiest part of the torus turned out of sight, else the
   coherence of an assumed distribution of directions. 2. Gauss-Newton, phases first, then positions.
3. The verdict. 4. If it fails: other distributions, then positions drawn from their prior with noise on the
   phases, until one passes or time is up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from calib.observations import Subspaces, subspaces
from calib.planar2d.model import Plane, find_peaks
from calib.planar2d.refine import Schedule, iterate
from calib.planar2d.score import score_peaks
from calib.planar2d.starts import diffuse_start, redundant_start
from calib.planar2d.torus import gap_centred, lattice_of

ACCEPT_EXCESS = 1.0  # failures sit 2 and more above the prediction, unpolished successes below 1
_MAX_ATTEMPTS = 200
_DISTRIBUTIONS = ("disc", "sphere", "ring")


@dataclass(slots=True)
class PlaneSearch:
    """What a search works on.

    covariance (B, N, N) of the blocks used; snapshots T; n_sources K; nominal (N, 2) wavelengths, centred;
    position_std in wavelengths, 0: positions are known; deadline (time.monotonic); report(stage, excess).
    """

    covariance: NDArray[np.complex128]
    snapshots: float
    n_sources: int
    nominal: NDArray[np.float64]
    position_std: float
    rng: np.random.Generator
    deadline: float
    report: Callable[[str, float], None] = lambda stage, excess: None
    stop: Callable[[], bool] = lambda: False
    steps: list[int] = field(default_factory=lambda: [0])

    def expired(self) -> bool:
        """True once time is up or the caller asked to stop."""
        return time.monotonic() > self.deadline or self.stop()


@dataclass(slots=True)
class FoundPlane:
    """Best model of a search with its median excess, after so many attempts."""

    model: Plane
    excess: float
    accepted: bool
    attempts: int


def search_plane(job: PlaneSearch) -> FoundPlane:
    """Find the basin of the true array."""
    sub = subspaces(job.covariance, job.snapshots, job.n_sources)
    best = FoundPlane(Plane(np.ones(len(job.nominal), complex), job.nominal).normalised(), np.inf, False, 0)
    for start in _starts(job, sub):
        model, excess = _converge(job, sub, start, phases_first=best.attempts % 2 == 0)
        best.attempts += 1
        if excess < best.excess:
            best = FoundPlane(model, excess, excess < ACCEPT_EXCESS, best.attempts)
            job.report("search", excess)
        if best.accepted or job.expired():
            break
    return best


def _converge(job: PlaneSearch, sub: Subspaces, start: Plane, *, phases_first: bool) -> tuple[Plane, float]:
    free = job.position_std > 0
    model = start
    plans = [Schedule(8, (0.1, 0.1), 1.0, free_positions=False, recentre_every=3)] * phases_first
    plans.append(Schedule(10, (0.1, 1e-3), 1.15, free_positions=free, recentre_every=3))
    for plan in plans:
        model = iterate(model, sub, job.nominal, plan)
        job.steps[0] += plan.n_steps
    excess = _excess(model, sub)
    if excess > ACCEPT_EXCESS and not job.expired():
        again = Schedule(12, (0.03, 1e-3), 1.15, free_positions=free, recentre_every=3)
        model = iterate(model, sub, job.nominal, again)
        job.steps[0] += again.n_steps
        excess = _excess(model, sub)
    return model, excess


def _excess(model: Plane, sub: Subspaces) -> float:
    d, depth = find_peaks(model, sub, 1.2)
    return score_peaks(model, sub, d, depth).excess


def _starts(job: PlaneSearch, sub: Subspaces) -> Iterator[Plane]:
    basis = lattice_of(job.nominal)
    redundant = None if basis is None else redundant_start(job.covariance, job.nominal, basis)
    first = None
    if redundant is not None and basis is not None:
        first = gap_centred(redundant, sub, basis)
        yield first
    for kind in _DISTRIBUTIONS:
        yield diffuse_start(job.covariance, job.nominal, job.position_std, kind)
    for attempt in range(_MAX_ATTEMPTS):
        noise = job.rng.standard_normal(job.nominal.shape) * job.position_std
        positions = job.nominal + noise
        phase = (0.3, 0.7, 3.0)[attempt % 3] * job.rng.standard_normal(len(positions))
        if first is not None and attempt % 2 == 0:
            start = replace(first, r=positions).normalised()
            start = start.shifted(0.15 * job.rng.standard_normal(2))
        else:
            kind = _DISTRIBUTIONS[(attempt // 2) % 2]
            start = diffuse_start(job.covariance, positions, job.position_std, kind)
        yield replace(start, g=start.g * np.exp(1j * phase))
