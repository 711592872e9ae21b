"""The simulated array and blocks of Chatelier et al. 2025, section IV, in the paper's own convention.

    X = A(theta) S + W,   a(theta)_n = g_n exp(-j 2 pi p_n u / lambda) / ||g||,   u = sin(theta)

The paper prints u = cos(theta), which cannot tell theta from -theta on a line: its angle is read as counted
from the axis, ours from broadside. Nothing here uses the learner's manifold. `Bench` maps to the project's
sign at its border: x = -p, elements in the order of ascending x, data as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_ELEMENTS = 16
LIMIT_DEG = 80.0
GAIN_VARIANCE = 0.36
POSITION_RANGE = 0.25  # eta = 0.5 lambda/2, in wavelengths


@dataclass(frozen=True, slots=True)
class PaperArray:
    """Physical array: g (N,) complex128, p (N,) float64 and nominal p (N,) in wavelengths, paper's sign."""

    g: NDArray[np.complex128]
    p: NDArray[np.float64]
    nominal: NDArray[np.float64]

    def steering(self, theta_rad: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Unit-norm steering vectors (..., N) (eq. 2), whatever g is: the SNR is the one after array gain."""
        phase = -2 * np.pi * np.sin(theta_rad)[..., None] * self.p
        return self.g / np.linalg.norm(self.g) * np.exp(1j * phase)


def draw_array(seed: int, n_elements: int = N_ELEMENTS) -> PaperArray:
    """One realisation of eq. (18), (19): p uniform within 0.25 lambda of nominal, g = 1 + CN(0, 0.36)."""
    rng = np.random.default_rng((81, seed))
    nominal = (np.arange(n_elements) - (n_elements - 1) / 2) / 2
    p = nominal + rng.uniform(-POSITION_RANGE, POSITION_RANGE, n_elements)
    noise = rng.standard_normal((2, n_elements))
    g = 1 + np.sqrt(GAIN_VARIANCE / 2) * (noise[0] + 1j * noise[1])
    return PaperArray(g, p, nominal)


@dataclass(frozen=True, slots=True)
class Blocks:
    """theta (B, M) radians, covariance (B, N, N) complex128 of T snapshots each."""

    theta: NDArray[np.float64]
    covariance: NDArray[np.complex128]
    n_snapshots: int


def draw_blocks(
    array: PaperArray,
    n_blocks: int,
    n_sources: int,
    seed: tuple[int, ...],
    *,
    snr_db: float = 30.0,
    n_snapshots: int = 100,
    theta_rad: NDArray[np.float64] | None = None,
) -> Blocks:
    """Blocks of eq. (1): angles uniform in +-80 degrees, no minimum separation, circular Gaussian signals.

    theta_rad : (B, M) to prescribe the angles. SNR = signal variance over noise variance per element.
    """
    rng = np.random.default_rng(seed)
    limit = np.deg2rad(LIMIT_DEG)
    theta = rng.uniform(-limit, limit, (n_blocks, n_sources)) if theta_rad is None else theta_rad
    n = len(array.g)
    sigma = 10 ** (-snr_db / 20)
    covariance = np.empty((n_blocks, n, n), complex)
    for start in range(0, n_blocks, 500):
        part = theta[start : start + 500]
        a = array.steering(part).transpose(0, 2, 1)
        x = a @ _normal(rng, (len(part), n_sources, n_snapshots))
        x += sigma * _normal(rng, (len(part), n, n_snapshots))
        covariance[start : start + 500] = x @ x.conj().transpose(0, 2, 1) / n_snapshots
    return Blocks(theta, covariance, n_snapshots)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """CN(0, 1)."""
    return rng.standard_normal((*shape, 2)).view(np.complex128)[..., 0] * np.sqrt(0.5)
