"""Starts of a plane whose phases are all unknown.

Lattices (rectangles, rhombi, hexagons): every pair of neighbours along one primitive vector sees the same
phase of every source, so the products of their correlations show the elements' phases whatever the sources'
distribution is (redundant spacings; the plane's form of Paulraj and Kailath 1985). A ramp per primitive
vector stays open, on the torus of one period of d. Any array: coherence of a known distribution of d.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0, j1

from calib.planar2d.model import TWO_PI, Plane
from calib.planar2d.torus import TOLERANCE


def redundant_start(
    covariance: NDArray[np.complex128], nominal: NDArray[np.float64], basis: NDArray[np.float64]
) -> Plane | None:
    """Phases from the redundant spacings of a lattice, up to a ramp; None if the neighbours do not connect.

    Per primitive vector the phase differences of its pairs are the principal eigenvector of the mean of
    z_p z_q^*, z the pairs' correlations; the phases that agree with all of them are a second one.
    """
    n = len(nominal)
    link = np.zeros((n, n), complex)
    for vector in basis:
        gap = np.linalg.norm(nominal[:, None] - nominal[None, :] - vector, axis=2)
        first, second = np.nonzero(gap < TOLERANCE * np.linalg.norm(vector))
        if len(first) < 2:
            return None
        z = covariance[:, first, second]
        z = z / np.sqrt(np.mean(np.abs(z) ** 2, axis=1, keepdims=True) + 1e-300)
        together = np.einsum("bp,bq->pq", z, z.conj()) / len(z)
        scale = np.sqrt(np.real(np.diagonal(together)))
        phase = np.linalg.eigh(together / np.outer(scale, scale))[1][:, -1]
        link[first, second] = phase / np.abs(phase)
        link[second, first] = link[first, second].conj()
    if not _connected(link != 0):
        return None
    degree = np.sqrt((link != 0).sum(axis=1))
    phase = np.angle(np.linalg.eigh(link / np.outer(degree, degree))[1][:, -1])
    return Plane(amplitudes(covariance) * np.exp(1j * phase), nominal).normalised()


def _connected(link: NDArray[np.bool_]) -> bool:
    seen = np.zeros(len(link), bool)
    seen[0] = True
    for _ in range(len(link)):
        seen |= link[seen].any(axis=0)
    return bool(seen.all())


def diffuse_start(
    covariance: NDArray[np.complex128], positions: NDArray[np.float64], spread: float, kind: str
) -> Plane:
    """Phases of the principal eigenvector of the mean coherence times its conjugate expectation.

    kind: distribution of d that the expectation assumes: "disc" uniform in |d| <= 1, 2 J1(x)/x;
    "sphere" uniform in solid angle, sin(x)/x; "ring" on the horizon, J0(x), x = 2 pi distance.
    spread: standard deviation of the position errors, wavelengths; far pairs then say less.
    """
    power = np.sqrt(np.einsum("bnn->bn", covariance).real)
    coherence = np.mean(covariance / (power[:, :, None] * power[:, None, :]), axis=0)
    x = TWO_PI * np.linalg.norm(positions[:, None] - positions[None, :], axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = {"disc": 2 * j1(x) / x, "sphere": np.sin(x) / x, "ring": j0(x)}[kind]
    expected = np.where(x > 0, expected, 0.0) * np.exp(-((TWO_PI * spread) ** 2) / 2)
    weighted = coherence * expected
    phase = np.angle(np.linalg.eigh((weighted + weighted.conj().T) / 2)[1][:, -1])
    return Plane(amplitudes(covariance) * np.exp(1j * phase), positions).normalised()


def amplitudes(covariance: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """|g| (N,) from the mean power of the elements."""
    return 0j + np.sqrt(np.einsum("bnn->n", covariance).real / len(covariance))
