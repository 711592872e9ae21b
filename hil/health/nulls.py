"""The phases against a calibration: null depth against its prediction, and the errors that would explain it.

    q = D / (nu v + e),   nu = 2 (N - K) - 1

D is the null depth of one source in one window, v the variance of its real components, e what the calibration's
own errors may cost. Clean, q has mean 1 whatever the angles are: hops and tracks are no alarm (one convention 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv

from hil.health.manifold import Nulls

#: Null depth of a calibration error of 1.3 degrees rms, which costs no resolution.
ALLOWANCE = 5e-4
#: A block is bad if half of its windows exceed what one in fifty does.
_TAIL = 0.02
_LEAST_EIGENVALUE = 0.02  # of the largest: combinations that the angles at hand show


def freedom(n_elements: int, n_sources: int) -> int:
    """nu."""
    return max(2 * (n_elements - n_sources) - 1, 1)


def quality(
    nulls: Nulls, n_sources: int, allowance: float = ALLOWANCE, *, worst: bool = False
) -> NDArray[np.float64]:
    """q of every window with a valid null: of its best null, or of its worst.

    Two emitters closer than a beam make one peak, and the second one found is none: one good null tells that the
    array is as it was.
    """
    nu = freedom(nulls.b.shape[2], n_sources)
    q = nulls.depth / (nu * nulls.variance + allowance)
    if worst:
        return np.where(nulls.valid, q, -np.inf).max(axis=1)[nulls.valid.any(axis=1)]
    return np.where(nulls.valid, q, np.inf).min(axis=1)[nulls.valid.any(axis=1)]


def bad_limit(n_elements: int, n_sources: int) -> float:
    """Median of q over a block that counts as bad."""
    nu = freedom(n_elements, n_sources)
    return float(1.3 * 2 * gammainccinv(nu / 2, _TAIL) / nu)


@dataclass(slots=True)
class Normal:
    """Normal equations of the log gains z = alpha + j phi of the elements, each null's own angle projected out.

    matrix : (2M, 2M), gradient : (2M,) in the order (alpha, phi). count : nulls in it. noise : sum over the nulls
    of weight times variance: what noise alone makes of a unit of information.
    """

    matrix: NDArray[np.float64]
    gradient: NDArray[np.float64]
    count: int = 0
    noise: float = 0.0

    def __iadd__(self, other: Normal) -> Normal:
        self.matrix = self.matrix + other.matrix
        self.gradient = self.gradient + other.gradient
        self.count += other.count
        self.noise += other.noise
        return self


def normal_equations(
    nulls: Nulls, n_sources: int, allowance: float = ALLOWANCE, most: float = np.inf
) -> Normal:
    """From all valid nulls with q below `most`, weighted so that one that does not fit says little."""
    b, pb, ps = nulls.b, nulls.noise_b, nulls.noise_slope
    m = b.shape[2]
    expected = freedom(m, n_sources) * nulls.variance + allowance
    used = nulls.valid & (nulls.depth < most * expected)
    weight = used / (expected + nulls.depth)
    u = nulls.signals.u
    projector = np.eye(m) - u @ u.conj().transpose(0, 2, 1)
    outer = (b.conj() * weight[..., None]).transpose(0, 2, 1) @ b
    gram = (projector * outer).sum(axis=0)
    along = (b.conj() * ps).reshape(-1, m)
    along = np.concatenate((along.real, along.imag), axis=1)
    curvature = np.maximum(np.einsum("skm,skm->sk", ps.conj(), ps).real, 1e-12)
    matrix = np.block([[gram.real, -gram.imag], [gram.imag, gram.real]])
    matrix -= (along * (weight / curvature).reshape(-1, 1)).T @ along
    slope = (b.conj() * pb * weight[..., None]).reshape(-1, m).sum(axis=0)
    return Normal(matrix, np.concatenate((slope.real, slope.imag)), int(used.sum()),
                  float((weight * nulls.variance).sum()))  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogGain:
    """z (M,) complex log gains that would explain the data, without what they cannot show; phase_rms_deg of its
    phases; sigma_deg : standard deviation of that rms by noise alone, roughly; rank : combinations seen."""

    z: NDArray[np.complex128]
    phase_rms_deg: float
    sigma_deg: float
    rank: int


def solve(normal: Normal, ridge: float = 0.0) -> LogGain:
    """Least squares over the combinations that the data show."""
    m = len(normal.gradient) // 2
    values, vectors = np.linalg.eigh(normal.matrix)
    seen = values > _LEAST_EIGENVALUE * values[-1]
    along = vectors[:, seen]
    inverse = 1 / (values[seen] + ridge * values[-1])
    x = -along @ (inverse * (along.T @ normal.gradient))
    z = x[:m] + 1j * (x[m:] - x[m:].mean())
    rms = float(np.rad2deg(np.sqrt(np.mean(z.imag**2))))
    per_null = normal.noise / max(normal.count, 1)
    sigma = float(np.rad2deg(np.sqrt(per_null * inverse.sum() / m)))
    return LogGain(z, rms, sigma, int(seen.sum()))
