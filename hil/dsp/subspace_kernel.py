"""Compiled signal subspace of a covariance, with a certificate. Imported by `hil.core.compiled` alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit  # pyright: ignore[reportMissingImports]

from hil.dsp.covariance_kernel import OPTIONS

#: Certified sine of the largest angle to the subspace.
_SINE = 1e-9
#: From here on LAPACK is cheaper than many columns.
_MANY_ELEMENTS, _MOST_PART = 16, 0.25
_ROUNDING = 1e-15


@njit(**OPTIONS)
def signal_subspace(r: Any, k: int, vr: Any, vi: Any) -> bool:
    """Orthonormal basis of the K largest eigenvalues of (M, M) complex128 into planes (K, M); False: ask LAPACK.

    Subspace iteration on R - s I with s the mean of the other eigenvalues: with V orthonormal, H = V^H R V and
    E = R V - V H, the next basis is that of V + E (H - s I)^-1. It ends when it is proven that it holds the K
    *largest* to 1e-9: trace and Frobenius norm of what is left bound the distance w of its eigenvalues from s
    (Laguerre 1880, Samuelson 1968), V is within x = ||E|| / gap (Davis, Kahan 1970), the next basis within
    x (w / gap + x^2). No proof in a few rounds: False.
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
                x, y = _dot(vr, vi, a, er, ei, b)
                hr[a, b] = hr[b, a] = x
                hi[a, b] = y
                hi[b, a] = -y
                inside += (x * x + y * y) * (1.0 if a == b else 2.0)
            hi[a, a] = 0.0
            left -= hr[a, a]
        error = 0.0
        for b in range(k):
            for a in range(k):
                _subtract(er, ei, b, vr, vi, a, hr[a, b], hi[a, b])
            error += _power(er, ei, b)
        shift = left / rest
        spread = max((square - inside - 2.0 * error) / rest - shift * shift, 0.0) + _ROUNDING * square
        error, width = np.sqrt(error), np.sqrt((rest - 1) * spread) + _ROUNDING
        found = _cholesky(hr, hi, shift + width + np.sqrt(error * (width + error) / _SINE), lr, li)
        if not _cholesky(hr, hi, shift, lr, li):
            return False
        _divide(er, ei, lr, li)
        for a in range(k):
            for i in range(m):
                vr[a, i] += er[a, i]
                vi[a, i] += ei[a, i]
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
        for i in range(m):
            vr[a, i] = ar[p, i]
            vi[a, i] = -ai[p, i]
        for b in range(a):
            _subtract(vr, vi, a, vr, vi, b, vr[b, p], -vi[b, p])
        _scale(vr, vi, a, 1.0 / np.sqrt(left[p]))
        for i in range(m):
            left[i] -= vr[a, i] * vr[a, i] + vi[a, i] * vi[a, i]
        left[p] = 0.0
    return _orthonormal(vr, vi)


@njit(**OPTIONS)
def _times(ar: Any, ai: Any, vr: Any, vi: Any, yr: Any, yi: Any) -> None:
    """Y = R V, vectors in rows; R[i, j] = conj(R[j, i]) keeps all loads in rows."""
    m = ar.shape[0]
    for a in range(vr.shape[0]):
        for i in range(m):
            yr[a, i] = 0.0
            yi[a, i] = 0.0
        j = 0
        while j + 4 <= m:
            x0, x1, x2, x3 = vr[a, j], vr[a, j + 1], vr[a, j + 2], vr[a, j + 3]
            y0, y1, y2, y3 = vi[a, j], vi[a, j + 1], vi[a, j + 2], vi[a, j + 3]
            for i in range(m):
                yr[a, i] += (
                    ar[j, i] * x0 + ai[j, i] * y0 + ar[j + 1, i] * x1 + ai[j + 1, i] * y1
                    + ar[j + 2, i] * x2 + ai[j + 2, i] * y2 + ar[j + 3, i] * x3 + ai[j + 3, i] * y3
                )  # fmt: skip
                yi[a, i] += (
                    ar[j, i] * y0 - ai[j, i] * x0 + ar[j + 1, i] * y1 - ai[j + 1, i] * x1
                    + ar[j + 2, i] * y2 - ai[j + 2, i] * x2 + ar[j + 3, i] * y3 - ai[j + 3, i] * x3
                )  # fmt: skip
            j += 4
        while j < m:
            x, y = vr[a, j], vi[a, j]
            for i in range(m):
                yr[a, i] += ar[j, i] * x + ai[j, i] * y
                yi[a, i] += ar[j, i] * y - ai[j, i] * x
            j += 1


# Rows of planes below: views of rows would cost more than what is done with them where M is small.


@njit(**OPTIONS)
def _dot(ar: Any, ai: Any, a: int, br: Any, bi: Any, b: int) -> tuple[float, float]:
    """a^H b."""
    x, y = 0.0, 0.0
    for i in range(ar.shape[1]):
        x += ar[a, i] * br[b, i] + ai[a, i] * bi[b, i]
        y += ar[a, i] * bi[b, i] - ai[a, i] * br[b, i]
    return x, y


@njit(**OPTIONS)
def _power(ar: Any, ai: Any, a: int) -> float:
    total = 0.0
    for i in range(ar.shape[1]):
        total += ar[a, i] * ar[a, i] + ai[a, i] * ai[a, i]
    return total


@njit(**OPTIONS)
def _scale(ar: Any, ai: Any, a: int, by: float) -> None:
    for i in range(ar.shape[1]):
        ar[a, i] *= by
        ai[a, i] *= by


@njit(**OPTIONS)
def _subtract(ar: Any, ai: Any, a: int, br: Any, bi: Any, b: int, x: float, y: float) -> None:
    """a -= b (x + jy)."""
    for i in range(ar.shape[1]):
        ar[a, i] -= br[b, i] * x - bi[b, i] * y
        ai[a, i] -= br[b, i] * y + bi[b, i] * x


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
            _subtract(er, ei, b, er, ei, a, lr[b, a], -li[b, a])
        _scale(er, ei, b, 1.0 / lr[b, b])
    for b in range(k - 1, -1, -1):
        for a in range(b + 1, k):
            _subtract(er, ei, b, er, ei, a, lr[a, b], li[a, b])
        _scale(er, ei, b, 1.0 / lr[b, b])


@njit(**OPTIONS)
def _orthonormal(vr: Any, vi: Any) -> bool:
    """Gram-Schmidt in place; False where the vectors depend on each other."""
    for a in range(vr.shape[0]):
        before = _power(vr, vi, a)
        for b in range(a):
            x, y = _dot(vr, vi, b, vr, vi, a)
            _subtract(vr, vi, a, vr, vi, b, x, y)
        left = _power(vr, vi, a)
        if not left > 1e-20 * before:
            return False
        # A second pass where the first took most of the vector away.
        if left < 0.01 * before:
            for b in range(a):
                x, y = _dot(vr, vi, b, vr, vi, a)
                _subtract(vr, vi, a, vr, vi, b, x, y)
            left = _power(vr, vi, a)
        _scale(vr, vi, a, 1.0 / np.sqrt(left))
    return True
