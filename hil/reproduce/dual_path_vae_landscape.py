"""Figs. 2 to 4: the loss that a descent meets over wrong directions and path angles, without noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from calib.methods.dual_path_vae.landscape import (
    over_direction,
    over_direction_and_phase,
    over_two_directions,
    same_response_rad,
    slope_over_direction,
    stationary_rad,
)
from hil.reproduce.dual_path_vae_data import Complex, Real, Setting, believed, steering

TRUE_DEG, PAIR_DEG = 11.0, (-20.0, 25.0)
PAIR_SETTINGS = ((8, 0.5), (32, 0.5), (8, 1.0), (8, 1.5))
_M = 40
_NEAR_DEG = 20.0


def run_landscape(points: int) -> dict[str, Any]:
    """Losses on grids of `points`, over their largest; slopes over theirs."""
    rng = np.random.default_rng([8, 1, 11])
    h = (rng.standard_normal((2, _M)) + 1j * rng.standard_normal((2, _M))) * np.sqrt(0.5)
    setting, u = Setting(n=32, k=1), float(np.sin(np.deg2rad(TRUE_DEG)))
    array = believed(setting)
    at = np.linspace(-90, 90, points)
    near = TRUE_DEG + np.linspace(-_NEAR_DEG, _NEAR_DEG, 2 * points + 1)
    phase = np.linspace(-np.pi, np.pi, points // 2 * 2 + 1)
    one = over_direction_and_phase(array, u, h[0], np.sin(np.deg2rad(near)), phase)
    pairs = []
    for n, spacing in PAIR_SETTINGS:
        loss = over_two_directions(
            believed(Setting(n=n, k=2, spacing=spacing)),
            np.sin(np.deg2rad(PAIR_DEG)),
            h,
            *2 * [np.sin(np.deg2rad(at))],
        )
        twins = [_degrees(same_response_rad(float(np.sin(np.deg2rad(t))), spacing)) for t in PAIR_DEG]
        pairs.append({"n": n, "spacing": spacing, "loss": _over_largest(loss), "same_deg": twins})
    fine = np.linspace(-90, 90, 8 * points)
    rad, known = np.deg2rad(fine), np.ones(1, complex)
    slope = slope_over_direction(array, u, known, rad)
    stationary = stationary_rad(array, u)
    return {
        "kind": "landscape", "true_deg": TRUE_DEG, "at_deg": at.tolist(), "phase_deg": np.rad2deg(phase).tolist(), "near_deg": near.tolist(),
        "one": _over_largest(one), "pairs": pairs, "pair_deg": list(PAIR_DEG), "fine_deg": np.round(fine, 3).tolist(),
        "loss": _over_largest(over_direction(array, u, known, np.sin(rad))),
        "slope": _rounded(slope / np.abs(slope).max()), "printed": _rounded(_printed(setting, u, rad)),
        "stationary_deg": _degrees(stationary),
        "difference": _by_difference(setting, known, slope, rad),
    }  # fmt: skip


def _by_difference(setting: Setting, h: Complex, slope: Real, at_rad: Real) -> float:
    """Largest error of the slope against differences of the paper's own loss, over the largest slope."""
    step = 1e-6
    truth = steering(setting, np.array([[TRUE_DEG]]))[0] @ h[:, None]

    def loss(angle: Real) -> Real:
        seen = steering(setting, np.rad2deg(angle)[:, None]) @ h[:, None]
        return np.sum(np.abs(truth - seen) ** 2, axis=(1, 2))

    by_difference = (loss(at_rad + step) - loss(at_rad - step)) / (2 * step)
    return float(np.abs(by_difference - slope).max() / np.abs(slope).max())


def _printed(setting: Setting, u: float, at_rad: Real) -> Real:
    """Slope with the paper's (50): sums where differences of sines belong; over its largest."""
    n = np.arange(setting.n)[:, None] * 2 * np.pi * setting.spacing
    eta = np.sum(n * np.sin(n * (u + np.sin(at_rad))), axis=0)
    zeta = np.sum(n * np.sin(2 * n * np.sin(at_rad)), axis=0)
    slope = np.cos(at_rad) * (eta - zeta)
    return slope / np.abs(slope).max()


def _over_largest(loss: Real) -> list[Any]:
    return _rounded(loss / loss.max())


def _rounded(values: Real) -> list[Any]:
    return np.round(values, 4).tolist()


def _degrees(rad: Real) -> list[float]:
    return np.round(np.rad2deg(rad), 4).tolist()
