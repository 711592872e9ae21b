"""What was in use, and whether a calibration may be used on what streams now: the rules, as the window says them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gui.lamps import OLD_CALIBRATION_S, OPEN_SIGMA_DEG, Level, calibration_remedy
from hil.core.calibration import Calibration
from hil.core.frame import StreamInfo
from hil.store.status import CalibrationStatus, check

_MOST_USES = 100


@dataclass(frozen=True, slots=True)
class Use:
    """calibration : put to use, None for none. forced : reason to use it though it does not fit. learned : it came from
    the learner."""

    calibration: Calibration | None = None
    forced: str = ""
    learned: bool = False


class Uses:
    """What was in use, in order, beginning with none; `step` goes back and forth."""

    def __init__(self) -> None:
        self._uses, self._at = [Use()], 0
        #: In use now; other threads may read it.
        self.present = self._uses[0]

    def neighbour(self, by: int) -> Use | None:
        """What undo (-1) or redo (+1) would put to use, None if there is nothing."""
        at = self._at + by
        return self._uses[at] if 0 <= at < len(self._uses) else None

    def add(self, use: Use, *, instead: bool = False) -> None:
        """A new use; what was undone before it is forgotten. instead : of the present one."""
        known = self._uses[: self._at + (0 if instead and self._at else 1)]
        self._uses = [*known, use][-_MOST_USES:]
        self._at = len(self._uses) - 1
        self.present = use

    def step(self, by: int) -> Use | None:
        """Undo (-1) or redo (+1)."""
        use = self.neighbour(by)
        if use is not None:
            self._at += by
            self.present = use
        return use


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a calibration fits what streams now. level, word : how it is shown. usable : without asking; excusable :
    with a reason."""

    level: Level
    word: str
    reason: str
    remedy: str = ""
    usable: bool = True
    excusable: bool = True


_WORDS = {
    "converged": "NOT CONVERGED", "n_elements": "OTHER ARRAY", "geometry": "OTHER ARRAY", "fc_hz": "OTHER CARRIER",
    "device_serial": "OTHER DEVICE", "device_model": "OTHER DEVICE", "gains_db": "OTHER GAINS", "expires_utc": "EXPIRED",
}  # fmt: skip
_CAUSES = {
    "lo": "the carrier was set anew", "rate": "the sample rate was changed", "gain": "the gain was changed",
    "agc": "the automatic gain has stepped", "tracking": "the receiver's tracking was switched",
    "stream_restart": "the stream was started again", "reconnect": "the device was connected again",
    "power": "the device was switched off and on", "open": "the device was opened",
}  # fmt: skip


def judge(calibration: Calibration, stream: StreamInfo | None) -> Verdict:
    """The status of `hil calib check`, as the window says it."""
    if stream is None:
        return Verdict(Level.IDLE, "NOT CHECKED", "Connect a device to see whether it fits.")
    status = status_in_words(calibration, stream)
    if not status.usable:
        return Verdict(
            Level.BAD, _WORDS.get(status.field, "STALE"), f"{status.reason}.", calibration_remedy(status),
            usable=False, excusable=status.field != "n_elements",
        )  # fmt: skip
    sigma_deg = calibration.gauge.angle_sigma_deg
    if status.status == "unverified":
        return Verdict(Level.WARN, "UNPROVEN", f"{status.reason}.", status.hint)
    if status.age_s > OLD_CALIBRATION_S:
        return Verdict(Level.WARN, "OLD", "It fits this stream, but phases drift.", "learn again")
    if not sigma_deg <= OPEN_SIGMA_DEG:
        words = f"It fits this stream; angles are open by {sigma_deg:.2g} degrees."
        return Verdict(Level.WARN, "WIDE", words, "more directions narrow it, or an anchor")
    return Verdict(Level.GOOD, "FITS", "It fits this stream.")


def status_in_words(calibration: Calibration, stream: StreamInfo) -> CalibrationStatus:
    """As `hil.store.check`, with the reason of a new epoch in words."""
    status, then, now = check(calibration, stream), calibration.epoch, stream.epoch
    if status.usable or status.field != "epoch" or then is None:
        return replace(status, reason=status.reason[:1].upper() + status.reason[1:])
    what = "Everything" if status.status == "expired" else "The phases between boards"
    cause = _CAUSES.get(now.cause, now.cause)
    return replace(
        status,
        reason=f"{what} may have changed: {cause} (epoch #{then.counter} when learned, #{now.counter} now)",
    )


def may_be_applied(use: Use, stream: StreamInfo) -> bool:
    """It fits, or there is a reason to use it all the same."""
    if use.calibration is None:
        return False
    verdict = judge(use.calibration, stream)
    return verdict.usable or (bool(use.forced) and verdict.excusable)
