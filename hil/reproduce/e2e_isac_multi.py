"""Up to five targets: misdetection and GOSPA over the rate of false alarms, from one run of the receiver."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.isac.differentiable_omp import DifferentiableOmp
from calib.isac.gospa import gospa_of_blocks, places_m
from calib.isac.grid import SearchGrid
from calib.isac.omp import omp
from calib.isac.rates import counts, p_md, threshold_for
from hil.reproduce.e2e_isac_data import (
    MAX_TARGETS,
    N_CARRIERS,
    N_ELEMENTS,
    RANGE_M,
    SPACING_HZ,
    SPEED_M_S,
    WINDOW_S,
    Scenes,
    delay_vectors,
)
from hil.reproduce.e2e_isac_method import Method

#: "omp": Algorithm 1; "sector", "all": differentiable OMP, its dictionary masked to the sector or not
RECEIVERS = ("omp", "sector", "all")
RATES = tuple(float(r) for r in np.logspace(-3, -1, 9))
CUTOFF_M = 90.0
_CHUNK = 250


def curves(
    method: Method,
    scenes: Scenes,
    basis: NDArray[np.complex128],
    beam: NDArray[np.complex128],
    false_alarm: float,
    receiver: str = "sector",
) -> dict[str, Any]:
    """Misdetection (20) and mean GOSPA (17) at RATES, and "at" the given rate of false alarms (21)."""
    theta, delay, strength = _found(method, scenes, basis, beam, receiver)
    true = places_m(scenes.theta_rad, 2 * scenes.range_m / SPEED_M_S)
    found = places_m(theta, delay)
    missed: list[float] = []
    distance: list[float] = []
    for rate in (*RATES, false_alarm):
        number = counts(strength, threshold_for(strength, scenes.count, rate))
        missed.append(p_md(scenes.count, number))
        distance.append(float(np.mean(gospa_of_blocks(true, scenes.count, found, number, CUTOFF_M))))
    return {
        "rates": list(RATES),
        "missed": missed[:-1],
        "gospa": distance[:-1],
        "at": {"missed": missed[-1], "gospa": distance[-1]},
    }


def map_of(
    method: Method, scenes: Scenes, basis: NDArray[np.complex128], beam: NDArray[np.complex128]
) -> NDArray[np.float32]:
    """Angle-delay map (A, 200) of the first scene over its sector, K S N0 = 1."""
    _, columns = method.columns(scenes.sector_deg[0])
    match = (delay_vectors(np.linspace(*RANGE_M, 200)) @ basis.conj()).conj().T
    linear = columns.conj().T @ scenes.taps(beam)[0] @ match
    return (np.abs(linear) ** 2 / (N_ELEMENTS * N_CARRIERS)).astype(np.float32)


def _found(
    method: Method,
    scenes: Scenes,
    basis: NDArray[np.complex128],
    beam: NDArray[np.complex128],
    receiver: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """theta, delay and strength (B, 5) in the order found."""
    taps, sector_u = scenes.taps(beam), np.sin(np.deg2rad(scenes.sector_deg))
    if receiver == "omp":
        assert method.x is not None
        data = Reduced(taps, scenes.outside, basis, SPACING_HZ, WINDOW_S)
        answer = omp(data, method.x, sector_u, n_targets=MAX_TARGETS)
        return answer.theta_rad, answer.delay_s, answer.strength
    grid = SearchGrid(WINDOW_S, n_angles=len(method.grid_rad))
    pursuit = DifferentiableOmp(grid, basis, SPACING_HZ, sector_mask=receiver == "sector")
    dictionary = torch.as_tensor(method.dictionary)
    x = None if method.x is None else torch.as_tensor(method.x)
    parts = []
    with torch.no_grad():
        for low in range(0, len(taps), _CHUNK):
            part = slice(low, low + _CHUNK)
            answer = pursuit(
                torch.as_tensor(taps[part]), dictionary, torch.as_tensor(sector_u[part]), n_targets=MAX_TARGETS, x=x
            )  # fmt: skip
            parts.append([v.numpy() for v in (answer.theta_rad, answer.delay_s, answer.strength)])
    theta, delay, strength = (np.concatenate(v) for v in zip(*parts, strict=True))
    return theta, delay, strength
