"""Covariances of blocks from a wrong array, made from snapshots in numpy; shares no code with the learner.

Signs are those of hil.core.steering, written out again: a = g exp(+j 2 pi r . d), r in wavelengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.learn import GaugeRequest, LearnResult, Observations, learn
from calib.metrics import ManifoldError, manifold_error, steering_of
from hil.core.geometry import ArrayGeometry

FC_HZ = 2.45e9
WAVELENGTH_M = 299_792_458.0 / FC_HZ
BLOCK_PERIOD_S = 1e-3


@dataclass(slots=True)
class ArrayScene:
    """Truth and data: gain (N,), positions and nominal (N, 3) metres, angle_deg (B, K), covariance (B, N, N)."""

    gain: NDArray[np.complex128]
    positions_m: NDArray[np.float64]
    geometry: ArrayGeometry
    angle_deg: NDArray[np.float64]
    covariance: NDArray[np.complex128]
    n_snapshots: int
    is_line: bool

    @property
    def observations(self) -> Observations:
        """Blocks 1 ms apart."""
        time_s = BLOCK_PERIOD_S * np.arange(len(self.covariance))
        return Observations(self.covariance, self.n_snapshots, time_s)

    def learn(self, gauge: GaugeRequest, n_sources: int | None = -1, **options) -> LearnResult:
        """Learn with the true number of sources unless told otherwise."""
        k = self.angle_deg.shape[1] if n_sources == -1 else n_sources
        return learn(self.observations, self.geometry, FC_HZ, k, gauge, **options)

    def compare(self, result: LearnResult) -> ManifoldError:
        """Gauge-aligned error of the learned manifold."""
        learned = self.geometry.positions_m + result.impairments.position_error_m
        return manifold_error(
            steering_of(self.gain, self.positions_m, FC_HZ),
            steering_of(result.impairments.gain, learned, FC_HZ),
            is_line=self.is_line,
        )

    def angle_error_deg(self, result: LearnResult) -> float:
        """Rms error of the absolute angles found in all blocks that were used."""
        error = np.sort(result.peaks_deg, axis=1) - np.sort(self.angle_deg, axis=1)
        return float(np.sqrt(np.nanmedian(error**2)))


def uniform_line(n: int, spacing: float = 0.5) -> NDArray[np.float64]:
    """(N, 2) wavelengths."""
    return np.column_stack(((np.arange(n) - (n - 1) / 2) * spacing, np.zeros(n)))


def circle(n: int = 8, radius: float = 0.6) -> NDArray[np.float64]:
    """(N, 2) wavelengths."""
    phi = 2 * np.pi * np.arange(n) / n
    return radius * np.column_stack((np.cos(phi), np.sin(phi)))


def make_scene(
    seed: int,
    nominal: NDArray[np.float64],
    n_sources: int = 1,
    n_blocks: int = 480,
    *,
    limits_deg: tuple[float, float] = (-60.0, 60.0),
    angle_deg: NDArray[np.float64] | None = None,
    blocks_per_dwell: int = 1,
    position_std: float = 0.1,
    snr_db: float = 20.0,
    n_snapshots: int = 256,
    power_db: tuple[float, ...] | None = None,
    coherent: bool = False,
    noise_per_element: NDArray[np.float64] | None = None,
) -> ArrayScene:
    """Random array (complex gains, uniform phases, position errors) and random angles unless given."""
    rng = np.random.default_rng(seed)
    n, is_line = len(nominal), bool(np.ptp(nominal[:, 1]) == 0)
    error = position_std * rng.standard_normal((n, 2))
    if is_line:
        error[:, 1] = 0.0
    r = nominal + error
    gain = 1 + 0.3 / np.sqrt(2) * (rng.standard_normal(n) + 1j * rng.standard_normal(n))
    gain = gain * np.exp(2j * np.pi * rng.random(n))
    if angle_deg is None:
        dwells = -(-n_blocks // blocks_per_dwell)
        angle_deg = rng.uniform(*limits_deg, (dwells, n_sources)).repeat(blocks_per_dwell, axis=0)[:n_blocks]
    angle = np.deg2rad(angle_deg)
    path = np.sin(angle)[..., None] * r[:, 0] + np.cos(angle)[..., None] * r[:, 1] * (not is_line)
    a = gain * np.exp(2j * np.pi * path)  # (B, K, N)
    b, k, t = len(angle), angle.shape[1], n_snapshots
    power = 10 ** (np.array(power_db if power_db is not None else (0.0,) * k) / 10)
    shape = (b, 1 if coherent else k, t)
    s = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * np.sqrt(power / 2)[:, None]
    if coherent:
        s = s * np.exp(1j * np.arange(k))[:, None]
    sigma = np.sqrt(10 ** (-snr_db / 10) * np.mean(np.abs(gain) ** 2) / 2)
    w = sigma * (rng.standard_normal((b, n, t)) + 1j * rng.standard_normal((b, n, t)))
    if noise_per_element is not None:
        w = w * noise_per_element[:, None]
    x = a.transpose(0, 2, 1) @ s + w
    covariance = x @ x.conj().transpose(0, 2, 1) / t

    def metres(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack((p, np.zeros(n))) * WAVELENGTH_M

    return ArrayScene(gain, metres(r), ArrayGeometry(metres(nominal)), angle_deg, covariance, t, is_line)
