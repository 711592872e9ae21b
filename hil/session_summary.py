"""What happened in one run of a session."""

from __future__ import annotations

from dataclasses import dataclass, field

from hil.recorder import RecordingSummary


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What happened between start and stop.

    samples : per channel, from the reader. lost : missing before or between them as far as the device tells;
    lost_exact : False if it only told that some are missing. gaps : number of discontinuities. epochs : seen.
    overloads : samples at full scale per channel, of the frames that the DSP stage saw. edges : ledger.
    """

    samples: int = 0
    lost: int = 0
    lost_exact: bool = True
    gaps: int = 0
    epochs: int = 1
    overloads: tuple[int, ...] = ()
    edges: dict[str, dict[str, int]] = field(default_factory=dict)
    recording: RecordingSummary | None = None
