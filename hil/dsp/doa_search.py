"""Where a DoA cost is smallest: grid points first, then the continuous angle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ShapeError

#: (P, n) degrees -> (P, n) cost.
ExactCost = Callable[[NDArray[np.float64]], NDArray[np.float64]]

#: First probes lie this part of two grid steps from the grid's own parabola; rounds that halve it.
_FIRST_PROBE, _MOST_ROUNDS = 1 / 128, 5
_LAST_PROBE = 1 / 2048
#: Error that a cost of the grid may have, in roundings of its precision.
_GRID_ROUNDINGS = 8.0
#: Three neighbours within this: single precision (and sums of it) does not tell a minimum there from none.
FLAT_WITHIN = np.float32(1e-6)
_SIDES = np.array([-1.0, 0.0, 1.0])
#: The careful search: five points a round, each round six times narrower.
_CAREFUL_POINTS, _CAREFUL_ROUNDS, _NARROWER = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), 4, 6.0


class SearchGrid:
    """The part of a grid on which an array is unique, and its steering vectors ready for many products.

    Parameters
    ----------
    grid_deg : (G,) angles. limits_deg : the rest is left out; a grid once round 360 degrees is periodic.
    unit_steering : (M, G) complex128 of unit norm. least_single_step_deg : with finer steps (or 0) powers are
        computed in double precision.

    Raises
    ------
    ShapeError : not ascending, or fewer than three angles within the limits.
    """

    def __init__(
        self,
        grid_deg: NDArray[np.float64],
        limits_deg: tuple[float, float],
        unit_steering: NDArray[np.complex128],
        least_single_step_deg: float,
    ) -> None:
        if len(grid_deg) < 3 or np.any(np.diff(grid_deg) <= 0):
            raise ShapeError("grid_deg: a search for peaks needs at least three ascending angles")
        columns, self.periodic = _unique(grid_deg, *limits_deg)
        self.grid_deg = grid_deg[columns]
        step = float(np.min(np.diff(self.grid_deg)))
        self._dtype = np.float32 if 0 < least_single_step_deg <= step else np.float64
        self._steering = unit_steering[:, columns]
        self._planes: dict[type, NDArray[Any]] = {}

    def planes(self, double: bool = False) -> NDArray[Any]:
        """Real and imaginary parts of the unit steering vectors, (2, M, G)."""
        dtype = np.float64 if double else self._dtype
        if dtype not in self._planes:
            a = self._steering
            self._planes[dtype] = np.stack((a.real, a.imag)).astype(dtype, copy=False)
        return self._planes[dtype]

    def power(self, rows: NDArray[np.complex128], double: bool = False) -> NDArray[Any]:
        """||W a||^2 for W (B, K, M), (B, G): real products of [Re -Im; Im Re], three times faster than complex."""
        b, k, m = rows.shape
        planes = self.planes(double)
        w = np.empty((b, 2, k, 2, m), planes.dtype)
        w[:, 0, :, 0] = w[:, 1, :, 1] = rows.real
        w[:, 1, :, 0] = rows.imag
        np.negative(rows.imag, out=w[:, 0, :, 1], casting="same_kind")
        product = w.reshape(2 * b * k, 2 * m) @ planes.reshape(2 * m, -1)
        product *= product
        return product.reshape(b, 2 * k, -1).sum(axis=1)


def _unique(grid_deg: NDArray[np.float64], low: float, high: float) -> tuple[slice, bool]:
    if high - low < 360.0:
        inside = np.flatnonzero((grid_deg >= low) & (grid_deg <= high))
        if len(inside) < 3:
            raise ShapeError(f"grid_deg: fewer than three angles within {low:g} to {high:g} degrees")
        return slice(int(inside[0]), int(inside[-1]) + 1), False
    span = float(grid_deg[-1] - grid_deg[0])
    if abs(span - 360.0) < 1e-9:
        return slice(0, len(grid_deg) - 1), True
    return slice(0, len(grid_deg)), bool(span < 360.0 <= span + 1.5 * (grid_deg[-1] - grid_deg[-2]))


def minima(cost: NDArray[Any], periodic: bool) -> NDArray[np.intp]:
    """Indices of the strict local minima of (G,), ends of a periodic grid last; two equal neighbours count as one."""
    middle = (cost[1:-1] < cost[:-2]) & (cost[1:-1] <= cost[2:])
    peaks = np.flatnonzero(middle) + 1
    if periodic:
        ends = [
            i for i in (0, len(cost) - 1) if cost[i] < cost[i - 1] and cost[i] <= cost[(i + 1) % len(cost)]
        ]
        peaks = np.concatenate((peaks, np.array(ends, np.intp)))
    return peaks


def candidates(cost: NDArray[Any], n: int, periodic: bool) -> NDArray[np.intp] | None:
    """Those minima of (G,) that may be among the n deepest between grid points; None: ask in double precision.

    How deep a needle is on the grid says only how near a grid point is. A minimum is at most as high as its grid point,
    and at least as high as that less half the rise to the higher neighbour (a parabola: less an eighth).
    """
    index = minima(cost, periodic)
    here = cost[index].astype(np.float64)
    ceiling = np.partition(here, n - 1)[n - 1] if len(index) >= n else np.inf
    if cost.dtype == np.float32 and too_flat(cost, ceiling):
        return None
    rise = np.maximum(cost[index - 1], cost[(index + 1) % len(cost)]) - here
    tolerance = _GRID_ROUNDINGS * np.finfo(cost.dtype).eps * float(np.max(np.abs(cost)))
    return index[here - 0.5 * rise - tolerance <= ceiling]


def too_flat(cost: NDArray[np.float32], ceiling: float) -> bool:
    """Whether costs (G,) not above `ceiling` are too flat somewhere to tell a minimum from none (many or close sources)."""
    small = np.abs(np.diff(cost)) < FLAT_WITHIN
    return bool(np.any(small[1:] & small[:-1] & (cost[1:-1] <= ceiling + FLAT_WITHIN)))


def parabola(
    cost: NDArray[Any], index: NDArray[np.intp], grid_deg: NDArray[np.float64], periodic: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places (P,) in degrees and depths of the parabolas at grid minima `index` of costs (P, G)."""
    low, high = neighbours(index, grid_deg, periodic)
    start, p = grid_deg[index], np.arange(len(index))
    here = cost[p, index].astype(np.float64)
    below, above = start - low, high - start
    fall = (cost[p, index - 1] - here) / below
    rise = (cost[p, (index + 1) % len(grid_deg)] - here) / above
    # A strict minimum: fall > 0 and rise >= 0, so this lies between the neighbours.
    shift = 0.5 * (fall * above - rise * below) / (fall + rise)
    return start + shift, here - (fall + rise) / (below + above) * shift**2


def neighbours(
    index: NDArray[np.intp], grid_deg: NDArray[np.float64], periodic: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grid angles before and after those of `index`, in degrees on the same turn."""
    start = grid_deg[index]
    low, high = grid_deg[index - 1], grid_deg[(index + 1) % len(grid_deg)]
    if periodic:
        low, high = np.where(low > start, low - 360.0, low), np.where(high < start, high + 360.0, high)
    return low, high


def refine(
    exact_cost: ExactCost,
    cost: NDArray[Any],
    index: NDArray[np.intp],
    grid_deg: NDArray[np.float64],
    periodic: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Continuous minima (P,) beside the grid points `index` (P,) of costs (P, G), and the cost there.

    A parabola through the grid's own three points starts; each round then sets one through three points
    close around the minimum, until it stays where it is, and a last one closer still. Its error is about
    (probe^2 + step^2) / beam.
    """
    low, high = neighbours(index, grid_deg, periodic)
    start, p = grid_deg[index], np.arange(len(index))
    deepest = cost[p, index].astype(np.float64)
    centre, _ = parabola(cost, index, grid_deg, periodic)
    below, above = start - low, high - start
    probe = _FIRST_PROBE * (below + above)
    settled, here = np.zeros(len(index), bool), deepest
    for _ in range(_MOST_ROUNDS):
        step, here = _parabola_around(exact_cost, centre, probe)
        centre = centre + step
        settled = np.abs(step) <= probe
        if settled.all():
            break
        probe = 0.5 * probe
    grid_error = _GRID_ROUNDINGS * np.finfo(cost.dtype).eps
    lost = ~settled | (here > deepest + grid_error * (1.0 + np.abs(deepest)))
    lost |= (centre < low) | (centre > high)
    if lost.any():
        careful, deep = _refine_carefully(exact_cost, low, start, high)
        centre, here = np.where(lost, careful, centre), np.where(lost, deep, here)
    # Needles of 60 dB differ in depth by less than a parabola of the first width is wrong by.
    probe = _LAST_PROBE * (below + above)
    step, depth = _parabola_around(exact_cost, centre, probe)
    near = np.abs(step) <= probe
    centre, here = np.where(near, centre + step, centre), np.where(near, depth, here)
    return (wrapped_deg(centre) if periodic else centre), here


def _parabola_around(
    exact_cost: ExactCost, centre: NDArray[np.float64], probe: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From `centre` (P,) to the vertex of the parabola through it and two points beside it, and its depth."""
    left, here, right = exact_cost(centre[:, None] + probe[:, None] * _SIDES).T
    bend = left + right - 2.0 * here
    bend[bend <= 0.0] = np.inf
    return 0.5 * probe * (left - right) / bend, here - 0.125 * (left - right) ** 2 / bend


def _refine_carefully(
    exact_cost: ExactCost, low: NDArray[np.float64], centre: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Narrowing brackets, for two minima in one grid step and for responses with kinks."""
    width = np.maximum(high - centre, centre - low)
    best, p = np.empty(len(centre)), np.arange(len(centre))
    for _ in range(_CAREFUL_ROUNDS):
        theta = np.clip(centre[:, None] + width[:, None] * _CAREFUL_POINTS, low[:, None], high[:, None])
        cost = exact_cost(theta)
        j = np.argmin(cost, axis=1)
        i = np.clip(j, 1, theta.shape[1] - 2)
        x, c = (theta[p, i - 1], theta[p, i], theta[p, i + 1]), (cost[p, i - 1], cost[p, i], cost[p, i + 1])
        vertex = _vertex(*x, *c)
        inside = (vertex >= x[0]) & (vertex <= x[2])
        centre, best = np.where(inside, vertex, theta[p, j]), cost[p, j]
        width = width / _NARROWER
    return centre, best


def _vertex(x0: Any, x1: Any, x2: Any, c0: Any, c1: Any, c2: Any) -> NDArray[np.float64]:
    """Where the parabola through three points is smallest; NaN where it opens downwards."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        s01, s12 = (c1 - c0) / (x1 - x0), (c2 - c1) / (x2 - x1)
        curvature = (s12 - s01) / (x2 - x0)
        return np.where(curvature > 0, 0.5 * (x0 + x1) - 0.5 * s01 / curvature, np.nan)


def unit_columns(steering: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Steering vectors (M, G) of unit norm; a zero vector stays zero."""
    norm = np.sqrt((steering.real**2 + steering.imag**2).sum(axis=0))
    norm[norm == 0.0] = 1.0
    return steering / norm


def wrapped_deg(angle_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same angles in (-180, 180]."""
    return 180.0 - (180.0 - angle_deg) % 360.0
