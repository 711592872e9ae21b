"""Positions from nothing but the sectors: an array that grows from its middle, element by element.

With the elements known so far every block has a posterior over u on a common grid,

    p_b(u) ~ [u in sector b] exp(|g_b(u)|^2/(n + 1/snr)),     g_b(u) = sum_known conj(a_k(u)) z_bk,

and an element k shows itself in one sum over the blocks that serves every position it may have:

    V_k(u) = sum_b p_b(u) conj(g_b(u)) z_bk,     J_k(x) = Re sum_u V_k(u) exp(-j 2 pi x u)

J_k is the expected log-likelihood (expectation maximisation, Dempster 1977), so each element is looked for over its whole
range at once: no gradient, no phase wrap to fall into. Before its echo is seen, u is uniform in angle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.gpi.search import TWO_PI, abs2, conj_steering

_GRID_PER_BEAM = 4.0
_STEP = 0.05
_NEWTON = 4
_LARGEST_STEP = 0.03
_SWEEPS_AT = (3, 4, 6, 8, 12, 16, 24, 32, 48)
_LAST_SWEEPS = 2


class SectorAngles:
    """What is known of the angle of every block: its sector, then the elements of known position.

    Parameters
    ----------
    z : (B, K) complex64, noise of variance 1. sector_u : (B, 2). span : the largest aperture in wavelengths.
    """

    def __init__(self, z: NDArray[np.complex64], sector_u: NDArray[np.float64], span: float) -> None:
        self.z = z
        self.power = abs2(z)
        self.snr = max(float(np.mean(self.power)) - 1, 0.05)
        low, high = float(sector_u[:, 0].min()), float(sector_u[:, 1].max())
        count = max(3, int(np.ceil((high - low) * max(span, 1.0) * _GRID_PER_BEAM)) + 1)
        self.u = np.linspace(low, high, count)
        half = max(self.u[1] - self.u[0], 0) / 2
        self.outside = (self.u < sector_u[:, :1] - half) | (self.u > sector_u[:, 1:] + half)
        self.per_u = (1 / np.sqrt(1 - np.minimum(self.u**2, 0.999))).astype(np.float32)

    def fields(
        self, x: NDArray[np.float64], known: NDArray[np.intp], wanted: NDArray[np.intp]
    ) -> NDArray[np.complex64]:
        """V_k(u), (G, W), of the elements `wanted`, from angles and amplitudes of the elements `known`.

        An element's own part in the amplitudes is left out: it would hold the element where it is.
        """
        a = conj_steering(x, self.u)
        g = self.z[:, known] @ a[:, known].T
        power = abs2(g) / np.float32(len(known) + 1 / self.snr)
        power[self.outside] = -np.inf
        p = np.exp(power - power.max(axis=1, keepdims=True)) * self.per_u
        p /= p.sum(axis=1, keepdims=True)
        own = a[:, wanted].conj() * (p.T @ self.power[:, wanted])
        return (p * g.conj()).T @ self.z[:, wanted] - np.where(np.isin(wanted, known), own, 0)


def grow(
    z: NDArray[np.complex64],
    sector_u: NDArray[np.float64],
    x0: NDArray[np.float64],
    reach: float,
    n_trusted: int = 1,
) -> NDArray[np.float64]:
    """Positions (K,) in wavelengths, each within `reach` of x0 (K,), with the most central element at its x0.

    Parameters
    ----------
    z : (B, K) complex64, noise of variance 1. sector_u : (B, 2), limits of u of each block; both alike: a known angle.
    n_trusted : so many central elements are taken at x0 until others are there to tell. One is enough for
        sectors up to half of the field of view, which tell the first spacings by themselves.
    """
    angles = SectorAngles(z, sector_u, float(np.ptp(x0)) + 2 * reach)
    order = np.argsort(np.abs(x0 - np.median(x0)), kind="stable")
    x = np.asarray(x0, float).copy()
    offsets = np.arange(-reach, reach + _STEP / 2, _STEP)
    for n in range(n_trusted, len(x)):
        k = order[n]
        field = angles.fields(x, order[:n], order[n : n + 1])
        x[k] = _highest(field[:, 0], angles.u, x0[k] + offsets)
        if n + 1 in _SWEEPS_AT:
            x = rescan(angles, x, x0, order[: n + 1], offsets)
    for _ in range(_LAST_SWEEPS):
        x = rescan(angles, x, x0, order, offsets)
    return x


def rescan(
    angles: SectorAngles,
    x: NDArray[np.float64],
    x0: NDArray[np.float64],
    known: NDArray[np.intp],
    offsets: NDArray[np.float64],
) -> NDArray[np.float64]:
    """All known elements looked for again, each over x0 + offsets; the first one stays."""
    wanted = known[1:]
    fields = angles.fields(x, known, wanted)
    moved = x.copy()
    for k, field in zip(wanted, fields.T, strict=True):
        moved[k] = _highest(field, angles.u, x0[k] + offsets)
    return moved


def _highest(field: NDArray[np.complex64], u: NDArray[np.float64], trial: NDArray[np.float64]) -> float:
    """argmax over x of Re sum_u V(u) exp(-j 2 pi x u)."""
    x = float(trial[int(np.argmax((conj_steering(u, trial) @ field).real))])
    rate = TWO_PI * u
    for _ in range(_NEWTON):
        turned = field * np.exp(-1j * x * rate)
        slope, bend = float(rate @ turned.imag), -float(rate**2 @ turned.real)
        if bend >= 0:
            break
        x -= float(np.clip(slope / bend, -_LARGEST_STEP, _LARGEST_STEP))
    return x
