"""`hil learn`: from a recording or a device to a calibration file, with a held-out check."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from calib.race import RaceResult
from calib.result import LearnResult, Progress
from drivers.sigmf_files import open_recording
from hil import store
from hil.core.calibration import Calibration
from hil.core.device import RxConfig
from hil.core.errors import CalibrationError, ConfigError, NotIdentifiable
from hil.core.frame import StreamInfo
from hil.core.geometry import parse_array
from hil.evaluation.outcome import Outcome, evaluate
from hil.evaluation.scoring import held_out
from hil.evaluation.truth_match import scene_offset
from hil.health.event import HealthEvent
from hil.jobs.learn_labels import LabelSource, LabelTeacher
from hil.jobs.learn_live import collect
from hil.jobs.live import run_live
from hil.jobs.stated_array import stated_array
from hil.learning.batch import learn_batch, require_good, require_learnable, to_calibration
from hil.learning.observe import CovarianceBatch, longest_epoch, observe_recording
from hil.learning.race import RaceTeacher
from hil.learning.receivers import ReceiverErrors
from hil.learning.settings import LearnSettings
from hil.session import Session, SessionSummary, open_session
from sim_backend.truth import read_truth

Say = Callable[[str], None]


class Teacher(Protocol):
    """What learns instead of the one method that the settings name: callable like a method, with a name."""

    @property
    def name(self) -> str:
        """As in the calibration file."""
        ...

    def __call__(self, *args: Any, **options: Any) -> LearnResult:
        """As `calib.learn.learn`."""
        ...


@dataclass(slots=True)
class LearnedArray:
    """What `hil learn` reports; `problem` is what exit code 4 stands for. race: the table, if there was one.
    receivers: what only a known waveform shows. health: faults noticed while a device was learned from, None: not
    watched."""

    stream: StreamInfo
    settings: LearnSettings
    result: LearnResult | None
    calibration: Calibration | None
    problem: CalibrationError | None
    seconds: float
    n_blocks: int
    outcome: Outcome | None = None
    file: str = ""
    session: SessionSummary | None = None
    race: RaceResult | None = None
    receivers: ReceiverErrors | None = None
    health: list[HealthEvent] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of contract.md."""
        status: dict[str, Any] = {}
        if self.problem is not None:
            status = {
                "status": "failed",
                "reason": str(self.problem),
                "hint": self.problem.hint,
                "exit_code": 4,
            }
        r, cal = self.result, self.calibration
        gauge = r.gauge if r is not None else None
        out = status | {
            "method": self.settings.method,
            "n_elements": self.stream.n_channels,
            "n_sources": r.n_sources if r else self.settings.n_sources,
            "gauge": {
                "kind": gauge.kind, "assumes": gauge.assumes, "offset_sigma_deg": gauge.offset_sigma_deg,
                "scale_sigma": gauge.scale_sigma, "angle_sigma_deg": gauge.angle_sigma_deg,
                "support_deg": gauge.support_deg,
            } if gauge else None,
            "converged": bool(r and r.converged),
            "score": r.score if r else None,
            "predicted_score": r.predicted_score if r else None,
            "excess": r.excess if r else None,
            "outlier_fraction": r.outlier_fraction if r else None,
            "seconds": self.seconds,
            "steps": r.steps if r else 0,
            "blocks": self.n_blocks,
            "independent_angles": r.n_angles if r else 0,
            "lit_deg": r.lit_deg if r else None,
            **({} if self.health is None else {"health": [e.as_dict() for e in self.health]}),
            "not_identifiable": r.not_identifiable if r else list(getattr(self.problem, "parameters", ())),
            "notes": r.notes if r else [],
            "epoch": self.stream.epoch.id,
            "calibration": self.file or None,
            "calibration_id": cal.id if cal else None,
        }  # fmt: skip
        if cal is not None:
            out["sigma"] = {
                "gain_db": cal.sigma.gain_db, "phase_deg": cal.sigma.phase_deg, "position_m": cal.sigma.position_m,
            }  # fmt: skip
        if self.receivers is not None:
            out["channels"] = self.receivers.as_dict()
        if self.session is not None:
            s = self.session
            out |= {
                "samples": s.samples,
                "lost": s.lost,
                "lost_exact": s.lost_exact,
                "lost_unknown": s.lost_unknown,
                "gaps": s.gaps,
                "edges": s.edges,
            }
        if self.race is not None:
            out |= {
                "race": [entry.as_dict() for entry in self.race.entries],
                "offer": self.race.offer,
                "held_out": self.race.held_out,
                "tied": list(self.race.tied),
            }
        if self.outcome is not None:
            out |= self.outcome.as_dict()
        return out


def learn_recording(
    path: Path,
    settings: LearnSettings,
    *,
    array: str | None,
    truth: Path | None,
    seconds: float | None,
    progress: Callable[[Progress], None] | None = None,
    labels: LabelSource | None = None,
) -> LearnedArray:
    """Learn from the first four fifths of a recording's longest epoch; the last fifth is held out.

    settings.method "race": several methods on the same blocks. labels: known directions, alone (method "pilot")
    or beside all other blocks.

    Raises
    ------
    RecordingError, ConfigError, SceneError : the input. Nothing of the truth reaches the learner.
    """
    with open_recording(path) as recording:
        start, end = longest_epoch(recording)
        stream = recording.segment_at(start).stream
        stream = replace(stream, geometry=stated_array(array, stream))
        require_learnable(settings, stream.n_channels)
        split = start + (held_out(end - start) if end - start >= 5 * 256 else end - start)
        if seconds is not None:
            split = min(split, start + round(seconds * stream.fs_hz))
        batch = observe_recording(recording, start, split, max_blocks=6000)
        rest = observe_recording(recording, held_out(end - start, start), end) if truth else None
        capture_hash = recording.sha256()
        teacher = teacher_for(settings, labels)
        if isinstance(teacher, LabelTeacher):
            teacher.look_up(batch, recording)
    learned = learn_blocks(batch, stream, settings, [capture_hash], progress, teacher)
    if truth is not None and rest is not None:
        _compare(learned, rest, truth)
    return learned


def learn_device(
    uri: str,
    settings: LearnSettings,
    *,
    array: str | None,
    truth: Path | None,
    seconds: float | None,
    want: Callable[[int | None], RxConfig],
    say: Say,
    labels: LabelSource | None = None,
) -> LearnedArray:
    """Learn live from a device: four fifths of `seconds` (default 6) teach, the last fifth is held out.

    A race, or labels, first collect the blocks and then learn.
    """
    if array is None:
        raise ConfigError(
            "the array is not known: hardware does not know its geometry", where="--array",
            hint="give for example --array ula:4:0.5 (four elements, half a wavelength apart)",
        )  # fmt: skip
    session = open_session(uri, lambda fc_hz: parse_array(array, fc_hz), want)
    with session:
        total = round((seconds or 6.0) * session.stream.fs_hz)
        if total < 5 * 256:
            raise ConfigError("too short to learn from", where="--seconds", hint="--seconds 5")
        teacher = teacher_for(settings, labels)
        if teacher is not None:
            return _collected(session, settings, total, truth, teacher, say)
        live = run_live(session, settings, total, held_out(total), say=say)
    update = live.update
    if update.result is None:
        problem = NotIdentifiable(update.problem, parameters=update.parameters, hint=update.hint)
        return LearnedArray(
            live.stream,
            settings,
            None,
            None,
            problem,
            live.learn_seconds,
            update.n_blocks,
            session=live.summary,
            health=live.health,
        )
    learned = _finish(update.result, live.stream, settings, [], live.learn_seconds, update.n_blocks)
    learned.session, learned.health = live.summary, live.health
    if truth is not None:
        _compare(learned, live.held_out, truth)
    return learned


def keep(learned: LearnedArray, out: Path) -> None:
    """Write the calibration file and note it in the store's history. A failed verdict is written nowhere else, nor
    is the winner of a race, which is offered only."""
    if learned.calibration is None:
        return
    store.save(learned.calibration, out)
    learned.file = str(out)
    if learned.problem is None and learned.race is None:
        store.Store().add(learned.calibration)


def teacher_for(settings: LearnSettings, labels: LabelSource | None) -> LabelTeacher | RaceTeacher | None:
    """What learns instead of the one method that the settings name; None: that method."""
    if settings.method == "race":
        return RaceTeacher()
    return None if labels is None else LabelTeacher(labels, settings.method)


def _collected(
    session: Session,
    settings: LearnSettings,
    total: int,
    truth: Path | None,
    teacher: LabelTeacher | RaceTeacher,
    say: Say,
) -> LearnedArray:
    found = collect(session, settings, total, held_out(total), say=say)
    if isinstance(teacher, LabelTeacher):
        teacher.look_up(found.training, None)
    learned = learn_blocks(
        found.training,
        found.stream,
        settings,
        [],
        lambda p: say(f"  {p.stage}: excess {p.excess:+.2f}"),
        teacher,
    )
    learned.session = found.summary
    if truth is not None:
        _compare(learned, found.held_out, truth)
    return learned


def learn_blocks(
    batch: CovarianceBatch,
    stream: StreamInfo,
    settings: LearnSettings,
    captures: Sequence[str],
    progress: Callable[[Progress], None] | None,
    teacher: Teacher | None = None,
) -> LearnedArray:
    """Learn from covariances and decide whether the result may be used. Raises ConfigError, ShapeError."""
    assert stream.geometry is not None
    begin = time.monotonic()
    try:
        result = learn_batch(
            batch,
            stream.geometry,
            stream.fc_hz,
            settings,
            progress=progress,
            time_limit_s=60.0,
            method=teacher,
        )
    except NotIdentifiable as problem:
        seconds = time.monotonic() - begin
        return LearnedArray(
            stream, settings, None, None, problem, seconds, len(batch), race=_race_of(teacher)
        )
    settings = replace(settings, method=teacher.name) if teacher is not None else settings
    seconds = time.monotonic() - begin if teacher is not None else result.seconds
    learned = _finish(result, stream, settings, captures, seconds, len(batch))
    learned.race = _race_of(teacher)
    return learned


def _race_of(teacher: Teacher | None) -> RaceResult | None:
    return teacher.outcome if isinstance(teacher, RaceTeacher) else None


def _finish(
    result: LearnResult,
    stream: StreamInfo,
    settings: LearnSettings,
    captures: Sequence[str],
    seconds: float,
    n: int,
) -> LearnedArray:
    calibration = None
    if math.isfinite(result.score):  # else nothing was searched: there is no array to store
        calibration = to_calibration(result, stream, settings, captures=captures)
    problem: CalibrationError | None = None
    try:
        require_good(result, settings, calibration)
    except CalibrationError as err:
        problem = err
    return LearnedArray(stream, settings, result, calibration, problem, seconds, n)


def _compare(learned: LearnedArray, rest: CovarianceBatch, truth_file: Path) -> None:
    truth = read_truth(truth_file)
    geometry = learned.stream.geometry
    assert geometry is not None
    learned.outcome = evaluate(
        rest,
        truth,
        scene_offset(truth),
        geometry,
        learned.stream.fc_hz,
        learned.calibration,
        learned.settings.support_deg,
    )
    if learned.calibration is not None:
        metrics = {f"before_{k}": v for k, v in learned.outcome.before.items()}
        metrics |= {f"after_{k}": v for k, v in learned.outcome.after.items()}
        learned.calibration = replace(learned.calibration, metrics=metrics)
