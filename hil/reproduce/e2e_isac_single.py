"""One target or none: what a receiver finds with any of many beams, from one noise map per scene.

The map is linear before the square: M = |map of the noise + alpha s r^T|^2, where only alpha depends on the beam. The
noise maps alone are the scenes without a target, so that the threshold needs no further draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.reproduce.e2e_isac_data import (
    N_CARRIERS,
    N_ELEMENTS,
    RANGE_M,
    SPACING_HZ,
    SPEED_M_S,
    Scenes,
    delay_vectors,
)
from hil.reproduce.e2e_isac_method import Method

N_RANGES = 200
#: half width of the resolution cell in grid points (16)
PIXELS_RANGE = int(SPEED_M_S / (2 * N_CARRIERS * SPACING_HZ) / ((RANGE_M[1] - RANGE_M[0]) / N_RANGES))
SHARPNESS = 20.0
_CHUNK = 32


@dataclass(frozen=True, slots=True)
class Found:
    """Maxima of the maps over K S N0 and positions, for Q beams: each (Q, B). empty (B,): maxima of noise alone."""

    strength: NDArray[np.float64]
    theta_rad: NDArray[np.float64]
    range_m: NDArray[np.float64]
    empty: NDArray[np.float64]


def find_single(
    method: Method, scenes: Scenes, basis: NDArray[np.complex128], beams: Sequence[NDArray[np.complex128]]
) -> Found:
    """Position of the maximum by the softmax over one resolution cell around it; scenes of one common sector.

    beams : Q of (64,).
    """
    theta, columns = method.columns(scenes.sector_deg[0])
    ranges = np.linspace(*RANGE_M, N_RANGES)
    match = (delay_vectors(ranges) @ basis.conj()).conj().T.astype(np.complex64)
    left = columns.conj().T.astype(np.complex64) / np.float32(np.sqrt(N_ELEMENTS * N_CARRIERS))
    alpha = np.stack([scenes.amplitudes(beam)[:, 0] for beam in beams]).astype(np.complex64)
    count = len(scenes.count)
    window = (method.pixels, PIXELS_RANGE)
    shape = (len(beams), count)
    strength, angle, distance, empty = np.empty(shape), np.empty(shape), np.empty(shape), np.empty(count)
    for low in range(0, count, _CHUNK):
        part = slice(low, low + _CHUNK)
        noise = (left @ scenes.noise[part]) @ match
        empty[part] = _power(noise).reshape(len(noise), -1).max(axis=1)
        across = (scenes.steering[part, 0] @ left.T).astype(np.complex64)
        along = scenes.delay[part, 0] @ match
        for q, size in enumerate(alpha[:, part]):
            power = _power(noise + (size[:, None] * across)[:, :, None] * along[:, None, :])
            strength[q, part], angle[q, part], distance[q, part] = _located(power, theta, ranges, window)
    return Found(strength, angle, distance, empty)


def _power(z: NDArray[np.complexfloating]) -> NDArray[np.floating]:
    return z.real**2 + z.imag**2


def _located(
    power: NDArray[np.float32],
    theta: NDArray[np.float64],
    ranges: NDArray[np.float64],
    window: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Maximum, angle and range of maps (b, A, R)."""
    count = len(power)
    flat = power.reshape(count, -1)
    best = np.argmax(flat, axis=1)
    top = flat[np.arange(count), best]
    row, column = np.divmod(best, len(ranges))
    rows = row[:, None] + np.arange(-window[0], window[0] + 1)
    columns = column[:, None] + np.arange(-window[1], window[1] + 1)
    inside = ((rows >= 0) & (rows < len(theta)))[:, :, None] & ((columns >= 0) & (columns < len(ranges)))[
        :, None
    ]
    rows, columns = rows.clip(0, len(theta) - 1), columns.clip(0, len(ranges) - 1)
    values = power[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    weight = np.where(inside, np.exp(SHARPNESS * (values / top[:, None, None] - 1)), 0.0)
    weight /= weight.sum(axis=(1, 2), keepdims=True)
    angle = np.sum(weight.sum(axis=2) * theta[rows], axis=1)
    return top.astype(float), angle, np.sum(weight.sum(axis=1) * ranges[columns], axis=1)


def scored(found: Found, scenes: Scenes, q: int, false_alarm: float) -> dict[str, Any]:
    """Metrics of beam q at a rate of false alarms: misdetection (20), and errors over what was detected."""
    threshold = float(np.quantile(found.empty, 1 - false_alarm))
    return errors_at(found.strength[q] > threshold, found.theta_rad[q], found.range_m[q], scenes) | {
        "threshold": threshold
    }


def errors_at(
    detected: NDArray[np.bool_], theta_rad: NDArray[np.float64], range_m: NDArray[np.float64], scenes: Scenes
) -> dict[str, Any]:
    """The same from decisions (B,) and positions (B,)."""
    angle = np.rad2deg(theta_rad - scenes.theta_rad[:, 0])[detected]
    distance = (range_m - scenes.range_m[:, 0])[detected]
    apart = np.abs(
        range_m * np.exp(1j * theta_rad) - scenes.range_m[:, 0] * np.exp(1j * scenes.theta_rad[:, 0])
    )[detected]
    return {"missed": 1 - float(np.mean(detected))} | {
        f"{name}_{kind}": float(value(error)) if len(error) else float("nan")
        for name, error in (("angle_deg", angle), ("range_m", distance), ("position_m", apart))
        for kind, value in (("rmse", _rms), ("median", _median))
    }


def _rms(error: NDArray[np.float64]) -> Any:
    return np.sqrt(np.mean(error**2))


def _median(error: NDArray[np.float64]) -> Any:
    return np.median(np.abs(error))
