"""Baseline of the authors' program: spacings tried one by one, the best one kept, several sweeps over the array.

Mateos-Ramos et al. 2025 (published code): 100 spacings from a quarter to three quarters of a wavelength, 10 sweeps, GOSPA as
objective, nominal transmit beam, first element known. That is 10 (K-1) 100 evaluations, 63 000 for 64 elements: about 6 s
of one core with `map_objective` (0.1 ms for 128 blocks of one sector), 28 minutes with `gospa_objective` (27 ms for
200 blocks with at most one target). `SMALL` makes 2646: 0.3 s and 70 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.gpi.search import abs2, conj_steering
from calib.isac.gospa import gospa_of_blocks, places_m
from calib.isac.omp import omp
from calib.isac.spacings import ArrayModel, positions

Objective = Callable[[NDArray[np.float64]], float]

_GRID_PER_BEAM = 3.0
_SHORTEST, _LONGEST = 0.25, 0.75


@dataclass(frozen=True, slots=True)
class GreedySettings:
    """n_spacings tried per element in 0.25 to 0.75 wavelengths; n_sweeps over the array."""

    n_spacings: int
    n_sweeps: int


AS_PUBLISHED = GreedySettings(100, 10)
SMALL = GreedySettings(21, 2)


@dataclass(frozen=True, slots=True)
class GreedyFound:
    """spacings : (K,) wavelengths. objective : at the start and after each sweep. evaluations : of the objective."""

    spacings: NDArray[np.float64]
    objective: tuple[float, ...]
    evaluations: int


def greedy(
    objective: Objective,
    spacings: NDArray[np.float64],
    model: ArrayModel,
    settings: GreedySettings = AS_PUBLISHED,
    sign: float = 1.0,
) -> GreedyFound:
    """Smallest objective(x) found from `spacings` (K,), x = sign positions(model, spacings); the first element stays.

    Ends early after a sweep that changes nothing. sign -1: elements in descending order.
    """
    found = np.asarray(spacings, float).copy()
    trials = np.linspace(_SHORTEST, _LONGEST, settings.n_spacings)
    best = objective(sign * positions(model, found))
    history, evaluations = [best], 1
    for _ in range(settings.n_sweeps):
        before = found.copy()
        for k in range(1, len(found)):
            for trial in trials:
                candidate = found.copy()
                candidate[k] = trial
                value = objective(sign * positions(model, candidate))
                evaluations += 1
                if value < best:
                    best, found = value, candidate
        history.append(best)
        if np.array_equal(before, found):
            break
    return GreedyFound(found, tuple(history), evaluations)


def map_objective(z: NDArray[np.complex64], sector_u: NDArray[np.float64], span: float) -> Objective:
    """-mean log of the map's maximum in each sector, without labels.

    z : (B, K) of `calib.isac.echoes`. sector_u : (B, 2). span : largest aperture in wavelengths.
    """
    low, high = float(sector_u[:, 0].min()), float(sector_u[:, 1].max())
    u = np.linspace(low, high, max(3, int(np.ceil((high - low) * span * _GRID_PER_BEAM)) + 1))
    half = (u[1] - u[0]) / 2
    inside = (u >= sector_u[:, :1] - half) & (u <= sector_u[:, 1:] + half)

    def evaluate(x: NDArray[np.float64]) -> float:
        power = abs2(z @ conj_steering(x, u).T)
        return -float(np.mean(np.log(np.max(np.where(inside, power, 1e-12), axis=1))))

    return evaluate


def gospa_objective(
    data: Reduced,
    sector_u: NDArray[np.float64],
    true_m: NDArray[np.float64],
    n_true: NDArray[np.intp],
    threshold: float,
    cutoff_m: float = 90.0,
) -> Objective:
    """Mean GOSPA in metres of the targets found by `omp`, with labels.

    data : N0 = 1. sector_u : (B, 2). true_m : (B, T, 2). n_true : (B,) targets. threshold : of the strength.
    """

    def evaluate(x: NDArray[np.float64]) -> float:
        found = omp(data, x, sector_u, n_targets=true_m.shape[1])
        # a list ends at the first strength below the threshold
        count = np.cumprod(found.strength >= threshold, axis=1).sum(axis=1)
        places = places_m(found.theta_rad, found.delay_s)
        return float(np.mean(gospa_of_blocks(true_m, n_true, places, count, cutoff_m=cutoff_m, mu=2, p=2)))

    return evaluate
