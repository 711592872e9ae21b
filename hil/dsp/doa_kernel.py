"""Compiled MUSIC: subspace, cost over a grid, and its deepest minima between grid points.

Imported by `hil.core.compiled` alone. The subspace is that of `hil.dsp.subspace_kernel`, the continuous angle that
of `hil.dsp.doa_cells`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types  # pyright: ignore[reportMissingImports]

from hil.dsp.covariance_kernel import OPTIONS, covariance
from hil.dsp.doa_search import FLAT_WITHIN
from hil.dsp.subspace_kernel import signal_subspace

__all__ = ["FLAT", "NOT_MADE", "NOT_SMOOTH", "NO_SUBSPACE", "covariance", "find_music"]

#: Instead of a number of peaks: ask LAPACK for the subspace; the cost is too flat for single precision; a peak lies in a
#: cell that polynomials miss; the cell of grid angle i is not made yet (NOT_MADE - i).
NO_SUBSPACE, FLAT, NOT_SMOOTH, NOT_MADE = -1, -2, -3, -4
#: Grid angles whose sums are held at a time.
_GRID = 256
_MOST_STEPS = 40
#: Newton's next step is below 1e-9 degrees, or nearly so.
_LAST_STEP_DEG = 1e-5

_MATRIX = types.Array(types.complex128, 2, "C", readonly=True)
_FLOATS = types.Array(types.float64, 1, "C")


def _signatures() -> list[Any]:
    cells = types.Array(types.float64, 3, "C")
    brackets = types.Array(types.float64, 2, "C")
    return [
        types.int64(
            _MATRIX,
            types.boolean,
            types.Array(real, 3, "C"),
            cells,
            brackets,
            types.boolean,
            types.boolean,
            _FLOATS,
        )
        for real in (types.float32, types.float64)
    ]


@njit(**OPTIONS)
def _search(
    vr: Any, vi: Any, planes: Any, cells: Any, brackets: Any, refined: bool, periodic: bool, out: Any
) -> int:
    cost = np.empty(planes.shape[2], planes.dtype)
    _cost(vr, vi, planes, cost)
    g, n = cost.shape[0], out.shape[0]
    minima = np.empty(g // 2 + 2, np.int64)
    n_minima = _minima(cost, periodic, minima)
    # A refined minimum is at most as high as its grid point: none above the n-th of those can be chosen.
    ceiling = np.full(n, np.inf)
    for c in range(n_minima):
        _insert(ceiling, ceiling, c, cost[minima[c]], 0.0)
    if cost.itemsize == 4 and _flat(cost, ceiling[n - 1] + FLAT_WITHIN):
        return FLAT
    tolerance = 8.0 * np.finfo(planes.dtype).eps
    height = np.full(n, np.inf)
    work = np.empty((3, cells.shape[2])) if refined else np.empty((3, 0))
    count = 0
    for c in range(n_minima):
        i = minima[c]
        below, above = cost[i - 1], cost[(i + 1) % g]
        here = float(cost[i])
        fall, rise = float(below) - here, float(above) - here
        if here - 0.5 * max(fall, rise) - tolerance > ceiling[n - 1]:
            continue
        low, high = brackets[0, i - 1], brackets[0, (i + 1) % g]
        angle = brackets[0, i]
        if low > angle:
            low -= 360.0
        if high < angle:
            high += 360.0
        # The parabola through three points, whatever their distances.
        left, right = angle - low, high - angle
        slope_left, slope_right = fall / left, rise / right
        start = 0.5 * (slope_left * right - slope_right * left) / (slope_left + slope_right)
        if refined:
            half = brackets[2, i]
            if not half > 0.0:
                return NOT_SMOOTH if half < 0.0 else NOT_MADE - i
            middle = brackets[1, i]
            x, deep = _newton(vr, vi, cells[i], half, (angle + start - middle) / half, work)
            angle = middle + half * x
        else:
            bend = (slope_left + slope_right) / (left + right)
            deep = here - bend * start * start
        if periodic:
            angle = 180.0 - (180.0 - angle) % 360.0
        _insert(height, out, count, deep, angle)
        count += 1
    return min(count, n)


@njit(**OPTIONS)
def _insert(sorted_to: Any, beside: Any, count: int, value: Any, other: Any) -> None:
    """Put a value into an ascending list of fixed length, and another one at the same place of a second list."""
    n = sorted_to.shape[0]
    if not value < sorted_to[n - 1]:
        return
    at = min(count, n - 1)
    while at > 0 and sorted_to[at - 1] > value:
        sorted_to[at] = sorted_to[at - 1]
        beside[at] = beside[at - 1]
        at -= 1
    beside[at] = other
    sorted_to[at] = value


@njit(**OPTIONS)
def _cost(vr: Any, vi: Any, planes: Any, cost: Any) -> None:
    """1 - ||V^H a||^2 over the grid, in the precision of the planes."""
    k, m = vr.shape
    g = planes.shape[2]
    wr, wi = vr.astype(planes.dtype), vi.astype(planes.dtype)
    sum_re, sum_im = np.empty(_GRID, planes.dtype), np.empty(_GRID, planes.dtype)
    for first in range(0, g, _GRID):
        last = min(g, first + _GRID)
        out, one, two = cost[first:last], sum_re[: last - first], sum_im[: last - first]
        out[:] = 1
        for a in range(k):
            one[:] = 0
            two[:] = 0
            i = 0
            while i + 4 <= m:
                p0, q0 = planes[0, i, first:last], planes[1, i, first:last]
                p1, q1 = planes[0, i + 1, first:last], planes[1, i + 1, first:last]
                p2, q2 = planes[0, i + 2, first:last], planes[1, i + 2, first:last]
                p3, q3 = planes[0, i + 3, first:last], planes[1, i + 3, first:last]
                x0, x1, x2, x3 = wr[a, i], wr[a, i + 1], wr[a, i + 2], wr[a, i + 3]
                y0, y1, y2, y3 = wi[a, i], wi[a, i + 1], wi[a, i + 2], wi[a, i + 3]
                for t in range(last - first):
                    one[t] += (
                        p0[t] * x0 + q0[t] * y0 + p1[t] * x1 + q1[t] * y1
                        + p2[t] * x2 + q2[t] * y2 + p3[t] * x3 + q3[t] * y3
                    )  # fmt: skip
                    two[t] += (
                        q0[t] * x0 - p0[t] * y0 + q1[t] * x1 - p1[t] * y1
                        + q2[t] * x2 - p2[t] * y2 + q3[t] * x3 - p3[t] * y3
                    )  # fmt: skip
                i += 4
            while i < m:
                p, q, x, y = planes[0, i, first:last], planes[1, i, first:last], wr[a, i], wi[a, i]
                for t in range(last - first):
                    one[t] += p[t] * x + q[t] * y
                    two[t] += q[t] * x - p[t] * y
                i += 1
            for t in range(last - first):
                out[t] -= one[t] * one[t] + two[t] * two[t]


@njit(**OPTIONS)
def _flat(cost: Any, most: Any) -> bool:
    """`hil.dsp.doa_search.too_flat`."""
    before, here, after = cost[:-2], cost[1:-1], cost[2:]
    highest, found = np.float32(most), False
    for i in range(here.shape[0]):
        found |= (
            (abs(here[i] - before[i]) < FLAT_WITHIN)
            & (abs(after[i] - here[i]) < FLAT_WITHIN)
            & (here[i] <= highest)
        )
    return found


@njit(**OPTIONS)
def _minima(cost: Any, periodic: bool, minima: Any) -> int:
    """Strict local minima as `hil.dsp.doa_search.minima` has them."""
    g, n = cost.shape[0], 0
    for i in range(1, g - 1):
        if cost[i] < cost[i - 1] and cost[i] <= cost[i + 1]:
            minima[n] = i
            n += 1
    if periodic:
        if cost[0] < cost[g - 1] and cost[0] <= cost[1]:
            minima[n] = 0
            n += 1
        if cost[g - 1] < cost[g - 2] and cost[g - 1] <= cost[0]:
            minima[n] = g - 1
            n += 1
    return n


@njit(**OPTIONS)
def _newton(vr: Any, vi: Any, cell: Any, half_deg: float, x: float, work: Any) -> tuple[float, float]:
    """Place in -1..1 and depth of the minimum of D = ||a - V V^H a||^2 in one cell, in double precision.

    Newton's method on D' within a bracket that shrinks by its sign. The residual is formed before it is squared:
    the depth of a needle at 60 dB would drown in 1 - ||V^H a||^2.
    """
    k, m = vr.shape
    order = cell.shape[0] - 1
    a0, a1, a2 = work[0], work[1], work[2]
    low, high = -1.0, 1.0
    deep = np.inf
    for _ in range(_MOST_STEPS):
        a0[:] = cell[order]
        a1[:] = 0.0
        a2[:] = 0.0
        for d in range(order - 1, -1, -1):
            row = cell[d]
            for i in range(2 * m):
                a2[i] = a2[i] * x + a1[i]
                a1[i] = a1[i] * x + a0[i]
                a0[i] = a0[i] * x + row[i]
        turn = 0.0
        for i in range(2 * m):
            turn += a1[i] * a1[i]
        pr, pi, sr, si = a0[:m], a0[m:], a1[:m], a1[m:]
        for a in range(k):
            br, bi = vr[a], vi[a]
            cr, ci, dr, di = 0.0, 0.0, 0.0, 0.0
            for i in range(m):
                cr += br[i] * pr[i] + bi[i] * pi[i]
                ci += br[i] * pi[i] - bi[i] * pr[i]
                dr += br[i] * sr[i] + bi[i] * si[i]
                di += br[i] * si[i] - bi[i] * sr[i]
            turn -= dr * dr + di * di
            # Rows of V are orthonormal: what the next one asks of a does not change.
            for i in range(m):
                pr[i] -= br[i] * cr - bi[i] * ci
                pi[i] -= br[i] * ci + bi[i] * cr
        depth, slope, bend = 0.0, 0.0, 0.0
        for i in range(2 * m):
            depth += a0[i] * a0[i]
            slope += a0[i] * a1[i]
            bend += a0[i] * a2[i]
        # a2 holds half the second derivative.
        bend = turn + 2.0 * bend
        if slope < 0.0:
            low = x
        else:
            high = x
        step = -slope / bend if bend > 0.0 else np.inf
        if abs(step) * half_deg < _LAST_STEP_DEG and -1.0 <= x + step <= 1.0:
            return x + step, max(depth + slope * step, 0.0)
        deep = depth
        x = x + step if low < x + step < high else 0.5 * (low + high)
        if (high - low) * half_deg < 1e-3 * _LAST_STEP_DEG:
            break
    return x, deep


@njit(_signatures(), **OPTIONS)
def find_music(
    matrix: Any, known: bool, planes: Any, cells: Any, brackets: Any, refined: bool, periodic: bool, out: Any
) -> int:
    """Angles in degrees of the deepest minima of the MUSIC cost of one covariance, deepest first, into `out`.

    Parameters
    ----------
    matrix : (M, M) complex128 covariance, its lower triangle; `known`: (K, M), conjugate eigenvectors of the signal.
    planes : (2, M, G) real and imaginary parts of unit steering vectors; its precision is that of the grid's cost.
    cells : (G, D + 1, 2 M), see `hil.dsp.doa_cells.Cells`. brackets : (3, G) degrees: angles, middles and half widths
        of the cells, see there.
    refined : False leaves peaks on the grid. periodic : the grid goes once round.
    out : (K,) float64.

    Returns
    -------
    Peaks found, at most K; or NO_SUBSPACE, FLAT, NOT_SMOOTH, NOT_MADE - i.
    """
    k, m = out.shape[0], matrix.shape[1]
    vr, vi = np.empty((k, m)), np.empty((k, m))
    if known:
        for a in range(k):
            for i in range(m):
                vr[a, i] = matrix[a, i].real
                vi[a, i] = -matrix[a, i].imag
    elif not signal_subspace(matrix, k, vr, vi):
        return NO_SUBSPACE
    return _search(vr, vi, planes, cells, brackets, refined, periodic, out)
