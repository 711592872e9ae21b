"""What is wrong while references are taken: faults that were there before, and a slip amid the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.health.catalogue import make_event
from hil.health.cause import lag_event, stuck_events
from hil.health.event import HealthEvent
from hil.health.levels import LevelWatch, Statistic
from hil.health.readings import Readings, median, tail_of

#: Blocks at the begin of a reference that its end is compared with: a slip within them goes unnoticed.
EARLY_BLOCKS = 6
_LATE_BLOCKS = 4
_LEAST_TAIL = 0.35
_SIGMAS = 8.0


def faults_from_the_start(
    readings: Sequence[Readings], levels: LevelWatch, *, sending: bool
) -> list[HealthEvent]:
    """Bits that never change, channels without even noise, converters at full scale."""
    block = readings[-1].block
    first, last = readings[0].block.first_sample, block.first_sample + block.n_samples
    events = stuck_events(levels.stuck, first, last) if levels.stuck is not None else []
    silent = np.flatnonzero(levels.silent).tolist()
    if silent:
        events.append(make_event("dead-channel", first, last, channels=silent))
    clipped = np.flatnonzero(levels.overdriven).tolist()
    if clipped:
        share = 100 * float(levels.clipped.max())
        events.append(make_event("clipped", first, last, channels=clipped, value=share, sending=sending))
    return events


def slip_amid(
    readings: Sequence[Readings], groups: Sequence[tuple[int, ...]], n_channels: int
) -> HealthEvent | None:
    """A slip between the first and the last blocks of a reference: its other side is missing in it.

    More independent signals at the end than at the begin, and channels that are late there.
    """
    early, late = readings[:EARLY_BLOCKS], readings[-_LATE_BLOCKS:]
    if len(readings) < EARLY_BLOCKS + _LATE_BLOCKS:
        return None
    k = int(np.bincount(np.concatenate([r.rank for r in early])).argmax())
    if not 1 <= k <= n_channels - 2:
        return None
    usual = Statistic.of([np.array(median(tail_of(r.values, k))) for r in early])
    limit = float(usual.mean + max(_LEAST_TAIL, _SIGMAS * float(usual.sigma)))
    more = [median(tail_of(r.values, k)) > limit for r in readings]
    if not all(more[-_LATE_BLOCKS:]):
        return None
    begin = len(more) - next((i for i, seen in enumerate(reversed(more)) if not seen), len(more))
    last = late[-1].block
    first_sample, last_sample = readings[begin].block.first_sample, last.first_sample + last.n_samples
    found = lag_event([r.block.stretch for r in late], groups, k, first_sample, last_sample)
    if found is None or found.kind != "slip":
        return None
    before = lag_event([r.block.stretch for r in early], groups, k, first_sample, last_sample)
    return (
        found if before is None or (before.channels, before.value) != (found.channels, found.value) else None
    )
