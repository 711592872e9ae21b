"""Independent angles from the peaks of many blocks: consecutive blocks of one dwell are one angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SAME_ANGLE_SIGMAS = 5.0


@dataclass(frozen=True, slots=True)
class Dwells:
    """Angles of consecutive blocks that agree, in the order of time.

    theta, sigma : (G, K) mean angle of each source and its standard deviation, NaN where not seen.
    first, last : (G,) indices of blocks. continuous : the emitters move steadily rather than hop.
    """

    theta: NDArray[np.float64]
    sigma: NDArray[np.float64]
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    continuous: bool

    def __len__(self) -> int:
        return len(self.theta)

    def samples(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Independent angles ascending with their sigma; angles visited again and again count once."""
        seen = np.isfinite(self.theta)
        theta, sigma = self.theta[seen], self.sigma[seen]
        order = np.argsort(theta)
        return _merge_repeats(theta[order], sigma[order])


def find_dwells(
    theta: NDArray[np.float64], sigma: NDArray[np.float64], valid: NDArray[np.bool_], periodic: bool
) -> Dwells:
    """Group consecutive blocks whose angles (B, K) agree within 5 sigma in every source seen."""
    k = theta.shape[1]
    totals: list[list[float]] = []
    weights: list[list[float]] = []
    bounds: list[tuple[int, int]] = []
    # plain numbers: arrays of one to five elements cost more in calls than in sums
    angles, weight_of = theta.tolist(), np.where(valid, 1 / sigma**2, 0.0).tolist()
    for i in np.flatnonzero(valid.any(axis=1)).tolist():
        here, w = angles[i], weight_of[i]
        if bounds:
            total, weight = totals[-1], weights[-1]
            known = [c for c in range(k) if weight[c] > 0 and w[c] > 0]
            near = [_nearest(here[c], total[c] / weight[c], periodic) for c in known]
            if known and all(
                abs(x - total[c] / weight[c]) < _SAME_ANGLE_SIGMAS * (1 / w[c] + 1 / weight[c]) ** 0.5
                for c, x in zip(known, near, strict=True)
            ):
                x = dict(zip(known, near, strict=True))
                totals[-1] = [total[c] + w[c] * x.get(c, here[c]) if w[c] > 0 else total[c] for c in range(k)]
                weights[-1] = [weight[c] + w[c] for c in range(k)]
                bounds[-1] = (bounds[-1][0], i)
                continue
        totals.append([w[c] * here[c] if w[c] > 0 else 0.0 for c in range(k)])
        weights.append(w)
        bounds.append((i, i))
    if not bounds:
        empty = np.empty((0, k))
        return Dwells(empty, empty, np.empty(0, int), np.empty(0, int), False)
    weight = np.array(weights)
    seen = weight > 0
    weight = np.where(seen, weight, 1.0)
    values = np.where(seen, np.array(totals) / weight, np.nan)
    sigmas = np.where(seen, 1 / np.sqrt(weight), np.nan)
    if periodic:
        values = (values + np.pi) % (2 * np.pi) - np.pi
    edges = np.array(bounds)
    return Dwells(values, sigmas, edges[:, 0], edges[:, 1], _is_continuous(values, periodic))


def _nearest(angle: float, to: float, periodic: bool) -> float:
    """The angle itself, or on a circle its copy nearest to another one."""
    return to + (angle - to + np.pi) % (2 * np.pi) - np.pi if periodic else angle


def _is_continuous(theta: NDArray[np.float64], periodic: bool) -> bool:
    """True if neighbours in time are far closer than angles drawn at random from the same set."""
    if len(theta) < 8:
        return False
    shuffled = np.random.default_rng(0).permutation(theta, axis=0)

    def typical(x: NDArray[np.float64]) -> float:
        step = np.abs(np.diff(x, axis=0))
        if periodic:
            step = np.minimum(step, 2 * np.pi - step)
        return float(np.nanmedian(step))

    return typical(theta) < 0.15 * typical(shuffled)


def _merge_repeats(
    theta: NDArray[np.float64], sigma: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Replace dense clusters (an emitter that stands still or returns) by one sample each."""
    n = len(theta)
    if n < 6:
        return theta, sigma
    spread = max(float(theta[-1] - theta[0]), 1e-12)
    first = np.flatnonzero(np.concatenate(([True], np.diff(theta) > 4 * np.hypot(sigma[1:], sigma[:-1]))))
    keep_theta: list[float] = []
    keep_sigma: list[float] = []
    for low, high in zip(first.tolist(), [*first[1:].tolist(), n], strict=True):
        part, noise = theta[low:high], sigma[low:high]
        if len(part) >= 6:
            typical = _quantile(np.sort(noise), 0.5)
            if len(part) <= 24 * n * typical / spread + 4:
                keep_theta += part.tolist()
                keep_sigma += noise.tolist()
                continue
            core = _quantile(part, 0.95) - _quantile(part, 0.05)
            expected = n * (core + 6 * typical) / spread
            if len(part) > 4 * expected + 4 and core < 12 * typical:
                keep_theta.append(_quantile(part, 0.5))
                keep_sigma.append(typical / np.sqrt(len(part)))
                continue
        keep_theta += part.tolist()
        keep_sigma += noise.tolist()
    return np.array(keep_theta), np.array(keep_sigma)


def _quantile(ascending: NDArray[np.float64], fraction: float) -> float:
    """Of values in order: numpy's own costs more than the rest of the loop."""
    place = fraction * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return float(ascending[below] + (place - below) * (ascending[above] - ascending[below]))


def edges_reached(dwells: Dwells) -> tuple[bool, bool]:
    """Did the lowest and the highest angle lie at a turn of the motion (always, for hops)?

    A track that only passed part of the support has its extreme where the recording began or ended.
    """
    if not dwells.continuous:
        return True, True
    theta, margin = dwells.theta, 4
    tolerance = 2 * float(np.nanmedian(np.abs(np.diff(theta, axis=0)))) + 4 * float(
        np.nanmedian(dwells.sigma)
    )
    inside = slice(margin, len(theta) - margin)
    if len(theta) <= 2 * margin:
        return False, False
    low = bool(np.nanmin(theta[inside]) <= np.nanmin(theta) + tolerance)
    high = bool(np.nanmax(theta[inside]) >= np.nanmax(theta) - tolerance)
    return low, high
