"""What happened in one run of a session, and the words for what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hil.core.frame import Block, FrameFlag
from hil.recorder import RecordingSummary


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What happened between start and stop.

    samples : per channel, from the reader. lost : missing before or between them, at least: a gap of which the
    device does not tell how many counts as one. lost_unknown : number of such gaps; lost_exact : True if there
    are none. gaps : number of discontinuities. epochs : seen.
    overloads : samples at full scale per channel, of the frames that the DSP stage saw. edges : ledger.
    """

    samples: int = 0
    lost: int = 0
    gaps: int = 0
    epochs: int = 1
    overloads: tuple[int, ...] = ()
    edges: dict[str, dict[str, int]] = field(default_factory=dict)
    recording: RecordingSummary | None = None
    lost_unknown: int = 0

    @property
    def lost_exact(self) -> bool:
        """True if `lost` is the whole truth."""
        return not self.lost_unknown


class Accounts:
    """Sums over the blocks of one run: written by the reader's thread, read by any.

    Attributes
    ----------
    samples : per channel. lost : at least, see SessionSummary. lost_unknown, gaps : how many. epochs : ids seen.
    """

    def __init__(self) -> None:
        self.samples = self.lost = self.lost_unknown = self.gaps = 0
        self.epochs: set[str] = set()

    def take(self, block: Block) -> None:
        """Count a block."""
        self.samples += block.n
        if block.lost_before is None:
            self.lost += 1
            self.lost_unknown += 1
            self.gaps += 1
        elif block.lost_before:
            self.lost += block.lost_before
            self.gaps += 1
        elif FrameFlag.GAP_BEFORE in block.flags:
            self.gaps += 1

    def summary(
        self,
        overloads: NDArray[np.int64],
        edges: dict[str, dict[str, int]],
        recording: RecordingSummary | None,
    ) -> SessionSummary:
        """Of the run that has ended."""
        return SessionSummary(
            self.samples, self.lost, self.gaps, max(len(self.epochs), 1), tuple(int(v) for v in overloads), edges,
            recording, self.lost_unknown,
        )  # fmt: skip


def loss_words(lost: int, gaps: int, unknown: int) -> str:
    """What a user is told of `gaps` gaps, `unknown` of them of unknown length; lost : at least so many samples."""
    where = f"in {gaps} gap{'s' if gaps != 1 else ''}"
    if not gaps:
        return "no sample lost"
    if not unknown:
        return f"{lost} samples lost {where}"
    if unknown == gaps:
        return f"an unknown number of samples lost {where} (the device does not tell how many)"
    return f"at least {lost} samples lost {where} (of {unknown} the device does not tell how many)"
