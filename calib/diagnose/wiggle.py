"""Port order by hand: the user covers one antenna after another, the channel whose power dips is announced.

With p_k(t) in dB relative to the median channel, state 0 is "nobody touches", state k "antenna k is covered":
its level is lower by a depth d. The most likely sequence of states (Viterbi) is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hil.core.checks import array
from hil.core.errors import ShapeError

_CHANGE_COST = 12.0
_LEAST_DEPTH_DB = 1.5


@dataclass(frozen=True, slots=True)
class Touch:
    """One dip: channel, first and last block (last excluded), depth in dB, confidence that it is this channel."""

    channel: int
    first: int
    last: int
    depth_db: float
    confidence: float


def touched_ports(power: NDArray[np.float64], *, smooth: int = 1, most_depth_db: float = 30.0) -> list[Touch]:
    """The sequence of antennas that were covered, moved or attenuated, one at a time.

    power : (B, M) mean |x|^2 of every block and channel, M >= 3. smooth : blocks averaged first. Common changes
    (emitter power, several channels together) cancel. Dips shorter than a few blocks or shallower than 1.5 dB or
    five standard deviations of the channel's own scatter are not announced.

    Raises ShapeError : not (B, M) with M >= 3, B >= 10, or power that is not positive.
    """
    power = array("power", power, np.float64, (None, None))
    b, m = power.shape
    if m < 3 or b < 10:
        raise ShapeError(f"power: {b} blocks of {m} channels; at least 10 blocks of 3 channels are needed")
    if np.any(power < 0):
        raise ShapeError("power: must not be negative")
    if smooth > 1:
        kernel = np.ones(smooth) / smooth
        power = np.apply_along_axis(lambda p: np.convolve(p, kernel, mode="same"), 0, power)
    level = 10 * np.log10(np.maximum(power, 1e-300 + 1e-12 * power.max()))
    # the baseline of a channel is its typical level: touched for less than half of the time
    level = level - np.median(level, axis=0)
    level = np.clip(level - np.median(level, axis=1, keepdims=True), -most_depth_db, most_depth_db)
    level = level - np.median(level, axis=0)
    noise = np.maximum(1.4826 * np.median(np.abs(level), axis=0), 0.05)
    noise = np.maximum(noise, np.median(noise))
    # noise that lasts over blocks says the same thing again and again
    step = np.sort(np.abs(np.diff(level, axis=0)), axis=0)[: int(0.97 * (b - 1))]
    independent = np.clip(np.mean(step**2, axis=0) / (2 * noise**2), 0.05, 1.0)
    # a dip may have any depth: Student-like gain of the covered state, nothing to gain near the baseline
    score = level / noise
    depth = np.maximum(_LEAST_DEPTH_DB / noise, 2.0)
    gain = (0.5 * np.maximum(-score, 0) ** 2 - 0.5 * depth**2) * independent
    states = _viterbi(np.column_stack((np.zeros(b), np.clip(gain, -25.0, 25.0))))
    out: list[Touch] = []
    edges = np.flatnonzero(np.diff(np.concatenate(([0], states, [0]))))
    for first, last in pairwise(edges):
        channel = int(states[first]) - 1
        if channel < 0:
            continue
        dip = float(-np.median(level[first:last, channel]))
        if dip < max(_LEAST_DEPTH_DB, 5 * noise[channel] / np.sqrt(last - first)):
            continue
        rivals = np.delete(gain[first:last].clip(-25, 25).sum(axis=0), channel)
        odds = gain[first:last, channel].clip(-25, 25).sum() - max(float(rivals.max()), 0.0)
        out.append(
            Touch(channel, int(first), int(last), dip, float(1 / (1 + np.exp(-np.clip(odds, -50, 50)))))
        )
    return out


def _viterbi(gain: NDArray[np.float64]) -> NDArray[np.intp]:
    """Best sequence of states (B,) for log gains (B, S) with a constant cost of every change."""
    b, s = gain.shape
    back = np.empty((b, s), dtype=np.intp)
    best = gain[0].copy()
    for t in range(1, b):
        top = int(best.argmax())
        jump = best[top] - _CHANGE_COST
        stay = best >= jump
        back[t] = np.where(stay, np.arange(s), top)
        best = np.where(stay, best, jump) + gain[t]
    path = np.empty(b, dtype=np.intp)
    path[-1] = int(best.argmax())
    for t in range(b - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path
