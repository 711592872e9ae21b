"""The health watch of one stream: frames in, named faults out.

    frame -> transport (headers) -> health blocks -> readings -> levels, rank, phases, carrier
          -> alarm over PERSIST blocks -> COLLECT more blocks -> a name -> event, new references

The state is bounded: the last blocks, one reference of each kind, the faults that are still there.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.device import WireFormat
from hil.core.epoch import EpochScope
from hil.core.errors import HilError
from hil.core.frame import Frame, FrameFlag, StreamInfo
from hil.health.beginning import faults_from_the_start, slip_amid
from hil.health.blind import not_watched
from hil.health.blocks import BlockTap, HealthBlock, block_samples
from hil.health.carrier import WINDOW_BLOCKS as CARRIER_BLOCKS
from hil.health.carrier import CarrierWatch
from hil.health.catalogue import KINDS, make_event
from hil.health.cause import Evidence, groups_of, name_cause
from hil.health.endings import IN_REFERENCES, Endings
from hil.health.event import HealthEvent, Severity
from hil.health.hypotheses import Change
from hil.health.levels import LevelWatch
from hil.health.phases import PhaseWatch
from hil.health.readings import Readings, read_block
from hil.health.transport import TransportWatch

#: Blocks that references are taken from; that an alarm must last; that are looked at before it is named.
SETTLE_BLOCKS = 24
PERSIST_BLOCKS = 3
COLLECT_BLOCKS = 4
_MEMORY_BLOCKS = 24
_CLEAR_BLOCKS = 8
_KEPT_EVENTS = 200
_MOST_UNNAMED = 3


class HealthWatch:
    """Watches a stream. `frame` belongs to the thread that has the frames; everything else to any.

    Parameters
    ----------
    stream : of the frames to come. calibration : learned or loaded, or None. n_sources : K, None: what the first
        blocks show.
    """

    def __init__(
        self, stream: StreamInfo, calibration: Calibration | None = None, n_sources: int | None = None
    ) -> None:
        self._lock = threading.RLock()
        self._stream = stream
        self._calibration = calibration
        self._asked_sources = n_sources
        self._k = n_sources or 1
        self._transport = TransportWatch()
        self.active: dict[tuple[str, tuple[int, ...]], HealthEvent] = {}
        self.events: deque[HealthEvent] = deque(maxlen=_KEPT_EVENTS)
        self.blocks = 0
        self._unnamed = 0
        self._sending = False
        self._carrier_watch: CarrierWatch | None = None
        self._restart()

    def _restart(self) -> None:
        """New references from the next blocks on."""
        stream = self._stream
        if not hasattr(self, "_tap"):
            self._tap = BlockTap(stream.n_channels, block_samples(stream.fs_hz))
        self._whitening = np.ones(stream.n_channels)
        self._first: list[HealthBlock] = []
        self._levels: LevelWatch | None = None
        self._phases: PhaseWatch | None = None
        self._memory: deque[Readings] = deque(maxlen=_MEMORY_BLOCKS)
        self._bad = self._good = 0
        self._tail_bad = 0
        self._alarm: list[Readings] | None = None
        self._slow = self._ask_phases = False
        self._holding = False
        self._endings: Endings | None = None
        self._ended = 0

    # ---- what comes in --------------------------------------------------------------------------------

    def frame(self, frame: Frame, clipped: NDArray[np.int64] | None = None) -> list[HealthEvent]:
        """Take a frame; clipped : (M,) samples at full scale in it. Returns the events that it brings."""
        with self._lock:
            out = self._new_stream(frame.stream, frame.first_sample)
            out += self._transport.frame(frame)
            self._note_sending(FrameFlag.TRANSMITTING in frame.flags)
            counts = np.zeros(len(frame.samples), np.int64) if clipped is None else clipped
            blocks = self._tap.take(frame, counts)
            out += self._numbers(frame)
            for block in blocks:
                self.blocks += 1
                out += self._block(block)
            return self._noted(out)

    def transport(self, event: HilError | HealthEvent) -> HealthEvent:
        """Take an error that ended the stream, or an event of a driver; returns it with cause and remedy."""
        with self._lock:
            found = self._transport.error(event) if isinstance(event, HilError) else event
            self._noted([found])
            return found

    def tick(self, now_ns: int) -> list[HealthEvent]:
        """To be asked while no frame comes (time.monotonic_ns): tells a stall that lasts."""
        with self._lock:
            return self._noted(self._transport.tick(now_ns))

    def calibrate(self, calibration: Calibration | None) -> None:
        """Watch against another calibration from now on; faults that it explains are over."""
        with self._lock:
            self._calibration = calibration
            # the blocks at hand are the reference: a new one would be blind for as long as it takes
            calm = not (self._bad or self._alarm or self._holding)
            self.active = {key: e for key, e in self.active.items() if key[0] in IN_REFERENCES}
            if calm and len(self._memory) >= SETTLE_BLOCKS:
                self._phases, self._ask_phases = None, True
                return
            blocks = self._first or ([r.block for r in self._memory] if calm else [])
            self._restart()
            self._first = blocks[1 - SETTLE_BLOCKS :]

    # ---- what is known --------------------------------------------------------------------------------

    def lasting(self) -> list[HealthEvent]:
        """Faults that have been told and are still there, losses that go on among them."""
        with self._lock:
            there = [e for e in self.active.values() if KINDS[e.kind].lasts]
            return there + self._transport.lasting()

    @property
    def block_samples(self) -> int:
        """Samples of a health block."""
        return self._tap.n_samples

    @property
    def watching(self) -> bool:
        """False while references are being taken."""
        return self._levels is not None and self._alarm is None

    def status(self) -> dict[str, Any]:
        """For a status strip: state, the faults that are still there, what cannot be seen, counts."""
        with self._lock:
            faults = [e.as_dict() for e in self.active.values()]
            bad = any(e.severity is Severity.FAULT for e in self.active.values())
            state = "fault" if bad else "warning" if faults else "good" if self.watching else "settling"
            return {
                "state": state, "active": faults, "not_watched": self.not_watched(), "blocks": self.blocks,
                "samples_lost": self._transport.lost, "samples_lost_exact": not self._transport.lost_unknown,
                "n_sources": self._k, "null_misfit": self._phases.misfit if self._phases else None,
            }  # fmt: skip

    def not_watched(self) -> list[str]:
        """What cannot be seen now, and why, one sentence each."""
        return not_watched(
            self._stream.n_channels, self._k, self._calibration, sending=self._sending, breaking=self._breaking(),
            integers=self._bits is not None, emitters=self._levels is not None or self.blocks <= SETTLE_BLOCKS,
        )  # fmt: skip

    # ---- inside ---------------------------------------------------------------------------------------

    def _noted(self, events: list[HealthEvent]) -> list[HealthEvent]:
        for event in events:
            self.events.append(event)
            self.active[event.kind, event.channels] = event
        return events

    def _note_sending(self, sending: bool) -> None:
        """Leakage and echoes come or go: what was learned of the samples no longer holds."""
        if sending is not self._sending:
            del self._tap
            self._sending, self._carrier_watch, self._unnamed = sending, None, 0
            self._restart()

    def _breaking(self) -> set[str]:
        held = self._endings.holds if self._endings is not None else lambda key: False
        return {key[0] for key in self.active if KINDS[key[0]].breaks or held(key)}

    def _new_stream(self, stream: StreamInfo, first_sample: int) -> list[HealthEvent]:
        old = self._stream
        if stream is old:
            return []
        self._stream = stream
        if (stream.config, stream.epoch) == (old.config, old.epoch):
            return []
        out: list[HealthEvent] = []
        scope = stream.epoch.change_since(old.epoch)
        if scope is not EpochScope.NOTHING:
            out.append(make_event("retune", first_sample, first_sample, size=f"cause: {stream.epoch.cause}"))
        # a fault of the old epoch may be gone; if it is not it is found again
        self.active.clear()
        self._carrier_watch, self._unnamed = None, 0
        if (stream.n_channels, stream.fs_hz) != (old.n_channels, old.fs_hz):
            del self._tap
        self._restart()
        return out

    def _numbers(self, frame: Frame) -> list[HealthEvent]:
        """Samples that cannot be judged, once; over with the next block that can."""
        kind, channels = "no-numbers", self._tap.no_numbers
        self.active = {key: e for key, e in self.active.items() if key[0] != kind or key[1] == channels}
        if not channels or (kind, channels) in self.active:
            return []
        end = frame.first_sample + frame.samples.shape[1]
        return [make_event(kind, max(end - self.block_samples, 0), end, channels=channels)]

    def _block(self, block: HealthBlock) -> list[HealthEvent]:
        if self._levels is None:
            self._first.append(block)
            return self._settle() if len(self._first) >= SETTLE_BLOCKS else []
        readings = read_block(block, self._k, self._whitening, self._bits)
        if self._alarm is not None:
            self._alarm.append(readings)
            return self._name() if len(self._alarm) >= PERSIST_BLOCKS + COLLECT_BLOCKS else []
        if self._ask_phases:
            self._ask_phases, self._slow = False, False
            return self._settle_phases([*self._memory, readings][-SETTLE_BLOCKS:])
        return [] if self._is_ending(readings) else self._watch(readings)

    def _is_ending(self, readings: Readings) -> bool:
        """True while a fault that is in the references no longer shows: they are of no use then."""
        assert self._endings is not None
        over = {} if self._holding or not self.active else self._endings.over(readings, self.active)
        self._ended = self._ended + 1 if over else 0
        if self._ended >= _CLEAR_BLOCKS:
            for key, rest in over.items():
                del self.active[key]
                if rest is not None:
                    self.active[rest.kind, rest.channels] = rest
            self._restart()
        return bool(over)

    def _settle(self) -> list[HealthEvent]:
        """References from the first blocks; a calibration that does not explain them is an alarm at once."""
        m, fs_hz = self._stream.n_channels, self._stream.fs_hz
        ones = np.ones(m)
        readings = [read_block(b, self._k, ones, self._bits) for b in self._first]
        if self._asked_sources is None:
            ranks = np.concatenate([r.rank for r in readings])
            self._k = int(min(max(int(np.bincount(ranks).argmax()), 1), m - 1))
            readings = [read_block(b, self._k, ones, self._bits) for b in self._first]
        noise = np.median([r.noise_db for r in readings], axis=0)
        if np.all(np.isfinite(noise)) and np.ptp(noise) > 0.5:
            self._whitening = 10 ** (-(noise - noise.mean()) / 20)
            readings = [read_block(b, self._k, self._whitening, self._bits) for b in self._first]
        self._levels = LevelWatch(readings)
        self._endings = Endings(readings, self._levels)
        self._carrier_watch = self._carrier_watch or CarrierWatch(fs_hz)
        self._first = []
        self._memory.clear()
        self._memory.extend(readings)
        self._bad = self._good = self._tail_bad = 0
        new = self._broken_from_the_start(readings)
        slip = slip_amid(readings, groups_of(self._stream), m)
        if slip is not None:
            self.active[slip.kind, slip.channels] = slip
            self._again(None)
            return [*new, slip]
        return [*new, *self._settle_phases(readings)]

    def _settle_phases(self, readings: list[Readings]) -> list[HealthEvent]:
        """The calibration held against blocks that are known to be sound otherwise."""
        m = self._stream.n_channels
        assert self._levels is not None
        if self._calibration is None or self._breaking() or m < 3 or self._k >= m or self._sending:
            self._phases = None
            return []
        if self._phases is None:
            self._phases = PhaseWatch(self._calibration, self._stream.fc_hz, self._k)
        if self._phases.settle(readings, self._levels.window_tail, self._whitening):
            return []
        self._alarm = readings[-(PERSIST_BLOCKS + COLLECT_BLOCKS) :]
        self._memory.clear()
        return self._name()

    def _broken_from_the_start(self, readings: list[Readings]) -> list[HealthEvent]:
        """What was there before the stream began, or before something else was told."""
        assert self._levels is not None
        events = faults_from_the_start(readings, self._levels, sending=self._sending)
        keys = {(e.kind, e.channels) for e in events}
        self.active = {key: e for key, e in self.active.items() if key[0] != "clipped" or key in keys}
        new = [e for e in events if (e.kind, e.channels) not in self.active]
        for event in new:
            self.active[event.kind, event.channels] = event
        return new

    def _watch(self, readings: Readings) -> list[HealthEvent]:
        levels, phases = self._levels, self._phases
        assert levels is not None
        change = levels.change(readings, sending=self._sending)
        tail = levels.tail_alarm(readings)
        misfit = phases.judge(readings) if phases is not None else None
        level = bool(change.dead or change.stepped or change.weak or change.clipped or change.stuck)
        bad = level or tail or bool(misfit)
        if self._holding:
            return self._hold(bad)
        self._memory.append(readings)
        if bad:
            self._bad += 1
            self._tail_bad += tail
            self._good = 0
            if self._bad >= PERSIST_BLOCKS:
                self._alarm = list(self._memory)[-PERSIST_BLOCKS:]
            return []
        self._bad = self._tail_bad = 0
        self._good += 1
        levels.follow(readings)
        if self._good >= _CLEAR_BLOCKS:
            self._clear()
        if phases is not None and misfit is False and phases.slow_alarm():
            self._slow = True
            self._alarm = list(self._memory)[-PERSIST_BLOCKS:]
            return self._name()
        return self._carrier(readings)

    def _carrier(self, readings: Readings) -> list[HealthEvent]:
        if self._sending:
            return []
        assert self._carrier_watch is not None
        shift = self._carrier_watch.take(readings)
        if shift is None:
            return []
        block = readings.block
        end = block.first_sample + block.n_samples
        first = max(end - 2 * CARRIER_BLOCKS * block.n_samples, 0)
        return [make_event("carrier-drift", first, end, value=shift, size=f"{shift:+.0f}")]

    def _hold(self, bad: bool) -> list[HealthEvent]:
        """A fault that passes is there: the references stay as they were, and nothing else is told until it is over."""
        self._good = 0 if bad else self._good + 1
        if self._good >= _CLEAR_BLOCKS:
            self._holding = False
            self._bad = self._tail_bad = 0
            self._memory.clear()
            self._clear()
        return []

    def _clear(self) -> None:
        assert self._endings is not None
        for key in [k for k in self.active if KINDS[k[0]].clears and not self._endings.holds(k)]:
            del self.active[key]

    def _name(self) -> list[HealthEvent]:
        after = self._alarm
        assert after is not None
        assert self._levels is not None
        before = [r for r in self._memory if r.block.first_sample < after[0].block.first_sample]
        n_tail = sum(self._levels.tail_alarm(r) for r in after[1:])
        evidence = Evidence(
            before, after, groups_of(self._stream), self._levels, self._phases, self._k, n_tail > len(after) // 2, self._slow,
            self._sending,
        )  # fmt: skip
        events, change = name_cause(evidence)
        if not events and self._sending:
            self._again(None)  # a target moved: what the echoes look like now is the new reference
            return []
        if not events:
            self._unnamed += 1
            if self._unnamed < _MOST_UNNAMED:
                self._alarm, self._bad, self._good = None, 0, 0  # it may have passed; if not it is back soon
                return []
            events = [make_event("array-changed", *evidence.span)]
        self._unnamed = 0
        new = [e for e in events if (e.kind, e.channels) not in self.active or not KINDS[e.kind].clears]
        for event in events:
            self.active[event.kind, event.channels] = event
        if events and all(KINDS[e.kind].clears for e in events):
            self._alarm, self._holding, self._bad, self._good = None, True, 0, 0
        else:
            self._again(change)
        return new

    def _again(self, change: Change | None) -> None:
        """New references, with what is known to have changed taken into the calibration."""
        phases = self._phases
        self._restart()
        if phases is not None and not self._breaking():
            if change is not None and change.ports is not None:
                phases.manifold.exchange(*change.ports)
            if change is not None and change.gain is not None:
                phases.manifold.correct(change.gain)
            self._phases = phases

    @property
    def _bits(self) -> int | None:
        """Bits of a sample word, None if the samples are no integers."""
        device = self._stream.device
        return device.full_scale_bits if device.wire is WireFormat.CI16 else None
