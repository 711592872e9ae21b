"""Root-MUSIC on uniform lines (Barabell 1983): DoAs as roots of a polynomial, without a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.calibration import Calibration
from hil.core.errors import ShapeError
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.doa import signal_subspace

#: Elements count as equally spaced within this part of the spacing.
_UNIFORM = 1e-6


def root_music(
    covariance: NDArray[np.complexfloating],
    array: ArrayGeometry | Calibration | ArrayLike,
    fc_hz: float | None,
    n_sources: int,
) -> NDArray[np.float64]:
    """Broadside angles in degrees of the K roots nearest to the unit circle, nearest first.

    The roots of a^T(1/z) B^H (I - U_s U_s^H) B a(z), a(z) = (1, z, .., z^(M-1)),
    z = exp(+j 2 pi d sin(theta) / lambda), with B = diag(g) C of a calibration, else the identity.

    Parameters
    ----------
    covariance : (M, M) complex. array : uniform line on x with ascending positions, as geometry, (M, 3)
        metres, or a calibration without position errors. fc_hz : Hz, None for that of the calibration.
    n_sources : K, 1 to M - 1. Fewer angles come back if fewer roots are visible directions.

    Raises
    ------
    ShapeError : the line is not uniform, or shapes and K do not fit.
    """
    chain = None
    if isinstance(array, Calibration):
        if array.impairments.angle_response is not None:
            raise ShapeError("root-MUSIC: an angle-dependent response has no polynomial; use find_doas")
        fc_hz = fc_hz or array.fc_hz
        chain = array.impairments.gain[:, None] * array.impairments.coupling
        positions = array.positions_m
    else:
        geometry = array if isinstance(array, ArrayGeometry) else ArrayGeometry(np.asarray(array))
        positions = geometry.positions_m
    if fc_hz is None or not fc_hz > 0:
        raise ShapeError("fc_hz: a positive carrier is needed with element positions")
    spacing_m = _spacing_m(positions)
    r = np.asarray(covariance, np.complex128)
    m = len(positions)
    if r.shape != (m, m) or not 1 <= n_sources < m:
        raise ShapeError(f"covariance {r.shape}, n_sources = {n_sources}: {m} elements, K from 1 to {m - 1}")
    signal = signal_subspace(r, n_sources)
    q = np.eye(m) - signal @ signal.conj().T
    if chain is not None:
        q = chain.conj().T @ q @ chain
    coefficients = np.array([np.trace(q, offset=k) for k in range(m - 1, -m, -1)])
    roots = np.roots(coefficients)
    # Roots come in pairs (z, 1 / z*): of 2M - 2 the inner M - 1.
    inner = roots[np.argsort(np.abs(roots))][: m - 1]
    sine = np.angle(inner) * SPEED_OF_LIGHT_M_S / (2 * np.pi * fc_hz * spacing_m)
    visible = np.abs(sine) < 1.0
    nearest = np.argsort(1.0 - np.abs(inner[visible]), kind="stable")[:n_sources]
    return np.rad2deg(np.arcsin(sine[visible][nearest]))


def _spacing_m(positions_m: NDArray[np.float64]) -> float:
    x = positions_m[:, 0]
    steps = np.diff(x)
    off_line = np.ptp(positions_m[:, 1:], axis=0).max()
    if len(x) < 2 or steps[0] <= 0 or max(off_line, np.ptp(steps)) > _UNIFORM * abs(steps[0]) + 1e-12:
        raise ShapeError("root-MUSIC: needs a uniform line on x, ascending; use find_doas for other arrays")
    return float(np.mean(steps))
