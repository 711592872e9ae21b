"""After learning: follow the slow drift of the phases, block by block, with the array's other errors held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calib.result import LearnResult
from calib.tracking.tracker import Tracker
from hil.core.gauge import canonical
from hil.core.geometry import ArrayGeometry
from hil.learning.observe import CovarianceBatch

#: Blocks per second that are followed: 30 degrees a minute on every element need no more.
_RATE_HZ = 100.0
#: Fewer matching nulls than this over a second of blocks: the array is no longer the one that was learned.
_HEALTHY = 0.5
#: `angle_sigma_deg` covers 90 % of cases: in standard deviations of a normal error.
_COVER = 1.645


class PhaseFollower:
    """Keeps a converged result true while phases drift.

    Parameters
    ----------
    result : converged. last_sample : end of the data that it was learned from.

    The common phase never shows, and on a line neither does a ramp: that part of a drift moves all directions
    together. It is followed by the edges of the support where that is what the absolute angles rest on; else it
    needs learning again.
    """

    def __init__(
        self, result: LearnResult, geometry: ArrayGeometry, fc_hz: float, n_snapshots: int, last_sample: int
    ) -> None:
        self._result = result
        edges = result.gauge.kind == "support" and geometry.kind == "line"
        self._offset_sigma_deg = float("nan")
        self._tracker = Tracker(
            result.impairments, geometry, fc_hz, result.n_sources, n_snapshots,
            support_deg=result.gauge.support_deg, rates=True, follow_offset=edges,
            start_offset_sigma_deg=result.gauge.offset_sigma_deg if edges else None,
            scale_sigma=result.gauge.scale_sigma if edges else 0.0,
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
        for track in self._tracker.follow(batch.covariance, batch.time_s):
            matched += track.used
            self._offset_sigma_deg = track.offset_sigma_deg
        self.last_sample = int(batch.first_sample[-1]) + batch.n_snapshots
        self.healthy = matched >= _HEALTHY * len(batch) * self._result.n_sources
        return len(batch)

    def result(self) -> LearnResult:
        """The learned result with the phases of now."""
        gain = self._tracker.gain
        scale = np.linalg.norm(self._result.impairments.gain) / np.linalg.norm(gain)
        gauge = self._result.gauge
        if np.isfinite(self._offset_sigma_deg):
            # what the drift has opened since learning beyond what was open then
            opened = max(self._offset_sigma_deg**2 - gauge.offset_sigma_deg**2, 0.0)
            gauge = replace(
                gauge,
                offset_sigma_deg=self._offset_sigma_deg,
                angle_sigma_deg=float(np.sqrt(gauge.angle_sigma_deg**2 + _COVER**2 * opened)),
            )
        return replace(
            self._result,
            impairments=canonical(replace(self._result.impairments, gain=gain * scale)),
            gauge=gauge,
        )
