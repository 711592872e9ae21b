"""Which port is connected to which place of the array: from positions, and from covariances alone.

Gains and phases of the ports are unknown, so nothing but geometry can tell ports apart. For any three
elements the block-to-block phase of z_jk conj(z_ij), z = R / |R|, has the length

    T_ijk = |E exp(j 2 pi (2 r_j - r_i - r_k) . d(theta))|

whatever the gains: near 1 for neighbours at equal distances, near 0 for elements in a wrong order (the
Toeplitz statistic of Paulraj and Kailath 1985 for all triples). It ranks orders; learning decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from calib.model import TWO_PI

_DRAWS = 60
_ROTATIONS = 180


@dataclass(frozen=True, slots=True)
class PortOrder:
    """place[i]: nominal place that port i is connected to. log_ratio: of its likelihood against the stated order,
    or if it is the stated one against the best exchange of two ports. deviation: rms of learned against nominal places in this order, wavelengths."""

    place: tuple[int, ...]
    log_ratio: float
    deviation: float

    @property
    def moved(self) -> tuple[int, ...]:
        """Ports that are not where they were stated to be."""
        return tuple(i for i, p in enumerate(self.place) if i != p)


def order_from_positions(
    learned: NDArray[np.float64], nominal: NDArray[np.float64], position_std: float
) -> PortOrder:
    """The order of ports that puts learned positions (N, D) nearest to nominal ones, wavelengths.

    Learned positions of a line are open in scale, shift and direction, those of a plane in rotation, shift and
    mirror image: orders that differ only by these are the same to the data; the one with the fewest moved ports
    over the shortest way is given. position_std : of the position errors, for the likelihood.
    """
    r, x = learned - learned.mean(axis=0), nominal - nominal.mean(axis=0)
    n = len(r)
    found: dict[tuple[int, ...], float] = {}
    frames = _line_frames(r, x) if r.shape[1] == 1 else _plane_frames(r)
    identity = tuple(range(n))
    for frame in frames:
        here, place = frame, np.arange(n)
        for _ in range(4):
            distance = np.sum((here[:, None] - x) ** 2, axis=-1)
            place = linear_sum_assignment(distance)[1]
            here = _aligned(frame, x[place])
        key = tuple(int(p) for p in place)
        cost = float(np.sum((here - x[place]) ** 2))
        found[key] = min(found.get(key, np.inf), cost)
        found[identity] = min(found.get(identity, np.inf), _misfit(frame, x))
    least = min(found.values())
    # orders as good as the best within what position errors do by chance
    good = [p for p, cost in found.items() if (cost - least) / (2 * position_std**2) < 3.0]
    best = min(good, key=lambda p: (sum(i != q for i, q in enumerate(p)), _way(p, x), found[p]))
    rival = found[identity]
    if best == identity:
        swaps = (_swapped(identity, i, j) for i, j in combinations(range(n), 2))
        rival = min(min(_misfit(frame, x[list(place)]) for frame in (r, -r)) for place in swaps)
    ratio = (rival - found[best]) / (2 * position_std**2)
    return PortOrder(best, float(ratio), float(np.sqrt(found[best] / n)))


def _way(place: tuple[int, ...], x: NDArray[np.float64]) -> float:
    """How far the ports were moved altogether, rounded so that symmetric orders tie."""
    return round(float(np.linalg.norm(x - x[list(place)], axis=-1).sum()), 6)


def _misfit(r: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    return float(np.sum((_aligned(r, x) - x) ** 2))


def _swapped(place: tuple[int, ...], i: int, j: int) -> tuple[int, ...]:
    out = list(place)
    out[i], out[j] = out[j], out[i]
    return tuple(out)


def _line_frames(r: NDArray[np.float64], x: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Both directions of the line at the scale of the sorted places, which no order of ports changes."""
    ranked, places = np.sort(r[:, 0]), np.sort(x[:, 0])
    scale = float(places @ ranked / (ranked @ ranked))
    ranked = -ranked[::-1]
    other = float(places @ ranked / (ranked @ ranked))
    return [r * scale, -r * other]


def _plane_frames(r: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    out = []
    for sign in (1.0, -1.0):
        for angle in np.linspace(0, TWO_PI, _ROTATIONS, endpoint=False):
            c, s = np.cos(angle), np.sin(angle)
            out.append((r * np.array([sign, 1.0])) @ np.array([[c, -s], [s, c]]))
    return out


def _aligned(r: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """r (N, D) scaled (line) or turned (plane) onto x, least squares."""
    if r.shape[1] == 1:
        scale = float(np.sum(r * x) / np.sum(r * r))
        return r * scale if scale > 0 else r * 0.5
    z, w = r[:, 0] + 1j * r[:, 1], x[:, 0] + 1j * x[:, 1]
    turn = np.sum(w * z.conj())
    z = z * turn / max(abs(turn), 1e-300)
    return np.column_stack((z.real, z.imag))


def triple_coherence(covariance: NDArray[np.complex128]) -> NDArray[np.float64]:
    """T (N, N, N): |mean_b z_jk conj(z_ij)| of covariances (B, N, N), 0 where two indices agree."""
    z = covariance / np.maximum(np.abs(covariance), 1e-300)
    n = z.shape[1]
    out = np.empty((n, n, n))
    for j in range(n):
        out[:, j, :] = np.abs(np.einsum("bi,bk->ik", z[:, :, j].conj(), z[:, j, :])) / len(z)
    return _without_repeats(out)


def expected_coherence(
    nominal: NDArray[np.float64], position_std: float, azimuth_rad: NDArray[np.float64]
) -> NDArray[np.float64]:
    """E T (N, N, N) of an array with position errors, sources at the angles (A,) equally often."""
    rng = np.random.default_rng(0)
    n, dims = nominal.shape
    sines = np.sin(azimuth_rad)
    d = sines[:, None] if dims == 1 else np.column_stack((sines, np.cos(azimuth_rad)))
    out = np.zeros((n, n, n))
    for _ in range(_DRAWS):
        r = nominal + position_std * rng.standard_normal((n, dims))
        a = np.exp(1j * TWO_PI * (r @ d.T))  # (N, A)
        out += np.abs(np.einsum("ja,ia,ka->ijk", a**2, a.conj(), a.conj(), optimize=True)) / len(azimuth_rad)
    return _without_repeats(out / _DRAWS)


def _without_repeats(t: NDArray[np.float64]) -> NDArray[np.float64]:
    i = np.arange(len(t))
    t[i, i, :], t[:, i, i], t[i, :, i] = 0, 0, 0
    return t


def likely_orders(
    observed: NDArray[np.float64],
    expected: NDArray[np.float64],
    nominal: NDArray[np.float64],
    count: int,
    *,
    seed: int = 0,
) -> list[tuple[tuple[int, ...], float]]:
    """Orders (place of every port) that explain T best, with their misfits; the stated one is among them.

    nominal : (N, D); of orders that differ by a symmetry of the array only the nearest to the stated one is given.
    Steepest descent over exchanges of two ports, from the stated order and from random ones.
    """
    n = len(observed)
    rng = np.random.default_rng(seed)
    misfit: dict[tuple[int, ...], float] = {}

    def of(place: tuple[int, ...]) -> float:
        if place not in misfit:
            p = np.array(place)
            misfit[place] = float(np.sum((observed - expected[np.ix_(p, p, p)]) ** 2))
        return misfit[place]

    def neighbours(place: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [_swapped(place, i, j) for i, j in combinations(range(n), 2)]

    stated = tuple(range(n))
    for start in [stated] + [tuple(rng.permutation(n).tolist()) for _ in range(6 if n <= 10 else 2)]:
        here = start
        while True:
            best = min(neighbours(here), key=of)
            if of(best) >= of(here):
                break
            here = best
    distance = np.linalg.norm(nominal[:, None] - nominal, axis=-1)

    def shape(place: tuple[int, ...]) -> bytes:
        return np.rint(distance[np.ix_(place, place)] * 1e4).tobytes()

    chosen: dict[bytes, tuple[int, ...]] = {}
    for place in sorted(misfit, key=lambda p: misfit[p])[: 20 * count]:
        key = shape(place)
        if key in chosen:
            chosen[key] = min(chosen[key], place, key=lambda p: sum(i != q for i, q in enumerate(p)))
        elif len(chosen) < count:
            chosen[key] = place
    if shape(stated) in chosen:
        chosen[shape(stated)] = stated
    ranked = [*chosen.values()] if stated in chosen.values() else [*chosen.values(), stated]
    return [(p, misfit[p]) for p in ranked]
