"""A recording played in the window: at its own pace, and what is marked on its time bar."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

from drivers.replay import ReplayDevice
from drivers.replay_clock import Playback
from drivers.sigmf_files import Recording
from hil.core.device import RxDevice
from hil.session import Session

_MOST_MARKS = 2000
MarkKind = Literal["gap", "epoch", "segment", "event"]


@dataclass(frozen=True, slots=True)
class Mark:
    """at_s, length_s : in the samples of the file (0: a moment). words : one line."""

    kind: MarkKind
    at_s: float
    length_s: float
    words: str


def playback_of(device: RxDevice) -> Playback | None:
    """Of a recording, None for a real receiver."""
    return device.playback if isinstance(device, ReplayDevice) else None


def recording_of(device: RxDevice) -> Recording | None:
    """What is played, None for a real receiver."""
    return device.recording if isinstance(device, ReplayDevice) else None


def prepare_to_listen(device: RxDevice) -> None:
    """A recording is played as fast as it was recorded, and waits at its end, so that one can seek back."""
    playback = playback_of(device)
    if playback is None:
        return
    playback.hold = True
    if playback.state.speed == math.inf:
        playback.set_speed(1.0)


def not_asked_for(session: Session) -> tuple[int, bool, int]:
    """(samples lost at least, whether that is exact, gaps): without the jumps of a playback, which the user asked for."""
    lost, exact = session.losses
    playback, recording = playback_of(session.device), recording_of(session.device)
    if playback is None or recording is None:
        return lost, exact, session.gaps
    seams = playback.state.seams
    own = all(segment.dropped_before is not None for segment in recording.segments)
    return max(lost - seams, 0), exact or own, max(session.gaps - seams, 0)


def marks(recording: Recording) -> tuple[Mark, ...]:
    """Where something changed, samples are missing, or the health watch noticed something."""
    fs_hz = recording.fs_hz
    found = []
    for before, segment in itertools.pairwise(recording.segments):
        at_s, epoch = segment.start / fs_hz, segment.stream.epoch
        lost, new = segment.dropped_before, epoch != before.stream.epoch
        if lost != 0:
            how_many = "an unknown number of" if lost is None else f"{lost:,}"
            found.append(Mark("gap", at_s, 0.0, f"{how_many} samples are missing here"))
        if new:
            words = f"epoch {epoch.counter} begins ({epoch.cause}), {segment.stream.fc_hz / 1e6:g} MHz"
            found.append(Mark("epoch", at_s, 0.0, words))
        if lost == 0 and not new:
            found.append(Mark("segment", at_s, 0.0, f"new segment ({segment.cause or 'not said why'})"))
    for note in recording.annotations:
        found.append(Mark("event", note.start / fs_hz, note.n / fs_hz, f"{note.label}: {note.comment}"))
    return tuple(sorted(found[:_MOST_MARKS], key=lambda m: m.at_s))
