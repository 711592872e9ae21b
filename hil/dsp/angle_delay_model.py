"""The forward model of paths in channel responses over time, frequency and elements.

    Y[b, m, s] = sum_k gamma_k exp(j 2 pi nu_k t_b) a_m(theta_k) exp(-j 2 pi f_s (tau_k - p_m(theta_k)))
                 + direct path + noise,      p_m(theta) = r_m . u(theta)/c

p_m is the small difference in delay between the elements that goes with their phase (it matters for wide bands).
The direct path from a transmitter beside the array is not a plane wave: constant in time, any value per element
at one delay. It is eliminated by projection, exactly and together with its unknown values.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hil.core.steering import unit_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.response import ArrayResponse

_J2PI = 2j * np.pi
_STEP_DEG = 1e-3

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Paths:
    """K paths. angle_deg (K,), delay_s (K,), doppler_hz (K,), gamma (K,) complex."""

    angle_deg: Real = field(default_factory=lambda: np.zeros(0))
    delay_s: Real = field(default_factory=lambda: np.zeros(0))
    doppler_hz: Real = field(default_factory=lambda: np.zeros(0))
    gamma: Complex = field(default_factory=lambda: np.zeros(0, complex))

    def __len__(self) -> int:
        return len(self.gamma)

    def with_path(self, angle_deg: float, delay_s: float, doppler_hz: float) -> Paths:
        """One more path of amplitude zero."""
        return Paths(
            np.append(self.angle_deg, angle_deg), np.append(self.delay_s, delay_s),
            np.append(self.doppler_hz, doppler_hz), np.append(self.gamma, 0j),
        )  # fmt: skip

    def select(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Paths:
        """Some of them."""
        return Paths(self.angle_deg[index], self.delay_s[index], self.doppler_hz[index], self.gamma[index])


@dataclass(frozen=True, slots=True, eq=False)
class PathModel:
    """What turns paths into data.

    response : steering of the array. positions_m (M, 3). whitener (M, M) : makes the noise of the elements independent
    and of power 1; without other signals in the band 1/deviation of each element.
    frequency_hz (S,) from the carrier. time_s (B,).
    """

    response: ArrayResponse
    positions_m: Real
    whitener: Complex
    frequency_hz: Real
    time_s: Real

    def steering(self, angle_deg: Real) -> Complex:
        """(M, G) whitened steering vectors."""
        return self.whitener @ self.response.steering(np.asarray(angle_deg, float))

    def clip_deg(self, angle_deg: Real) -> Real:
        """Angles inside the limits of the response; around the circle they wrap."""
        low, high = self.response.limits_deg
        if (low, high) == (-180.0, 180.0):
            return (np.asarray(angle_deg) + 180.0) % 360.0 - 180.0
        return np.clip(angle_deg, low, high)

    def temporal(self, doppler_hz: Real) -> Complex:
        """(B, K) exp(j 2 pi nu t)."""
        return np.exp(_J2PI * np.outer(self.time_s, doppler_hz))

    def spatial(self, paths: Paths) -> tuple[Complex, Complex]:
        """G and its derivative by the angle in radians, (K, M, S) each, amplitude 1."""
        low, high = self.response.limits_deg
        at = paths.angle_deg
        below, above = np.maximum(at - _STEP_DEG, low), np.minimum(at + _STEP_DEG, high)
        step = np.deg2rad(above - below)
        a = self.response.steering(at)
        slope = (self.response.steering(above) - self.response.steering(below)) / step
        lead = self._lead_s(at)
        lead_slope = (self._lead_s(above) - self._lead_s(below)) / step
        late = paths.delay_s[:, None] - lead.T  # (K, M)
        shape = np.exp(-_J2PI * late[:, :, None] * self.frequency_hz)
        g = a.T[:, :, None] * shape
        by_angle = slope.T[:, :, None] * shape + g * (_J2PI * lead_slope.T[:, :, None] * self.frequency_hz)
        return self.whitener @ g, self.whitener @ by_angle

    def _lead_s(self, angle_deg: Real) -> Real:
        """(M, G) seconds by which each element hears a plane wave before the origin."""
        return self.positions_m @ unit_vectors(np.deg2rad(angle_deg)) / SPEED_OF_LIGHT_M_S

    def sum(self, paths: Paths) -> Complex:
        """(B, M, S) what the paths give."""
        shape = (len(self.time_s), len(self.whitener), len(self.frequency_hz))
        if not len(paths):
            return np.zeros(shape, complex)
        g, _ = self.spatial(paths)
        time = self.temporal(paths.doppler_hz) * paths.gamma
        return (time @ g.reshape(len(paths), -1)).reshape(shape)


@dataclass(frozen=True, slots=True, eq=False)
class DirectPath:
    """A component that is constant in time and free in each element.

    delay_s : where it lies. basis (S, r) orthonormal: b(delay) and, if its response is not flat, derivatives.
    vector (M,) : its value per element, whitened as the data.
    """

    delay_s: float
    basis: Complex
    vector: Complex

    def remove(self, data: Complex) -> Complex:
        """data (B, M, S) without anything constant in time within the basis."""
        mean = data.mean(axis=0)
        return data - (mean @ self.basis.conj()) @ self.basis.T


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Derivatives of the model by its real parameters, as products of a function of time and one of place.

    time (B, C), place (M S, C): column c is time[:, c] x place[:, c]. Per path: Re gamma, Im gamma, angle (rad),
    delay, and Doppler where there is more than one block.
    """

    time: Complex
    place: Complex
    per_path: int

    def gram(self, direct: DirectPath | None, n_elements: int) -> Complex:
        """Inner products (C, C) of the columns after the direct path has been projected out."""
        gram = (self.time.conj().T @ self.time) * (self.place.conj().T @ self.place)
        if direct is not None:
            n_columns = self.place.shape[1]
            cube = self.place.T.reshape(n_columns, n_elements, -1)
            inside = (cube @ direct.basis.conj()).reshape(n_columns, -1) * self.time.mean(axis=0)[:, None]
            gram = gram - len(self.time) * (inside.conj() @ inside.T)
        return gram

    def along(self, residual: Complex) -> Complex:
        """Inner products (C,) with a residual (B, M, S) that was projected already."""
        flat = residual.reshape(len(residual), -1) @ self.place.conj()
        return np.sum(self.time.conj() * flat, axis=0)


def columns(model: PathModel, paths: Paths) -> Columns:
    """The Jacobian at these paths."""
    g, by_angle = model.spatial(paths)
    k = len(paths)
    time = model.temporal(paths.doppler_hz)
    gamma = paths.gamma[:, None, None]
    moving = len(model.time_s) > 1
    by_delay = g * (-_J2PI * model.frequency_hz)
    place = [g, 1j * g, gamma * by_angle, gamma * by_delay]
    times = [time, time, time, time]
    if moving:
        place.append(gamma * g)
        times.append(time * (_J2PI * model.time_s)[:, None])
    per = len(place)
    stacked = np.stack([p.reshape(k, -1) for p in place], axis=1).reshape(k * per, -1).T
    in_time = np.stack(times, axis=2).reshape(len(model.time_s), k * per)
    return Columns(in_time, stacked, per)
