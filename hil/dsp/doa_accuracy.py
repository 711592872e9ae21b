"""How exact a DoA can be: the Cramer-Rao bound, and the deviation of MUSIC estimated from the data itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.errors import ShapeError
from hil.dsp.response import ArrayLikeResponse, ArrayResponse, Steering, array_response

#: Step of the central difference da / dtheta: rounding 1e-16 / 1e-5 against curvature 1e-10.
_STEP_DEG = 1e-3


def doa_crb_deg(
    array: ArrayLikeResponse | ArrayResponse,
    fc_hz: float | None,
    doas_deg: ArrayLike,
    snr_db: ArrayLike,
    n_snapshots: int,
) -> NDArray[np.float64]:
    """Smallest standard deviation of unbiased DoA estimates, (K,) degrees: unconditional CRB.

    CRB = s2 / (2 N) [Re((D^H P D) * (S A^H R^-1 A S)^T)]^-1, P the projector on the complement of A
    (Stoica, Nehorai 1990, eq. 3.1), uncorrelated sources.

    Parameters
    ----------
    array, fc_hz : as in `DoaFinder`. doas_deg : (K,) degrees, K < M. n_snapshots : N.
    snr_db : (K,) or one number, source power over noise power per element and sample, for a steering
        vector of unit-modulus elements.
    """
    response = array if isinstance(array, ArrayResponse) else array_response(array, fc_hz)
    angles = np.atleast_1d(np.asarray(doas_deg, np.float64))
    a, d = _with_derivative(response.steering, angles)
    m, k = a.shape
    if not 1 <= k < m or n_snapshots < 1:
        raise ShapeError(f"{k} sources, {m} elements, {n_snapshots} snapshots: needs 1 <= K < M and N >= 1")
    power = np.diag(np.broadcast_to(10.0 ** (np.asarray(snr_db, np.float64) / 10), (k,))).astype(complex)
    r = a @ power @ a.conj().T + np.eye(m)
    complement = np.eye(m) - a @ np.linalg.pinv(a)
    signal = power @ a.conj().T @ np.linalg.solve(r, a) @ power
    information = 2 * n_snapshots * np.real((d.conj().T @ complement @ d) * signal.T)
    return np.rad2deg(np.sqrt(np.diag(np.linalg.inv(information))))


def doa_sigma_deg(
    covariance: NDArray[np.complexfloating],
    array: ArrayLikeResponse | ArrayResponse,
    fc_hz: float | None,
    doas_deg: ArrayLike,
    n_snapshots: int,
    n_sources: int | None = None,
) -> NDArray[np.float64]:
    """Standard deviation of MUSIC angles, (k,) degrees, from the sample covariance alone.

    var = [a^H U a] / (2 N [d^H G G^H d]), U = s2 sum_k l_k / (s2 - l_k)^2 u_k u_k^H over the signal
    eigenpairs, G the noise subspace (Stoica, Nehorai 1989, eq. 3.12). Statistical only: what a calibration
    leaves open comes on top. NaN, not determined, where the covariance holds no noise eigenvalue above zero to
    compare with, and where the deviation is larger than the angles on which the array is unique.

    Parameters
    ----------
    covariance : (M, M), averaged over `n_snapshots` independent snapshots. doas_deg : (k,) found angles.
    n_sources : K of the signal subspace; default k.
    """
    response = array if isinstance(array, ArrayResponse) else array_response(array, fc_hz)
    angles = np.atleast_1d(np.asarray(doas_deg, np.float64))
    r = np.asarray(covariance, np.complex128)
    m = r.shape[-1]
    k = len(angles) if n_sources is None else n_sources
    if r.shape != (m, m) or not 1 <= k < m or n_snapshots < 1:
        raise ShapeError(f"covariance {r.shape}, {k} sources, {n_snapshots} snapshots: needs 1 <= K < M")
    values, vectors = np.linalg.eigh(r)
    noise = float(np.mean(values[: m - k]))
    signal, strength = vectors[:, m - k :], values[m - k :]
    a, d = _with_derivative(response.steering, angles)
    usable = (noise > 0) & (strength > noise)
    weight = np.where(usable, noise * strength / np.where(usable, strength - noise, 1.0) ** 2, np.nan)
    spread = np.sum(weight[:, None] * np.abs(signal.conj().T @ a) ** 2, axis=0)
    curvature = 2 * n_snapshots * np.sum(np.abs(vectors[:, : m - k].conj().T @ d) ** 2, axis=0)
    low, high = response.limits_deg
    known = (
        spread < np.deg2rad(high - low) ** 2 * curvature
    )  # not for NaN; at endfire nothing may be left of a line's
    ratio = np.divide(spread, curvature, out=np.full(len(angles), np.nan), where=known)
    return np.rad2deg(np.sqrt(ratio))


def _with_derivative(
    steering: Steering, angles_deg: NDArray[np.float64]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """a and da / dtheta (per radian), (M, K) each."""
    above, below = angles_deg + _STEP_DEG, angles_deg - _STEP_DEG
    slope = (steering(above) - steering(below)) / np.deg2rad(2 * _STEP_DEG)
    return steering(angles_deg), slope
