"""Baselines without learning: MUSIC, the beamformer, and the coarray beamformer, on a grid with a believed array."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from calib.methods.mod_dnn.coarray import Coarray, coarray
from calib.methods.mod_dnn.tones import covariances
from calib.response.parabola import parabola_top
from hil.core.errors import ConfigError, ShapeError
from hil.dsp.covariance import forward_backward, spatial_smoothing

SearchKind = Literal["music", "dbf", "cdbf"]
_AT_ONCE = 128


class Searched:
    """Direction of one source as the highest point of a spectrum, with a parabola between grid points.

    kind : music (Schmidt 1986), dbf (Bartlett), cdbf: Bartlett's spectrum from the sums over equal lags (Liu et al. 2025,
    eq. 13-14), the same numbers. manifold : (M, G) complex128 steering vectors. grid_deg : (G,) ascending and even.
    smoothing : number of subarrays averaged, of an evenly spaced line. forward_backward : average in both directions,
    of a line symmetric about its centre. Both are for echoes of the same signal.

    Raises ConfigError for another kind, ShapeError for shapes that do not fit.
    """

    def __init__(
        self,
        kind: SearchKind,
        manifold: NDArray[np.complex128],
        grid_deg: NDArray[np.float64],
        *,
        smoothing: int = 1,
        forward_backward: bool = False,
    ):
        if kind not in get_args(SearchKind):
            raise ConfigError(f"search {kind!r}", hint=f"one of {', '.join(get_args(SearchKind))}")
        n_sub = manifold.shape[0] - smoothing + 1
        if manifold.ndim != 2 or manifold.shape[1:] != grid_deg.shape or len(grid_deg) < 3 or n_sub < 2:
            raise ShapeError(f"manifold {manifold.shape}, grid {grid_deg.shape}, {smoothing} subarrays")
        self.kind: SearchKind = kind
        self.grid_deg = grid_deg
        self._n_sub = n_sub
        self._both_ways = forward_backward
        self._manifold = manifold[:n_sub] / np.linalg.norm(manifold[:n_sub], axis=0)
        self._coarray: Coarray | None = None
        if kind == "cdbf":
            self._coarray = coarray(self._manifold[None])

    def angles_deg(self, tones: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """Directions (B,) in degrees of tones (B, K, M)."""
        parts = [tones[low : low + _AT_ONCE] for low in range(0, len(tones), _AT_ONCE)]
        return np.concatenate([self._read(self._power(part)) for part in parts]) if parts else np.zeros(0)

    def spectrum(self, tones: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """(B, G) of tones (B, K, M): a^H R a / M^2, about 1 at one source of unit power; of MUSIC 1 / (1 - |u^H a|^2 / M)."""
        power = self._power(tones)
        return 1 / np.maximum(1 - power, 1e-15) if self.kind == "music" else power

    def _power(self, tones: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """(B, G), smooth and largest at the source: MUSIC's of the strongest eigenvector."""
        r = spatial_smoothing(covariances(tones), self._n_sub)
        if self._both_ways:
            r = forward_backward(r)
        if self.kind == "music":
            top = np.linalg.eigh(r)[1][..., -1]
            return np.abs(top.conj() @ self._manifold) ** 2
        if self._coarray is not None:
            return self._coarray.spectra(r)[:, 0] * self._n_sub
        return np.sum((r @ self._manifold) * self._manifold.conj(), axis=1).real / self._n_sub

    def _read(self, power: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.grid_deg[0] + (self.grid_deg[1] - self.grid_deg[0]) * parabola_top(power)
