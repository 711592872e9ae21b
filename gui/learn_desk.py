"""The learner behind the window: started, paused, followed, and the calibration that it offers."""

from __future__ import annotations

from gui.facts import Learning
from hil.core.calibration import Calibration
from hil.core.errors import HilError
from hil.core.frame import Frame, StreamInfo
from hil.learning.batch import to_calibration
from hil.learning.live import LiveLearner
from hil.learning.process import LearnUpdate
from hil.learning.settings import LearnSettings


class LearnDesk:
    """`begin` and `end` take a second: not in the window's thread. `offer` in the DSP thread, `poll` in the window's.

    Attributes
    ----------
    state, words, remedy : for the lamp. update : the newest attempt. offered : a calibration that has converged and is
    not in use yet. paused : nothing is offered to the learner; what it knows stays.
    """

    def __init__(self) -> None:
        self._learner: LiveLearner | None = None
        self._settings: LearnSettings | None = None
        self.state: Learning = "off"
        self.words, self.remedy = "", ""
        self.paused = False
        self.update: LearnUpdate | None = None
        self.offered: Calibration | None = None

    def announce(self) -> None:
        """It is about to begin."""
        self.state, self.words, self.remedy = "starting", "The learner starts.", ""

    def begin(self, stream: StreamInfo, settings: LearnSettings) -> None:
        """Start the process. Raises what refuses these settings."""
        self.end()
        self.announce()
        try:
            learner = LiveLearner(stream, settings)
            learner.start()
        except HilError as err:
            self.state, self.words, self.remedy = "refused", str(err), err.hint
            raise
        self._settings, self.paused = settings, False
        self.state, self.words = "learning", "Waiting for enough directions."
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
            learner.offer(frame)

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
            self.update = update
            self._note(update, stream)
        return False

    def _note(self, update: LearnUpdate, stream: StreamInfo) -> None:
        result = update.result
        if result is None or not result.converged:
            self.words, self.remedy = update.problem, update.hint
            if result is not None:
                self.words = f"{result.n_angles} directions: {result.reason}"
            if self.state not in ("converged", "following"):
                self.state = "learning"
            return
        verb = f"Learned from {result.n_angles} directions in {update.seconds:.2g} s"
        if update.tracked:
            verb = "Phases followed"
        self.state = "following" if update.tracked else "converged"
        self.words = (
            f"{verb}; angles within {result.gauge.angle_sigma_deg:.2g} degrees ({result.gauge.assumes})"
        )
        self.remedy = ""
        if update.epoch_counter == stream.epoch.counter and self._settings is not None:
            self.offered = to_calibration(result, stream, self._settings)
