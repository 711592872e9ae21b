"""Captures to a file: open, record, count, report; interruptible at any time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.core.device import RxConfig, TxConfig
from hil.core.errors import CaptureOverrun, ConfigError, HilError, RecordingError
from hil.core.frame import StreamInfo
from hil.core.geometry import parse_array
from hil.core.units import format_si
from hil.jobs.transmit import (
    Say,
    TransmitRequest,
    Transmitted,
    WaveformCopy,
    begin_transmitting,
    check_copies,
    remove_copies,
    told,
)
from hil.jobs.watched import Watched, can_watch
from hil.recorder import Recorder, RecordingSummary
from hil.recorder.files import existing, parse_path
from hil.session import Session, SessionSummary, open_session

if TYPE_CHECKING:
    from hil.jobs.transmit_beam import FirstSamples

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """A finished capture."""

    summary: RecordingSummary
    session: SessionSummary
    stream: StreamInfo
    interrupted: bool
    transmitted: Transmitted | None = None
    health: list[dict[str, Any]] = field(default_factory=list)

    @property
    def files(self) -> tuple[Path, ...]:
        """Of the recording; none if it would hold no sample: it is not kept then."""
        return self.summary.files if self.summary.samples else ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of `hil capture` (contract.md)."""
        stream = self.stream
        status = {"status": "interrupted", "reason": "interrupted", "hint": "", "exit_code": 130}
        return (
            (status if self.interrupted else {})
            | {
                "samples": self.summary.samples,
                "lost": self.session.lost,
                "lost_exact": self.session.lost_exact,
                "lost_unknown": self.session.lost_unknown,
                "gaps": self.session.gaps,
                "epochs": self.session.epochs,
                "overloads": self.summary.overloads,
                "edges": self.session.edges,
                "health": self.health,
                "n_channels": stream.n_channels,
                "fc_hz": stream.fc_hz,
                "fs_hz": stream.fs_hz,
                "gain_db": list(stream.gains_db),
                "epoch": stream.epoch.id,
                "device": stream.device.model,
                "files": [str(f) for f in self.files],
            }
            | ({} if self.transmitted is None else {"transmitted": self.transmitted.as_dict()})
        )


def capture_to_file(
    uri: str,
    out: Path,
    *,
    n_samples: int | None,
    length_s: float | None,
    array: str | None,
    want: Callable[[int | None], RxConfig],
    overwrite: bool = False,
    keep_gaps: bool = False,
    progress: Progress | None = None,
    transmit: TransmitRequest | None = None,
    say: Say = lambda text: None,
) -> CaptureResult:
    """Record `n_samples` per channel or `length_s` seconds, with a waveform transmitted meanwhile if asked for.

    The waveform's file is copied beside the recording. However this ends, the transmitter is silent after it.
    A recording without samples is not left behind.

    Raises
    ------
    ConfigError : a waveform for another rate than the receiver's.
    DeviceError, CaptureError : what was recorded before stays readable; the message says how much. Where the
        connection was lost while transmitting the hint says that the board may go on.
    """
    _check_name(out)
    if not overwrite:
        _check_new(out)
    copy = None if transmit is None else WaveformCopy(transmit.file, out)
    session = open_session(uri, None if array is None else lambda fc_hz: parse_array(array, fc_hz), want)
    with session:
        stream = session.stream
        total = n_samples if n_samples is not None else round((length_s or 0.0) * stream.fs_hz)
        if total < 1:
            raise ConfigError("shorter than one sample", where="--seconds")
        transmitted = None
        if copy is not None and transmit is not None and transmit.beam is not None:
            return _capture_with_beam(
                session, transmit, copy, out, total, overwrite, keep_gaps, progress, say
            )
        if copy is not None and transmit is not None:
            transmitted = begin_transmitting(session, transmit, copy, say)
        recorder = Recorder(
            out, stream, policy="gap" if keep_gaps else "fail", overwrite=overwrite, expected_samples=total,
            extras=transmitted and {"hil:transmitted": transmitted.as_dict()},
        )  # fmt: skip
        try:
            copy.write() if copy is not None else remove_copies(out)
            return _record(session, recorder, total, progress, transmitted, say)
        finally:
            if recorder.discard_empty() and copy is not None:
                copy.remove()


def _record(
    session: Session,
    recorder: Recorder,
    total: int,
    progress: Progress | None,
    transmitted: Transmitted | None,
    say: Say,
) -> CaptureResult:
    """From the first block to the closed recording."""
    interrupted = False
    watched = Watched(session.stream, recorder=recorder) if can_watch(session.stream) else None
    try:
        session.start(recorder=recorder, on_frame=watched, n_samples=total)
        _watch(session, total, progress, watched, say)
    except KeyboardInterrupt:
        interrupted = True
    except HilError as err:
        if watched is not None:
            watched.failed(err)
        summary = session.stop()
        _tell_health(watched, say)
        _tell_kept(err, summary, recorder.path)
        raise
    summary = session.stop()
    _tell_health(watched, say)  # what the last blocks brought
    if not interrupted:
        try:
            session.raise_error()
        except HilError as err:
            _tell_kept(err, summary, recorder.path)
            raise
    recording = summary.recording or recorder.close()
    health = [event.as_dict() for event in watched.events] if watched is not None else []
    return CaptureResult(recording, summary, session.stream, interrupted, transmitted, health)


def _capture_with_beam(
    session: Session,
    request: TransmitRequest,
    copy: WaveformCopy,
    out: Path,
    total: int,
    overwrite: bool,
    keep_gaps: bool,
    progress: Progress | None,
    say: Say,
) -> CaptureResult:
    """Measure the transmit channels, send the beam, record: one run, so that no phase changes in between."""
    from hil.jobs import transmit_beam as beams

    assert request.beam is not None
    plan = beams.plan_beam(request.beam, request.channels or (0,), session.stream)
    want = TxConfig(attenuation_db=request.attenuation_db, channels=request.channels)
    taken, passing = beams.begin_sounding(session, copy.waveform, want)
    transmitted = told(request, copy, taken, say)
    session.start(on_frame=passing)
    heard = passing.samples(session)
    beam = beams.measured_beam(heard, copy.waveform, plan, session.stream)
    beams.send_beam(session, copy.waveform, beam, want)
    say(
        f"transmit gains from {beam.gains.n_echoes} echoes, to {beam.gains.sigma_deg:.2g} degrees; the beam is on"
    )
    beams.wait_until_new(session)
    transmitted = replace(transmitted, beam=beam.as_dict())
    recorder = Recorder(
        out, session.stream, policy="gap" if keep_gaps else "fail", overwrite=overwrite, expected_samples=total,
        extras={"hil:transmitted": transmitted.as_dict()},
    )  # fmt: skip
    try:
        copy.write()
        watched = Watched(session.stream, recorder=recorder) if can_watch(session.stream) else None
        passing.then = watched
        first = beams.FirstSamples(recorder, total)
        session.record(first)
        interrupted = _until_recorded(session, first, total, progress, watched, say)
        lost = session.recording_error
        summary = session.stop()
        _tell_health(watched, say)
        if lost is not None:
            _tell_kept(lost, summary, recorder.path)
            raise lost
        recording = summary.recording or recorder.close()
        health = [event.as_dict() for event in watched.events] if watched is not None else []
        return CaptureResult(recording, summary, session.stream, interrupted, transmitted, health)
    finally:
        if recorder.discard_empty():
            copy.remove()


def _until_recorded(
    session: Session,
    first: FirstSamples,
    total: int,
    progress: Progress | None,
    watched: Watched | None,
    say: Say,
) -> bool:
    """Until all samples are recorded, or something ended it; True if that was the user."""
    began, at = time.monotonic(), session.samples
    try:
        while not first.done.wait(0.1) and session.recording_error is None and not session.wait(0.0):
            if watched is not None:
                watched.tick()
                _tell_health(watched, say)
            if progress is not None:
                rate = (session.samples - at) / max(time.monotonic() - began, 1e-3)
                progress(min(session.samples - at, total), total, format_si(rate, "S/s", 3))
    except KeyboardInterrupt:
        return True
    return False


def _tell_health(watched: Watched | None, say: Say) -> None:
    """What the health watch has noticed, once each."""
    for event in watched.take() if watched is not None else ():
        say(f"{event['severity']}: {event['cause']}. {event['remedy']}.")


def _tell_kept(err: HilError, summary: SessionSummary, out: Path) -> None:
    """Say in the error's hint what of the recording is there."""
    if isinstance(err, CaptureOverrun):
        err.hint = "record on with --gaps, lower the rate (--fs), or use a faster disk"
    kept = summary.recording.samples if summary.recording else 0
    words = (
        f"{kept} samples per channel are kept in {out}" if kept else f"nothing was recorded, no {out} is left"
    )
    err.hint = "; ".join([*filter(None, [err.hint]), words])


def _check_name(out: Path) -> None:
    if out.suffix not in (".sigmf-collection", ".sigmf-meta"):
        raise ConfigError(
            f"{out.name!r} ends in neither .sigmf-collection nor .sigmf-meta", where="OUT",
            hint="rec.sigmf-collection makes one file a channel, rec.sigmf-meta one interleaved file",
        )  # fmt: skip
    if not out.parent.is_dir():
        raise ConfigError(f"no folder {out.parent}", where="OUT", hint="make it first")


def _check_new(out: Path) -> None:
    """Before anything is sent for nothing."""
    base, kind = parse_path(out)
    old = existing(base, kind)
    if old:
        raise RecordingError(f"{old[0]} exists", hint="choose another name, or --overwrite", exit_code=2)
    check_copies(out)


def _watch(
    session: Session, total: int, progress: Progress | None, watched: Watched | None, say: Say
) -> None:
    began = time.monotonic()
    while not session.wait(0.1):
        if watched is not None:
            watched.tick()
            _tell_health(watched, say)
        if progress is not None:
            rate = session.samples / max(time.monotonic() - began, 1e-3)
            progress(session.samples, total, format_si(rate, "S/s", 3))
