"""The response table of a wideband array: what it does to a wave from each angle, tone by tone, as a turntable shows it.

Each symbol is divided by the ideal response at its angle; the principal eigenvector of what is left (the maximum likelihood
estimate of one source with an unknown amplitude in every symbol) is smoothed over the angle by a cubic spline whose stiffness
cross-validated noise and the bend it leaves decide (Reinsch 1967; Craven and Wahba 1979), one for each element and all tones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.response.parabola import parabola_top
from hil.core.errors import CalibrationError, ShapeError

Ideal = Callable[[NDArray[np.float64]], NDArray[np.complex128]]

_FEWEST_ANGLES = 4
_MOST_ANGLES = 601  # more are joined with their neighbours: what is smoothed is smooth
_STEP_DEG = 0.05
_COARSE_DEG = 0.25
_MOST_NUMBERS = 1 << 22
_AT_ONCE = 64
_STIFFNESS = np.logspace(-9, 9, 91)


@dataclass(frozen=True, slots=True, eq=False)
class ToneTable:
    """grid_deg : (G,) even, ascending. values : (G, K, M) complex128, of norm sqrt(M) in every tone. ideal : angles (A,) in
    degrees to (A, K, M), the response without errors. noise : variance per element and tone of the recording, unexplained
    parts included, of a source of unit power. n_angles : that the table was made of."""

    grid_deg: NDArray[np.float64]
    values: NDArray[np.complex128]
    ideal: Ideal
    noise: float
    n_angles: int

    @property
    def limits_deg(self) -> tuple[float, float]:
        """First and last angle measured."""
        return float(self.grid_deg[0]), float(self.grid_deg[-1])

    def response(self, angle_deg: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(A, K, M) at angles (A,). Beyond the limits the errors are those at the limit: a spline tells nothing there."""
        inside = np.clip(angle_deg, *self.limits_deg)
        place = (inside - self.grid_deg[0]) / (self.grid_deg[1] - self.grid_deg[0])
        low = np.minimum(place.astype(np.intp), len(self.grid_deg) - 2)
        share = (place - low)[:, None, None]
        out = (1 - share) * self.values[low] + share * self.values[low + 1]
        far = np.flatnonzero(inside != angle_deg)
        if len(far):
            out[far] *= self.ideal(angle_deg[far]) / self.ideal(inside[far])
        return out

    def angles_deg(self, tones: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """Maximum likelihood directions (B,) in degrees, inside the limits, of tones (B, K, M): the largest
        sum over tones of |a_k(theta)^H h_k|^2, every fifth point of the grid first, then those around the best."""
        step = self.grid_deg[1] - self.grid_deg[0]
        stride = max(1, round(_COARSE_DEG / step))
        rows = np.unique(np.append(np.arange(0, len(self.grid_deg), stride), len(self.grid_deg) - 1))
        at_once = int(np.clip(_MOST_NUMBERS // (2 * stride * self.values[0].size), 1, _AT_ONCE))
        coarse = self.values[rows].conj().transpose(1, 2, 0).astype(np.complex64)
        parts = [
            self._search(np.asarray(tones[low : low + at_once]), coarse, rows, stride)
            for low in range(0, len(tones), at_once)
        ]
        return self.grid_deg[0] + step * np.concatenate(parts) if parts else np.zeros(0)

    def _search(
        self, tones: NDArray[np.complexfloating], coarse: NDArray[np.complex64], rows: NDArray[np.intp], stride: int
    ) -> NDArray[np.float64]:  # fmt: skip
        """Places (B,) on the grid, in steps."""
        matched = tones.swapaxes(0, 1).astype(np.complex64) @ coarse  # (K, B, rows)
        best = rows[np.argmax(np.sum(matched.real**2 + matched.imag**2, axis=0), axis=1)]
        reach = min(2 * stride + 1, len(self.grid_deg))
        first = np.clip(best - stride, 0, len(self.grid_deg) - reach)
        near = self.values[first[:, None] + np.arange(reach)]  # (B, reach, K, M)
        fine = np.sum(np.abs(np.einsum("bgkm,bkm->bgk", near.conj(), tones)) ** 2, axis=-1)
        return first + parabola_top(fine)


def measure_tones(
    tones: NDArray[np.complexfloating], angle_deg: NDArray[np.float64], ideal: Ideal
) -> ToneTable:
    """From symbols (R, K, M) of one source at known angles (R,), several at each angle or one.

    ideal : angles (A,) in degrees to (A, K, M) complex128 of modulus 1; what errors are smoothed over. Element 0 is the
    phase reference. Raises ShapeError for shapes that do not fit, CalibrationError for fewer than four angles.
    """
    if tones.ndim != 3 or angle_deg.shape != tones.shape[:1]:
        raise ShapeError(f"tones {tones.shape}, angles {angle_deg.shape}: needs (R, K, M) and (R,)")
    angle, count, index = _bins(np.asarray(angle_deg, np.float64))
    if len(angle) < _FEWEST_ANGLES:
        raise CalibrationError(
            f"{len(angle)} angles are too few for a response table",
            hint=f"record {_FEWEST_ANGLES} or more",
        )
    ratio = _ratios(tones, angle_deg, index, ideal)  # (A, K, M)
    m = ratio.shape[2]
    smooth = np.stack([_smoothed(angle, ratio[:, :, i], count) for i in range(m)], axis=2)
    step = max(_STEP_DEG, (angle[-1] - angle[0]) * tones[0].size / _MOST_NUMBERS)
    grid = np.linspace(angle[0], angle[-1], max(3, round((angle[-1] - angle[0]) / step) + 1))
    from scipy.interpolate import CubicSpline

    errors = CubicSpline(angle, smooth, bc_type="natural")(grid)
    values = errors / np.linalg.norm(errors, axis=2, keepdims=True) * np.sqrt(m) * ideal(grid)
    table = ToneTable(grid, values, ideal, 0.0, len(angle))
    return ToneTable(grid, values, ideal, _noise(table, tones, angle_deg), len(angle))


def _bins(
    angle_deg: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Mean angle (A,) and number (A,) of each bin, and the bin (R,) of every symbol."""
    angles, index = np.unique(angle_deg, return_inverse=True)
    width = max(np.ptp(angle_deg) / _MOST_ANGLES, 1e-6) if len(angles) else 0.0
    bins = np.zeros(len(angles), np.intp)
    first = angles[0] if len(angles) else 0.0
    for i in range(1, len(angles)):
        new = angles[i] - first > width
        bins[i] = bins[i - 1] + new
        first = angles[i] if new else first
    index = bins[index]
    count = np.bincount(index).astype(np.float64)
    return np.bincount(index, angle_deg) / count, count, index


def _ratios(
    tones: NDArray[np.complexfloating], angle_deg: NDArray[np.float64], index: NDArray[np.intp], ideal: Ideal
) -> NDArray[np.complex128]:
    """(A, K, M) principal eigenvectors of tones over the ideal, of norm sqrt(M), element 0 real."""
    order = np.argsort(index, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(index[order])) + 1)
    top = np.empty((len(parts), *tones.shape[1:]), np.complex128)
    for i, rows in enumerate(parts):
        x = (tones[rows] / ideal(angle_deg[rows])).transpose(1, 2, 0)  # (K, M, n)
        top[i] = np.linalg.eigh(x @ x.conj().swapaxes(1, 2))[1][..., -1]
    return top * np.exp(-1j * np.angle(top[..., :1])) * np.sqrt(tones.shape[2])


def _smoothed(
    angle: NDArray[np.float64], y: NDArray[np.complex128], weight: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """(A, K) fitted values of natural cubic splines through (A, K), all of the same stiffness.

    Minimises sum w |y - f|^2 + s f^T Q R^-1 Q^T f; in the eigenvectors of the scaled penalty every stiffness is a row.
    """
    n = len(angle)
    h = np.diff(angle / np.ptp(angle) * n)
    q = np.zeros((n, n - 2))
    r = np.zeros((n - 2, n - 2))
    i = np.arange(n - 2)
    q[i, i], q[i + 1, i], q[i + 2, i] = 1 / h[:-1], -1 / h[:-1] - 1 / h[1:], 1 / h[1:]
    r[i, i] = (h[:-1] + h[1:]) / 3
    r[i[1:], i[1:] - 1] = r[i[1:] - 1, i[1:]] = h[1:-1] / 6
    scale = np.sqrt(weight / np.mean(weight))[:, None]
    q = q / scale
    values, vectors = np.linalg.eigh(q @ np.linalg.solve(r, q.T))
    z = vectors.T @ (y * scale)
    kept = 1 / (1 + _STIFFNESS[:, None] * np.maximum(values, 0.0))  # (S, A)
    left = ((1 - kept) ** 2) @ np.sum(np.abs(z) ** 2, axis=1)
    free = n - np.sum(kept, axis=1)
    noise = (left / free)[np.argmin(left / free**2)]
    bent = left - noise * np.sum((1 - kept) ** 2, axis=1)
    # a direction averages noise over the tones, but not what a stiff spline bends in all of them alike: softer, half
    # way between what unlike tones and tones alike ask for
    rough = noise * np.sum(kept**2, axis=1) / np.sqrt(y.shape[1])
    best = kept[np.argmin(bent + rough)]
    return vectors @ (best[:, None] * z) / scale


def _noise(table: ToneTable, tones: NDArray[np.complexfloating], angle_deg: NDArray[np.float64]) -> float:
    """Of what the table leaves of the symbols, over the power of what it explains."""
    m = tones.shape[2]
    left = total = 0.0
    for low in range(0, len(tones), 1024):
        h = tones[low : low + 1024]
        a = table.response(angle_deg[low : low + 1024])
        energy = float(np.sum(np.abs(h) ** 2))
        left += energy - float(np.sum(np.abs(np.sum(a.conj() * h, axis=2)) ** 2)) / m
        total += energy
    noise = left / (m - 1)
    return noise / max((total - m * noise) / m, 1e-30)
