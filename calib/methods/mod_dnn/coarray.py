"""The coarray spectrum in its short form.

    eta(theta) = a^H R a / M^2,   P_ij = |a_i^H a_j|^2 / M^2 ... both through B (r, L):  eta = B^T t,  P = B^T B

r is the number of different real directions that a a^H takes: 2M - 1 for an evenly spaced line (Liu et al. 2025, eq. 13-14,
where P is L x L). Any known manifold will do. Scaled so that one source of unit power per element peaks at 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 1e-12  # of the squared singular values


@dataclass(frozen=True, slots=True)
class Coarray:
    """factor : B (P, r, L) float64, one for each grid. lags : (r, M, M) complex128, t_k = Re sum(conj(lags_k) R)."""

    factor: NDArray[np.float64]
    lags: NDArray[np.complex128]

    @property
    def rank(self) -> int:
        """r."""
        return len(self.lags)

    def sums(self, covariance: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """t (B, r) of sample covariances (B, M, M)."""
        return np.einsum("rmn,bmn->br", self.lags.conj(), covariance).real

    def spectra(self, covariance: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """eta (B, P, L) of sample covariances (B, M, M)."""
        return np.einsum("prl,br->bpl", self.factor, self.sums(covariance))


def coarray(manifold: NDArray[np.complex128]) -> Coarray:
    """From steering vectors (P, M, L) of P grids."""
    n_grids, m, length = manifold.shape
    flat = np.moveaxis(manifold, 1, 2).reshape(-1, m)
    outer = (flat[:, :, None] * flat[:, None, :].conj()) / m
    real = np.concatenate((outer.real, outer.imag), axis=1).reshape(len(flat), -1)
    # a basis of what the outer products span: the small Gram matrix tells it as well as the long one
    values, vectors = np.linalg.eigh(real.T @ real)
    basis = vectors[:, values > _TOLERANCE * values[-1]]
    factor = (real @ basis).reshape(n_grids, length, -1).swapaxes(1, 2)
    halves = basis.T.reshape(-1, 2, m, m)
    return Coarray(np.ascontiguousarray(factor), (halves[:, 0] + 1j * halves[:, 1]) / m)
