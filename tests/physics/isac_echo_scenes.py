"""Echoes of a line of wrong positions, written with plain sums in the paper's sign; the tests negate positions."""

from __future__ import annotations

import numpy as np

from calib.gpi.delay import Reduced, delay_basis

CARRIERS, SPACING_HZ = 64, 480e3
WINDOW_S = (0.07e-6, 1.2e-6)
BASIS = delay_basis(CARRIERS, SPACING_HZ, WINDOW_S)


def line(model: str, n: int, seed: int) -> np.ndarray:
    """Paper positions (n,) in wavelengths."""
    rng = np.random.default_rng(seed)
    k = np.arange(n) - (n - 1) / 2
    if model == "mult":
        return k * rng.normal(0.5, 1 / 25, n)
    p = k[0] / 2 + np.concatenate(([0.0], np.cumsum(rng.normal(0.5, 1 / 15, n - 1))))
    return np.sort(p)


class Scenes:
    """capture(x, count) for `learn_positions`: beams of ones on the sector by least squares; 15 dB per block in the paper's sense."""

    def __init__(
        self,
        p: np.ndarray,
        seed: int,
        *,
        targets: int = 1,
        sector_deg: tuple[float, float] | None = None,
        fill: float = 1.0,
        gains: np.ndarray | float = 1.0,
        labels: bool = False,
    ) -> None:
        self.p, self.rng, self.targets, self.sector_deg = p, np.random.default_rng(seed), targets, sector_deg
        self.fill, self.gains, self.labels = fill, gains, labels

    def __call__(self, x: np.ndarray, count: int) -> tuple[Reduced, np.ndarray]:
        rng, n = self.rng, len(self.p)
        middle, width = rng.uniform(-60, 60, count), rng.uniform(10, 20, count)
        limits = np.deg2rad(np.stack((middle - width / 2, middle + width / 2), axis=1))
        if self.sector_deg is not None:
            limits = np.tile(np.deg2rad(self.sector_deg), (count, 1))
        beam = self._beams(-x, limits)
        shape = (count, n, BASIS.shape[1])
        taps = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)
        u = np.zeros(count)
        for t in range(self.targets):
            place = (1 - self.fill) / 2 + self.fill * rng.uniform(size=count)
            u = np.sin(limits[:, 0] + place * (limits[:, 1] - limits[:, 0]))
            a = np.exp(-2j * np.pi * np.outer(u, self.p)) * self.gains
            psi = np.sqrt(10**1.5 / n / 2) * (rng.standard_normal(count) + 1j * rng.standard_normal(count))
            psi *= 1 if t == 0 else 0.4
            delay = rng.uniform(*WINDOW_S, count)
            b = np.exp(-2j * np.pi * SPACING_HZ * np.outer(delay, np.arange(CARRIERS))) @ BASIS.conj()
            alpha = psi * np.sum(a * beam, axis=1)
            # the energy of a block, not of a carrier, is what the ratio is defined on
            taps += (alpha / np.sqrt(CARRIERS))[:, None, None] * a[:, :, None] * b[:, None, :]
        outside = rng.gamma(CARRIERS - BASIS.shape[1], 1.0, (count, n))
        sector_u = np.stack((u, u), axis=1) if self.labels else np.sin(limits)
        return Reduced(taps.astype(np.complex64), outside, BASIS, SPACING_HZ, WINDOW_S), sector_u

    def _beams(self, p: np.ndarray, limits: np.ndarray) -> np.ndarray:
        grid = np.linspace(-np.pi / 2, np.pi / 2, 360)
        a = np.exp(-2j * np.pi * np.outer(p, np.sin(grid)))
        wanted = (grid[:, None] >= limits[:, 0]) & (grid[:, None] <= limits[:, 1])
        f = np.linalg.solve(a.conj() @ a.T + 0.05 * 360 * np.eye(len(p)), a.conj() @ wanted).T
        return f / np.linalg.norm(f, axis=1, keepdims=True)


def errors(x: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """(scale of x against the truth - 1, rms of what scale and shift leave)."""
    design = np.stack((np.ones(len(p)), -p), axis=1)
    best = np.linalg.lstsq(design, x, rcond=None)[0]
    return float(best[1] - 1), float(np.sqrt(np.mean((x - design @ best) ** 2)))
