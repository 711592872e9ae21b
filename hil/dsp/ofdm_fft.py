"""Single-precision transforms along the last axis, for any length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def dft(x: NDArray[np.complex64], *, unitary: bool = False) -> NDArray[np.complex64]:
    """sum_n x[n] exp(-j 2 pi k n / N), divided by sqrt(N) if unitary; (..., N) complex64."""
    from scipy import fft

    out: Any = fft.fft(x, axis=-1, norm="ortho" if unitary else "backward")
    return out


def idft(x: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """1/N sum_k X[k] exp(+j 2 pi k n / N); (..., N) complex64."""
    from scipy import fft

    out: Any = fft.ifft(x, axis=-1)
    return out
