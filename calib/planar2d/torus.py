"""Lattices of elements: directions repeat, d and d + period look the same, so d lives on a torus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.observations import Subspaces
from calib.planar2d.model import Plane, find_peaks

TOLERANCE = 0.02  # of a spacing


def lattice_of(nominal: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Primitive vectors (2, 2) as rows, wavelengths, if all elements lie on one lattice; else None."""
    difference = (nominal[:, None] - nominal[None, :]).reshape(-1, 2)
    length = np.linalg.norm(difference, axis=1)
    order = np.argsort(length, kind="stable")
    order = order[length[order] > 1e-6]
    first = difference[order[0]]
    cross = np.abs(first[0] * difference[order, 1] - first[1] * difference[order, 0])
    across = order[cross > 0.3 * np.linalg.norm(first) * length[order]]
    if len(across) == 0:
        return None
    basis = np.array([first, difference[across[0]]])
    steps = difference @ np.linalg.inv(basis)
    return basis if np.abs(steps - np.round(steps)).max() < TOLERANCE else None


def periods(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Periods of d as columns (2, 2) of a lattice with primitive vectors as rows."""
    return np.asarray(np.linalg.inv(basis), np.float64)


def fold(d: NDArray[np.float64], period: NDArray[np.float64]) -> NDArray[np.float64]:
    """The copy of d (..., 2) closest to 0. Unique inside the visible disc for spacings up to half a wavelength."""
    base = d - np.round(d @ np.linalg.inv(period).T) @ period.T
    steps = np.stack(np.meshgrid([0, -1, 1], [0, -1, 1], indexing="ij"), axis=-1).reshape(-1, 2)
    copies = base[..., None, :] + steps @ period.T
    best = np.argmin(np.linalg.norm(copies, axis=-1), axis=-1)
    return np.take_along_axis(copies, best[..., None, None], axis=-2)[..., 0, :]


def gap_centred(model: Plane, sub: Subspaces, basis: NDArray[np.float64]) -> Plane:
    """Shift d so that the visible disc holds the sharp nulls that are known on the torus only."""
    half = float(np.abs(periods(basis)).sum(axis=1).max()) / 2
    d, depth = find_peaks(model, sub, min(np.hypot(half, half), 1.8))
    return model.shifted(-disc_centre(d[depth <= np.quantile(depth, 0.6)], basis))


def disc_centre(d: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre (2,) of the disc of radius 1 on the torus that holds most of the directions d (n, 2).

    The emptiest place of the torus' cell is then outside what an array can see. Between equally good
    centres the one in the middle of the directions wins.
    """
    period = periods(basis)
    place = d @ np.linalg.inv(period).T
    centre, span = np.zeros(2), 0.5
    for points in (24, 13):
        part = np.linspace(-span, span, points, endpoint=False)
        trial = centre + np.stack(np.meshgrid(part, part, indexing="ij"), axis=-1).reshape(-1, 2)
        gap = place[None] - trial[:, None]
        far = np.linalg.norm((gap - np.round(gap)) @ period.T, axis=2)
        # a smooth count: how far outside the directions are, so that the middle of the free play wins
        cost = np.mean(np.maximum(far - 0.95, 0.0) + 0.02 * far**2, axis=1)
        centre, span = trial[int(np.argmin(cost))], 2.0 / points
    return period @ centre
