"""Capture and learn at the same time: the first part of a stream teaches, the rest is held out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import HilError
from hil.core.frame import Frame, StreamInfo
from hil.health.event import HealthEvent
from hil.jobs.watched import Watched
from hil.learning.batch import to_calibration
from hil.learning.live import LiveLearner
from hil.learning.observe import CovarianceBatch, CovarianceTap, join
from hil.learning.process import LearnUpdate
from hil.learning.settings import LearnSettings
from hil.recorder import Recorder
from hil.session import Session, SessionSummary

Say = Callable[[str], None]
_DRAIN_S = 2.0


@dataclass(slots=True)
class LiveOutcome:
    """What a live job leaves.

    stream : of the samples learned from. update : the last attempt. kept : blocks after the learned part, of
    the same epoch.
    learn_seconds : from the arrival of the first block used to the finished calibration. health : faults noticed.
    """

    stream: StreamInfo
    summary: SessionSummary
    update: LearnUpdate
    kept: list[CovarianceBatch]
    learn_seconds: float
    health: list[HealthEvent] = field(default_factory=list)

    @property
    def held_out(self) -> CovarianceBatch:
        """The kept blocks as one batch. Raises ConfigError if there is none."""
        return join(self.kept)


class _Tap:
    """In the DSP thread: the learned part goes to the learner, the rest is kept for checking."""

    def __init__(self, learner: LiveLearner, learn_samples: int, watched: Watched) -> None:
        self._learner = learner
        self._watched = watched
        self._learn_samples = learn_samples
        self._tap = CovarianceTap()
        self.first_sample: int | None = None
        self.stream: StreamInfo | None = None
        self.began = 0.0
        self.offered = 0
        self.kept: list[CovarianceBatch] = []

    def __call__(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        self._watched(frame, clipped)
        n = frame.samples.shape[1]
        if self.first_sample is None:
            self.first_sample = frame.first_sample
            self.began = time.monotonic() - n / frame.stream.fs_hz
        if frame.first_sample + n - self.first_sample <= self._learn_samples:
            self._learner.offer(frame)
            self.stream = frame.stream
        elif self.stream is not None and frame.stream.epoch.id == self.stream.epoch.id:
            self.kept.append(self._tap.take(frame))
        self.offered += n


def run_live(
    session: Session,
    settings: LearnSettings,
    n_samples: int,
    learn_samples: int,
    *,
    recorder: Recorder | None = None,
    say: Say = lambda text: None,
    source_waits: bool = False,
) -> LiveOutcome:
    """Stream `n_samples`, learn from the first `learn_samples` while they arrive.

    source_waits : as in `Session.start`.

    Raises
    ------
    DeviceError, CaptureError : the stream ended early. CalibrationError (exit code 3) : the learner died.
    """
    target_s = learn_samples / session.stream.fs_hz
    watched = Watched(session.stream, recorder=recorder, n_sources=settings.n_sources)
    told = _Told(watched, say)
    with LiveLearner(session.stream, settings, target_s=target_s) as learner:
        tap = _Tap(learner, learn_samples, watched)
        session.start(recorder=recorder, on_frame=tap, n_samples=n_samples, source_waits=source_waits)
        try:
            _follow(session, learner, tap, learn_samples, say, told)
            update = learner.finish()
            learn_seconds = time.monotonic() - tap.began
            describe(update, say)
            if update.result is not None and update.result.converged and tap.stream is not None:
                watched.watch.calibrate(to_calibration(update.result, tap.stream, settings))
            while not session.wait(0.2):
                told.now()
            summary = session.stop()
            session.raise_error()
        except HilError as err:
            watched.failed(err)
            told.now()
            raise
        told.now()
        edges = summary.edges | {"dsp -> learner": _plain(learner)}
    return LiveOutcome(
        tap.stream or session.stream, replace(summary, edges=edges), update, tap.kept, learn_seconds,
        list(watched.events),
    )  # fmt: skip


class _Told:
    """Says what the watch has noticed, once each."""

    def __init__(self, watched: Watched, say: Say) -> None:
        self._watched, self._say = watched, say

    def now(self) -> None:
        """What is new; also whether the stream is silent."""
        self._watched.tick()
        for event in self._watched.take():
            self._say(f"  {event['severity']}: {event['cause']}. {event['remedy']}.")


def _follow(
    session: Session, learner: LiveLearner, tap: _Tap, learn_samples: int, say: Say, told: _Told
) -> None:
    """Pass the learner's and the watch's reports on until it has been offered everything."""
    while session.samples < learn_samples and not session.finished:
        update = learner.poll(0.02)
        told.now()
        if update is not None and not update.tracked:
            describe(update, say)
    session.wait(0.0)
    # what the reader has received is still on its way through the DSP stage and the shared slots
    deadline = time.monotonic() + _DRAIN_S
    while time.monotonic() < deadline:
        if tap.offered >= learn_samples and not learner.edge.counts().in_flight:
            return
        time.sleep(0.005)


def _plain(learner: LiveLearner) -> dict[str, int]:
    counts = learner.edge.counts()
    return {
        "produced": counts.produced,
        "delivered": counts.delivered,
        "dropped": counts.dropped,
        "superseded": counts.superseded,
        "in_flight": counts.in_flight,
    }


def describe(update: LearnUpdate, say: Say) -> None:
    """One line about an attempt."""
    result = update.result
    if result is None:
        say(f"  {update.n_blocks} blocks: {update.problem}")
        return
    verdict = "accepted" if result.converged else f"not yet: {result.reason}"
    say(
        f"  {update.n_blocks} blocks, {result.n_angles} directions: excess {result.excess:+.2f}, "
        f"angle sigma {result.gauge.angle_sigma_deg:.2g} degrees, {verdict} ({update.seconds:.2f} s)"
    )
