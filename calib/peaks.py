"""Peaks of the MUSIC spectrum and windows around them, found without gradient.

Two kinds: nulls refined off the grid in u (`windows`), and the published search on a grid of angles
(`grid_peaks`), coarse to fine: the null depth is band limited by the aperture, so its minima show on a
coarse grid and only their neighbourhoods are evaluated on the fine one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.model import Model, find_peaks
from calib.observations import Subspaces
from hil.core.errors import ConfigError

#: paper: the K highest local maxima, whatever they are. dup: maxima with D > 0.1 are not believed and the
#: strongest one is counted twice instead (merged sources make the sharpest peak).
PeakPolicy = Literal["paper", "dup"]
POLICIES: tuple[PeakPolicy, ...] = ("paper", "dup")

_CHUNK = 400
_SPARE = 3
_BELIEVED_DEPTH = 0.1


def windows(
    model: Model, sub: Subspaces, limit: tuple[float, float], width: float, n_points: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B, K, L) angles around each of the K deepest nulls, the null itself in the middle, and D (B, K).

    width : of a window, in u on a line and radians on a plane; n_points : L, odd.
    """
    theta, depth = find_peaks(model, sub, limit)
    half = n_points // 2
    return theta[..., None] + width / 2 * np.arange(-half, half + 1) / max(half, 1), depth


@dataclass(frozen=True, slots=True)
class AngleGrid:
    """Angles -limit..limit in steps, searched first in strides of `stride` points.

    theta_rad : (G,) float64. stride 1: the whole fine grid.
    """

    step_deg: float = 0.02
    limit_deg: float = 90.0
    stride: int = 10
    theta_rad: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (0 < self.step_deg < self.limit_deg and self.stride >= 1):
            raise ConfigError(f"no grid of {self.step_deg} degree steps up to {self.limit_deg}")
        count = round(2 * self.limit_deg / self.step_deg) + 1
        grid = np.deg2rad(np.linspace(-self.limit_deg, self.limit_deg, count))
        object.__setattr__(self, "theta_rad", grid)

    def steering(self, model: Model) -> NDArray[np.complex128]:
        """(G, N): theta is the broadside angle of a line, the azimuth of a plane."""
        return model.steering(np.sin(self.theta_rad) if model.is_line else self.theta_rad)


@dataclass(frozen=True, slots=True)
class GridPeaks:
    """index (B, P) int64 of local maxima on the grid, highest first, -1 where there are fewer; depth (B, P)
    their D, 2 where there are fewer; n_short : blocks with fewer than K maxima."""

    index: NDArray[np.int64]
    depth: NDArray[np.float64]
    n_short: int


def grid_peaks(model: Model, sub: Subspaces, grid: AngleGrid) -> GridPeaks:
    """The K highest strict local maxima of 1/D inside the grid (ends excluded), D = 1 - ||U_s^H a||^2."""
    a = grid.steering(model)
    k = sub.n_sources
    index, depth = [], []
    for start in range(0, len(sub), _CHUNK):
        signal = sub.signal[start : start + _CHUNK]
        if grid.stride == 1:
            found = _fine_minima(_depth_on(signal, a), k)
        else:
            found = _coarse_to_fine(signal, a, grid.stride, k)
        index.append(found[0])
        depth.append(found[1])
    every = np.concatenate(index)
    return GridPeaks(every, np.concatenate(depth), int(np.sum(every[:, -1] < 0)))


def _depth_on(signal: NDArray[np.complex128], a: NDArray[np.complex128]) -> NDArray[np.float64]:
    """D (B, G) of every block at every row of a (G, N)."""
    b, n, k = signal.shape
    response = signal.conj().transpose(0, 2, 1).reshape(b * k, n) @ a.T
    return 1 - np.sum((response.real**2 + response.imag**2).reshape(b, k, -1), axis=1)


def _best(
    index: NDArray[np.int64], depth: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `count` smallest depths with their indices; depth 2 marks nothing."""
    order = np.argsort(depth, axis=1, kind="stable")[:, :count]
    depth = np.take_along_axis(depth, order, 1)
    return np.where(depth < 1.5, np.take_along_axis(index, order, 1), -1), depth


def _fine_minima(depth: NDArray[np.float64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    inner = depth[:, 1:-1]
    ranked = np.full(depth.shape, 2.0)
    minimum = (inner < depth[:, :-2]) & (inner < depth[:, 2:])
    ranked[:, 1:-1] = np.where(minimum, inner, 2.0)
    index = np.broadcast_to(np.arange(depth.shape[1]), depth.shape)
    return _best(index, ranked, k)


def _coarse_to_fine(
    signal: NDArray[np.complex128], a: NDArray[np.complex128], stride: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    n_grid = len(a)
    nodes = np.unique(np.append(np.arange(0, n_grid, stride), n_grid - 1))
    coarse = _depth_on(signal, a[nodes])
    padded = np.pad(coarse, ((0, 0), (1, 1)), constant_values=3.0)
    lowest = (coarse <= padded[:, :-2]) & (coarse <= padded[:, 2:])
    # minima of the nodes, and as many other places of small slope
    ranked = np.where(lowest, coarse, np.where(_small_slope(coarse), coarse + 4.0, 9.0))
    first = _deepest(ranked, k + _SPARE)
    ranked = np.where(lowest, 9.0, ranked)
    pick = np.concatenate((first, _deepest(ranked, 2 * k)), axis=1)
    real = np.concatenate(
        (np.take_along_axis(lowest, first, 1), np.take_along_axis(ranked, pick[:, first.shape[1] :], 1) < 8),
        axis=1,
    )
    reach = np.arange(-stride - 1, stride + 2)
    fine = nodes[pick][:, :, None] + reach
    inside = (fine >= 0) & (fine < n_grid) & real[:, :, None]
    fine = np.clip(fine, 0, n_grid - 1)
    b, c, w = fine.shape
    vectors = a[fine.reshape(b, c * w)]
    response = vectors @ signal.conj()
    depth = 1 - np.sum(response.real**2 + response.imag**2, axis=-1).reshape(b, c, w)
    depth = np.where(inside, depth, 3.0)
    middle = depth[:, :, 1:-1]
    edge = (fine[:, :, 1:-1] == 0) | (fine[:, :, 1:-1] == n_grid - 1)
    minimum = (middle < depth[:, :, :-2]) & (middle < depth[:, :, 2:]) & ~edge & (middle < 2)
    index = fine[:, :, 1:-1].reshape(b, -1)
    ranked = np.where(minimum, middle, 2.0).reshape(b, -1)
    index, ranked = _best(index, ranked, 2 * (k + _SPARE))
    # neighbouring nodes see the same minimum
    for j in range(1, index.shape[1]):
        seen = np.any(index[:, j : j + 1] == index[:, :j], axis=1)
        ranked[:, j] = np.where(seen, 2.0, ranked[:, j])
    return _best(index, ranked, k)


def _deepest(ranked: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    count = min(count, ranked.shape[1])
    # a selection among thousands of equal values is slow
    ranked = ranked + 1e-12 * np.arange(ranked.shape[1])
    return np.argpartition(ranked, count - 1, axis=1)[:, :count]


def _small_slope(coarse: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Nodes where the slope is small against its change nearby.

    Coarse minima alone miss the shallow second dip of a nearly merged pair, whose minimum and maximum fall
    between the same two nodes.
    """
    slope = np.abs(np.diff(coarse, axis=1))
    change = np.abs(np.diff(coarse, n=2, axis=1))
    change = np.pad(change, ((0, 0), (2, 2)), mode="edge")
    nearby = np.maximum(np.maximum(change[:, :-2], change[:, 1:-1]), change[:, 2:])
    slope = np.pad(slope, ((0, 0), (1, 1)), constant_values=np.inf)
    return np.minimum(slope[:, :-1], slope[:, 1:]) <= 0.5 * nearby


def choose_peaks(peaks: GridPeaks, policy: PeakPolicy, grid: AngleGrid, seed: int = 0) -> NDArray[np.int64]:
    """(B, K) indices on the grid under a policy.

    paper : as found; where a block has fewer than K maxima, uniformly random angles (SubspaceNet's rule, the
    paper is silent). dup : maxima with D > 0.1 give way to the strongest one, unless fewer than K/2 are that
    sharp (an array that is not calibrated), then as "paper". Raises ConfigError for an unknown policy.
    """
    if policy not in POLICIES:
        raise ConfigError(f"unknown peak policy {policy!r}", hint=f"one of {', '.join(POLICIES)}")
    index = peaks.index.copy()
    missing = index < 0
    if missing.any():
        rng = np.random.default_rng(seed)
        index[missing] = rng.integers(1, len(grid.theta_rad) - 1, int(missing.sum()))
    if policy == "dup":
        sharp = peaks.depth <= _BELIEVED_DEPTH
        calibrated = sharp.sum(axis=1) >= index.shape[1] / 2
        index = np.where(calibrated[:, None] & ~sharp, index[:, :1], index)
    return index


def window_start(index: NDArray[np.int64], n_points: int, grid: AngleGrid) -> NDArray[np.int64]:
    """(B, K) first point of the window of L points around each peak, moved inside at the ends of the grid."""
    return np.clip(index - n_points // 2, 0, len(grid.theta_rad) - n_points)


def window_depth(
    model: Model, sub: Subspaces, start: NDArray[np.int64], n_points: int, grid: AngleGrid
) -> NDArray[np.float64]:
    """D (B, K, L) on windows of L points of the grid."""
    a = grid.steering(model)
    out = np.empty((*start.shape, n_points))
    for first in range(0, len(sub), _CHUNK):
        part = start[first : first + _CHUNK]
        points = (part[:, :, None] + np.arange(n_points)).reshape(len(part), -1)
        response = a[points] @ sub.signal[first : first + _CHUNK].conj()
        depth = 1 - np.sum(response.real**2 + response.imag**2, axis=-1)
        out[first : first + _CHUNK] = depth.reshape(len(part), -1, n_points)
    return np.maximum(out, 1e-300)


def soft_angles(
    theta: NDArray[np.float64], depth: NDArray[np.float64], beta: float = 5.0
) -> NDArray[np.float64]:
    """diffMUSIC's estimates sum_l theta_l softmax(beta P_l / max P) (eq. 13), (B, K) from windows (B, K, L).

    The raw P of eq. (13), 1e4 and more, saturates the softmax: the estimate is the grid's and its gradient 0.
    """
    p = 1 / depth
    weight = np.exp(beta * (p / p.max(axis=-1, keepdims=True) - 1))
    return np.sum(theta * weight, axis=-1) / weight.sum(axis=-1)
