"""`hil learn F.npz`: from OFDM channel responses to a calibration file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from calib.csi import ChannelResponses
from calib.observations import Observations
from calib.registry import CSI_METHODS, get_method
from calib.result import GaugeRequest, LearnOptions, LearnResult, Progress
from hil.core.geometry import ArrayGeometry
from hil.jobs.learn import LearnedArray, learn_blocks, teacher_for
from hil.jobs.learn_labels import LabelSource, LabelTeacher
from hil.learning.batch import require_learnable
from hil.learning.csi import batch_of, read_csi
from hil.learning.race import RaceTeacher
from hil.learning.settings import LearnSettings


@dataclass(slots=True)
class CsiTeacher:
    """Callable with the signature of a method on covariances, for one that wants the channel responses."""

    csi: ChannelResponses
    name: str

    def __call__(
        self,
        obs: Observations,
        geometry: ArrayGeometry,
        fc_hz: float,
        n_sources: int | None,
        gauge: GaugeRequest,
        **options: Unpack[LearnOptions],
    ) -> LearnResult:
        """Raises what the method raises."""
        del obs, n_sources
        return get_method(self.name)(self.csi, geometry, fc_hz, gauge, **options)


def learn_responses(
    path: Path,
    settings: LearnSettings,
    *,
    array: str | None,
    fc_hz: float | None,
    progress: Callable[[Progress], None] | None = None,
    labels: LabelSource | None = None,
) -> LearnedArray:
    """Learn from channel responses with any method: those on covariances get R = CSI CSI^H / S.

    Raises
    ------
    ConfigError : array or carrier missing. CalibrationError : not channel responses. ShapeError.
    """
    csi, stream, digest = read_csi(path, array, fc_hz)
    require_learnable(settings, stream.n_channels)
    batch = batch_of(csi, stream)
    teacher: CsiTeacher | RaceTeacher | LabelTeacher | None
    if settings.method in CSI_METHODS and labels is None:
        teacher = CsiTeacher(csi, settings.method)
    else:
        teacher = teacher_for(settings, labels)
        if isinstance(teacher, RaceTeacher):
            teacher.csi = csi
        if isinstance(teacher, LabelTeacher):
            teacher.look_up(batch, None)
    return learn_blocks(batch, stream, settings, [digest], progress, teacher)
