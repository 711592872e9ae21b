"""kappa that follows a drifting array, block by block, in closed form.

    W <- (1 - f) W + f z z^H,   kappa <- one power step W kappa, ||kappa||^2 = N

z is the block matched at the maximum of its own map. f is 1/(blocks of memory); blocks in which no source
stands out leave W alone. No gradient, no learning rate, under 1 ms a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.csi import checked_window
from calib.gpi.delay import Reduced, delay_basis
from calib.gpi.eigen import unit
from calib.gpi.search import TWO_PI, PeakSearch
from calib.gpi.threshold import detection_threshold
from hil.core.errors import ConfigError, ShapeError

_WIDTH_STEP = 0.02


@dataclass(frozen=True, slots=True)
class BlockPeak:
    """What one block showed. used : a source stood out and kappa was updated. statistic : max M/(N S N0)."""

    u: float
    delay_s: float
    statistic: float
    used: bool


class RecursiveGainPhase:
    """Recursive eigenvector learning.

    Parameters
    ----------
    kappa : (N,) complex128 start: a learned calibration, or ones for errors within about 90 degrees.
    x_wavelengths : (N,) positions in wavelengths. n_subcarriers, spacing_hz, delay_s : of the blocks.
    memory : blocks with a source that count, f = 1/memory; more follows slower drift more quietly. While
        fewer were seen all count alike.
    false_alarm : rate at which a block without a source is used.

    Raises
    ------
    ConfigError, ShapeError : settings that make no sense.
    """

    def __init__(
        self,
        kappa: NDArray[np.complex128],
        x_wavelengths: NDArray[np.float64],
        n_subcarriers: int,
        spacing_hz: float,
        delay_s: tuple[float, float] | None = None,
        *,
        memory: int = 500,
        false_alarm: float = 1e-2,
    ) -> None:
        self.x = np.asarray(x_wavelengths, float)
        if np.shape(kappa) != self.x.shape or self.x.ndim != 1 or len(self.x) < 3:
            raise ShapeError(
                f"kappa {np.shape(kappa)} and positions {self.x.shape}: need one value per element"
            )
        if memory < 1:
            raise ConfigError("memory must be at least one block")
        self._window = checked_window(delay_s, spacing_hz, n_subcarriers)
        self._spacing_hz = spacing_hz
        self._basis = delay_basis(n_subcarriers, spacing_hz, self._window)
        self._project = np.ascontiguousarray(self._basis.conj().astype(np.complex64))
        self._rate = false_alarm
        self._memory = memory
        self._kappa = unit(np.asarray(kappa, np.complex128))
        self._gram: NDArray[np.complex128] | None = None
        self._noise = 0.0
        self._search: PeakSearch | None = None
        self._thresholds: dict[int, float] = {}
        self._eta = 0.0
        self.n_blocks = 0
        self.n_used = 0

    @property
    def kappa(self) -> NDArray[np.complex128]:
        """(N,) gains now, ||kappa||^2 = N, sum > 0."""
        return unit(self._kappa)

    def update(self, csi: NDArray[np.complex128], sector_deg: tuple[float, float]) -> BlockPeak:
        """Take one block, csi (N, S), with its source known to lie in the sector (broadside, degrees).

        Raises
        ------
        ShapeError : wrong shape or values that are not finite.
        """
        block = np.asarray(csi, np.complex64)
        if block.shape != (len(self.x), len(self._basis)):
            raise ShapeError(f"csi: shape {block.shape}, expected {(len(self.x), len(self._basis))}")
        taps = block @ self._project
        total = float(np.vdot(block, block).real)
        if not np.isfinite(total):
            raise ShapeError("csi: contains values that are not finite")
        noise = self._noise_level(taps, total)
        scaled = (taps / np.sqrt(noise))[None].astype(np.complex64)
        search = self._search_for(sector_deg, scaled)
        peaks = search(self._kappa)
        statistic = float(peaks.statistic[0])
        used = statistic > self._eta
        self.n_blocks += 1
        if used:
            self._add(peaks.z[0].astype(np.complex128))
        return BlockPeak(float(peaks.u[0]), float(peaks.delay_s[0]), statistic, used)

    def _noise_level(self, taps: NDArray[np.complex64], total: float) -> float:
        """Running N0 from the energy outside the delay subspace (inside, if the window leaves nothing)."""
        n, s = len(self.x), len(self._basis)
        free = n * (s - taps.shape[1])
        inside = float(np.vdot(taps, taps).real)
        if free >= 4 * n:
            level = max(total - inside, 0.0) / free
        else:
            level = float(np.median(np.abs(taps) ** 2)) / np.log(2)
        share = max(1 / (self.n_blocks + 1), 0.02)
        self._noise += share * (level - self._noise)
        return max(self._noise, 1e-300)

    def _search_for(self, sector_deg: tuple[float, float], taps: NDArray[np.complex64]) -> PeakSearch:
        n, s = len(self.x), len(self._basis)
        data = Reduced(taps, np.zeros((1, n)), self._basis, self._spacing_hz, self._window)
        low, high = float(sector_deg[0]), float(sector_deg[1])
        if not -90 <= low < high <= 90:
            raise ConfigError(f"sector {low:g}:{high:g} is empty or lies outside -90..90 degrees")
        sector_u = np.sin(np.deg2rad([[low, high]]))
        if self._search is None:
            self._search = PeakSearch(data, self.x, sector_u)
        else:
            self._search.replace_data(data, sector_u)
        # one threshold for sectors of about this width
        step = int(float(sector_u[0, 1] - sector_u[0, 0]) / _WIDTH_STEP) + 1
        if step not in self._thresholds:
            limits = np.array([[0.0, step * _WIDTH_STEP]])
            self._thresholds[step] = detection_threshold(
                self._rate, self.x, limits, s, self._spacing_hz, self._window
            )
        self._eta = self._thresholds[step]
        return self._search

    def _add(self, z: NDArray[np.complex128]) -> None:
        self.n_used += 1
        # a long start: the first blocks are averaged evenly, and the start counts as a few blocks
        f = max(1 / (self.n_used + 4), 1 / self._memory)
        z = z / np.sqrt(len(self._basis))
        if self._gram is None:
            power = float(np.vdot(z, z).real) / len(z)
            self._gram = power * np.outer(self._kappa, self._kappa.conj())
        self._gram = (1 - f) * self._gram + f * np.outer(z, z.conj())
        kappa = self._gram @ self._kappa
        self._kappa = kappa * np.sqrt(len(kappa)) / np.linalg.norm(kappa)

    def shift(self, delta: float) -> None:
        """Turn the gauge: every u is shown larger by delta from now on."""
        turn = np.exp(-1j * TWO_PI * self.x * delta)
        self._kappa = self._kappa * turn
        if self._gram is not None:
            self._gram = self._gram * np.outer(turn, turn.conj())
