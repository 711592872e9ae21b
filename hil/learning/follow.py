"""After learning: follow the slow drift of the phases, block by block, with the array's other errors held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calib.online import Tracker
from calib.result import LearnResult
from hil.core.gauge import canonical
from hil.core.geometry import ArrayGeometry
from hil.learning.observe import CovarianceBatch

#: Blocks per second that are followed: 30 degrees a minute on every element need no more.
_RATE_HZ = 100.0
#: Fewer matching nulls than this over a second of blocks: the array is no longer the one that was learned.
_HEALTHY = 0.5


class PhaseFollower:
    """Keeps a converged result true while phases drift.

    Parameters
    ----------
    result : converged. last_sample : end of the data that it was learned from.

    The common phase never shows, and on a line neither does a ramp: that part of a drift moves all directions
    together and needs the support's edges or an anchor, hence learning again.
    """

    def __init__(
        self, result: LearnResult, geometry: ArrayGeometry, fc_hz: float, n_snapshots: int, last_sample: int
    ) -> None:
        self._result = result
        self._tracker = Tracker(
            result.impairments, geometry, fc_hz, result.n_sources, n_snapshots,
            support_deg=result.gauge.support_deg,
        )  # fmt: skip
        self.last_sample = last_sample
        self.healthy = True

    def follow(self, batch: CovarianceBatch) -> int:
        """Take the blocks that are new, at most 100 a second; returns how many were used."""
        batch = batch.part(batch.first_sample >= self.last_sample)
        if not len(batch):
            return 0
        span_s = (batch.first_sample[-1] - batch.first_sample[0]) / batch.fs_hz
        batch = batch.thinned(max(1, round(span_s * _RATE_HZ)))
        matched = 0
        for covariance in batch.covariance:
            matched += self._tracker.update(covariance).used
        self.last_sample = int(batch.first_sample[-1]) + batch.n_snapshots
        self.healthy = matched >= _HEALTHY * len(batch) * self._result.n_sources
        return len(batch)

    def result(self) -> LearnResult:
        """The learned result with the phases of now."""
        gain = self._tracker.gain
        scale = np.linalg.norm(self._result.impairments.gain) / np.linalg.norm(gain)
        return replace(
            self._result, impairments=canonical(replace(self._result.impairments, gain=gain * scale))
        )
