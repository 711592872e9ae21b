"""Cold start of a planar array with sources in its plane: circles and anything else that is not a line.

The mean coherence of sources all round is exp(j (psi_n - psi_m)) J0(2 pi d_nm); of sources in a sector it is
the sector's own integral. Its phases give the start, Gauss-Newton the rest; restarts draw the positions
from their prior. Left open is one rotation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.cold_start import ENOUGH, Found, Search, search
from calib.model import TWO_PI, Model
from calib.observations import Subspaces
from calib.refine import Fit, Schedule, polish, settle, some_blocks

_CIRCLE = (-np.pi, np.pi)
_MAX_ATTEMPTS = 60


@dataclass(frozen=True, slots=True)
class Sector:
    """Azimuths (radians) that the sources may come from."""

    low: float = -np.pi
    high: float = np.pi

    @property
    def is_full(self) -> bool:
        """True if it is the whole circle."""
        return self.high - self.low >= TWO_PI - 1e-6


def search_planar(job: Search, sector: Sector) -> Found:
    """Find the basin of the true array; `job.nominal` is (N, 2) in wavelengths."""
    return search(job, _attempts(job, job.subspaces(), sector), _CIRCLE)


def _attempts(job: Search, sub: Subspaces, sector: Sector) -> Iterator[Model]:
    sectors = [sector] if sector.is_full else [sector, Sector()]
    for part in sectors:
        yield _converge(job, sub, planar_start(job, job.nominal, part))
    for attempt in range(_MAX_ATTEMPTS):
        positions = job.nominal + job.position_std * job.rng.standard_normal(job.nominal.shape)
        start = planar_start(job, positions, sectors[attempt % len(sectors)])
        if attempt % 3 == 2:
            noise = 0.7 * job.rng.standard_normal(len(positions))
            start = replace(start, g=start.g * np.exp(1j * noise))
        yield _converge(job, sub, start)


def planar_start(job: Search, positions: NDArray[np.float64], sector: Sector) -> Model:
    """Phases of the principal eigenvector of coherence times its conjugate expectation."""
    r = job.covariance
    power = np.sqrt(np.einsum("bnn->bn", r).real)
    coherence = np.mean(r / (power[:, :, None] * power[:, None, :]), axis=0)
    azimuth = np.linspace(sector.low, sector.high, 361)[:-1]
    direction = np.stack((np.sin(azimuth), np.cos(azimuth)))
    ideal = np.exp(1j * TWO_PI * (positions @ direction))
    expected = ideal @ ideal.conj().T / ideal.shape[1]
    weighted = coherence * expected.conj()
    np.fill_diagonal(weighted, 0.0)
    phase = np.angle(np.linalg.eigh((weighted + weighted.conj().T) / 2)[1][:, -1])
    amplitude = np.sqrt(np.einsum("bnn->n", r).real)
    return Model(amplitude * np.exp(1j * phase), positions).normalised()


def _converge(job: Search, sub: Subspaces, start: Model) -> Model:
    model = job.iterate(start, sub, Schedule(6, (0.1, 0.1), 0.0, free_positions=False))
    plan = Schedule(18, (0.1, 1e-3), 0.0, free_positions=job.free_positions, enough=ENOUGH)
    return job.iterate(model, sub, plan)


def align_rotation(model: Model, nominal: NDArray[np.float64]) -> Model:
    """Turn so that the positions lie closest to the nominal ones."""
    r, x = model.r - model.r.mean(axis=0), nominal - nominal.mean(axis=0)
    z, w = r[:, 1] + 1j * r[:, 0], x[:, 1] + 1j * x[:, 0]
    return model.normalised().shifted(float(np.angle(np.sum(w * z.conj()))))


def finish_planar(model: Model, sub: Subspaces, nominal: NDArray[np.float64], free_positions: bool) -> Fit:
    """Polish on all blocks with the rotation closest to the nominal array."""
    if free_positions:
        model = align_rotation(model, nominal)
    fit = polish(model, some_blocks(sub), nominal, _CIRCLE, free_positions=free_positions)
    return settle(fit, sub, nominal, free_positions=free_positions)
