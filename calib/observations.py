"""What a learner is given, and its eigenstructure: signal subspaces, noise level, usable blocks.

    R_b = X X^H / T = U_s diag(l) U_s^H + noise part

Everything is computed once per learning run; nothing downstream looks at the covariances again
(except growth from a sub-array). No gradient ever passes through an eigendecomposition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.checks import array
from hil.core.errors import ShapeError

_MAX_WHITENING_ROUNDS = 4
_PART_BLOCKS = 128
_NOISE_BLOCKS = 400  # enough for the elements' noise powers to a few parts in a thousand


@dataclass(frozen=True, slots=True)
class Observations:
    """Sample covariances of short blocks, in the order of time.

    Attributes
    ----------
    covariance : (B, M, M) complex128, X X^H / T of each block, any common scale.
    n_snapshots : T, snapshots per block.
    time_s : (B,) float64, time of each block since the start in seconds, or None.

    Raises
    ------
    ShapeError : wrong shapes, values that are not finite, T < M + 1, or times not in order.
    """

    covariance: NDArray[np.complex128]
    n_snapshots: int
    time_s: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        cov = array("covariance", self.covariance, np.complex128, (None, None, None))
        if cov.shape[1] != cov.shape[2]:
            raise ShapeError(f"covariance: {cov.shape[1]} x {cov.shape[2]} is not square")
        if not len(cov):
            raise ShapeError(
                "covariance: no blocks", hint="capture longer, or name an interval with samples in it"
            )
        if cov.shape[1] < 3:
            raise ShapeError("covariance: learning an array needs at least 3 elements")
        if self.n_snapshots <= cov.shape[1]:
            raise ShapeError(f"n_snapshots: {self.n_snapshots} is too few for {cov.shape[1]} elements")
        object.__setattr__(self, "covariance", cov)
        if self.time_s is not None:
            time_s = array("time_s", self.time_s, np.float64, (len(cov),))
            if np.any(np.diff(time_s) < 0):
                raise ShapeError("time_s: blocks must be in the order of time")
            object.__setattr__(self, "time_s", time_s)

    @property
    def n_blocks(self) -> int:
        """B."""
        return len(self.covariance)

    @property
    def n_elements(self) -> int:
        """M."""
        return self.covariance.shape[1]


@dataclass(frozen=True, slots=True)
class Subspaces:
    """Signal subspaces of B blocks with what their accuracy needs.

    signal : (B, M, K) complex128, orthonormal. variance : (B, K) float64, s2 l_i / (l_i - s2)^2 / (2 T):
    the variance of each real component of the subspace's error per unit of |u_i^H a|^2 (cold start 3).
    power : (B, K) signal eigenvalues minus noise. noise : (B,) noise power.
    """

    signal: NDArray[np.complex128]
    variance: NDArray[np.float64]
    power: NDArray[np.float64]
    noise: NDArray[np.float64]

    @property
    def n_sources(self) -> int:
        """K."""
        return self.signal.shape[2]

    def __len__(self) -> int:
        return len(self.signal)

    def parts(self) -> Iterator[tuple[slice, Subspaces]]:
        """The same blocks in pieces that stay in a core's cache: three times as fast where memory is slow."""
        for start in range(0, max(len(self), 1), _PART_BLOCKS):
            piece = slice(start, start + _PART_BLOCKS)
            yield piece, self.select(piece)

    def select(self, index: NDArray[np.intp] | slice) -> Subspaces:
        """The same for some of the blocks."""
        return Subspaces(self.signal[index], self.variance[index], self.power[index], self.noise[index])


def subspaces(covariance: NDArray[np.complex128], n_snapshots: float, n_sources: int) -> Subspaces:
    """Eigendecompose (B, M, M) covariances into signal subspaces of `n_sources` dimensions."""
    values, vectors = np.linalg.eigh(covariance)
    return _split(values, vectors, n_snapshots, n_sources)


def _split(
    values: NDArray[np.float64], vectors: NDArray[np.complex128], n_snapshots: float, n_sources: int
) -> Subspaces:
    m = values.shape[1]
    noise = values[:, : m - n_sources].mean(axis=1) * n_snapshots / max(n_snapshots - n_sources, 1.0)
    noise = np.maximum(noise, 1e-300 + 1e-12 * values[:, -1])
    s2 = noise[:, None]
    lam = np.maximum(values[:, m - n_sources :], 1.02 * s2)
    lam = np.maximum(lam - s2 * (m - n_sources) / n_snapshots * lam / (lam - s2), 1.02 * s2)
    variance = s2 * lam / (lam - s2) ** 2 / (2 * n_snapshots)
    signal = np.ascontiguousarray(vectors[:, :, m - n_sources :])
    return Subspaces(signal, variance, lam - s2, noise)


def mdl_sources(eigenvalues: NDArray[np.float64], n_snapshots: float) -> NDArray[np.intp]:
    """Number of sources per block by minimum description length (Wax and Kailath 1985, eq. 17).

    eigenvalues : (B, M) ascending. Returns (B,) in 0..M-1.
    """
    m = eigenvalues.shape[1]
    values = np.maximum(eigenvalues, 1e-14 * eigenvalues[:, -1:] + 1e-300)
    count = np.arange(1, m + 1)
    ratio = np.log(np.cumsum(values, axis=1) / count) - np.cumsum(np.log(values), axis=1) / count
    k = m - count
    score = count * n_snapshots * ratio + 0.5 * k * (2 * m - k) * np.log(n_snapshots)
    return np.argmin(score[:, ::-1], axis=1)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Observations made ready: whitened, gated by rank.

    covariance : (B', M, M) whitened covariances of the usable blocks. index : (B',) their place in the
    observations. sub : their subspaces. whitening : (M,) factor applied to each element (all 1 for white
    noise). snapshots : effective T. n_sources : K. rank : (B,) sources seen in each block of the
    observations (MDL). usable_fraction : B'/B.
    """

    covariance: NDArray[np.complex128]
    index: NDArray[np.intp]
    sub: Subspaces
    whitening: NDArray[np.float64]
    snapshots: float
    n_sources: int
    rank: NDArray[np.intp]

    @property
    def usable_fraction(self) -> float:
        """Share of the blocks that show exactly K sources."""
        return len(self.index) / max(len(self.rank), 1)


def prepare(obs: Observations, n_sources: int | None) -> Prepared:
    """Whiten the noise if elements differ, find K if it is None, keep the blocks that show K sources.

    A block that straddles a hop shows K + 1 sources, a block with the emitter off fewer: neither is used.
    """
    cov = obs.covariance / np.trace(obs.covariance, axis1=1, axis2=2).real.mean()
    if n_sources is not None:
        whitened = _whiten(cov, obs.n_snapshots, n_sources)
        k = n_sources
    else:
        k, whitened = _count(cov, obs.n_snapshots)
    index = np.flatnonzero(whitened.rank == k)
    sub = _split(whitened.values[index], whitened.vectors[index], whitened.snapshots, k)
    return Prepared(
        whitened.covariance[index], index, sub, whitened.factor, whitened.snapshots, k, whitened.rank
    )


@dataclass(frozen=True, slots=True)
class _Whitened:
    """Covariances with white noise, their eigendecomposition, factor per element, effective T, sources."""

    covariance: NDArray[np.complex128]
    values: NDArray[np.float64]
    vectors: NDArray[np.complex128]
    factor: NDArray[np.float64]
    snapshots: float
    rank: NDArray[np.intp]


def _count(cov: NDArray[np.complex128], n_snapshots: int) -> tuple[int, _Whitened]:
    """The smallest K that is what MDL finds most often once the noise was whitened for K sources."""
    plain = mdl_sources(np.linalg.eigh(cov)[0], n_snapshots)
    most = int(np.bincount(plain).argmax())
    for k in range(1, cov.shape[1] if most else 2):
        whitened = _whiten(cov, n_snapshots, k)
        if int(np.bincount(whitened.rank).argmax()) == k:
            return k, whitened
    return max(most, 1), _whiten(cov, n_snapshots, max(most, 1))


def _whiten(cov: NDArray[np.complex128], n_snapshots: int, k: int) -> _Whitened:
    """Equal noise on every element, assuming k sources."""
    m = cov.shape[1]
    factor, snapshots, white = np.ones(m), float(n_snapshots), cov
    values, vectors = np.linalg.eigh(cov)
    for _ in range(_MAX_WHITENING_ROUNDS):
        good = np.flatnonzero(mdl_sources(values, snapshots) == k)
        if len(good) < max(10, len(cov) // 4):
            # unequal noise looks like more sources; blocks that straddle a hop stand out all the same
            largest = values[:, m - k - 1]
            good = np.flatnonzero(largest < 2 * np.median(largest))
        t_eff = _effective_snapshots(values[good][:, : m - k], n_snapshots)
        few = good[:: max(len(good) // _NOISE_BLOCKS, 1)]
        scale = _element_noise(white[few], vectors[few][:, :, : m - k], t_eff)
        if scale is None and abs(t_eff / snapshots - 1) < 0.02:
            break
        # unequal noise spreads the eigenvalues too: correlation in time is judged once it is white
        snapshots = t_eff if scale is None else float(n_snapshots)
        if scale is not None:
            factor = factor * scale
            white = cov * (factor[:, None] * factor[None, :])
            values, vectors = np.linalg.eigh(white)
    return _Whitened(white, values, vectors, factor, snapshots, mdl_sources(values, snapshots))


def _effective_snapshots(noise_values: NDArray[np.float64], n_snapshots: int) -> float:
    """Independent snapshots from the spread of the noise eigenvalues, between T/2 and T.

    A receive filter narrower than the sampling rate correlates the noise in time. For a Wishart matrix of
    m dimensions E[tr E^2 / m - (tr E / m)^2] = s2^2 (m^2 - 1)/(m T).
    """
    m = noise_values.shape[1]
    if m < 2 or len(noise_values) < 20:
        return float(n_snapshots)
    mean = noise_values.mean(axis=1)
    spread = np.median(noise_values.var(axis=1) / mean**2)
    # the median of a chi2 with m^2 - 1 degrees of freedom lies below its mean
    dof = m * m - 1
    spread /= (1 - 2 / (9 * dof)) ** 3
    t_eff = (m * m - 1) / (m * spread)
    if t_eff > 0.93 * n_snapshots:
        return float(n_snapshots)
    return float(max(t_eff, n_snapshots / 2))


def _element_noise(
    covariance: NDArray[np.complex128], noise_vectors: NDArray[np.complex128], snapshots: float
) -> NDArray[np.float64] | None:
    """Factor per element that makes the noise white, or None if it is white within its accuracy.

    mean_b diag(P_b R_b P_b) = mean_b |P_b|^2 s2 is linear in the noise powers s2 of the elements.
    """
    projector = noise_vectors @ noise_vectors.conj().transpose(0, 2, 1)
    inside = np.einsum("bij,bji->bi", projector @ covariance, projector).real.mean(axis=0)
    mixing = (np.abs(projector) ** 2).mean(axis=0)
    if np.linalg.cond(mixing) > 100:
        return None
    power = np.linalg.solve(mixing, inside)
    sigma = np.sqrt(np.diag(np.linalg.inv(mixing)) / (len(covariance) * snapshots))
    if np.any(power <= 0) or np.all(np.abs(power / power.mean() - 1) < 5 * sigma + 0.01):
        return None
    return np.sqrt(power.mean() / power)
