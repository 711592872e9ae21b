"""Echoes on a line, written with plain sums in the project's own sign, for tests of gain-phase learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.csi import ChannelResponses
from hil.core.geometry import ArrayGeometry

FC_HZ = 299_792_458.0 / 0.1  # wavelength 0.1 m
SPACING_HZ = 60e3
WINDOW_S = (1e-7, 1.2e-6)


@dataclass(frozen=True, slots=True)
class Echoes:
    """csi, true gains (N,), u (B,), which blocks hold a source, positions in wavelengths."""

    csi: ChannelResponses
    gain: np.ndarray
    u: np.ndarray
    present: np.ndarray
    x: np.ndarray

    @property
    def geometry(self) -> ArrayGeometry:
        """Positions in metres on x."""
        return ArrayGeometry(np.column_stack((self.x * 0.1, np.zeros((len(self.x), 2)))))

    def shift_and_correlation(self, gain: np.ndarray) -> tuple[float, float]:
        """Shift of u that is left in `gain`, and the correlation once it is taken out."""
        trial = np.linspace(-0.3, 0.3, 24001)
        size = np.abs(np.exp(-2j * np.pi * np.outer(trial, self.x)) @ (gain.conj() * self.gain))
        best = int(np.argmax(size))
        return float(trial[best]), float(size[best] / np.linalg.norm(gain) / np.linalg.norm(self.gain))


def echoes(
    seed: int,
    *,
    n: int = 8,
    blocks: int = 800,
    carriers: int = 48,
    snr_db: float = 20.0,
    share: float = 0.8,
    sector_deg: tuple[float, float] | None = None,
    phases: float = np.pi,
    x: np.ndarray | None = None,
    position_error: float = 0.0,
    noise: np.ndarray | float = 1.0,
    angles_deg: np.ndarray | None = None,
    second_db: float | None = None,
) -> Echoes:
    """Blocks with at most one source (or two), angles uniform in their sector; noise: N0 per element."""
    rng = np.random.default_rng(seed)
    x = (np.arange(n) - (n - 1) / 2) / 2 if x is None else np.asarray(x, float)
    n = len(x)
    gain = rng.uniform(0.7, 1.3, n) * np.exp(1j * rng.uniform(-phases, phases, n))
    if sector_deg is None:
        middle, span = rng.uniform(-50, 50, blocks), rng.uniform(12, 24, blocks)
        sector = np.stack((middle - span / 2, middle + span / 2), axis=1)
    else:
        sector = np.tile(np.array(sector_deg, float), (blocks, 1))
    degrees = rng.uniform(sector[:, 0], sector[:, 1]) if angles_deg is None else np.asarray(angles_deg, float)
    u = np.sin(np.deg2rad(degrees))
    present = rng.random(blocks) < share
    true_x = x + position_error * rng.standard_normal(n)
    s = np.arange(carriers)

    def source(u_of: np.ndarray, power: float) -> np.ndarray:
        amplitude = (rng.standard_normal(blocks) + 1j * rng.standard_normal(blocks)) * np.sqrt(power / 2)
        tau = rng.uniform(*WINDOW_S, blocks)
        array = gain * np.exp(2j * np.pi * np.outer(u_of, true_x))
        delay = np.exp(-2j * np.pi * SPACING_HZ * np.outer(tau, s))
        return (amplitude * present)[:, None, None] * array[:, :, None] * delay[:, None, :]

    level = 10 ** (snr_db / 10) / (np.sum(np.abs(gain) ** 2) * carriers)
    csi = source(u, level)
    if second_db is not None:
        other = rng.uniform(sector[:, 0], sector[:, 1])
        csi = csi + source(np.sin(np.deg2rad(other)), level * 10 ** (second_db / 10))
    white = (rng.standard_normal(csi.shape) + 1j * rng.standard_normal(csi.shape)) * np.sqrt(0.5)
    csi = csi + white * np.sqrt(np.broadcast_to(noise, (n,)))[:, None]
    responses = ChannelResponses(csi, SPACING_HZ, np.arange(blocks) * 1e-3, sector, WINDOW_S)
    return Echoes(responses, gain, u, present, x)
