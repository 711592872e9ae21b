"""The simulated gNodeB of Liu et al. 2025 in the paper's own sign: four elements, 16 tones, phase errors of the angle.

    h_k = a_k(theta) exp(j psi_k(theta)) s_k + n_k,   a_{m,k} = exp(-j 2 pi (f_k/f_0) (m-1) d sin(theta) / lambda)

The paper's own phase errors (its ref. 41) are not public; `phase_error_rad` is a stand-in with their published traits:
under 20 degrees inside +-30, growing outside, a few degrees apart between tones. Nothing here uses a learner's manifold;
`manifold` and `ideal` are what methods may believe: element m at x = -(m-1) d, data as they are (never conjugated).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CARRIER_HZ = 4.85e9
TONE_STEP_HZ = 6.12e6
N_TONES, N_ELEMENTS = 16, 4
SPACING = 0.5  # wavelengths
FIELD_DEG = (-60.0, 60.0)
#: Where spectra are looked at.
SHOWN_DEG = (-45.0, -15.0, 15.0, 45.0)
DELAY_S = (10e-9, 100e-9)
OFFSETS_HZ = (np.arange(N_TONES) - (N_TONES - 1) / 2) * TONE_STEP_HZ
#: Root mean square over the field of the bound at 10, 15, 20, 25, 30 dB: another pairing of signs gives other numbers.
STATED_BOUND_DEG = {10: 0.65, 15: 0.365, 20: 0.205, 25: 0.116, 30: 0.065}

_ELEMENT = np.arange(N_ELEMENTS)
_WAVE = np.array(
    [[0, 6, 7, 8], [40, 38, 47, 55], [0, 0.4, 2.1, 4.0]]
)  # degrees, period in degrees, phase in radians
_FINE = np.array([[0, 1.5, 1.5, 2], [9, 11, 13, 10], [0, 1, 3, 5]])
_SLOPE_RIGHT, _SLOPE_LEFT = np.array([0, 0.40, 0.75, 1.25]), np.array([0, 0.45, 0.85, 1.15])
_TONES = np.array([0, 2, 3, 4])  # degrees


def phase_error_rad(angle_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """psi (A, K, M) of a source at each angle (A,); element 1 is the reference."""
    theta = np.asarray(angle_deg, float)[:, None, None]
    tone = (OFFSETS_HZ / OFFSETS_HZ[-1] / 2)[:, None]
    psi = _TONES * np.sin(2 * np.pi * (1.3 * tone + theta / 70) + _ELEMENT)
    for size, period, phase in (_WAVE, _FINE):
        psi = psi + size * np.sin(2 * np.pi * theta / period + phase)
    psi = psi + _SLOPE_RIGHT * _knee(theta - 30) - _SLOPE_LEFT * _knee(-theta - 30)
    psi[..., 0] = 0.0
    return np.deg2rad(psi)


def _knee(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 3 * np.logaddexp(0.0, x / 3)


def response(angle_deg: NDArray[np.float64], rho: float = 1.0) -> NDArray[np.complex128]:
    """Impaired array (A, K, M). rho : share of the phase errors (the paper's eq. 34 would take the signal away with them)."""
    scale = SPACING * (1 + OFFSETS_HZ / CARRIER_HZ)[:, None] * _ELEMENT
    ideal_phase = -2 * np.pi * np.sin(np.deg2rad(angle_deg))[:, None, None] * scale
    return np.exp(1j * (ideal_phase + rho * phase_error_rad(angle_deg)))


def draw(
    angle_deg: NDArray[np.float64],
    rng: np.random.Generator,
    snr_db: float | NDArray[np.float64],
    rho: float = 1.0,
) -> NDArray[np.complex128]:
    """One symbol (B, K, M) of one path at each angle (B,): random phase and delay, unit power, SNR per element and tone."""
    return with_noise(response(angle_deg, rho) * drawn_signal(len(angle_deg), rng)[..., None], rng, snr_db)


def drawn_signal(count: int, rng: np.random.Generator) -> NDArray[np.complex128]:
    """s (B, K) of modulus one: what no method may depend on."""
    delay_s = rng.uniform(*DELAY_S, count)[:, None]
    phase = rng.uniform(0, 2 * np.pi, count)[:, None]
    return np.exp(-2j * np.pi * OFFSETS_HZ * delay_s + 1j * phase)


def with_noise(
    tones: NDArray[np.complex128], rng: np.random.Generator, snr_db: float | NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Tones of unit power (B, K, M) and circular noise. snr_db : one, or (B,)."""
    sigma = 10 ** (-np.broadcast_to(snr_db, len(tones)) / 20)[:, None, None] * np.sqrt(0.5)
    return tones + sigma * (rng.standard_normal(tones.shape) + 1j * rng.standard_normal(tones.shape))


def bound_deg(angle_deg: NDArray[np.float64], snr_db: float, rho: float = 1.0) -> NDArray[np.float64]:
    """Cramer-Rao bound (A,) of one angle with the impaired array known and an unknown amplitude in every tone."""
    step = 1e-3
    a = response(angle_deg, rho)
    slope = (response(angle_deg + step, rho) - response(angle_deg - step, rho)) / np.deg2rad(2 * step)
    along = np.abs(np.sum(a.conj() * slope, -1)) ** 2 / np.sum(np.abs(a) ** 2, -1)
    information = np.sum(np.sum(np.abs(slope) ** 2, -1) - along, -1)
    return np.rad2deg(np.sqrt(10 ** (-snr_db / 10) / (2 * information)))


def bound_over_field_deg(snr_db: float, rho: float = 1.0) -> float:
    """Root mean square of the bound over the 1201 angles of the paper's grid."""
    return float(np.sqrt(np.mean(bound_deg(np.linspace(*FIELD_DEG, 1201), snr_db, rho) ** 2)))


def manifold(grid_deg: NDArray[np.float64]) -> NDArray[np.complex128]:
    """What a method believes, in the project's sign: exp(+j 2 pi x u), x = -(m-1) d, (M, ...) of angles (...)."""
    u = np.sin(np.deg2rad(np.asarray(grid_deg, float)))
    x = -SPACING * _ELEMENT
    return np.exp(2j * np.pi * x.reshape(-1, *(1,) * u.ndim) * u)


def ideal(angle_deg: NDArray[np.float64]) -> NDArray[np.complex128]:
    """(A, K, M) of the same array without errors, tone by tone."""
    x = -SPACING * _ELEMENT * (1 + OFFSETS_HZ / CARRIER_HZ)[:, None]
    return np.exp(2j * np.pi * x * np.sin(np.deg2rad(angle_deg))[:, None, None])
