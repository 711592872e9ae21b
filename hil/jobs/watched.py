"""A health watch on a running session: events to whoever asks, and into the recording."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import DeviceError, HilError, StreamStopped
from hil.core.frame import Frame, StreamInfo
from hil.health.event import HealthEvent
from hil.health.watch import HealthWatch
from hil.recorder import Recorder

#: Samples a second over all channels that are watched; beyond it watching would cost the capture samples.
MOST_SAMPLES_PER_S = 40e6
_KEPT = 500


class Watched:
    """Takes frames in the DSP thread (call it), gives events to any.

    Parameters
    ----------
    stream : of the session. recorder : its annotations get the events. calibration, n_sources : see HealthWatch.
    """

    def __init__(
        self,
        stream: StreamInfo,
        *,
        recorder: Recorder | None = None,
        calibration: Calibration | None = None,
        n_sources: int | None = None,
    ) -> None:
        self.watch = HealthWatch(stream, calibration, n_sources)
        self._recorder = recorder
        self._lock = threading.Lock()
        self._new: deque[HealthEvent] = deque(maxlen=_KEPT)
        self.events: deque[HealthEvent] = deque(maxlen=_KEPT)

    def __call__(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        """Take a frame."""
        events = self.watch.frame(frame, clipped)
        if self._recorder is not None:
            # what the watch itself skips is recorded all the same
            events = [e for e in events if e.kind != "slow-computer"]
        self._note(events)

    def silent(self) -> set[int]:
        """Channels that hear nothing now."""
        lasting = tuple(self.watch.active.values())
        return {c for event in lasting if event.kind == "dead-channel" for c in event.channels}

    def record_in(self, recorder: Recorder | None) -> None:
        """Events from now on are annotations of this recording; None: of no recording."""
        self._recorder = recorder

    def tick(self) -> None:
        """To be called now and then: a stream that says nothing shows here."""
        self._note(self.watch.tick(time.monotonic_ns()))

    def failed(self, err: HilError) -> None:
        """A session ended with this error: told if it is the device's."""
        if isinstance(err, DeviceError) and not isinstance(err, StreamStopped):
            self._note([self.watch.transport(err)])

    def take(self) -> list[dict[str, Any]]:
        """Events since the last call, as JSON objects."""
        with self._lock:
            out = [event.as_dict() for event in self._new]
            self._new.clear()
        return out

    def report(self) -> list[dict[str, Any]]:
        """Events since the last call, and what was told before and lasts, marked `ongoing`."""
        with self._lock:
            new = list(self._new)
            self._new.clear()
        told = {(e.kind, e.channels) for e in new}
        lasting = [e for e in self.watch.lasting() if (e.kind, e.channels) not in told]
        return [e.as_dict() | {"ongoing": False} for e in new] + [
            e.as_dict() | {"ongoing": True} for e in lasting
        ]

    @property
    def pending(self) -> bool:
        """True if `take` would give something."""
        return bool(self._new)

    def _note(self, events: list[HealthEvent]) -> None:
        if not events:
            return
        with self._lock:
            self._new.extend(events)
            self.events.extend(events)
        recorder = self._recorder
        if recorder is None:
            return
        for event in events:
            annotate(recorder, event)


def annotate(recorder: Recorder, event: HealthEvent) -> None:
    """Note an event in a recording."""
    recorder.annotate(
        event.first_sample, event.last_sample, event.kind, f"{event.cause}. {event.remedy}.",
        hil_fault=event.kind, hil_severity=str(event.severity), hil_channels=list(event.channels),
        hil_groups=list(event.groups), hil_value=event.value,
    )  # fmt: skip


def can_watch(stream: StreamInfo) -> bool:
    """True if the stream is slow enough to be watched beside recording."""
    return stream.fs_hz * stream.n_channels <= MOST_SAMPLES_PER_S
