"""Writes a corrected copy of a recording: the samples of an array without the calibrated errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from drivers.convert import wire_to_complex
from drivers.sigmf_files import Recording, Segment
from hil.core.calibration import Calibration
from hil.core.device import WireFormat
from hil.core.frame import Block, Frame, FrameFlag, StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.dsp.correction import apply
from hil.recorder.metadata import Point
from hil.recorder.writer import Recorder, RecordingSummary

_PIECE_SAMPLES = 1 << 17
_MARGIN_SAMPLES = 2048  # read on both sides: undoing a delay disturbs the ends of what it works on


def corrected_stream(stream: StreamInfo, calibration: Calibration) -> StreamInfo:
    """Stream of the corrected samples: float, and with the learned positions as the array's own.

    The epoch stays. Since the positions differ from the nominal ones, checking the same calibration against the
    result finds another array, so that it is not applied twice.
    """
    geometry = ArrayGeometry(calibration.positions_m, calibration.geometry.labels, calibration.geometry.name)
    device = replace(stream.device, wire=WireFormat.CF32, full_scale_bits=24)
    return StreamInfo(stream.config, device, stream.epoch, geometry)


def write_corrected(
    recording: Recording,
    out: str | Path,
    calibration: Calibration,
    *,
    status: str = "",
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> RecordingSummary:
    """Apply a calibration to every sample and write them as cf32_le, gaps and segments as they are.

    status : of the calibration (hil.store.check), noted in every segment. progress : called with the number of
    samples done.

    Raises RecordingError, CalibrationError, CalibrationMismatch.
    """
    first = corrected_stream(recording.stream, calibration)
    marks = {"hil:calibration_status": status} if status else {}
    if calibration.stale_reason:
        marks["hil:stale_reason"] = calibration.stale_reason
    recorder = Recorder(
        out, first, policy="gap", overwrite=overwrite, expected_samples=recording.n_samples,
        description=f"corrected with calibration {calibration.id} from {recording.path.name}", extras=marks,
        truth=recording.global_keys.get("hil:truth"),
    )  # fmt: skip
    with recorder:
        for segment in recording.segments:
            _write_segment(recorder, recording, segment, calibration)
            if progress is not None:
                progress(recorder.samples)
        return recorder.close()


def _write_segment(
    recorder: Recorder, recording: Recording, segment: Segment, calibration: Calibration
) -> None:
    stream = corrected_stream(segment.stream, calibration)
    recorder.note_segment(
        Point(
            table_azimuth_deg=segment.keys.get("hil:table_azimuth_deg"),
            table_azimuth_error_deg=segment.keys.get("hil:table_azimuth_error_deg"),
            emitter_angles_deg=segment.emitter_angles_deg,
            temperature_c=segment.keys.get("hil:temperature_c"),
            cal_id=calibration.id,
        )
    )
    end = segment.start + segment.n
    for first in range(segment.start, end, _PIECE_SAMPLES):
        last = min(first + _PIECE_SAMPLES, end)
        low, high = max(first - _MARGIN_SAMPLES, segment.start), min(last + _MARGIN_SAMPLES, end)
        samples, _ = wire_to_complex(recording.read(low, high - low), segment.stream.device.full_scale_bits)
        offset = first - segment.start
        done_ns = round((offset + last - first) / recording.fs_hz * 1e9)
        frame = Frame(samples, segment.global_index + offset, 0, segment.t_mono_ns + done_ns,
                      segment.t_utc_ns + done_ns, FrameFlag.NONE, segment.stream)  # fmt: skip
        corrected = apply(frame, calibration).samples[:, first - low : last - low]
        wire = np.ascontiguousarray(corrected.T).view(np.float32).reshape(last - first, -1, 2)
        lost = segment.dropped_before if offset == 0 else 0
        recorder.write(
            Block(
                wire.astype("<f4", copy=False),
                frame.first_sample,
                frame.seq,
                frame.t_mono_ns,
                frame.t_utc_ns,
                frame.flags,
                stream,
                lost,
            )
        )
