"""What the health watch tells: one named fault with its cause and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class Severity(enum.StrEnum):
    """How bad it is: INFO nothing to do, WARNING results may be wrong, FAULT results are wrong or missing."""

    INFO = "info"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class HealthEvent:
    """One fault, named.

    Attributes
    ----------
    kind : a key of `hil.health.catalogue.KINDS`. cause : what happened, one sentence. remedy : what to do, one
        sentence.
    channels : receiver channels concerned, counted from 0; empty: all or none in particular. groups : coherent
        groups (chips, boards) concerned.
    first_sample : absolute index of the first sample at which it was seen. last_sample : end of the samples that
        it was judged from. severity : Severity. value : its size (degrees, dB, samples, Hz, seconds), or None.
    """

    kind: str
    cause: str
    remedy: str
    severity: Severity
    first_sample: int
    last_sample: int
    channels: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    value: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "cause": self.cause,
            "remedy": self.remedy,
            "severity": str(self.severity),
            "first_sample": self.first_sample,
            "last_sample": self.last_sample,
            "channels": list(self.channels),
            "groups": list(self.groups),
            "value": self.value,
        }
