"""The learner behind the window: started, paused, followed, and the calibration that it offers."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from calib.registry import CSI_METHODS
from gui.facts import Learning
from gui.learn_compare import LEAST_BLOCKS, Compared, compare
from hil.core.calibration import Calibration
from hil.core.errors import HilError
from hil.core.frame import Frame, StreamInfo
from hil.core.waveform import Waveform
from hil.jobs.learn_echoes_live import LiveEchoLearner
from hil.learning.batch import to_calibration
from hil.learning.live import LiveLearner
from hil.learning.observe import CovarianceBatch, join
from hil.learning.process import LearnUpdate
from hil.learning.settings import LearnSettings

_MOST_ATTEMPTS = 300
#: Blocks kept for comparing, and how many a second.
_KEPT_BLOCKS = 200
_KEPT_PER_S = 100.0
_COMPARE_S = 5.0
#: Phases that drift are followed so often: whoever uses a calibration makes tables of it.
_FOLLOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt. time_s : monotonic. score, predicted_score : as in LearnResult, NaN if there is none."""

    time_s: float
    score: float
    predicted_score: float
    n_angles: int
    seconds: float
    converged: bool


@dataclass(frozen=True, slots=True)
class _Waiting:
    """To be compared on blocks from `first_sample` on."""

    calibration: Calibration
    n_sources: int
    epoch_counter: int
    first_sample: int


class LearnDesk:
    """`begin`, `end` and `compare` take a second: not in the window's thread. `offer` in the DSP thread, `poll` in the
    window's.

    Attributes
    ----------
    state, words, remedy : for the lamp. update : the newest attempt. attempts : without those that only followed.
    offered : a calibration that has converged and is not in use yet. must_ask : it is the winner of a race, which nobody
    uses unasked. accepted : one of this learner's is in use, what follows belongs to it. paused : nothing is offered to the learner; what it knows stays. race : a row for each method of the
    newest race. compared : the newest comparison, None before the first. truth : file of the simulator to compare with.
    """

    def __init__(self) -> None:
        self._learner: LiveLearner | LiveEchoLearner | None = None
        self._settings: LearnSettings | None = None
        self._method = ""
        self.state: Learning = "off"
        self.words, self.remedy = "", ""
        self.paused = False
        self.must_ask = self.accepted = False
        self.update: LearnUpdate | None = None
        self.attempts: deque[Attempt] = deque(maxlen=_MOST_ATTEMPTS)
        self.race: tuple[dict[str, object], ...] = ()
        self.offered: Calibration | None = None
        self.compared: Compared | None = None
        self.truth: Path | None = None
        self._blocks: deque[CovarianceBatch] = deque(maxlen=_KEPT_BLOCKS)
        self._discarded = False
        self._waiting: _Waiting | None = None
        self._next_compare_s = self._offered_s = 0.0

    def announce(self) -> None:
        """It is about to begin; what was offered before is of another stream."""
        self.offered = None
        self.state, self.words, self.remedy = "starting", "The learner starts.", ""

    def begin(
        self,
        stream: StreamInfo,
        settings: LearnSettings,
        waveform: Waveform | None = None,
        known: Calibration | None = None,
    ) -> None:
        """Start the process. waveform, known : what is transmitted, and the calibration in use, for methods that learn from
        echoes. Raises what refuses these settings."""
        self.end()
        self.announce()
        try:
            if settings.method in CSI_METHODS:
                learner = LiveEchoLearner(stream, settings, waveform, known)
            else:
                learner = LiveLearner(stream, settings)
            learner.start()
        except HilError as err:
            self.state, self.words, self.remedy = "refused", str(err), err.hint
            raise
        self._settings, self._method, self.paused = settings, settings.method, False
        self.accepted = False
        self.must_ask, self.race, self.offered = settings.method == "race", (), None
        self.attempts.clear()
        self._blocks.clear()
        self._waiting = self.compared = None
        self._discarded = False
        echoes = settings.method in CSI_METHODS
        self.state, self.words = "learning", f"Waiting for enough {'echoes' if echoes else 'directions'}."
        self._learner = learner

    def end(self) -> None:
        """End the process. Idempotent."""
        learner, self._learner = self._learner, None
        if self.state != "dead":
            self.state = "off"
        if learner is not None:
            learner.close()

    def offer(self, frame: Frame) -> None:
        """Never waits."""
        learner = self._learner
        if learner is not None and not self.paused:
            self._keep(learner.offer(frame))

    def discard(self) -> None:
        """Forget the calibration that is offered, and what would be followed from it; the next one is offered again."""
        self.offered, self._discarded = None, True

    def poll(self, stream: StreamInfo) -> bool:
        """Take the learner's reports; True if it has died and must be ended."""
        learner = self._learner
        if learner is None or self.state == "dead":
            return False
        try:
            update = learner.poll()
        except HilError as err:
            self.state, self.words, self.remedy = "dead", str(err), err.hint
            return True
        if update is not None:
            learner.progress = None
            self.update = update
            self._note(update, stream)
        elif learner.progress is not None:
            p = learner.progress
            self.words = f"Race: {p.stage}, {p.seconds:.0f} s. Each method has up to 20 s."
        return False

    def comparison_due(self) -> bool:
        """There is a calibration to compare, and enough blocks that it has not seen; True once, then `compare` is due."""
        waiting, now_s = self._waiting, time.monotonic()
        if waiting is None or now_s < self._next_compare_s or len(self._fresh(waiting)) < LEAST_BLOCKS:
            return False
        self._next_compare_s = now_s + _COMPARE_S
        return True

    def compare(self) -> str:
        """Compare nominal and calibrated array. Returns no words: the result is in `compared`."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            blocks = join(self._fresh(waiting))
            self.compared = (
                compare(blocks, waiting.calibration, waiting.n_sources, self.truth) or self.compared
            )
        return ""

    def _keep(self, batch: CovarianceBatch) -> None:
        """Some of the blocks, one at a time so that the queue is bounded in blocks."""
        if not len(batch):
            return
        span_s = (
            len(batch) * (batch.first_sample[-1] - batch.first_sample[0]) / max(len(batch) - 1, 1)
        ) / batch.fs_hz
        step = max(1, round(len(batch) / max(span_s * _KEPT_PER_S, 1.0)))
        for k in range(0, len(batch), step):
            self._blocks.append(batch.part(slice(k, k + 1)))

    def _fresh(self, waiting: _Waiting) -> list[CovarianceBatch]:
        while True:
            try:
                kept = list(self._blocks)
                break
            except RuntimeError:  # the DSP thread has added one meanwhile
                continue
        return [
            b
            for b in kept
            if b.epoch_counter == waiting.epoch_counter and b.first_sample[0] >= waiting.first_sample
        ]

    def _note(self, update: LearnUpdate, stream: StreamInfo) -> None:
        result = update.result
        if not update.tracked:
            self._note_attempt(update)
        if result is None or not result.converged:
            self.words, self.remedy = update.problem, update.hint
            if result is not None:
                self.words = f"{result.n_angles} directions: {result.reason}"
            if self.state not in ("converged", "following"):
                self.state = "learning"
            return
        verb = f"Learned from {result.n_angles} directions in {update.seconds:.2g} s"
        if update.race:
            verb = f"The race is won by {update.method}"
        if update.tracked:
            verb = "Phases followed"
        self.state = "following" if update.tracked else "converged"
        self.words = (
            f"{verb}; angles within {result.gauge.angle_sigma_deg:.2g} degrees ({result.gauge.assumes})"
        )
        self.remedy = ""
        self._method = update.method or self._method
        self._discarded &= update.tracked
        if update.epoch_counter != stream.epoch.counter or self._settings is None or self._discarded:
            return
        now_s = time.monotonic()
        if update.tracked and self.accepted and now_s - self._offered_s < _FOLLOW_S:
            return  # the next one is not far
        self._offered_s = now_s
        self.offered = to_calibration(result, stream, replace(self._settings, method=self._method))
        if self._waiting is None:
            self._waiting = _Waiting(self.offered, result.n_sources, update.epoch_counter, update.last_sample)

    def _note_attempt(self, update: LearnUpdate) -> None:
        result, nan = update.result, float("nan")
        self.race = update.race or self.race
        self.attempts.append(
            Attempt(
                time.monotonic(), result.score if result else nan, result.predicted_score if result else nan,
                result.n_angles if result else 0, update.seconds, bool(result and result.converged),
            )
        )  # fmt: skip
