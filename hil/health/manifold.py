"""A calibrated array on a grid, for finding nulls by the hundred: steering vectors with two derivatives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.dsp.response import array_response

_POINTS_PER_BEAM = 16
_H = 0.25  # of the grid step: where the derivatives are taken


@dataclass(frozen=True, slots=True)
class Nulls:
    """Nulls of S windows, K each.

    b, slope : (S, K, M) steering vector of unit norm and its derivative along the angle. depth : (S, K).
    variance : (S, K) of each real component of the null (cold start 3). valid : (S, K) a peak was found.
    u : (S, K) place along the grid. noise_b, noise_slope : (S, K, M) their parts outside the signal subspace.
    signals : that they were found in.
    """

    b: NDArray[np.complex128]
    slope: NDArray[np.complex128]
    depth: NDArray[np.float64]
    variance: NDArray[np.float64]
    valid: NDArray[np.bool_]
    u: NDArray[np.float64]
    noise_b: NDArray[np.complex128]
    noise_slope: NDArray[np.complex128]
    signals: Signals


@dataclass(frozen=True, slots=True)
class Signals:
    """Signal subspaces of windows: u (S, M, K) orthonormal; variance (S, K) of each eigenvector's error."""

    u: NDArray[np.complex128]
    variance: NDArray[np.float64]

    def select(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Signals:
        """Some windows."""
        return Signals(self.u[index], self.variance[index])

    def __len__(self) -> int:
        return len(self.u)


def signals_of(
    values: NDArray[np.float64], vectors: NDArray[np.complex128], n_sources: int, n_snapshots: int
) -> Signals:
    """Signal subspaces from eigenvalues (S, M) ascending and eigenvectors (S, M, M)."""
    m = values.shape[1]
    noise = values[:, : m - n_sources].mean(axis=1, keepdims=True)
    lam = np.maximum(values[:, m - n_sources :], 1.05 * noise)
    variance = noise * lam / (lam - noise) ** 2 / (2 * n_snapshots)
    return Signals(np.ascontiguousarray(vectors[:, :, m - n_sources :]), variance)


def _at(vectors: NDArray[np.complex128], d: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Taylor series of (S, K, 3, M) at d (S, K, 1)."""
    return vectors[:, :, 0] + d * (vectors[:, :, 1] + d / 2 * vectors[:, :, 2])


def joined(parts: Iterable[Signals]) -> Signals:
    """Windows of several blocks as one."""
    parts = list(parts)
    return Signals(np.concatenate([p.u for p in parts]), np.concatenate([p.variance for p in parts]))


class Manifold:
    """Steering vectors (M, G) of a calibration over all its angles, with first and second derivative.

    Equal steps in sin(angle) for a line, in azimuth else; `periodic`: it goes once round.
    """

    def __init__(self, calibration: Calibration, fc_hz: float) -> None:
        response = array_response(calibration, fc_hz)
        low, high = response.limits_deg
        line = calibration.geometry.kind == "line"
        self.periodic = not line and high - low >= 360.0
        beam_deg = response.beamwidth_deg or 10.0
        if line:
            ends = np.sin(np.deg2rad([low, high]))
            count = int(np.ceil((ends[1] - ends[0]) / np.deg2rad(beam_deg) * _POINTS_PER_BEAM))
            grid = np.linspace(ends[0], ends[1], max(count, 32) + 1)
        else:
            count = max(int(np.ceil((high - low) / beam_deg * _POINTS_PER_BEAM)), 64)
            grid = np.linspace(low, high, count + 1)
            grid = grid[:-1] if self.periodic else grid
        self.step = float(grid[1] - grid[0])
        at = grid if self.periodic else np.clip(grid, grid[0] + _H * self.step, grid[-1] - _H * self.step)
        self.grid = at

        def raw(u: NDArray[np.float64]) -> NDArray[np.complex128]:
            degrees = np.rad2deg(np.arcsin(np.clip(u, -1, 1))) if line else u
            return response.steering(degrees)

        h = _H * self.step
        self._before, self._here, self._after = raw(at - h), raw(at), raw(at + h)
        self._h = h
        self._gain = calibration.impairments.gain.astype(complex)
        self._factor = np.ones(self._here.shape[0], complex)
        self.b = self.b1 = self.b2 = self._here
        self.use(np.ones(self._here.shape[0], complex))

    @property
    def n_elements(self) -> int:
        """M."""
        return self._here.shape[0]

    def use(self, factor: NDArray[np.complex128]) -> None:
        """Multiply every element's response by factor (M,): whitening, and corrections found since."""
        self._factor = factor
        here = factor[:, None] * self._here
        norm = np.linalg.norm(here, axis=0)
        before, after = factor[:, None] * self._before / norm, factor[:, None] * self._after / norm
        self.b = here / norm
        self.b1 = (after - before) / (2 * self._h)
        self.b2 = (after - 2 * self.b + before) / self._h**2
        self._raw = np.ascontiguousarray(np.stack((self.b, self.b1, self.b2)).transpose(2, 0, 1))

    def correct(self, gain: NDArray[np.complex128]) -> None:
        """Take gain (M,) into the calibration for good."""
        for array in (self._before, self._here, self._after):
            array *= gain[:, None]
        self._gain = self._gain * gain
        self.use(self._factor)

    def exchange(self, i: int, j: int) -> None:
        """The receivers of channels i and j have changed places: each brings its own gain along."""
        for array in (self._before, self._here, self._after):
            array[[i, j]] = array[[j, i]]
        self._gain[[i, j]] = self._gain[[j, i]]
        self.use(self._factor)

    def receiver_ratio(self, i: int, j: int) -> complex:
        """Gain of receiver i over that of receiver j: antennas that change places leave it behind."""
        return complex(self._gain[i] * self._factor[i] / (self._gain[j] * self._factor[j]))

    def nulls(self, signals: Signals, gain: NDArray[np.complex128] | None = None) -> Nulls:
        """The K deepest nulls of every window; gain : (M,) or (S, M) extra factor on the elements."""
        u, k = signals.u, signals.u.shape[2]
        turned = u if gain is None else u * gain.conj()[..., :, None]
        power = np.abs(turned.conj().transpose(0, 2, 1) @ self.b) ** 2
        if gain is not None:
            scale = np.atleast_2d(np.abs(gain) ** 2) @ np.abs(self.b) ** 2
            found = power.sum(axis=1) / scale
        else:
            found = power.sum(axis=1)
        index, valid = self._peaks(found, k)
        raw = self._raw[index]  # (S, K, 3, M): the vector and its derivatives
        if gain is not None:
            raw = raw * np.atleast_2d(gain)[:, None, None, :]
        flat = raw.reshape(len(raw), -1, raw.shape[3])
        p = (flat - (flat @ u.conj()) @ u.transpose(0, 2, 1)).reshape(raw.shape)
        # <p_i, p_j>: gradient and curvature of the null depth are polynomials of the place in these
        g = (p.conj() @ p.swapaxes(2, 3)).real
        g01, g02, g11, g12, g22 = g[..., 0, 1], g[..., 0, 2], g[..., 1, 1], g[..., 1, 2], g[..., 2, 2]
        d = np.zeros(index.shape)
        for _ in range(3):
            gradient = g01 + d * (g11 + g02 + d * (1.5 * g12 + d / 2 * g22))
            curvature = g11 + d * (2 * g12 + d * g22)
            d = np.minimum(np.maximum(d - gradient / np.maximum(curvature, 1e-12), -self.step), self.step)
        delta, d = d, d[..., None]
        b, slope = _at(raw, d), raw[:, :, 1] + d * raw[:, :, 2]
        norm = np.sqrt((b.real**2 + b.imag**2).sum(axis=2, keepdims=True))
        b, slope = b / norm, slope / norm
        noise_b, noise_slope = _at(p, d) / norm, (p[:, :, 1] + d * p[:, :, 2]) / norm
        depth = (noise_b.real**2 + noise_b.imag**2).sum(axis=2)
        variance = (np.abs(b.conj() @ u) ** 2 * signals.variance[:, None, :]).sum(axis=2)
        return Nulls(
            b, slope, depth, variance, valid, self.grid[index] + delta, noise_b, noise_slope, signals
        )

    def _peaks(self, found: NDArray[np.float64], k: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        if k == 1:
            index = found.argmax(axis=1)[:, None]
            return index, np.ones(index.shape, bool)
        if self.periodic:
            peak = (found >= np.roll(found, 1, axis=1)) & (found > np.roll(found, -1, axis=1))
        else:
            wide = np.pad(found, ((0, 0), (1, 1)), constant_values=-1.0)
            peak = (found >= wide[:, :-2]) & (found > wide[:, 2:])
        height = np.where(peak, found, -1.0)
        index = np.argpartition(height, -k, axis=1)[:, -k:]
        return index, np.take_along_axis(height, index, axis=1) > 0
