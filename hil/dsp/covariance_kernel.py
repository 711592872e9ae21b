"""Compiled sample covariance. Imported by `hil.core.compiled` alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types  # pyright: ignore[reportMissingImports]

#: Sums may be reordered (that is what makes them vectors); NaN and infinity keep their meaning.
OPTIONS: dict[str, Any] = {
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
}
_SAMPLES = types.Array(types.complex64, 2, "C", readonly=True)
#: Samples of all rows that are summed at a time: both planes fit the first-level cache or nearly so.
_PLANE = 8192
#: Rows are filled up with zeros to a multiple of a few vectors.
_PAD = 64


@njit([types.void(_SAMPLES, types.Array(types.complex128, 2, "C"))], **OPTIONS)
def covariance(x: Any, out: Any) -> None:
    """R = X X^H / N of (M, N) complex64 into (M, M) complex128, exactly Hermitian.

    Single precision within at most 4096 snapshots, spread over the lanes of a vector; double from there on.
    """
    m, n = x.shape
    rows = m + m % 2
    width = min(max(4 * _PAD, _PLANE // rows // _PAD * _PAD), 4096)
    width = min(width, (n + _PAD - 1) // _PAD * _PAD)
    re = np.zeros((rows, width), np.float32)
    im = np.zeros((rows, width), np.float32)
    sum_re = np.zeros((rows, rows))
    sum_im = np.zeros((rows, rows))
    zero = np.float32(0)
    for start in range(0, n, width):
        stop = min(n, start + width)
        length = stop - start
        for i in range(m):
            row, a, b = x[i, start:stop], re[i, :length], im[i, :length]
            for t in range(length):
                a[t] = row[t].real
                b[t] = row[t].imag
            re[i, length:] = zero
            im[i, length:] = zero
        used = (length + _PAD - 1) // _PAD * _PAD
        # Two rows by two rows: 16 products for 8 loads.
        for i in range(0, rows, 2):
            a0r, a0i, a1r, a1i = re[i, :used], im[i, :used], re[i + 1, :used], im[i + 1, :used]
            for j in range(i, rows, 2):
                b0r, b0i, b1r, b1i = re[j, :used], im[j, :used], re[j + 1, :used], im[j + 1, :used]
                r00 = r01 = r10 = r11 = zero
                i00 = i01 = i10 = i11 = zero
                for t in range(used):
                    pr, pi, qr, qi = a0r[t], a0i[t], a1r[t], a1i[t]
                    ur, ui, vr, vi = b0r[t], b0i[t], b1r[t], b1i[t]
                    r00 += pr * ur + pi * ui
                    i00 += pi * ur - pr * ui
                    r01 += pr * vr + pi * vi
                    i01 += pi * vr - pr * vi
                    r10 += qr * ur + qi * ui
                    i10 += qi * ur - qr * ui
                    r11 += qr * vr + qi * vi
                    i11 += qi * vr - qr * vi
                sum_re[i, j] += r00
                sum_re[i, j + 1] += r01
                sum_re[i + 1, j] += r10
                sum_re[i + 1, j + 1] += r11
                sum_im[i, j] += i00
                sum_im[i, j + 1] += i01
                sum_im[i + 1, j] += i10
                sum_im[i + 1, j + 1] += i11
    scale = 1.0 / n
    for i in range(m):
        out[i, i] = sum_re[i, i] * scale
        for j in range(i + 1, m):
            out[i, j] = complex(sum_re[i, j] * scale, sum_im[i, j] * scale)
            out[j, i] = complex(sum_re[i, j] * scale, -sum_im[i, j] * scale)
