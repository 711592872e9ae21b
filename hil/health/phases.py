"""Watches the phases against a calibration: fast by the null depth, slowly by the errors that explain it."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.health.blocks import SNAPSHOTS, WINDOWS
from hil.health.manifold import Manifold, Nulls, Signals, joined, signals_of
from hil.health.nulls import ALLOWANCE, LogGain, Normal, bad_limit, normal_equations, quality, solve
from hil.health.readings import Readings, median
from hil.health.waves import explained

#: Blocks of one slow estimate.
WINDOW_BLOCKS = 16
#: A smaller change of the phases (rms, without what cannot be seen) is not told.
LEAST_DRIFT_DEG = 2.0
_SIGMAS = 8.0
_CLEARLY = 2.0
_NORMALS_EVERY = 2  # blocks: they cost as much as the nulls
_PARTLY_BLOCKS = 8
_PARTLY_SHARE = 0.5  # of the windows of so many blocks: emitters that hop are close now and then
_ASKED_WINDOWS = 12
_ASK_AGAIN_BLOCKS = 8
_MOST_MISFIT = 10.0  # of a null that says something about slow changes
_WEAKEST = 3.0  # signal eigenvalue over the largest that noise alone makes


class PhaseWatch:
    """Of one calibration and one number of sources.

    Attributes
    ----------
    manifold : the calibrated array with corrections found since. misfit : median q of the latest usable block,
    NaN if there was none. drift : latest slow estimate against the reference, or None.
    """

    def __init__(self, calibration: Calibration, fc_hz: float, n_sources: int) -> None:
        self.manifold = Manifold(calibration, fc_hz)
        m = self.manifold.n_elements
        self.n_sources = n_sources
        sigma = calibration.sigma.phase_deg
        self.sigma_deg = float(np.sqrt(np.mean(np.nan_to_num(sigma) ** 2)))
        self.allowance = max(ALLOWANCE, float(np.deg2rad(2 * self.sigma_deg) ** 2))
        self.limit = bad_limit(m, n_sources)
        self.scale = 1.0
        self.misfit = float("nan")
        self.drift: LogGain | None = None
        self._tail_limit = np.inf
        self._normals: deque[Normal] = deque(maxlen=WINDOW_BLOCKS // _NORMALS_EVERY)
        self._reference: NDArray[np.complex128] | None = None
        self._over = 0
        # windows in which some emitter's null does not fit, of the latest blocks
        self._partly: deque[Signals] = deque(maxlen=_PARTLY_BLOCKS)
        self._ask_in = self._skipped = 0

    def settle(self, readings: list[Readings], tail_limit: float, whitening: NDArray[np.float64]) -> bool:
        """Take the first blocks as clean; False if the calibration does not explain them."""
        self._tail_limit = tail_limit
        self.manifold.use(whitening.astype(complex))
        self._normals.clear()
        self._partly.clear()
        self._reference, self.drift, self._over, self._ask_in = None, None, 0, 0
        medians = [v for v in (self._median(self.signals(r)) for r in readings) if np.isfinite(v)]
        if len(medians) < max(3, len(readings) // 4):
            self.scale = 1.0
            return True  # nothing to judge by
        typical = float(np.median(medians))
        self.scale = float(np.clip(typical, 1.0, 2.0))
        if typical >= self.limit * 1.5:
            return False
        normals = [normal_equations(self.manifold.nulls(self.signals(r)), self.n_sources, self.allowance, _MOST_MISFIT)
                   for r in readings if len(self.signals(r))]  # fmt: skip
        total = normals[0]
        for normal in normals[1:]:
            total += normal
        self._reference = solve(total).z
        return True

    def signals(self, readings: Readings) -> Signals:
        """Subspaces of the windows that show exactly the expected sources."""
        k, values = self.n_sources, readings.values
        m = values.shape[1]
        noise = values[:, : m - k].mean(axis=1)
        edge = noise * (1 + np.sqrt(m / SNAPSHOTS)) ** 2
        keep = (values[:, m - k] > _WEAKEST * edge) & (readings.tail < self._tail_limit)
        return signals_of(values, readings.vectors, k, SNAPSHOTS).select(keep)

    def _median(self, signals: Signals) -> float:
        if len(signals) < 2:
            return float("nan")
        q = quality(self.manifold.nulls(signals), self.n_sources, self.allowance)
        return median(q) if len(q) >= 2 else float("nan")

    def judge(self, readings: Readings) -> bool | None:
        """True if this block does not fit, False if it does, None if it cannot be judged."""
        signals = self.signals(readings)
        if len(signals) < 2:
            self.misfit = float("nan")
            return None
        nulls = self.manifold.nulls(signals)
        q = quality(nulls, self.n_sources, self.allowance)
        if len(q) < 2:
            return None
        self.misfit = median(q)
        if self.misfit > self.limit * self.scale:
            return True
        if self.n_sources > 1 and self._one_is_off(nulls, signals):
            return True
        self._skipped = (self._skipped + 1) % _NORMALS_EVERY
        if not self._skipped:
            self._normals.append(normal_equations(nulls, self.n_sources, self.allowance, _MOST_MISFIT))
        return False

    def _one_is_off(self, nulls: Nulls, signals: Signals) -> bool:
        """One emitter's null fits and another's does not: a fault of that path, unless they are closer than a beam."""
        worst = quality(nulls, self.n_sources, self.allowance, worst=True)
        off = np.zeros(len(signals), bool)
        off[nulls.valid.any(axis=1)] = worst > self.limit * self.scale * _CLEARLY
        self._partly.append(signals.select(off))
        self._ask_in = max(self._ask_in - 1, 0)
        share = sum(map(len, self._partly)) / (_PARTLY_BLOCKS * WINDOWS)
        if share < _PARTLY_SHARE or self._ask_in:
            return False
        suspect = joined(self._partly)
        index = np.unique(np.linspace(0, len(suspect) - 1, _ASKED_WINDOWS).astype(int))
        close = explained(self.manifold, suspect.select(index), self.n_sources, self.allowance)
        if share * (1 - float(close.mean())) < _PARTLY_SHARE:
            self._ask_in = _ASK_AGAIN_BLOCKS
            return False
        return True

    def slow_alarm(self) -> bool:
        """After each clean block: have the phases moved since the reference? Judged over WINDOW_BLOCKS."""
        if len(self._normals) < WINDOW_BLOCKS // _NORMALS_EVERY:
            return False
        matrix = np.sum([n.matrix for n in self._normals], axis=0)
        gradient = np.sum([n.gradient for n in self._normals], axis=0)
        if self._reference is not None:
            z = self._reference
            gradient = gradient + matrix @ np.concatenate((z.real, z.imag))
        count, noise = sum(n.count for n in self._normals), sum(n.noise for n in self._normals)
        found = solve(Normal(matrix, gradient, count, noise))
        self.drift = found
        self._normals.clear()
        least = max(LEAST_DRIFT_DEG, 3 * self.sigma_deg, _SIGMAS * found.sigma_deg)
        self._over = self._over + 1 if found.phase_rms_deg > least else 0
        return self._over >= 2
