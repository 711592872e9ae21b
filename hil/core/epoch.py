"""Coherence epochs: how long a phase calibration can hold.

A hardware event (LO write, rate, gain, reconnect, ...) may redraw the phases between coherent groups of
channels, or everything. A board's table gives each event its scope.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


class EpochEvent(enum.StrEnum):
    """What can happen to a receiver."""

    LO = "lo"
    RATE = "rate"
    GAIN = "gain"
    AGC = "agc"
    TRACKING = "tracking"
    STREAM_RESTART = "stream_restart"
    RECONNECT = "reconnect"
    POWER = "power"


class EpochScope(enum.StrEnum):
    """What such an event leaves invalid.

    GROUP_PHASES: the phase between coherent groups; positions, coupling and |g| survive.
    """

    NOTHING = "nothing"
    GROUP_PHASES = "group_phases"
    EVERYTHING = "everything"


#: For a device about which nothing is known.
CAUTIOUS_SCOPES: Mapping[EpochEvent, EpochScope] = {
    EpochEvent.LO: EpochScope.GROUP_PHASES,
    EpochEvent.RATE: EpochScope.GROUP_PHASES,
    EpochEvent.GAIN: EpochScope.GROUP_PHASES,
    EpochEvent.AGC: EpochScope.EVERYTHING,
    EpochEvent.TRACKING: EpochScope.GROUP_PHASES,
    EpochEvent.STREAM_RESTART: EpochScope.GROUP_PHASES,
    EpochEvent.RECONNECT: EpochScope.EVERYTHING,
    EpochEvent.POWER: EpochScope.EVERYTHING,
}


@dataclass(frozen=True, slots=True)
class Epoch:
    """Identity of a coherence epoch.

    Attributes
    ----------
    serial : serial number(s) of the device.
    session : UUID (hex) of the process that opened it.
    counter : counts every event whose scope is not NOTHING.
    base : value of `counter` at the last event of scope EVERYTHING.
    cause : the event that started this epoch.
    """

    serial: str
    session: str
    counter: int = 0
    base: int = 0
    cause: str = "open"

    @property
    def id(self) -> str:
        """Text form for files and JSON."""
        return f"{self.serial}/{self.session}/{self.counter}"

    def after(self, event: EpochEvent, scope: EpochScope) -> Epoch:
        """The epoch that follows an event of this scope (the same one for NOTHING)."""
        if scope is EpochScope.NOTHING:
            return self
        counter = self.counter + 1
        base = counter if scope is EpochScope.EVERYTHING else self.base
        return replace(self, counter=counter, base=base, cause=str(event))

    def change_since(self, other: Epoch) -> EpochScope | None:
        """What may have changed since `other`; None if that cannot be known (another device or process)."""
        if (self.serial, self.session) != (other.serial, other.session):
            return None
        if self.counter == other.counter:
            return EpochScope.NOTHING
        newer, older = (self, other) if self.counter > other.counter else (other, self)
        return EpochScope.EVERYTHING if newer.base > older.counter else EpochScope.GROUP_PHASES


def new_epoch(serial: str) -> Epoch:
    """First epoch of a freshly opened device."""
    return Epoch(serial=serial, session=uuid.uuid4().hex)


@dataclass(slots=True)
class EpochTracker:
    """Turns events into epochs with a device's own scope table."""

    epoch: Epoch
    scopes: Mapping[EpochEvent, EpochScope] = field(default_factory=lambda: CAUTIOUS_SCOPES)

    def record(self, event: EpochEvent) -> Epoch:
        """Note an event; returns the epoch that holds from now on."""
        scope = self.scopes.get(event, CAUTIOUS_SCOPES[event])
        self.epoch = self.epoch.after(event, scope)
        return self.epoch
