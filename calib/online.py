"""Following slow phase drift block by block: a Kalman filter in information form on the N phases.

    H = sum_k (Re G_k - q_k q_k^T) / v_k,   P <- P + q^2 I,   dx = -(I + P H)^-1 P b,   P <- (I + P H)^-1 P

b is the gradient of the null depth, G its Gram matrix, q_k the direction that the source's own angle
absorbs, v_k the noise (cold start 6). The common phase never shows, and on a line neither does a ramp: it
moves every u rigidly. Those parts of a drift need the support's edges, an anchor or a known turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.export import model_of
from calib.layout import layout_of
from calib.model import TWO_PI, Model, refine_peaks
from calib.observations import Observations, Subspaces, subspaces
from calib.result import Prior
from hil.core.errors import ConfigError, ShapeError
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments

_GATE = 60.0  # times the noise v (N - K): beyond it a null belongs to a hop or another source


@dataclass(frozen=True, slots=True)
class Track:
    """State after one block. phase_deg (M,): drift since the start, in channel order, without the parts
    that cannot be seen. theta_deg (K,) angles of the block. used : nulls that passed the gate.
    """

    phase_deg: NDArray[np.float64]
    theta_deg: NDArray[np.float64]
    used: int


class Tracker:
    """Tracks phases from a calibration that held at the start.

    Parameters
    ----------
    calibration_impairments, geometry, fc_hz : the calibration. n_sources : K. n_snapshots : T per block.
    walk_deg : random walk of each phase per block (0.02 follows 30 deg/min at 100 blocks/s).
    support_deg : angles searched, default the whole visible range.
    """

    def __init__(
        self,
        calibration_impairments: Impairments,
        geometry: ArrayGeometry,
        fc_hz: float,
        n_sources: int,
        n_snapshots: int,
        *,
        walk_deg: float = 0.02,
        start_sigma_deg: float = 0.5,
        support_deg: tuple[float, float] | None = None,
    ) -> None:
        n = geometry.n_elements
        if not 1 <= n_sources < n:
            raise ConfigError(f"{n_sources} sources: {n} elements separate 1 to {n - 1}")
        probe = Observations(np.eye(n, dtype=complex)[None], max(n_snapshots, n + 1))
        self._layout = layout_of(probe, geometry, fc_hz, Prior())
        self._model = model_of(calibration_impairments, self._layout)
        self._k, self._t = n_sources, n_snapshots
        self._walk = np.deg2rad(walk_deg) ** 2
        hidden = [np.ones(n)]
        if self._model.is_line:
            hidden.append(self._model.r[:, 0] - self._model.r[:, 0].mean())
        basis = np.linalg.qr(np.array(hidden).T)[0]
        self._visible = np.eye(n) - basis @ basis.T
        self._p = np.deg2rad(start_sigma_deg) ** 2 * self._visible
        self._drift = np.zeros(n)
        limit = (-1.0, 1.0)
        if support_deg is not None and self._model.is_line:
            limit = tuple(np.sin(np.deg2rad(support_deg)) + np.array([-0.03, 0.03]))
        self._grid = self._model.grid(limit)
        self._phasors = np.exp(1j * TWO_PI * (self._model.direction(self._grid) @ self._model.r.T))

    @property
    def gain(self) -> NDArray[np.complex128]:
        """(M,) current gains in channel order, unit norm."""
        out = np.empty(self._model.n_elements, complex)
        out[self._layout.order] = self._model.g
        return out

    def update(self, covariance: ArrayLike) -> Track:
        """Take one block's covariance (M, M) complex128. Raises ShapeError."""
        cov = np.asarray(covariance, complex)
        n = self._model.n_elements
        if cov.shape != (n, n):
            raise ShapeError(f"covariance: shape {cov.shape}, expected {(n, n)}")
        order = self._layout.order
        sub = subspaces(cov[np.ix_(order, order)][None], self._t, self._k)
        theta, depth = self._peaks(sub)
        a = self._model.steering(theta)  # (K, N)
        v = a.conj()[:, :, None] * sub.signal[0]  # (K, N, K)
        s = v.sum(axis=1).conj()
        variance = np.abs(s) ** 2 @ sub.variance[0]
        good = depth < _GATE * (n - self._k) * variance
        if good.any():
            self._step(theta[good], v[good], s[good], variance[good])
        phase = np.empty(n)
        phase[order] = np.rad2deg(self._drift)
        degrees = np.rad2deg(np.arcsin(np.clip(theta, -1, 1)) if self._model.is_line else theta)
        return Track(phase, degrees, int(good.sum()))

    def _peaks(self, sub: Subspaces) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The K deepest nulls of one block."""
        signal = sub.signal[0]
        response = self._phasors @ (signal.conj() * self._model.g[:, None])
        depth = 1 - np.sum(response.real**2 + response.imag**2, axis=1)
        if self._model.is_line:
            left = np.concatenate(([2.0], depth[:-1]))
            right = np.concatenate((depth[1:], [2.0]))
        else:
            left, right = np.roll(depth, 1), np.roll(depth, -1)
        ranked = np.where((depth <= left) & (depth < right), depth, 2.0)
        pick = np.argsort(ranked)[: self._k]
        step = float(self._grid[1] - self._grid[0])
        theta, value = refine_peaks(self._model, sub, self._grid[pick][None], step, 2)
        return theta[0], value[0]

    def _step(
        self,
        theta: NDArray[np.float64],
        v: NDArray[np.complex128],
        s: NDArray[np.complex128],
        variance: NDArray[np.float64],
    ) -> None:
        model, n = self._model, self._model.n_elements
        g2 = np.abs(model.g) ** 2
        rho = model.slope(theta) @ model.r.T
        information, gradient = np.zeros((n, n)), np.zeros(n)
        for k in range(len(theta)):
            gram = np.diag(g2) - (v[k] @ v[k].conj().T).real
            q1 = g2 - v[k] @ s[k]
            q = g2 * rho[k] - v[k] @ (rho[k] @ v[k]).conj()
            curvature = max(float(rho[k] @ q.real), 1e-12)
            along = q.real / np.sqrt(curvature)
            information += (gram - np.outer(along, along)) / variance[k]
            gradient += (q1.imag + along * float(q.imag.sum()) / np.sqrt(curvature)) / variance[k]
        p = self._p + self._walk * self._visible
        gain = np.linalg.solve(np.eye(n) + p @ information, np.column_stack((p, p @ gradient)))
        change = -self._visible @ gain[:, -1]
        self._p = (gain[:, :n] + gain[:, :n].T) / 2
        self._drift = self._drift + change
        self._model = Model(model.g * np.exp(1j * change), model.r)
