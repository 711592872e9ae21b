"""The simulator's truth beside a campaign: the true array in every run, the yardstick `known`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.sigmf_files import open_recording
from hil.campaign.folder import Campaign, CampaignPoint
from hil.core.calibration import Calibration
from hil.core.errors import SceneError
from hil.core.frame import StreamInfo
from hil.core.gauge import canonical
from hil.evaluation.held_angles import readings_deg
from hil.evaluation.truth_match import known_array
from hil.jobs.learn_campaign_points import SweepBlocks
from sim_backend.truth import Truth, read_truth


class TrueArrays:
    """Raises SceneError: no truth file, or not one of the server that this campaign was made with."""

    def __init__(self, path: Path, campaign: Campaign, stream: StreamInfo) -> None:
        self._truth: Truth = read_truth(path)
        self._campaign, self._stream = campaign, stream
        self._recordings = [
            e["recording"] for e in campaign.events if e["event"] == "run" and "recording" in e
        ]
        self._opens = [sample for board, sample in self._truth.opens if board == 0][-len(self._recordings) :]
        if len(self._opens) < len(self._recordings):
            raise SceneError(
                f"{path}: {len(self._opens)} captures for {len(self._recordings)} starts of the campaign",
                hint="give the truth file of the server that ran through all of it",
            )

    def readings(
        self, raw: SweepBlocks, true_deg: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], Calibration]:
        """(B, K) MUSIC directions of blocks as received, with the true array of their run; and the newest such array."""
        out = np.full(true_deg.shape, np.nan)
        newest = max(raw.points, key=lambda p: p.t_utc_ns)
        best = self._array(newest)
        for name in {p.recording for p in raw.points}:
            mine = np.isin(raw.point, [i for i, p in enumerate(raw.points) if p.recording == name])
            here = self._array(next(p for p in raw.points if p.recording == name))
            out[mine] = readings_deg(raw.batch.part(mine), true_deg[mine], here, self._stream.fc_hz)
        return out, best

    def _array(self, point: CampaignPoint) -> Calibration:
        with open_recording(self._campaign.folder / point.recording) as recording:
            segment = recording.segment_at(point.start)
            sample = point.start - segment.start + segment.global_index
        assert self._stream.geometry is not None
        opened = self._opens[self._recordings.index(point.recording)]
        known = known_array(self._truth, self._stream.geometry, self._stream.fc_hz, sample + opened)
        impairments = canonical(known.impairments)
        table = np.asarray(self._truth.drawn.get("angle_table_deg", []), float)
        if len(table) > 1:
            phase = np.asarray(self._truth.drawn["angle_phase_rad"], float)
            impairments = replace(impairments, angle_table_deg=table, angle_response=np.exp(1j * phase))
        return replace(known, impairments=impairments)
