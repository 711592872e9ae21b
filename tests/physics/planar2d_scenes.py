"""Covariances of blocks from a wrong planar array with sources at free azimuth and elevation, in numpy.

Shares no code with the learner. Signs are those of hil.core.steering, written out again:
a = g exp(+j 2 pi r . d), d = (sin az cos el, cos az cos el), r in wavelengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.observations import Observations
from hil.core.geometry import ArrayGeometry

FC_HZ = 2.45e9
WAVELENGTH_M = 299_792_458.0 / FC_HZ


@dataclass(slots=True)
class PlaneScene:
    """Truth and data: gain (N,), r and nominal (N, 2) wavelengths, d (B, K, 2), covariance (B, N, N)."""

    gain: NDArray[np.complex128]
    r: NDArray[np.float64]
    nominal: NDArray[np.float64]
    d: NDArray[np.float64]
    covariance: NDArray[np.complex128]
    n_snapshots: int

    @property
    def observations(self) -> Observations:
        """Blocks 1 ms apart."""
        return Observations(self.covariance, self.n_snapshots, 1e-3 * np.arange(len(self.covariance)))

    @property
    def geometry(self) -> ArrayGeometry:
        """The nominal array in metres."""
        return ArrayGeometry(np.column_stack((self.nominal, np.zeros(len(self.nominal)))) * WAVELENGTH_M)

    def truth_at(self, d: NDArray[np.float64]) -> NDArray[np.complex128]:
        """True steering vectors (G, N) at d (G, 2)."""
        return self.gain * np.exp(2j * np.pi * d @ self.r.T)


def rectangle(nx: int, ny: int, spacing: float = 0.5) -> NDArray[np.float64]:
    """(nx ny, 2) wavelengths, centred."""
    x, y = np.meshgrid(np.arange(nx) - (nx - 1) / 2, np.arange(ny) - (ny - 1) / 2, indexing="ij")
    return spacing * np.column_stack((x.ravel(), y.ravel()))


def circle(n: int = 8, radius: float = 0.6) -> NDArray[np.float64]:
    """(N, 2) wavelengths."""
    phi = 2 * np.pi * np.arange(n) / n
    return radius * np.column_stack((np.cos(phi), np.sin(phi)))


def irregular(n: int, seed: int, extent: float = 1.5, closest: float = 0.35) -> NDArray[np.float64]:
    """(N, 2) wavelengths at random in a square, no two closer than `closest`."""
    rng = np.random.default_rng(seed)
    points: list[NDArray[np.float64]] = []
    while len(points) < n:
        p = rng.uniform(-extent / 2, extent / 2, 2)
        if all(np.hypot(*(p - q)) > closest for q in points):
            points.append(p)
    out = np.array(points)
    return out - out.mean(axis=0)


def make_plane(
    seed: int,
    nominal: NDArray[np.float64],
    n_sources: int = 1,
    n_blocks: int = 480,
    *,
    azimuth_deg: tuple[float, float] = (-180.0, 180.0),
    elevation_deg: tuple[float, float] = (0.0, 80.0),
    d: NDArray[np.float64] | None = None,
    position_std: float = 0.05,
    snr_db: float = 20.0,
    n_snapshots: int = 256,
    coherent: bool = False,
) -> PlaneScene:
    """Random array (complex gains, uniform phases, position errors); directions uniform in both angles."""
    rng = np.random.default_rng(seed)
    n = len(nominal)
    r = nominal + position_std * rng.standard_normal((n, 2))
    gain = 1 + 0.3 / np.sqrt(2) * (rng.standard_normal(n) + 1j * rng.standard_normal(n))
    gain = gain * np.exp(2j * np.pi * rng.random(n))
    if d is None:
        az = np.deg2rad(rng.uniform(*azimuth_deg, (n_blocks, n_sources)))
        el = np.deg2rad(rng.uniform(*elevation_deg, (n_blocks, n_sources)))
        d = np.stack((np.sin(az) * np.cos(el), np.cos(az) * np.cos(el)), axis=-1)
    b, k, t = len(d), d.shape[1], n_snapshots
    a = gain * np.exp(2j * np.pi * (d[..., :1] * r[:, 0] + d[..., 1:] * r[:, 1]))  # (B, K, N)
    sigma = np.sqrt(10 ** (-snr_db / 10) * np.mean(np.abs(gain) ** 2) / 2)
    covariance = np.empty((b, n, n), complex)
    for i in range(b):
        s = (rng.standard_normal((k, t)) + 1j * rng.standard_normal((k, t))) / np.sqrt(2)
        if coherent:
            s = np.exp(1j * np.arange(k))[:, None] * s[:1]
        w = sigma * (rng.standard_normal((n, t)) + 1j * rng.standard_normal((n, t)))
        x = a[i].T @ s + w
        covariance[i] = x @ x.conj().T / t
    return PlaneScene(gain, r, nominal, d, covariance, t)
