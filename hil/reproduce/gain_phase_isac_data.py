"""The published OFDM radar in its own numbers and signs (Mateos-Ramos et al. 2025, Table I), as a generator.

    Y = t gamma (kappa . a(theta)) b(tau)^T + W,   a_n = exp(-j pi n sin theta),   b_s = exp(-j 2 pi s spacing tau)

The known symbols (QPSK, |x| = 1) are divided out: white noise stays white. N0 = 1, so that gamma carries the SNR.
Noise is drawn inside the delay subspace only, which is exactly equivalent for everything that is computed; its
energy outside is drawn as what it is, a gamma variable. Shares no code with the learner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPEED_M_S = 3e8
N_ELEMENTS = 64
N_CARRIERS = 256
SPACING_HZ = 240e3
RANGE_M = (10.0, 43.75)
WINDOW_S = (2 * RANGE_M[0] / SPEED_M_S, 2 * RANGE_M[1] / SPEED_M_S)
SNR = 10**1.5


def draw_kappa(model: str, draw: int) -> NDArray[np.complex128]:
    """Impairments (64,) with ||kappa||^2 = 64.

    "paper": |kappa| in [.95, 1.05], phase in +-90 degrees. "code": the same two numbers drawn as complex ones, as
    the published program does, which spreads |kappa| over 27 dB.
    """
    rng = np.random.default_rng([draw, 64 if model == "paper" else 65])
    size, turn = rng.uniform(size=N_ELEMENTS), rng.uniform(size=N_ELEMENTS)
    if model == "code":
        size = size + 1j * rng.uniform(size=N_ELEMENTS)
        turn = turn + 1j * rng.uniform(size=N_ELEMENTS)
    elif model != "paper":
        raise ValueError(f"no impairment model {model!r}")
    kappa = (0.95 + 0.1 * size) * np.exp(1j * np.pi * (turn - 0.5))
    return kappa * np.sqrt(N_ELEMENTS / np.sum(np.abs(kappa) ** 2))


def window_basis() -> NDArray[np.complex128]:
    """Orthonormal basis (256, 24) of all b(tau) in the window, singular values above 1e-5."""
    tau = np.linspace(*WINDOW_S, 400)
    vectors = np.exp(-2j * np.pi * SPACING_HZ * np.arange(N_CARRIERS)[:, None] * tau)
    left, values, _ = np.linalg.svd(vectors, full_matrices=False)
    return left[:, values > 1e-5 * values[0]]


@dataclass(frozen=True, slots=True)
class Scenes:
    """B blocks: taps (B, N, r) complex64, outside (B, N) energy, sector_deg (B, 2), theta_rad, range_m, present."""

    taps: NDArray[np.complex64]
    outside: NDArray[np.float64]
    sector_deg: NDArray[np.float64]
    theta_rad: NDArray[np.float64]
    range_m: NDArray[np.float64]
    present: NDArray[np.bool_]


def draw_scenes(
    rng: np.random.Generator,
    count: int,
    kappa: NDArray[np.complex128],
    basis: NDArray[np.complex128],
    share: float = 0.5,
) -> Scenes:
    """Blocks as in Table I; share: probability of a target."""
    middle, span = rng.uniform(-60, 60, count), rng.uniform(10, 20, count)
    sector = np.stack((middle - span / 2, middle + span / 2), axis=1)
    theta = np.deg2rad(rng.uniform(sector[:, 0], sector[:, 1]))
    distance = rng.uniform(*RANGE_M, count)
    present = rng.random(count) < share
    parts = rng.standard_normal((2, count)) * np.sqrt(SNR / (2 * N_ELEMENTS * N_CARRIERS))
    gamma = (parts[0] + 1j * parts[1]) * present
    rank = basis.shape[1]
    noise = rng.standard_normal((count, N_ELEMENTS, 2 * rank), dtype=np.float32) * np.float32(np.sqrt(0.5))
    taps = noise.view(np.complex64)
    array = kappa * np.exp(-1j * np.pi * np.sin(theta)[:, None] * np.arange(N_ELEMENTS))
    delay = np.exp(-2j * np.pi * SPACING_HZ * (2 * distance / SPEED_M_S)[:, None] * np.arange(N_CARRIERS))
    inside = (delay @ basis.conj()) * gamma[:, None]
    taps += array.astype(np.complex64)[:, :, None] * inside.astype(np.complex64)[:, None, :]
    outside = rng.gamma(N_CARRIERS - rank, 1.0, (count, N_ELEMENTS))
    return Scenes(taps, outside, sector, theta, distance, present)


def position_error(
    theta_rad: NDArray[np.float64], delay_s: NDArray[np.float64], scenes: Scenes
) -> NDArray[np.float64]:
    """Distance in metres between estimated and true position, p = (R cos theta, R sin theta)."""
    distance = delay_s * SPEED_M_S / 2
    dx = distance * np.cos(theta_rad) - scenes.range_m * np.cos(scenes.theta_rad)
    dy = distance * np.sin(theta_rad) - scenes.range_m * np.sin(scenes.theta_rad)
    return np.hypot(dx, dy)


def correlations(learned: NDArray[np.complex128], true: NDArray[np.complex128]) -> tuple[float, float, float]:
    """|<k, k_true>|/N, the same for the best ramp, and that ramp as a shift of sin theta."""
    overlap = learned * true.conj()
    raw = abs(overlap.sum()) / N_ELEMENTS
    shift = np.linspace(-0.1, 0.1, 20001)
    size = np.abs(np.exp(1j * np.pi * np.outer(shift, np.arange(N_ELEMENTS))) @ overlap.conj()) / N_ELEMENTS
    best = int(np.argmax(size))
    return float(raw), float(size[best]), float(shift[best])
