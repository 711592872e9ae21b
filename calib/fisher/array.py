"""The array as a set of parameters: where it is, what is unknown about it, and how the blocks change with it.

A = B S,   B = diag(g) C,   S_mk = exp(+j 2 pi r_m . d_k),   C_mm = 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hil.core.checks import array
from hil.core.errors import ConfigError

TWO_PI = 2 * np.pi
_AXES = "xyz"


@dataclass(frozen=True, slots=True)
class Unknowns:
    """Which parameters of the array are unknown.

    Attributes
    ----------
    gain : amplitude and phase of every element. positions : None (known) or the axes along which elements
        are displaced. coupling : None, "toeplitz:L" (symmetric, L complex numbers: one for each distance
        1..L in the order of the elements) or "free" (every entry off the diagonal).
    elevation : sources may lie at any elevation; otherwise in the plane of the array.

    Raises
    ------
    ConfigError : nothing unknown, or a word that is none of these.
    """

    gain: bool = True
    positions: Literal["x", "xy", "xyz"] | None = "x"
    coupling: str | None = None
    elevation: bool = False

    def __post_init__(self) -> None:
        if self.positions not in (None, "x", "xy", "xyz"):
            raise ConfigError(f"positions {self.positions!r} is not one of x, xy, xyz")
        if self.coupling not in (None, "free") and self.coupling_length == 0:
            raise ConfigError(f"coupling {self.coupling!r} is not one of toeplitz:L, free", hint="toeplitz:2")
        if not self.gain and self.positions is None and self.coupling is None:
            raise ConfigError("nothing is unknown: choose gain, positions or coupling")

    @property
    def coupling_length(self) -> int:
        """L of "toeplitz:L", else 0."""
        head, _, tail = (self.coupling or "").partition(":")
        return int(tail) if head == "toeplitz" and tail.isdigit() else 0

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes of free positions."""
        return tuple(_AXES.index(c) for c in self.positions or "")

    def size(self, n: int) -> int:
        """P, number of real parameters of n elements."""
        return sum(len(group) for group in self.groups(n).values())

    def groups(self, n: int) -> dict[str, NDArray[np.intp]]:
        """Columns of "gain" (log), "phase", "x", "y", "z", "coupling" (real parts, then imaginary parts)."""
        sizes: dict[str, int] = {}
        if self.gain:
            sizes |= {"gain": n, "phase": n}
        sizes |= {_AXES[axis]: n for axis in self.axes}
        if self.coupling is not None:
            sizes["coupling"] = 2 * len(self.coupling_patterns(n))
        out, at = {}, 0
        for name, count in sizes.items():
            out[name] = np.arange(at, at + count)
            at += count
        return out

    def coupling_patterns(self, n: int) -> list[list[tuple[int, int]]]:
        """Entries (i, j) of C that each complex coupling number fills."""
        if self.coupling == "free":
            return [[(i, j)] for i in range(n) for j in range(n) if i != j]
        return [
            [(i, j) for i in range(n) for j in range(n) if abs(i - j) == lag]
            for lag in range(1, min(self.coupling_length, n - 1) + 1)
        ]

    def label(self, n: int, column: int) -> str:
        """What a parameter is, elements counted from 1."""
        words = {"gain": "gain", "phase": "phase", "x": "x position", "y": "y position", "z": "z position"}
        for name, columns in self.groups(n).items():
            if column in columns:
                i = int(column - columns[0])
                if name != "coupling":
                    return f"{words[name]} of element {i + 1}"
                patterns = self.coupling_patterns(n)
                part = "real" if i < len(patterns) else "imaginary"
                entry = patterns[i % len(patterns)][0]
                if self.coupling == "free":
                    return f"coupling {entry[0] + 1}-{entry[1] + 1} ({part})"
                return f"coupling at distance {i % len(patterns) + 1} ({part})"
        raise IndexError(column)


@dataclass(frozen=True, slots=True)
class ArrayPoint:
    """An array: gain (N,) complex128, positions (N, 3) float64 in wavelengths, coupling (N, N) complex128."""

    gain: NDArray[np.complex128]
    positions: NDArray[np.float64]
    coupling: NDArray[np.complex128]

    def __post_init__(self) -> None:
        gain = array("gain", self.gain, np.complex128, (None,))
        n = len(gain)
        object.__setattr__(self, "gain", gain)
        object.__setattr__(self, "positions", array("positions", self.positions, np.float64, (n, 3)))
        object.__setattr__(self, "coupling", array("coupling", self.coupling, np.complex128, (n, n)))

    @property
    def n_elements(self) -> int:
        """N."""
        return len(self.gain)

    @property
    def kind(self) -> Literal["line", "planar", "volume"]:
        """What the elements span: all on x within 1e-6 wavelengths, in one z plane, or neither."""
        centred = self.positions - self.positions.mean(axis=0)
        if np.all(np.abs(centred[:, 1:]) < 1e-6):
            return "line"
        return "planar" if np.all(np.abs(centred[:, 2]) < 1e-6) else "volume"

    def base(self) -> NDArray[np.complex128]:
        """(N, N) B = diag(g) C."""
        return self.gain[:, None] * self.coupling

    def steering(
        self, direction: NDArray[np.float64], tangent: NDArray[np.float64]
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """S (B, N, K) and its change along the tangents (B, N, K, Q)."""
        s = np.exp(1j * TWO_PI * direction @ self.positions.T).transpose(0, 2, 1)
        path = TWO_PI * np.einsum("bkqi,ni->bnkq", tangent, self.positions)
        return s, 1j * path * s[..., None]


@dataclass(frozen=True, slots=True)
class ArrayColumns:
    """dA/d(elementary change i) = x_i y_i^T; a parameter is the sum of the changes in its column of `collect`.

    x (N, E) complex128, y (B, E, K) complex128, collect (E, P) float64.
    """

    x: NDArray[np.complex128]
    y: NDArray[np.complex128]
    collect: NDArray[np.float64]


def array_columns(
    point: ArrayPoint,
    unknowns: Unknowns,
    direction: NDArray[np.float64],
    steering: NDArray[np.complex128],
) -> ArrayColumns:
    """How A moves with the unknowns, in nepers, radians, radians of path and numbers.

    direction : (B, K, 3). steering : (B, N, K), S.
    """
    base, n = point.base(), point.n_elements
    eye = np.eye(n, dtype=complex)
    x, y, collect = [], [], []
    if unknowns.gain:
        a = base @ steering
        x += [eye, 1j * eye]
        y += [a, a]
        collect.append(np.eye(2 * n))
    for axis in unknowns.axes:
        x.append(1j * base)
        y.append(direction[:, None, :, axis] * steering)
        collect.append(np.eye(n))
    patterns = unknowns.coupling_patterns(n) if unknowns.coupling is not None else []
    if patterns:
        rows = np.array([i for pattern in patterns for i, _ in pattern])
        sources = np.array([j for pattern in patterns for _, j in pattern])
        which = np.repeat(np.arange(len(patterns)), [len(p) for p in patterns])
        entries = np.zeros((n, len(rows)), complex)
        entries[rows, np.arange(len(rows))] = point.gain[rows]
        x += [entries, 1j * entries]
        y += [steering[:, sources]] * 2
        collect.append(np.kron(np.eye(2), (which[:, None] == np.arange(len(patterns))).astype(float)))
    return ArrayColumns(np.concatenate(x, axis=1), np.concatenate(y, axis=1), _block_diagonal(collect))


def _block_diagonal(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    out = np.zeros((sum(len(p) for p in parts), sum(p.shape[1] for p in parts)))
    row = column = 0
    for part in parts:
        out[row : row + len(part), column : column + part.shape[1]] = part
        row, column = row + len(part), column + part.shape[1]
    return out
