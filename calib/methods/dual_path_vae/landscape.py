"""The loss over wrong directions and path angles: what a descent meets (Guo et al., fig. 2 to 4).

Channels are known but for what is varied, and there is no noise: the loss is || A(u) h - A(v) g ||^2, summed over snapshots.
It depends on which element has phase zero (x = 0 in the array's positions), since the channels are held.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from calib.methods.dual_path_vae.decoder import KnownArray

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


def over_direction_and_phase(array: KnownArray, u: float, h: Complex, at_u: Real, phase_rad: Real) -> Real:
    """Loss (U, P) where one user at u with channels h (M,) is taken to be at at_u (U,), its path angles off by phase_rad (P,).

    Other users, known exactly, add nothing.
    """
    power = float(np.sum(np.abs(h) ** 2))
    a, there = _responses(array, np.array([u])), _responses(array, at_u)
    cross = (a.conj().T @ there)[0]
    size = np.sum(np.abs(a) ** 2) + np.sum(np.abs(there) ** 2, axis=0)
    return power * (size[:, None] - 2 * (cross[:, None] * np.exp(1j * phase_rad)).real)


def over_two_directions(array: KnownArray, u: Real, h: Complex, first_u: Real, second_u: Real) -> Real:
    """Loss (U, V) where two users at u (2,) with channels h (2, M) are taken to be at first_u (U,) and second_u (V,)."""
    power = h @ h.conj().T
    off = [
        _responses(array, grid) - _responses(array, u[k : k + 1])
        for k, grid in enumerate((first_u, second_u))
    ]
    own = [power[k, k].real * np.sum(np.abs(part) ** 2, axis=0) for k, part in enumerate(off)]
    return own[0][:, None] + own[1] + 2 * (power[0, 1] * (off[1].conj().T @ off[0]).T).real


def over_direction(array: KnownArray, u: float, h: Complex, at_u: Real) -> Real:
    """Loss (U,) where one user at u with channels h (M,) is taken to be at at_u (U,)."""
    return over_direction_and_phase(array, u, h, at_u, np.zeros(1))[:, 0]


def slope_over_direction(array: KnownArray, u: float, h: Complex, at_rad: Real) -> Real:
    """Derivative (U,) of `over_direction` by the angle, in 1/rad, at angles at_rad (U,).

        -2 sum |h|^2 cos(v) sum_n 2 pi x_n sin(2 pi x_n (sin(u) - sin(v)))    (ideal elements)

    The published (50) has sin(u) + sin(v) and another term, 2 sin(v): conjugates of (48)-(49) were lost, and a factor 2.
    The second term is zero, since the response has the same size everywhere. Zero at +-90 degrees in either.
    """
    sin = np.sin(at_rad)
    a, there = _responses(array, np.array([u])), _responses(array, sin)
    slopes = array.slopes(torch.as_tensor(sin)).numpy()
    by_u = 2 * np.sum(((there - a).conj() * slopes).real, axis=0)
    return float(np.sum(np.abs(h) ** 2)) * np.cos(at_rad) * by_u


def stationary_rad(array: KnownArray, u: float, n: int = 20001) -> Real:
    """Angles in [-90, 90] degrees where the slope is zero, the two ends included, found on n points."""
    at = np.linspace(-np.pi / 2, np.pi / 2, n)
    inner = at[1:-1]
    slope = slope_over_direction(array, u, np.ones(1, complex), inner)
    turn = np.where(np.signbit(slope[:-1]) != np.signbit(slope[1:]))[0]
    share = slope[turn] / (slope[turn] - slope[turn + 1])
    return np.concatenate((at[:1], inner[turn] + share * (at[1] - at[0]), at[-1:]))


def same_response_rad(u: float, spacing: float) -> Real:
    """All angles at which a line with `spacing` wavelengths between elements looks as at u (Guo et al., eq. 16-17)."""
    whole = np.arange(np.ceil(spacing * (u - 1)), np.floor(spacing * (u + 1)) + 1)
    return np.sort(np.arcsin(np.clip(u - whole / spacing, -1, 1)))


def _responses(array: KnownArray, u: Real) -> Complex:
    return array.responses(torch.as_tensor(u)).numpy()
