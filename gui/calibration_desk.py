"""The calibration in use: chosen, learned, undone; applied only while it may be."""

from __future__ import annotations

import time

from gui.calibration_use import Use, Uses, may_be_applied, status_in_words
from gui.calibrations import Shelf
from gui.facts import CalibrationFacts
from gui.learn_desk import LearnDesk
from gui.picture import Painter
from hil.core.calibration import Calibration
from hil.core.frame import StreamInfo

_CHECK_S = 1.0  # a calibration may expire while it is in use


class CalibrationDesk:
    """`use` and `step` in the window's thread, `look` in the DSP thread.

    Parameters
    ----------
    painter : gets the calibration while it may be applied. learner : offers calibrations. keep : those that are taken
        from it go into the store.
    """

    def __init__(self, painter: Painter, learner: LearnDesk, *, keep: bool) -> None:
        self.uses, self.shelf = Uses(), Shelf()
        self._painter, self._learner, self._keep = painter, learner, keep
        self._applied_for: tuple[StreamInfo | None, Use | None, float] = (None, None, 0.0)

    def use(self, calibration: Calibration | None, forced: str, stream: StreamInfo | None) -> bool:
        """Put one to use, or none; True if it is the user's own choice, not what the learner offers."""
        learned = calibration is not None and calibration is self._learner.offered
        follows = learned and self._learner.state == "following"
        self.uses.add(use := Use(calibration, forced, learned), instead=follows and self.uses.present.learned)
        self.apply(stream)
        if not learned:
            self.shelf.note_use(use)
            return True
        self._learner.offered = None
        if self._keep and not follows and calibration is not None:  # no file for every phase that is followed
            self.shelf.keep(calibration)
        return False

    def step(self, by: int, stream: StreamInfo | None) -> bool:
        """Undo (-1) or redo (+1); False if there is nothing."""
        use = self.uses.step(by)
        if use is None:
            return False
        self.apply(stream)
        self.shelf.note_use(use, "Undo" if by < 0 else "Redo")
        return True

    def look(self, stream: StreamInfo) -> None:
        """Before each frame: what no longer fits is not applied to a single one."""
        before, use, until = self._applied_for
        if stream is not before or self.uses.present is not use or time.monotonic() > until:
            self.apply(stream)

    def apply(self, stream: StreamInfo | None) -> None:
        """The painter gets the calibration in use if it may be applied."""
        use = self.uses.present
        self._applied_for = (stream, use, time.monotonic() + _CHECK_S)
        applied = use.calibration if stream is None or may_be_applied(use, stream) else None
        if applied is not self._painter.calibration:
            self._painter.use(calibration=applied, clear=applied is None)

    def facts(self, stream: StreamInfo | None) -> CalibrationFacts | None:
        """For the lamp."""
        calibration, forced = self.uses.present.calibration, self.uses.present.forced
        if calibration is None or stream is None:
            return None
        status = status_in_words(calibration, stream)
        return CalibrationFacts(calibration.id, status, calibration.gauge.angle_sigma_deg, forced=forced)
