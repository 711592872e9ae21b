"""`hil learn` from OFDM channel responses: of a file (.npz), or of a recording that carries a known waveform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np

from calib.channel.fit import ChannelFit
from calib.csi import ChannelResponses
from calib.observations import Observations
from calib.registry import CSI_METHODS, get_method
from calib.result import GaugeRequest, LearnOptions, LearnResult, Progress
from drivers.sigmf_files import Recording, open_recording
from hil.core.calibration import Calibration
from hil.core.errors import NotIdentifiable, ShapeError
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.core.waveform import Waveform
from hil.dsp.angle_delay_direct import DirectChoice
from hil.dsp.correction import converter_errors, correct_samples
from hil.dsp.iq_balance import IqBalance
from hil.jobs.angle_delay import transmitted, waveform_of
from hil.jobs.learn import LearnedArray, learn_blocks, teacher_for
from hil.jobs.learn_labels import LabelSource, LabelTeacher
from hil.jobs.stated_array import stated_array
from hil.learning.batch import require_learnable
from hil.learning.csi import Lessons, batch_of, lessons_of, measure_channels, read_csi, without_leads
from hil.learning.csi_known import (
    known_receivers,
    responses_without_receivers,
    with_receivers,
    without_receivers,
)
from hil.learning.csi_recording import CsiCapture, Mend, csi_of_recording
from hil.learning.iq_recording import iq_of_recording
from hil.learning.observe import longest_epoch
from hil.learning.race import RaceTeacher
from hil.learning.receivers import ReceiverErrors, stands_out
from hil.learning.settings import LearnSettings

#: Blocks per second that a capture is divided into: twenty per dwell of a 10 ms hop.
_GROUPS_PER_S = 2000.0
_MOST_GROUPS = 4000


@dataclass(frozen=True, slots=True)
class KnownReceivers:
    """file : of a calibration whose gains and delays are divided out first. stale_ok : reason to use another epoch's."""

    file: Path
    stale_ok: str | None = None


@dataclass(slots=True)
class CsiTeacher:
    """Callable with the signature of a method on covariances, for one that wants the channel responses.

    known : errors that were divided out of the responses; the result has them in it again.
    """

    csi: ChannelResponses
    name: str
    notes: tuple[str, ...] = ()
    known: Calibration | None = None

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
        result.notes += self.notes
        return result if self.known is None else with_receivers(result, self.known)


def learn_responses(
    path: Path,
    settings: LearnSettings,
    *,
    array: str | None,
    fc_hz: float | None,
    progress: Callable[[Progress], None] | None = None,
    labels: LabelSource | None = None,
    receivers: KnownReceivers | None = None,
) -> LearnedArray:
    """Learn from channel responses with any method: those on covariances get R = CSI CSI^H / S.

    receivers : only for methods on channel responses.

    Raises
    ------
    ConfigError : array or carrier missing. CalibrationError : not channel responses. ShapeError. CalibrationMismatch :
    receivers of another epoch.
    """
    csi, stream, digest = read_csi(path, array, fc_hz)
    require_learnable(settings, stream.n_channels)
    known = None
    if receivers is not None:
        known = known_receivers(receivers.file, stream, receivers.stale_ok)
        csi = responses_without_receivers(csi, known)
    return _learn(csi, stream, settings, digest, progress, labels, known=known)


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
    receivers: KnownReceivers | None = None,
) -> LearnedArray:
    """Learn from a recording in which a known waveform arrives: from emitters, or as echoes of one's own transmission.

    The direct path of a transmitter beside the array is removed first. Every target that is alone at its delay is a
    look at the array; the angle that a line leaves open comes from an anchor or a support. IQ images and DC are taken
    out before the waveform is demodulated for good, delays between the channels before gains are learned; both are
    in the calibration. With `receivers` (only for methods on channel responses) none of this is learned, but taken
    from their calibration.

    Raises
    ------
    ConfigError : waveform or array do not fit. RecordingError : the waveform is not in it. NotIdentifiable : no source.
    CalibrationMismatch : receivers of another epoch.
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
        known = None if receivers is None else known_receivers(receivers.file, stream, receivers.stale_ok)
        capture, iq, left_out = _demodulated(recording, wave, start, end, groups, own=own, known=known)
        digest = recording.sha256()
    lessons = lessons_of(
        replace(capture, stream=stream), settings, direct=direct, own=own, anchor_range_m=anchor_range_m
    )

    def learned_from(given: Lessons) -> LearnedArray:
        return _learn(given.csi, stream, given.settings, digest, progress, labels, given.notes, known)

    if known is not None:
        return learned_from(lessons)
    return _with_receivers(learned_from, lessons, stream, iq, left_out)


def _demodulated(
    recording: Recording,
    waveform: Waveform,
    start: int,
    end: int,
    groups: int,
    *,
    own: bool,
    known: Calibration | None,
) -> tuple[CsiCapture, IqBalance | None, list[str]]:
    """(channel responses, IQ image and DC that were taken out of the samples before, what was left out)."""

    def demodulate(mend: Mend | None = None) -> CsiCapture:
        return csi_of_recording(recording, waveform, start, end, most_groups=groups, own=own, mend=mend)

    if known is not None:
        fs_hz, errors = recording.segment_at(start).stream.fs_hz, converter_errors(known.impairments)
        mended = bool(np.any(errors.iq_image) or np.any(errors.dc_offset))
        capture = demodulate((lambda samples: correct_samples(samples, errors, fs_hz)) if mended else None)
        return without_receivers(capture, known), None, []
    capture = demodulate()
    try:
        iq = iq_of_recording(recording, waveform, capture, start, end, own=own)
    except (NotIdentifiable, ShapeError) as err:
        return capture, None, [f"IQ image and DC: {err}"]
    return (demodulate(iq.correct) if stands_out(iq) else capture), iq, []


def _with_receivers(
    learn: Callable[[Lessons], LearnedArray],
    lessons: Lessons,
    stream: StreamInfo,
    iq: IqBalance | None,
    left_out: list[str],
) -> LearnedArray:
    """Learn; then, the array being known, the channels' delays and responses. Wide bands are learned again."""
    learned = learn(lessons)
    fit: ChannelFit | None = None
    for again in (True, False):
        if learned.calibration is None:
            return learned
        known = learned.calibration.impairments
        planar = learned.settings.method == "planar-2d"
        try:
            fit = measure_channels(lessons, known, stream, planar_sources=planar)
        except NotIdentifiable as err:
            left_out.append(str(err))
            break
        narrow = without_leads(lessons, fit, known, stream, planar_sources=planar) if again else None
        if narrow is None:
            break
        second = learn(narrow)
        if second.calibration is None or (second.problem is not None and learned.problem is None):
            break
        second.seconds += learned.seconds
        learned = second
    errors = ReceiverErrors(fit, iq, lessons.centre_hz, tuple(left_out))
    if learned.calibration is not None:
        learned.calibration = errors.into(learned.calibration)
    if learned.result is not None:
        learned.result.notes += errors.notes()
    learned.receivers = errors
    return learned


def _learn(
    csi: ChannelResponses,
    stream: StreamInfo,
    settings: LearnSettings,
    digest: str,
    progress: Callable[[Progress], None] | None,
    labels: LabelSource | None,
    notes: tuple[str, ...] = (),
    known: Calibration | None = None,
) -> LearnedArray:
    batch = batch_of(csi, stream)
    teacher: CsiTeacher | RaceTeacher | LabelTeacher | None
    if settings.method in CSI_METHODS and labels is None:
        teacher = CsiTeacher(csi, settings.method, notes, known)
    else:
        teacher = teacher_for(settings, labels)
        if isinstance(teacher, RaceTeacher):
            teacher.csi = csi
        if isinstance(teacher, LabelTeacher):
            teacher.look_up(batch, None)
    return learn_blocks(batch, stream, settings, [digest], progress, teacher)
