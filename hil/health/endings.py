"""When faults that last are over: the references are those of the broken stream, so they cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.health.catalogue import make_event
from hil.health.event import HealthEvent
from hil.health.levels import CLIPPED, NOTHING_DB, LevelWatch
from hil.health.readings import Readings
from hil.health.silence import shared_power

Key = tuple[str, tuple[int, ...]]

#: Kinds that references can be taken with.
IN_REFERENCES = ("clipped", "dead-channel", "unlocked-channel", "stuck-bit")

_SHARES = 0.25  # of a channel's power is explained by the others: it hears what they hear
_LEAST_RISE_DB, _LEAST_SHARING_RISE_DB = 1.0, 10.0


class Endings:
    """Of the faults that were there when references were taken.

    readings : the reference blocks; levels : made of them.
    """

    def __init__(self, readings: Sequence[Readings], levels: LevelWatch) -> None:
        self._levels = levels
        self._shared = shared_power(readings)

    def holds(self, key: Key) -> bool:
        """True for a fault that is in the references."""
        kind, channels = key
        if kind == "clipped":
            return bool(self._levels.overdriven[list(channels)].any())
        return kind in IN_REFERENCES

    def over(self, readings: Readings, active: Mapping[Key, HealthEvent]) -> dict[Key, HealthEvent | None]:
        """Faults of which this block shows less: what is left of each, None: nothing."""
        out: dict[Key, HealthEvent | None] = {}
        for key, event in active.items():
            if not self.holds(key):
                continue
            well = self._well(event, readings)
            rest = tuple(c for c in event.channels if not well[c])
            if rest != event.channels:
                out[key] = _of_channels(event, rest) if rest else None
        return out

    def _well(self, event: HealthEvent, readings: Readings) -> NDArray[np.bool_]:
        """(M,) channels that do not show the fault in this block."""
        if event.kind == "clipped":
            return readings.block.clipped <= CLIPPED
        if event.kind == "stuck-bit":
            if readings.stuck is None:
                return np.ones(len(readings.level_db), bool)
            return (readings.stuck >> int(event.value or 0) & 1) == 0
        rise = readings.level_db - self._levels.usual_db
        # a channel that is dead by its level alone shares what little it has
        needed = np.where(self._shared > _SHARES, _LEAST_SHARING_RISE_DB, _LEAST_RISE_DB)
        hears = (shared_power([readings]) > _SHARES) & (rise > needed)
        return np.where(self._levels.silent, readings.level_db > NOTHING_DB, hears)


def _of_channels(event: HealthEvent, channels: tuple[int, ...]) -> HealthEvent:
    size = int(event.value or 0) if event.kind == "stuck-bit" else None
    words = make_event(event.kind, 0, 0, channels=channels, value=event.value, size=size)
    return replace(event, channels=channels, groups=(), cause=words.cause)
