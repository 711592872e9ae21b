"""Rank and coherence meter for multipath: how many waves arrive, how many of them are copies of each other.

The rank q of a block (MDL) counts independent signals; coherent copies share one dimension of the signal
subspace U, which then is not spanned by q steering vectors but by the least P >= q with

    sum_i ||(I - A A^+) u_i||^2 / v_i   explained by noise   (signal subspace fitting, Viberg and Ottersten 1991)

This needs the array: it must be calibrated. Any geometry will do (spatial smoothing asks for equal spacing).
The sources' coherence is that of S = A^+ (R - s2 I) A^+H.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from calib.diagnose.finding import Finding
from calib.model import Model
from calib.observations import Observations, Subspaces, prepare, subspaces

_MOST_EXTRA = 2
_MOST_BLOCKS = 30
#: Errors of the array itself that are not held against it, as a share of the noise.
_ALLOWANCE = 1.6
_COHERENT = 0.95


@dataclass(frozen=True, slots=True)
class CoherenceReport:
    """rank : independent signals, most frequent over blocks. paths : waves. coherence : median over blocks of the
    largest |S_ij| / sqrt(S_ii S_jj), NaN for one wave or without an array. angles_u : of the last block looked at, in the
    model's angle. explained : share of the blocks that some number of waves explains. finding : in words."""

    rank: int
    paths: int | None
    coherence: float
    explained: float
    finding: Finding


def coherence_meter(
    obs: Observations, n_sources: int | None = None, model: Model | None = None
) -> CoherenceReport:
    """Rank and coherence of what arrives.

    obs : covariances of blocks. n_sources : how many waves the user expects, None: no expectation.
    model : the calibrated array in wavelengths, elements in the order of obs; None: rank only.
    """
    prepared = prepare(obs, None)
    ranks = prepared.rank[prepared.rank > 0]
    if not len(ranks):
        finding = Finding("coherence", True, "no source above the noise", "is the emitter on, and in band?")
        return CoherenceReport(0, None, float("nan"), 0.0, finding)
    rank = int(np.bincount(ranks).argmax())
    if model is None:
        return CoherenceReport(rank, None, float("nan"), 0.0, _rank_words(rank, n_sources))
    n = obs.n_elements
    blocks = np.flatnonzero(prepared.rank == rank)
    blocks = blocks[np.unique(np.linspace(0, len(blocks) - 1, min(len(blocks), _MOST_BLOCKS)).astype(int))]
    cov = obs.covariance[blocks]
    cov = cov * prepared.whitening[:, None] * prepared.whitening
    white = Model(model.g * prepared.whitening, model.r).normalised()
    sub = subspaces(cov, prepared.snapshots, rank)
    grid = white.grid((-1.0, 1.0))
    steering = white.steering(grid)
    paths, values = [], []
    for b in range(len(sub)):
        for count in range(rank, min(rank + _MOST_EXTRA, n - 1) + 1):
            freedom = 2 * rank * (n - count) - count
            enough = _ALLOWANCE * float(2 * gammaincinv(max(freedom, 1) / 2, 0.9999))
            theta, misfit = _fit_waves(white, sub, b, grid, steering, count, enough)
            if misfit < enough:
                paths.append(count)
                values.append(_largest_coherence(white, cov[b], sub.noise[b], theta))
                break
    explained = len(paths) / len(sub)
    if explained < 0.5:
        finding = Finding(
            "coherence", True, f"{rank} independent signal{'s' * (rank != 1)}, but up to {rank + _MOST_EXTRA} waves do "
            "not explain them", "is the array calibrated for this epoch? more paths than that are not resolved",
        )  # fmt: skip
        return CoherenceReport(rank, None, float("nan"), explained, finding)
    most = int(np.bincount(paths).argmax())
    coherence = float(np.median([v for p, v in zip(paths, values, strict=True) if p == most]))
    finding = _words(rank, most, coherence, n_sources, explained)
    return CoherenceReport(rank, most, coherence, explained, finding)


def _rank_words(rank: int, n_sources: int | None) -> Finding:
    words = f"{rank} independent signal{'s' * (rank != 1)}"
    if n_sources is None or rank == n_sources:
        return Finding("coherence", False, words, "")
    if rank < n_sources:
        return Finding(
            "coherence", True, f"{words} where {n_sources} are expected: some are copies of each other, or absent",
            f"learn with --sources {rank}; with a calibration this command tells copies from absence",
        )  # fmt: skip
    return Finding(
        "coherence", True, f"{words} where {n_sources} are expected", f"learn with --sources {rank}, or auto"
    )


def _words(rank: int, paths: int, coherence: float, n_sources: int | None, explained: float) -> Finding:
    if paths == rank:
        close = f", coherence up to {coherence:.2f}" if rank > 1 else ""
        base = _rank_words(rank, n_sources)
        return Finding("coherence", base.fault, f"{base.words}, one wave each{close}", base.advice, explained)
    return Finding(
        "coherence", True,
        f"{paths} waves, but only {rank} independent signal{'s' * (rank != 1)}: copies of each other "
        f"(multipath, coherence {coherence:.2f})",
        "MUSIC and learning see them as one: move the emitter or the array away from reflecting surfaces, widen the "
        "bandwidth, or use spatial smoothing",
        explained,
    )  # fmt: skip


def _fit_waves(
    model: Model, sub: Subspaces, b: int, grid: NDArray[np.float64], steering: NDArray[np.complex128], count: int,
    enough: float,
) -> tuple[NDArray[np.float64], float]:  # fmt: skip
    """Angles (P,) of `count` waves that span the block's signal subspace, and the weighted misfit.

    The first start whose misfit is under `enough` will do.
    """
    # weights 1/v: strong eigenvectors are known better; 2 v is the variance of a complex component
    u = sub.signal[b] / np.sqrt(sub.variance[b])
    best, least = np.zeros(count), np.inf
    for start in _starts(u, grid, steering, count):
        theta, misfit = _newton(model, u, start, grid[1] - grid[0])
        if misfit < least:
            best, least = theta, misfit
        if least < enough:
            break
    return best, least


def _starts(
    u: NDArray[np.complex128], grid: NDArray[np.float64], steering: NDArray[np.complex128], count: int
) -> Iterator[NDArray[np.float64]]:
    """Alternating projection from the best single wave, then from a few others (Ziskind and Wax 1988)."""
    power = np.sum(np.abs(steering.conj() @ u) ** 2, axis=1)
    firsts = [int(power.argmax())]
    if count > 1:
        firsts += np.linspace(0, len(grid) - 1, 5).astype(int).tolist()
    seen: set[tuple[int, ...]] = set()
    for first in firsts:
        chosen = [first]
        while len(chosen) < count:
            chosen.append(_next_wave(u, steering, chosen))
        for _ in range(3 if count > 1 else 0):
            for i in range(count):
                chosen[i] = _next_wave(u, steering, chosen[:i] + chosen[i + 1 :])
        key = tuple(sorted(chosen))
        if key not in seen:
            seen.add(key)
            yield grid[chosen]


def _next_wave(u: NDArray[np.complex128], steering: NDArray[np.complex128], chosen: list[int]) -> int:
    """Grid point whose component off the chosen waves takes most of u."""
    q = np.linalg.qr(steering[chosen].T)[0]
    rest = steering - (steering @ q.conj()) @ q.T
    norm = np.sum(np.abs(rest) ** 2, axis=1)
    gain = np.sum(np.abs(rest.conj() @ u) ** 2, axis=1) / np.maximum(norm, 1e-3)
    gain[chosen] = -1.0
    return int(gain.argmax())


def _newton(
    model: Model, u: NDArray[np.complex128], theta: NDArray[np.float64], step: float
) -> tuple[NDArray[np.float64], float]:
    """Gauss-Newton on the angles, variable projection (Kaufman's Jacobian)."""
    least, best = np.inf, theta
    for _ in range(12):
        a = model.steering(theta).T  # (N, P)
        slope = 2j * np.pi * (model.slope(theta) @ model.r.T).T * a
        pseudo = np.linalg.pinv(a, rcond=1e-6)
        misfit = u - a @ (pseudo @ u)
        cost = float(np.sum(np.abs(misfit) ** 2))
        if cost < least:
            least, best = cost, theta
        slope = slope - a @ (pseudo @ slope)
        jacobian = -slope[:, :, None] * (pseudo @ u)  # (N, P, q)
        rows = jacobian.transpose(0, 2, 1).reshape(-1, len(theta))
        rows = np.concatenate((rows.real, rows.imag))
        flat = misfit.reshape(-1)
        change = np.linalg.lstsq(rows, -np.concatenate((flat.real, flat.imag)), rcond=1e-8)[0]
        theta = theta + np.clip(change, -step, step)
    return best, least


def _largest_coherence(
    model: Model, covariance: NDArray[np.complex128], noise: float, theta: NDArray[np.float64]
) -> float:
    if len(theta) < 2:
        return float("nan")
    pseudo = np.linalg.pinv(model.steering(theta).T, rcond=1e-6)
    s = pseudo @ (covariance - noise * np.eye(len(covariance))) @ pseudo.conj().T
    power = np.sqrt(np.maximum(np.diag(s).real, 1e-300))
    ratio = np.abs(s) / power / power[:, None]
    np.fill_diagonal(ratio, 0.0)
    return float(min(ratio.max(), 1.0))
