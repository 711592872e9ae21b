"""Compiled signal subspace of a covariance, with a certificate. Imported by `hil.dsp.compiled` alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit  # pyright: ignore[reportMissingImports]

from hil.dsp.covariance_kernel import OPTIONS

#: Certified sine of the largest angle to the subspace before the last correction, which squares it or nearly so.
_SINE = 1e-9
#: From here on LAPACK is cheaper than many columns.
_MANY_ELEMENTS, _MOST_PART = 16, 0.25
_ROUNDING = 1e-15


@njit(**OPTIONS)
def signal_subspace(r: Any, k: int, vr: Any, vi: Any) -> bool:
    """Orthonormal basis of the K largest eigenvalues of (M, M) complex128 into planes (K, M); False: ask LAPACK.

    Subspace iteration on R - s I with s the mean of the other eigenvalues: with V orthonormal, H = V^H R V and
    E = R V - V H, the next basis is that of V + E (H - s I)^-1. It ends when it is proven that V holds the K
    *largest* to 1e-9: trace and Frobenius norm of what is left bound its largest eigenvalue (Laguerre 1880,
    Samuelson 1968), and sin <= ||E|| / gap (Davis, Kahan 1970). No proof in a few rounds: False.
    """
    m = r.shape[0]
    if m > _MANY_ELEMENTS and k > _MOST_PART * m:
        return False
    ar, ai = np.empty((m, m)), np.empty((m, m))
    trace, square = 0.0, 0.0
    for i in range(m):
        trace += r[i, i].real
    if not (0.0 < trace < np.inf):
        return False
    scale = 1.0 / trace
    for i in range(m):
        for j in range(i):
            x, y = scale * r[i, j].real, scale * r[i, j].imag
            ar[i, j] = ar[j, i] = x
            ai[i, j] = y
            ai[j, i] = -y
            square += 2.0 * (x * x + y * y)
        ar[i, i] = scale * r[i, i].real
        ai[i, i] = 0.0
        square += ar[i, i] * ar[i, i]
    if not (square < np.inf) or not _start(ar, ai, k, vr, vi):
        return False
    er, ei = np.empty((k, m)), np.empty((k, m))
    hr, hi = np.empty((k, k)), np.empty((k, k))
    lr, li = np.empty((k, k)), np.empty((k, k))
    rest = m - k
    for _ in range(8 + m // 2):
        _times(ar, ai, vr, vi, er, ei)
        left, inside = 1.0, 0.0
        for a in range(k):
            for b in range(a, k):
                x, y = _dot(vr[a], vi[a], er[b], ei[b])
                hr[a, b] = hr[b, a] = x
                hi[a, b] = y
                hi[b, a] = -y
                inside += (x * x + y * y) * (1.0 if a == b else 2.0)
            hi[a, a] = 0.0
            left -= hr[a, a]
        error = 0.0
        for b in range(k):
            for a in range(k):
                _subtract(er[b], ei[b], vr[a], vi[a], hr[a, b], hi[a, b])
            error += _power(er[b], ei[b])
        shift = left / rest
        spread = max((square - inside - 2.0 * error) / rest - shift * shift, 0.0) + _ROUNDING * square
        top = shift + np.sqrt((rest - 1) * spread) + _ROUNDING
        found = _cholesky(hr, hi, top + np.sqrt(error) / _SINE, lr, li)
        if not _cholesky(hr, hi, shift, lr, li):
            return False
        _divide(er, ei, lr, li)
        for a in range(k):
            vr[a] += er[a]
            vi[a] += ei[a]
        if not _orthonormal(vr, vi):
            return False
        if found:
            return True
    return False


@njit(**OPTIONS)
def _start(ar: Any, ai: Any, k: int, vr: Any, vi: Any) -> bool:
    """K columns of R that together hold most of it (Cholesky with pivots), orthonormal."""
    m = ar.shape[0]
    left = np.empty(m)
    for i in range(m):
        left[i] = ar[i, i]
    for a in range(k):
        p = np.argmax(left)
        if not left[p] > 1e-13:
            return False
        one, two = vr[a], vi[a]
        for i in range(m):
            one[i] = ar[p, i]
            two[i] = -ai[p, i]
        for b in range(a):
            _subtract(one, two, vr[b], vi[b], vr[b, p], -vi[b, p])
        scale = 1.0 / np.sqrt(left[p])
        for i in range(m):
            one[i] *= scale
            two[i] *= scale
            left[i] -= one[i] * one[i] + two[i] * two[i]
        left[p] = 0.0
    return _orthonormal(vr, vi)


@njit(**OPTIONS)
def _times(ar: Any, ai: Any, vr: Any, vi: Any, yr: Any, yi: Any) -> None:
    """Y = R V, vectors in rows; R[i, j] = conj(R[j, i]) keeps all loads in rows."""
    m = ar.shape[0]
    for a in range(vr.shape[0]):
        one, two = yr[a], yi[a]
        one[:] = 0.0
        two[:] = 0.0
        j = 0
        while j + 4 <= m:
            p0, p1, p2, p3 = ar[j], ar[j + 1], ar[j + 2], ar[j + 3]
            q0, q1, q2, q3 = ai[j], ai[j + 1], ai[j + 2], ai[j + 3]
            x0, x1, x2, x3 = vr[a, j], vr[a, j + 1], vr[a, j + 2], vr[a, j + 3]
            y0, y1, y2, y3 = vi[a, j], vi[a, j + 1], vi[a, j + 2], vi[a, j + 3]
            for i in range(m):
                one[i] += (
                    p0[i] * x0 + q0[i] * y0 + p1[i] * x1 + q1[i] * y1
                    + p2[i] * x2 + q2[i] * y2 + p3[i] * x3 + q3[i] * y3
                )  # fmt: skip
                two[i] += (
                    p0[i] * y0 - q0[i] * x0 + p1[i] * y1 - q1[i] * x1
                    + p2[i] * y2 - q2[i] * x2 + p3[i] * y3 - q3[i] * x3
                )  # fmt: skip
            j += 4
        while j < m:
            p, q, x, y = ar[j], ai[j], vr[a, j], vi[a, j]
            for i in range(m):
                one[i] += p[i] * x + q[i] * y
                two[i] += p[i] * y - q[i] * x
            j += 1


@njit(**OPTIONS)
def _dot(ar: Any, ai: Any, br: Any, bi: Any) -> tuple[float, float]:
    """a^H b."""
    x, y = 0.0, 0.0
    for i in range(ar.shape[0]):
        x += ar[i] * br[i] + ai[i] * bi[i]
        y += ar[i] * bi[i] - ai[i] * br[i]
    return x, y


@njit(**OPTIONS)
def _power(ar: Any, ai: Any) -> float:
    total = 0.0
    for i in range(ar.shape[0]):
        total += ar[i] * ar[i] + ai[i] * ai[i]
    return total


@njit(**OPTIONS)
def _subtract(ar: Any, ai: Any, br: Any, bi: Any, x: float, y: float) -> None:
    """a -= b (x + jy)."""
    for i in range(ar.shape[0]):
        ar[i] -= br[i] * x - bi[i] * y
        ai[i] -= br[i] * y + bi[i] * x


@njit(**OPTIONS)
def _cholesky(hr: Any, hi: Any, shift: float, lr: Any, li: Any) -> bool:
    """L of H - shift I = L L^H; False where that is not positive definite."""
    k = hr.shape[0]
    for b in range(k):
        d = hr[b, b] - shift
        for c in range(b):
            d -= lr[b, c] * lr[b, c] + li[b, c] * li[b, c]
        if not d > 0.0:
            return False
        lr[b, b] = np.sqrt(d)
        li[b, b] = 0.0
        for a in range(b + 1, k):
            x, y = hr[a, b], hi[a, b]
            for c in range(b):
                x -= lr[a, c] * lr[b, c] + li[a, c] * li[b, c]
                y -= li[a, c] * lr[b, c] - lr[a, c] * li[b, c]
            lr[a, b] = x / lr[b, b]
            li[a, b] = y / lr[b, b]
    return True


@njit(**OPTIONS)
def _divide(er: Any, ei: Any, lr: Any, li: Any) -> None:
    """E (L L^H)^-1 in place, vectors in rows."""
    k = er.shape[0]
    for b in range(k):
        for a in range(b):
            _subtract(er[b], ei[b], er[a], ei[a], lr[b, a], -li[b, a])
        er[b] /= lr[b, b]
        ei[b] /= lr[b, b]
    for b in range(k - 1, -1, -1):
        for a in range(b + 1, k):
            _subtract(er[b], ei[b], er[a], ei[a], lr[a, b], li[a, b])
        er[b] /= lr[b, b]
        ei[b] /= lr[b, b]


@njit(**OPTIONS)
def _orthonormal(vr: Any, vi: Any) -> bool:
    """Gram-Schmidt in place; False where the vectors depend on each other."""
    for a in range(vr.shape[0]):
        before = _power(vr[a], vi[a])
        for b in range(a):
            x, y = _dot(vr[b], vi[b], vr[a], vi[a])
            _subtract(vr[a], vi[a], vr[b], vi[b], x, y)
        left = _power(vr[a], vi[a])
        if not left > 1e-20 * before:
            return False
        # A second pass where the first took most of the vector away.
        if left < 0.01 * before:
            for b in range(a):
                x, y = _dot(vr[b], vi[b], vr[a], vi[a])
                _subtract(vr[a], vi[a], vr[b], vi[b], x, y)
            left = _power(vr[a], vi[a])
        scale = 1.0 / np.sqrt(left)
        vr[a] *= scale
        vi[a] *= scale
    return True
