"""What a recording holds, and what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """What a recording holds.

    Attributes
    ----------
    samples : per channel. lost : samples per channel missing in between, at least: a gap of unknown length counts
        as one. lost_unknown : number of such gaps. gaps : number of all. epochs : number of coherence epochs.
    overloads : samples at full scale, all channels. bytes : of the data files. files : all files.
    gap_list : (global index of the first missing sample, count or None) of each gap.
    """

    samples: int
    lost: int
    lost_unknown: int
    gaps: int
    epochs: int
    overloads: int
    bytes: int
    files: tuple[Path, ...]
    gap_list: tuple[tuple[int, int | None], ...] = ()

    @property
    def lost_exact(self) -> bool:
        """True if the length of every gap is known."""
        return not self.lost_unknown


def at_least(lengths: Sequence[int | None]) -> int:
    """Samples missing in gaps of these lengths; of a gap of unknown length (None) one is certain."""
    return sum(1 if n is None else n for n in lengths)
