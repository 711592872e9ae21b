"""MUSIC peaks the slow way, in double precision throughout, and random arrays to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry, uca, ula
from hil.core.impairments import Impairments, ideal
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.doa_search import SearchGrid, unit_columns, wrapped_deg
from hil.dsp.response import ArrayResponse, array_response

FC_HZ = 2.45e9
WAVELENGTH_M = SPEED_OF_LIGHT_M_S / FC_HZ


def reference_peaks(
    response: ArrayResponse, grid_deg: NDArray[np.float64], r: NDArray[np.complex128], k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Angles and depths (P,) of all minima, deepest first; the third is how far each stands out of its grid neighbours.

    Noise subspace of all eigenvectors, every grid minimum followed by nested fivefold searches.
    """
    noise = np.linalg.eigh(r)[1][:, : len(r) - k].conj().T

    def cost(theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        unit = unit_columns(response.steering(theta_deg.ravel()))
        return (np.abs(noise @ unit) ** 2).sum(axis=0).reshape(theta_deg.shape)

    columns = SearchGrid(grid_deg, response.limits_deg, unit_columns(response.steering(grid_deg)), 0.0)
    grid = columns.grid_deg
    d = cost(grid)
    before, after = np.roll(d, 1), np.roll(d, -1)
    low, high = np.roll(grid, 1), np.roll(grid, -1)
    if columns.periodic:
        low[0] -= 360.0
        high[-1] += 360.0
    else:
        before[0] = after[-1] = -np.inf
    index = np.flatnonzero((d < before) & (d <= after))
    low, high, centre = low[index], high[index], grid[index]
    lowest, highest = low, high
    for _ in range(40):
        theta = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, 5)
        best = np.argmin(cost(theta), axis=1)
        centre = theta[np.arange(len(index)), best]
        width = 0.25 * (high - low)
        low, high = np.maximum(centre - width, lowest), np.minimum(centre + width, highest)
    # Costs are parabolas there, known to 1e-16: the vertex of a wider one is known better than the least of many.
    probe = 1e-3 * (highest - lowest)
    left, here, right = cost(centre[:, None] + probe[:, None] * np.array([-1.0, 0.0, 1.0])).T
    bend = left + right - 2 * here
    centre = centre + np.where(bend > 0, 0.5 * probe * (left - right) / np.where(bend > 0, bend, 1), 0)
    depth = cost(centre)
    order = np.argsort(depth, kind="stable")
    bump = np.minimum(before[index], after[index]) - d[index]
    return (wrapped_deg(centre) if columns.periodic else centre)[order], depth[order], bump[order]


def random_response(rng: np.random.Generator, most: int = 16) -> tuple[ArrayResponse, int]:
    """A line, circle or irregular planar array of 3 to `most` elements, every other one with gains, moved elements and
    coupling."""
    m = int(rng.integers(3, most + 1))
    kind = int(rng.integers(0, 3))
    if kind == 0:
        geometry = ula(m, rng.uniform(0.3, 0.5) * WAVELENGTH_M)
    elif kind == 1:
        geometry = uca(max(m, 4), rng.uniform(0.2, 0.4) * max(m, 4) / np.pi * WAVELENGTH_M)
    else:
        spread = rng.uniform(-0.35, 0.35, (m, 3)) * np.sqrt(m) * WAVELENGTH_M
        geometry = ArrayGeometry(spread * (1.0, 1.0, 0.0))
    m = geometry.n_elements
    if rng.random() < 0.5:
        return array_response(geometry, FC_HZ), m
    return array_response(random_calibration(rng, geometry)), m


def random_calibration(rng: np.random.Generator, geometry: ArrayGeometry) -> Calibration:
    """Gains, phases, positions and coupling of one array, drawn."""
    m = geometry.n_elements
    mixed = rng.standard_normal((m, m)) + 1j * rng.standard_normal((m, m))
    error = (
        0.03
        * WAVELENGTH_M
        * rng.standard_normal((m, 3))
        * (1.0, 0.0 if geometry.kind == "line" else 1.0, 0.0)
    )
    blank = ideal(m)
    impairments = Impairments(
        (1 + 0.1 * rng.standard_normal(m)) * np.exp(2j * np.pi * rng.random(m)),
        np.eye(m) + 0.05 * mixed * (1 - np.eye(m)), error - error.mean(axis=0),
        blank.delay_s, blank.iq_image, blank.dc_offset,
    )  # fmt: skip
    return Calibration(
        geometry, impairments, unknown_sigma(m), Gauge(), FC_HZ, Validity(FC_HZ, FC_HZ), "oracle"
    )


def random_snapshots(
    rng: np.random.Generator, response: ArrayResponse, k: int, snr_db: float, n: int
) -> NDArray[np.complex64]:
    """(M, N) of `k` sources, at least a fifth of a beam apart where that fits, and noise."""
    low, high = response.limits_deg
    if high - low < 360.0:
        low, high = low + 20.0, high - 20.0
    gap = min(0.2 * (response.beamwidth_deg or 30.0), 0.5 * (high - low) / k)
    doas = np.sort(rng.uniform(low, high - gap * k, k)) + gap * np.arange(k)
    a = response.steering(doas)
    s = rng.standard_normal((k, n)) + 1j * rng.standard_normal((k, n))
    w = rng.standard_normal((len(a), n)) + 1j * rng.standard_normal((len(a), n))
    return (a @ s + 10 ** (-snr_db / 20) * w).astype(np.complex64)
