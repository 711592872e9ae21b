"""How right is a learned array? Judged with the truth, in the gauge that unlabelled data leave open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from hil.reproduce.cold_start_arrays import Drawn

_FIELD_U = 0.98


@dataclass(frozen=True, slots=True)
class Learned:
    """A learned array: gain (N,) complex128 and position (N, 2) float64 in wavelengths."""

    gain: NDArray[np.complex128]
    position: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """correlation : smallest |a^H a_hat| over the field after the gauge fit. angle_error_deg : rms over the
    lit support of the angle error that the learned gauge leaves."""

    correlation: float
    angle_error_deg: float


def agreement(truth: Drawn, learned: Learned, limits_deg: tuple[float, float]) -> Agreement:
    """Compare over |u| <= 0.98 (line: gauge u' = al u + be) or the whole circle (gauge: one rotation)."""
    return (_line if truth.is_line else _plane)(truth, learned, np.deg2rad(limits_deg))


def _unit(a: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


def _line(truth: Drawn, learned: Learned, limits_rad: NDArray[np.float64]) -> Agreement:
    u = np.linspace(-_FIELD_U, _FIELD_U, 197)
    a = _unit(truth.manifold(np.arcsin(u)))

    def at(v: NDArray[np.float64]) -> NDArray[np.complex128]:
        return _unit(learned.gain * np.exp(2j * np.pi * v[:, None] * learned.position[:, 0]))

    grid = np.linspace(-1.6, 1.6, 3201)
    match = np.abs(a.conj() @ at(grid).T)
    best = grid[np.argmax(match, axis=1)]
    # the mode of the offsets: aliases beyond endfire match as well as the angle itself
    shift = float(np.median(best - u))
    near = np.abs(best - u - shift) < 0.3
    start = np.polyfit(u[near], best[near], 1) if near.sum() > 10 else np.array([1.0, shift])

    def loss(x: NDArray[np.float64]) -> NDArray[np.float64]:
        overlap = np.abs(np.sum(a.conj() * at(x[0] * u + x[1]), axis=1))
        return np.sqrt(np.maximum(1 - overlap**2, 0.0))

    candidates = [start, np.array([1.0, 0.0])]
    fits = [least_squares(loss, x, diff_step=1e-6, loss="soft_l1", f_scale=0.05).x for x in candidates]
    slope, offset = min([*candidates, *fits], key=lambda x: float(np.max(loss(x))))
    angle = np.linspace(limits_rad[0], limits_rad[1], 241)
    seen = np.arcsin(np.clip(slope * np.sin(angle) + offset, -1, 1))
    error = float(np.rad2deg(np.sqrt(np.mean((seen - angle) ** 2))))
    return Agreement(_correlation(loss(np.array([slope, offset]))), error)


def _plane(truth: Drawn, learned: Learned, limits_rad: NDArray[np.float64]) -> Agreement:
    del limits_rad
    azimuth = np.linspace(-np.pi, np.pi, 241)[:-1]
    a = _unit(truth.manifold(azimuth))

    def loss(turn: float) -> NDArray[np.float64]:
        path = np.outer(np.sin(azimuth + turn), learned.position[:, 0])
        path += np.outer(np.cos(azimuth + turn), learned.position[:, 1])
        overlap = np.abs(np.sum(a.conj() * _unit(learned.gain * np.exp(2j * np.pi * path)), axis=1))
        return np.sqrt(np.maximum(1 - overlap**2, 0.0))

    coarse = np.linspace(-np.pi, np.pi, 361)[:-1]
    start = coarse[int(np.argmin([np.max(loss(turn)) for turn in coarse]))]
    turn = float(least_squares(lambda x: loss(x[0]), [start], diff_step=1e-6).x[0])
    turn = min((start, turn), key=lambda x: float(np.max(loss(x))))
    wrapped = (turn + np.pi) % (2 * np.pi) - np.pi
    return Agreement(_correlation(loss(turn)), abs(float(np.rad2deg(wrapped))))


def _correlation(loss: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.maximum(1 - np.max(loss) ** 2, 0.0)))
