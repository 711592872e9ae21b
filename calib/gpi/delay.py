"""The delay subspace: everything that a delay in the search window can put on S subcarriers.

    b(tau)_s = exp(-j 2 pi s spacing tau) = Q Q^H b(tau),   Q (S, r) orthonormal
    Y b(tau)^* = (Y Q^*) conj(Q^H b(tau))

White noise stays white in Y Q^*, and what lies outside carries no source: it shows the noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.csi import ChannelResponses
from hil.core.checks import array
from hil.core.errors import ShapeError

_TOLERANCE = 1e-5
_CHUNK = 512


def delay_vectors(
    n_subcarriers: int, spacing_hz: float, delay_s: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """b(tau), (S, D) complex128, norm sqrt(S), for delays (D,) in seconds (Mateos-Ramos 2025, below eq. 5)."""
    s = np.arange(n_subcarriers)
    return np.exp(-2j * np.pi * spacing_hz * np.outer(s, delay_s))


def delay_basis(
    n_subcarriers: int, spacing_hz: float, window_s: tuple[float, float], tolerance: float = _TOLERANCE
) -> NDArray[np.complex128]:
    """Orthonormal basis (S, r) of all b(tau) in the window; singular values under `tolerance` are dropped.

    tolerance : relative to the largest singular value; a unit-norm b(tau) loses at most about this much.
    """
    span = (window_s[1] - window_s[0]) * spacing_hz * n_subcarriers
    count = min(4 * n_subcarriers, max(64, int(np.ceil(8 * span))))
    vectors = delay_vectors(n_subcarriers, spacing_hz, np.linspace(*window_s, count))
    left, values, _ = np.linalg.svd(vectors, full_matrices=False)
    return np.ascontiguousarray(left[:, values > tolerance * values[0]])


@dataclass(frozen=True, slots=True)
class Reduced:
    """Channel responses in the delay subspace.

    Attributes
    ----------
    taps : (B, N, r) complex64, CSI conj(basis).
    outside : (B, N) float64, energy of each element outside the subspace; exact or simulated.
    basis : (S, r) complex128, orthonormal.
    spacing_hz, window_s : subcarrier spacing, delay window.
    """

    taps: NDArray[np.complex64]
    outside: NDArray[np.float64]
    basis: NDArray[np.complex128]
    spacing_hz: float
    window_s: tuple[float, float]

    def __post_init__(self) -> None:
        taps = np.asarray(self.taps)
        if taps.ndim != 3 or taps.shape[2] != self.basis.shape[1]:
            raise ShapeError(f"taps: shape {taps.shape} does not fit a basis of {self.basis.shape}")
        object.__setattr__(self, "taps", taps.astype(np.complex64, copy=False))
        object.__setattr__(self, "outside", array("outside", self.outside, np.float64, taps.shape[:2]))

    @property
    def n_blocks(self) -> int:
        """B."""
        return self.taps.shape[0]

    @property
    def n_elements(self) -> int:
        """N."""
        return self.taps.shape[1]

    @property
    def rank(self) -> int:
        """r."""
        return self.taps.shape[2]

    @property
    def n_subcarriers(self) -> int:
        """S."""
        return self.basis.shape[0]

    def filters(self, delay_s: NDArray[np.float64]) -> NDArray[np.complex64]:
        """(r, D): taps @ filters = Y b(tau)^* for delays (D,) in seconds."""
        b = delay_vectors(self.n_subcarriers, self.spacing_hz, np.asarray(delay_s, float))
        return np.conj(self.basis.conj().T @ b).astype(np.complex64)

    def select(self, index: NDArray[np.intp] | slice) -> Reduced:
        """The same for some of the blocks."""
        return Reduced(self.taps[index], self.outside[index], self.basis, self.spacing_hz, self.window_s)

    def scaled(self, factor: NDArray[np.float64]) -> Reduced:
        """Every element's amplitude times factor (N,)."""
        taps = (self.taps * factor[:, None]).astype(np.complex64)
        return Reduced(taps, self.outside * factor**2, self.basis, self.spacing_hz, self.window_s)


def reduce(csi: ChannelResponses, tolerance: float = _TOLERANCE) -> Reduced:
    """Channel responses in the subspace of their delay window, scaled to a mean power of 1.

    Raises
    ------
    ShapeError : the responses are all zero.
    """
    window = csi.delay_s or (0.0, 0.0)
    basis = delay_basis(csi.n_subcarriers, csi.subcarrier_spacing_hz, window, tolerance)
    largest = float(np.max(np.abs(csi.csi)))
    if not largest > 0:
        raise ShapeError("csi: all values are zero")
    scale = largest * float(np.sqrt(np.mean(np.abs(csi.csi[: 4 * _CHUNK] / largest) ** 2)) or 1.0)
    taps = np.empty((csi.n_blocks, csi.n_elements, basis.shape[1]), np.complex64)
    outside = np.empty((csi.n_blocks, csi.n_elements))
    for low in range(0, csi.n_blocks, _CHUNK):
        part = csi.csi[low : low + _CHUNK] / scale
        inner = part @ basis.conj()
        taps[low : low + _CHUNK] = inner
        total = np.sum(np.abs(part) ** 2, axis=2)
        outside[low : low + _CHUNK] = np.maximum(total - np.sum(np.abs(inner) ** 2, axis=2), 0.0)
    return Reduced(taps, outside, basis, csi.subcarrier_spacing_hz, window)
