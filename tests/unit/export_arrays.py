"""Arrays with known errors for the tests of exports, a plane wave through them, and MUSIC that knows nothing of ours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.gauge import Gauge, canonical
from hil.core.geometry import ula
from hil.core.impairments import ideal

M = 6
FC_HZ = 2.4e9
WAVELENGTH_M = 299792458.0 / FC_HZ
THETA_DEG = 23.0
GRID_DEG = np.arange(-80.0, 80.01, 0.1)
Matrix = NDArray[np.complex128]


def calibration(seed: int = 0, *, moved: bool = False, coupled: bool = False) -> Calibration:
    """A line of M elements with random complex gains."""
    rng = np.random.default_rng(seed)
    gain = (0.7 + rng.random(M)) * np.exp(2j * np.pi * rng.random(M))
    error = rng.normal(size=(M, 3)) * [0.08, 0.08, 0.0] * WAVELENGTH_M if moved else np.zeros((M, 3))
    coupling = np.eye(M, dtype=complex)
    if coupled:
        coupling = coupling + 0.1 * (rng.normal(size=(M, M)) + 1j * rng.normal(size=(M, M))) * (1 - np.eye(M))
    imp = canonical(replace(ideal(M), gain=gain, position_error_m=error, coupling=coupling))
    return Calibration(
        ula(M, WAVELENGTH_M / 2), imp, unknown_sigma(M), Gauge("anchor"), FC_HZ, Validity(2.39e9, 2.41e9), "pilot",
        device_serial="S1", device_model="board", created_utc="2026-03-01T12:00:00+00:00", converged=True,
    )  # fmt: skip


def wave(c: Calibration, theta_deg: float = THETA_DEG) -> Matrix:
    """Samples (M, 200) of one emitter at theta through x = diag(g) C a(theta; r + dr) s + n, written out anew."""
    rng = np.random.default_rng(9)
    u = np.array([np.sin(np.radians(theta_deg)), np.cos(np.radians(theta_deg)), 0.0])
    r = c.geometry.positions_m + c.impairments.position_error_m
    a = c.impairments.gain * (c.impairments.coupling @ np.exp(2j * np.pi / WAVELENGTH_M * (r @ u)))
    s, n = (rng.normal(size=(k, 200)) + 1j * rng.normal(size=(k, 200)) for k in (1, M))
    return a[:, None] * s + 0.01 * n


def music_deg(corrected: Matrix, positions_m: NDArray[np.float64]) -> float:
    """Where MUSIC sees the emitter, degrees; positions in metres, angles from +y towards +x."""
    return music_of_covariance_deg(corrected @ corrected.conj().T, positions_m)


def music_of_covariance_deg(covariance: Matrix, positions_m: NDArray[np.float64]) -> float:
    """`music_deg` from x x^H."""
    noise = np.linalg.eigh(covariance)[1][:, :-1]
    u = np.array([np.sin(np.radians(GRID_DEG)), np.cos(np.radians(GRID_DEG)), 0 * GRID_DEG])
    a = np.exp(2j * np.pi / WAVELENGTH_M * (np.asarray(positions_m) @ u))
    return float(GRID_DEG[np.argmin(np.sum(np.abs(noise.conj().T @ a) ** 2, axis=0))])
