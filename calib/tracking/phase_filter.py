"""Kalman filters of drift: the phases that every block shows, and the offset of sin(angle) that only edges show.

Both have a state (value, rate) whose rate is a random walk, so that steady drift is followed without lag:

    value' = value + rate dt,   P' = F P F^T + q^2 [[dt^3/3, dt^2/2], [dt^2/2, dt]]

(Bar-Shalom, Li and Kirubarajan 2001, 6.2.2). Without rates the value itself is the random walk.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_CONTRADICTION = -5.0  # sigmas beyond an edge that no drift explains: a stray peak
_MOST_SIGMA_RAD = 0.5  # linear theory ends there


class PhaseFilter:
    """Information-form Kalman filter on the visible combinations of N phases.

    Parameters
    ----------
    visible : (N, m) orthonormal basis. start_sigma_rad, start_rate : standard deviation of each phase and of its rate
        (rad/s). rates : phases have rates.
    """

    def __init__(
        self, visible: NDArray[np.float64], start_sigma_rad: float, start_rate: float, *, rates: bool
    ) -> None:
        m = visible.shape[1]
        self._visible, self._m, self._rates = visible, m, rates
        size = 2 * m if rates else m
        self._state = np.zeros(size)
        self._p = np.diag(np.repeat([start_sigma_rad**2, start_rate**2], m)[:size])
        self._eye = np.eye(m)

    @property
    def phase(self) -> NDArray[np.float64]:
        """(m,) in the visible basis, radians."""
        return self._state[: self._m]

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(m, m) of the phases."""
        return self._p[: self._m, : self._m]

    def predict(self, dt: float, walk: float) -> NDArray[np.float64]:
        """Advance by dt; walk: rad per sqrt(dt) without rates, else rad/s per sqrt(s). Change of the N phases."""
        m, p = self._m, self._p
        if not self._rates:
            p += (walk**2 * dt) * self._eye
            return np.zeros(len(self._visible))
        top, cross, rate = p[:m, :m], p[:m, m:], p[m:, m:]
        top += dt * (cross + cross.T) + dt**2 * rate + (walk**2 * dt**3 / 3) * self._eye
        cross += dt * rate + (walk**2 * dt**2 / 2) * self._eye
        p[m:, :m] = cross.T
        rate += (walk**2 * dt) * self._eye
        largest = top.diagonal().max()
        if largest > _MOST_SIGMA_RAD**2:
            scale = np.ones(2 * m)
            scale[:m] = _MOST_SIGMA_RAD / np.sqrt(largest)
            p *= scale[:, None] * scale
        change = dt * self._state[m:]
        self._state[:m] += change
        return self._visible @ change

    def update(self, information: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take (N, N) information and gradient (N,) of a block at the present phases; change of the N phases."""
        m = self._m
        h = self._visible.T @ information @ self._visible
        b = self._visible.T @ gradient
        column = self._p[:, :m]
        gain = np.linalg.solve((self._eye + h @ column[:m]).T, column.T).T  # P_x (I + H P)^-1
        step = -gain @ b
        self._state += step
        p = self._p - gain @ h @ column.T
        self._p = (p + p.T) / 2
        return self._visible @ step[:m]


class OffsetFilter:
    """Drift of the offset of u on a line, from peaks that never lie beyond the support.

    Each peak says that (1 + s) u - offset lies between low and high, blurred by its noise: two probit factors,
    whose product with a Gaussian is brought back to a Gaussian by its first two moments (assumed density
    filtering; Minka 2001, 3.2). For angles spread evenly over the support this is all that they say about the
    offset. s is the error of the calibration's scale: without it every peak beyond an edge would be taken for a
    shift, and the two edges would make each other sure of a wrong one.

    Parameters
    ----------
    edges : (low, high) u of the support. start_sigma : of the offset. start_rate : of its rate per second.
    scale_sigma : of s.
    """

    def __init__(
        self, edges: tuple[float, float], start_sigma: float, start_rate: float, scale_sigma: float = 0.0
    ) -> None:
        self._edges = edges
        self._state = np.zeros(3)  # offset, rate, scale error
        self._p = np.diag([start_sigma**2, start_rate**2, scale_sigma**2])

    @property
    def sigma(self) -> float:
        """Standard deviation of the offset."""
        return math.sqrt(self._p[0, 0])

    def predict(self, dt: float, walk: float) -> float:
        """Advance by dt seconds; walk: rate noise per sqrt(s). Change of the offset."""
        if dt <= 0:
            return 0.0
        p, q = self._p, walk * walk
        p[0] += dt * p[1]
        p[:, 0] += dt * p[:, 1]
        p[0, 0] += q * dt**3 / 3
        p[0, 1] += q * dt * dt / 2
        p[1, 0] = p[0, 1]
        p[1, 1] += q * dt
        change = float(self._state[1]) * dt
        self._state[0] += change
        return change

    def update(self, u: float, sigma: float) -> float:
        """Take a peak seen at u after correction by the present offset; change of the offset."""
        before = float(self._state[0])
        for sign, edge in ((1.0, self._edges[1]), (-1.0, self._edges[0])):
            moved = float(self._state[0]) - before
            along = sign * (self._p[0] - u * self._p[2])
            total = sigma * sigma + sign * float(along[0] - u * along[2])
            root = math.sqrt(total)
            z = sign * (edge - (1 + float(self._state[2])) * u + moved) / root
            if not _CONTRADICTION < z < 6.0:
                continue
            ratio = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(-z / math.sqrt(2)))
            self._state += along * (ratio / root)
            self._p -= np.outer(along, along) * (ratio * (z + ratio) / total)
        return float(self._state[0]) - before


class WalkMeter:
    """How restless the rates are, from second differences of the visible phases.

    For phases whose rates walk by q per sqrt(s), E (phi(t) - 2 phi(t - tau) + phi(t - 2 tau))^2 = (2/3) q^2 tau^3.

    Parameters
    ----------
    start : first guess of q. lowest, highest : bounds. tau_s : tau.
    """

    def __init__(self, start: float, lowest: float, highest: float, tau_s: float = 5.0) -> None:
        self._square = start**2
        self._bounds = lowest**2, highest**2
        self._tau = tau_s
        self._age = 0.0
        self._marks: list[NDArray[np.float64]] = []

    @property
    def walk(self) -> float:
        """q."""
        return math.sqrt(min(max(self._square, self._bounds[0]), self._bounds[1]))

    def add(self, dt: float, phase: NDArray[np.float64]) -> None:
        """Advance by dt with the phases of now. After a pause longer than tau it starts again."""
        if dt > self._tau:
            self._marks, self._age = [], 0.0
            return
        self._age += dt
        if self._age < self._tau and self._marks:
            return
        self._age = 0.0
        self._marks = [*self._marks[-2:], phase.copy()]
        if len(self._marks) == 3:
            bend = self._marks[2] - 2 * self._marks[1] + self._marks[0]
            seen = float(bend @ bend) / len(bend) / (2 / 3 * self._tau**3)
            self._square += 0.4 * (seen - self._square)
