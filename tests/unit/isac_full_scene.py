"""Echoes of a line of elements over all subcarriers, written out term by term from the model of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.gpi.delay import Reduced, delay_basis

C_M_S = 299_792_458.0
SPACING_HZ = 120e3
WINDOW_S = (20 / C_M_S, 380 / C_M_S)


@dataclass(frozen=True, slots=True)
class Scene:
    """y (B, K, S); true theta_rad, delay_s, alpha (B, T); sector_u (B, 2)."""

    y: np.ndarray
    theta_rad: np.ndarray
    delay_s: np.ndarray
    alpha: np.ndarray
    sector_u: np.ndarray

    def reduced(self) -> Reduced:
        basis = delay_basis(self.y.shape[2], SPACING_HZ, WINDOW_S)
        taps = (self.y @ basis.conj()).astype(np.complex64)
        outside = np.sum(np.abs(self.y) ** 2, axis=2) - np.sum(np.abs(taps) ** 2, axis=2)
        return Reduced(taps, np.maximum(outside, 0), basis, SPACING_HZ, WINDOW_S)


def scene(x, theta_deg, range_m, alpha, *, sector_deg=(-40.0, -20.0), n_subcarriers=256, noise=1.0, seed=0):
    """theta_deg, range_m, alpha : (B, T)."""
    rng = np.random.default_rng(seed)
    theta, delay = np.deg2rad(theta_deg), 2 * np.asarray(range_m) / C_M_S
    y = np.zeros((len(theta), len(x), n_subcarriers), complex)
    for b in range(len(theta)):
        for t in range(theta.shape[1]):
            a = np.exp(2j * np.pi * np.asarray(x) * np.sin(theta[b, t]))
            rho = np.exp(-2j * np.pi * np.arange(n_subcarriers) * SPACING_HZ * delay[b, t])
            y[b] += np.asarray(alpha)[b, t] * np.outer(a, rho)
    y += noise * np.sqrt(0.5) * (rng.standard_normal(y.shape) + 1j * rng.standard_normal(y.shape))
    sector = np.tile(np.sin(np.deg2rad(sector_deg)), (len(theta), 1))
    return Scene(y, theta, delay, np.asarray(alpha), sector)


def line(model="cum", seed=3, n_elements=64, deviation=0.04):
    """Positions of an impaired line in wavelengths."""
    d = 0.5 + deviation * np.random.default_rng(seed).standard_normal(n_elements)
    index = np.arange(n_elements)
    middle = (n_elements - 1) / 2
    if model == "mult":
        return (index - middle) * d
    return np.concatenate(([0.0], np.cumsum(d[1:]))) - middle / 2
