"""How many sources: information criteria on the eigenvalues of the covariance (Wax, Kailath 1985)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.errors import ShapeError


def mdl(eigenvalues: ArrayLike, n_snapshots: int) -> NDArray[np.intp]:
    """Number of sources by minimum description length, () or (B,) int.

    MDL(k) = -N log L(k) + k (2 M - k) log(N) / 2, L(k) = (geometric / arithmetic mean of the M - k
    smallest)^(M - k) (Wax, Kailath 1985, eq. 17). Consistent: right for N -> infinity, 0 to M - 1.

    Parameters
    ----------
    eigenvalues : (M,) or (B, M) float, any order. n_snapshots : N averaged independent snapshots.
        Oversampled signals have fewer independent ones: noise that is not white then counts as sources.
    """
    values, n = _checked(eigenvalues, n_snapshots)
    k = np.arange(values.shape[-1])
    penalty = k * (2 * values.shape[-1] - k) * np.log(n) / 2
    return np.argmin(-n * _log_ratio(values) + penalty, axis=-1)


def aic(eigenvalues: ArrayLike, n_snapshots: int) -> NDArray[np.intp]:
    """Number of sources by Akaike's criterion, () or (B,) int: -2 N log L(k) + 2 k (2 M - k).

    Finds weaker sources than `mdl` and sometimes one too many, whatever N (Wax, Kailath 1985, eq. 16).
    """
    values, n = _checked(eigenvalues, n_snapshots)
    k = np.arange(values.shape[-1])
    return np.argmin(-2 * n * _log_ratio(values) + 2 * k * (2 * values.shape[-1] - k), axis=-1)


def _checked(eigenvalues: ArrayLike, n_snapshots: int) -> tuple[NDArray[np.float64], int]:
    values = np.asarray(eigenvalues, np.float64)
    if values.ndim not in (1, 2) or values.shape[-1] < 2 or not np.all(np.isfinite(values)):
        raise ShapeError(f"eigenvalues: shape {values.shape}, expected finite (M,) or (B, M) with M >= 2")
    if n_snapshots < 2:
        raise ShapeError(f"n_snapshots = {n_snapshots}: at least 2")
    values = np.sort(values, axis=-1)[..., ::-1]
    # Rounding leaves zero or negative values where there is no noise: the log needs a floor.
    floor = np.maximum(values[..., :1], np.finfo(float).tiny) * 1e-15
    return np.maximum(values, floor), n_snapshots


def _log_ratio(descending: NDArray[np.float64]) -> NDArray[np.float64]:
    """log L(k) for k = 0 .. M - 1, (..., M)."""
    m = descending.shape[-1]
    left = m - np.arange(m)
    log_sum = np.cumsum(np.log(descending)[..., ::-1], axis=-1)[..., ::-1]
    mean = np.cumsum(descending[..., ::-1], axis=-1)[..., ::-1] / left
    return log_sum - left * np.log(mean)
