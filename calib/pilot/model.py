"""The array of labelled nulls: gains, positions and, if wanted, a banded coupling, with its Jacobian.

    a_m(d) = g_m sum_n C_mn exp(+j 2 pi r_n . d),   C = I + sum_l c_l T_l,   ||g|| = 1

T_l are patterns of ones off the diagonal: l places off it (symmetric Toeplitz), or a single entry each (unconstrained).
Directions d (G, D) are given, so elevation needs nothing of its own: on a line d = u, on a plane the (x, y) part of
the unit vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.model import TWO_PI, Model


@dataclass(frozen=True, slots=True)
class CoupledModel:
    """g (N,) complex128, r (N, D) wavelengths, c (L,) complex128.

    patterns : (L, N, N) float64, where each number of c stands; None: neighbours 1..L of a line.
    turn : (E, K) float64 radians, by how much K groups of elements are turned in each epoch against epoch 0; None: one
        epoch, or one group.
    """

    g: NDArray[np.complex128]
    r: NDArray[np.float64]
    c: NDArray[np.complex128]
    patterns: NDArray[np.float64] | None = None
    turn: NDArray[np.float64] | None = None

    @property
    def n_elements(self) -> int:
        """N."""
        return len(self.g)

    @property
    def size(self) -> int:
        """Number of unknowns: N log-gains, N phases, D N positions, 2 L coupling."""
        return (2 + self.r.shape[1]) * len(self.g) + 2 * len(self.c)

    @property
    def plain(self) -> Model:
        """Without the coupling."""
        return Model(self.g, self.r)

    def coupling(self) -> NDArray[np.complex128]:
        """C (N, N)."""
        return np.eye(self.n_elements) + np.tensordot(self.c, self._patterns(), 1)

    def steering(self, d: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(G, N) at directions d (G, D)."""
        return self.g * (self._wave(d) @ self.coupling().T)

    def along(self, d: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(G, N, Q): derivative of the steering along slopes (G, D, Q) of the direction."""
        change = 1j * TWO_PI * np.einsum("nd,gdq->gnq", self.r, slope) * self._wave(d)[:, :, None]
        return self.g[:, None] * np.einsum("mn,gnq->gmq", self.coupling(), change)

    def jacobian(self, d: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(G, N, P): derivative by (log-gain, phase, position axes, Re c, Im c)."""
        n, dims = self.r.shape
        wave = self._wave(d)
        mixing = self.coupling()
        a = self.g * (wave @ mixing.T)
        out = np.zeros((len(d), n, self.size), np.complex128)
        index = np.arange(n)
        out[:, index, index] = a
        out[:, index, n + index] = 1j * a
        moved = (self.g[:, None] * mixing)[None] * wave[:, None, :]  # (G, m, n)
        for i in range(dims):
            out[:, :, (2 + i) * n : (3 + i) * n] = 1j * TWO_PI * d[:, i, None, None] * moved
        if len(self.c):
            mixed = self.g[:, None] * np.einsum("lmn,gn->gml", self._patterns(), wave)
            out[:, :, (2 + dims) * n :] = np.concatenate((mixed, 1j * mixed), axis=2)
        return out

    def stepped(self, x: NDArray[np.float64]) -> CoupledModel:
        """After the change x (P,) of the unknowns, with unit-norm gains and centred positions."""
        n, dims = self.r.shape
        g = self.g * np.exp(x[:n] + 1j * x[n : 2 * n])
        r = self.r + x[2 * n : (2 + dims) * n].reshape(dims, n).T
        bands = len(self.c)
        c = self.c + x[(2 + dims) * n :][:bands] + 1j * x[(2 + dims) * n + bands :]
        return replace(self, g=g / np.linalg.norm(g), r=r - r.mean(axis=0), c=c)

    def unseen(self) -> NDArray[np.float64]:
        """(2 + D, P) unknown directions that no label shows: common gain, common phase, common shift."""
        n, dims = self.r.shape
        out = np.zeros((2 + dims, self.size))
        out[0, :n] = np.abs(self.g) ** 2
        out[1, n : 2 * n] = 1.0
        for i in range(dims):
            out[2 + i, (2 + i) * n : (3 + i) * n] = 1.0
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def with_plain(self, model: Model) -> CoupledModel:
        """The same coupling with another model's gains and positions."""
        return replace(self, g=model.g, r=model.r)

    def _patterns(self) -> NDArray[np.float64]:
        return toeplitz_patterns(self.n_elements, len(self.c)) if self.patterns is None else self.patterns

    def _wave(self, d: NDArray[np.float64]) -> NDArray[np.complex128]:
        return np.exp(1j * TWO_PI * (d @ self.r.T))


def toeplitz_patterns(n: int, bands: int) -> NDArray[np.float64]:
    """(L, n, n): ones 1..L places off the diagonal, on both sides."""
    out = [np.eye(n, k=band) + np.eye(n, k=-band) for band in range(1, bands + 1)]
    return np.array(out).reshape(bands, n, n)


def free_patterns(n: int) -> NDArray[np.float64]:
    """(n (n - 1), n, n): every entry off the diagonal by itself."""
    places = [(i, j) for i in range(n) for j in range(n) if i != j]
    out = np.zeros((len(places), n, n))
    for pattern, place in zip(out, places, strict=True):
        pattern[place] = 1.0
    return out
