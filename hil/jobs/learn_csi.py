"""`hil learn` from OFDM channel responses: of a file (.npz), or of a recording that carries a known waveform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from calib.csi import ChannelResponses
from calib.observations import Observations
from calib.registry import CSI_METHODS, get_method
from calib.result import GaugeRequest, LearnOptions, LearnResult, Progress
from drivers.sigmf_files import open_recording
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.dsp.angle_delay_direct import DirectChoice
from hil.jobs.angle_delay import transmitted, waveform_of
from hil.jobs.learn import LearnedArray, learn_blocks, teacher_for
from hil.jobs.learn_labels import LabelSource, LabelTeacher
from hil.jobs.stated_array import stated_array
from hil.learning.batch import require_learnable
from hil.learning.csi import Lessons, batch_of, lessons_of, read_csi, with_delays
from hil.learning.csi_recording import csi_of_recording
from hil.learning.observe import longest_epoch
from hil.learning.race import RaceTeacher
from hil.learning.settings import LearnSettings

#: Blocks per second that a capture is divided into: twenty per dwell of a 10 ms hop.
_GROUPS_PER_S = 2000.0
_MOST_GROUPS = 4000


@dataclass(slots=True)
class CsiTeacher:
    """Callable with the signature of a method on covariances, for one that wants the channel responses."""

    csi: ChannelResponses
    name: str
    lessons: Lessons | None = None

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
        result = get_method(self.name)(self.csi, geometry, fc_hz, gauge, **options)
        if self.lessons is not None:
            result = with_delays(result, self.lessons, geometry.positions_m)
            result.notes += self.lessons.notes
        return result


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
    return _learn(csi, stream, settings, digest, progress, labels)


def learn_waveform(
    path: Path,
    waveform: Path | None,
    settings: LearnSettings,
    *,
    array: str | None,
    seconds: float | None = None,
    progress: Callable[[Progress], None] | None = None,
    labels: LabelSource | None = None,
    direct: DirectChoice = "auto",
    anchor_range_m: float | None = None,
) -> LearnedArray:
    """Learn from a recording in which a known waveform arrives: from emitters, or as echoes of one's own transmission.

    The direct path of a transmitter beside the array is removed first. Every target that is alone at its delay is a
    look at the array; the angle that a line leaves open comes from an anchor or a support.

    Raises
    ------
    ConfigError : waveform or array do not fit. RecordingError : the waveform is not in it. NotIdentifiable : no source.
    """
    wave = waveform_of(waveform, path)
    with open_recording(path) as recording:
        start, end = longest_epoch(recording)
        segment = recording.segment_at(start)
        stream = replace(segment.stream, geometry=stated_array(array, segment.stream))
        require_learnable(settings, stream.n_channels)
        if seconds is not None:
            end = min(end, start + round(seconds * stream.fs_hz))
        own = transmitted(recording)
        groups = max(1, min(_MOST_GROUPS, round((end - start) / stream.fs_hz * _GROUPS_PER_S)))
        capture = csi_of_recording(recording, wave, start, end, most_groups=groups, own=own)
        digest = recording.sha256()
    lessons = lessons_of(
        replace(capture, stream=stream), settings, direct=direct, own=own, anchor_range_m=anchor_range_m
    )
    return _learn(lessons.csi, stream, lessons.settings, digest, progress, labels, lessons)


def _learn(
    csi: ChannelResponses,
    stream: StreamInfo,
    settings: LearnSettings,
    digest: str,
    progress: Callable[[Progress], None] | None,
    labels: LabelSource | None,
    lessons: Lessons | None = None,
) -> LearnedArray:
    batch = batch_of(csi, stream)
    teacher: CsiTeacher | RaceTeacher | LabelTeacher | None
    if settings.method in CSI_METHODS and labels is None:
        teacher = CsiTeacher(csi, settings.method, lessons)
    else:
        teacher = teacher_for(settings, labels)
        if isinstance(teacher, RaceTeacher):
            teacher.csi = csi
        if isinstance(teacher, LabelTeacher):
            teacher.look_up(batch, None)
    return learn_blocks(batch, stream, settings, [digest], progress, teacher)
