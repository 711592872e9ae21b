"""Faults of the transport: losses, stalls and slow links from the frames' headers, broken links from errors."""

from __future__ import annotations

import itertools
from collections import deque

from hil.core.errors import ConnectionLost, DeviceTimeout, HilError, ProtocolError
from hil.core.frame import Frame, FrameFlag
from hil.health.catalogue import make_event
from hil.health.event import HealthEvent

_STALL_S = 1.0
_FIRST_S = 6.0  # boards that are aligned first take their time
_RATE_WINDOW_S = 1.0
_SLOW = 0.9
_LATE_WINDOW_S = 0.4
_LATE_WINDOWS = 4
_FALLING_WINDOWS = 5
_LEAST_LATE_S = 0.02
_CLOCK_ERROR = 1e-4  # of the device's clock against ours
_QUIET_S = 2.0  # losses of one kind within it are one event


class ClockWatch:
    """Samples that vanish without a word: the stream's own clock falls behind the wall clock, and stays there.

    late = t_arrival - samples / fs; its least value over a window cannot rise by jitter or by a pause that is caught
    up. Only streams that ran in real time before are judged.

    Attributes
    ----------
    share : of the samples due that came, while the stream falls behind window after window: a slow link. Else None.
    """

    def __init__(self) -> None:
        self._mins: deque[float] = deque(maxlen=_LATE_WINDOWS)
        self._window_end: float | None = None
        self._least = float("inf")
        self._base: float | None = None
        self._over: list[float] = []
        self._steady = 0
        self._kept_time = False
        self._latest: deque[tuple[float, float]] = deque(maxlen=_FALLING_WINDOWS + 1)
        self.share: float | None = None

    def forget(self) -> None:
        """A loss or a pause is known: measure anew."""
        self._mins.clear()
        self._latest.clear()
        self.share = None
        self._window_end, self._base = None, None
        self._least, self._over, self._steady = float("inf"), [], 0

    def arrived(self, t_s: float, samples: int, fs_hz: float, block_s: float) -> float | None:
        """A block that ends with sample `samples` of the stream; seconds lost once it is sure, else None."""
        late = t_s - samples / fs_hz
        self._least = min(self._least, late)
        if self._window_end is None:
            self._window_end = t_s + _LATE_WINDOW_S
        if t_s < self._window_end:
            return None
        least, self._least = self._least, float("inf")
        self._window_end = t_s + _LATE_WINDOW_S
        self._mins.append(least)
        self._latest.append((t_s, least))
        self.share = self._falling_share()
        tolerance = max(_LEAST_LATE_S, 1.5 * block_s)
        if self._base is None or self._steady < _LATE_WINDOWS:
            # first show that it keeps time at all
            previous = self._mins[-2] if len(self._mins) > 1 else None
            steady = previous is not None and abs(least - previous) < 0.5 * tolerance
            self._steady = self._steady + 1 if steady else 0
            self._kept_time = self._kept_time or self._steady >= _LATE_WINDOWS
            self._base = least if self._base is None or not steady else min(self._base, least)
            return None
        excess = least - self._base
        if excess < tolerance:
            self._base = min(self._base + _CLOCK_ERROR * _LATE_WINDOW_S, least)
            self._over = []
            return None
        self._over.append(excess)
        if len(self._over) < 2:
            return None
        lost_s, self._over = self._over, []
        if abs(lost_s[1] - lost_s[0]) < 0.3 * max(tolerance, lost_s[0]):
            self.forget()
            return lost_s[1]
        self._steady = 0  # it goes on falling behind: a slow link, told by its rate
        return None

    def _falling_share(self) -> float | None:
        if not self._kept_time or len(self._latest) <= _FALLING_WINDOWS:
            return None
        places = list(self._latest)
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(places)]
        if any(rise < (1 - _SLOW) * span for span, rise in steps):
            return None
        return 1 - (places[-1][1] - places[0][1]) / (places[-1][0] - places[0][0])


class TransportWatch:
    """Headers of frames, in order."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._seq: int | None = None
        self._last_ns: int | None = None
        self._asked_ns: int | None = None
        self._stall_s = _STALL_S
        self._arrivals: deque[tuple[int, int]] = deque()
        self._told: dict[str, int] = {}
        self._latest: dict[str, HealthEvent] = {}  # of each kind, summed up since it was told
        self._going_on: frozenset[str] = frozenset()  # seen again since they were told
        self._stalled = False
        self._clock = ClockWatch()
        #: At least, and how many losses there were of unknown length, each counted as one.
        self.lost = self.lost_unknown = 0
        self.skipped = 0

    def frame(self, frame: Frame) -> list[HealthEvent]:
        """Events of this frame."""
        out: list[HealthEvent] = []
        first, n, fs_hz = frame.first_sample, frame.samples.shape[1], frame.stream.fs_hz
        now, gap_s = frame.t_mono_ns, 0.0
        if self._last_ns is not None:
            gap_s = (now - self._last_ns) / 1e9
        jump = 0 if self._next is None else first - self._next
        missed = 0 if self._seq is None else frame.seq - self._seq - 1
        flags = frame.flags
        own = FrameFlag.RETUNED in flags or self._next is None
        self._stall_s = max(_STALL_S, 8 * n / fs_hz)
        stalled = gap_s > self._stall_s
        if stalled and not self._stalled and missed <= 0:
            out.append(make_event("stall", first, first + n, value=gap_s))
        self._stalled = False
        if missed > 0:
            # losses of the device among the skipped blocks cannot be told from ours here: the recorder's gaps can
            self.skipped += max(jump, 0)
            out += self._tell("slow-computer", first, n, now, max(jump, 0))
        elif not own and (jump > 0 or flags & (FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW)):
            self.lost += max(jump, 0)
            out += self._loss(frame, jump, now, fs_hz)
        late_s = None
        if (
            jump
            or missed > 0
            or stalled
            or flags & (FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW | FrameFlag.RETUNED)
        ):
            self._clock.forget()
        else:
            late_s = self._clock.arrived(now / 1e9, first + n, fs_hz, n / fs_hz)
        if late_s is not None:
            lost = round(late_s * fs_hz)
            self.lost += lost
            out += self._tell("dropped-blocks", first, n, now, lost, "about ")
        if self._clock.share is not None:
            out += self._tell("slow-network", first, n, now, 100 * self._clock.share)
        self._arrivals.append((now, n))
        while self._arrivals and now - self._arrivals[0][0] > _RATE_WINDOW_S * 1e9:
            self._arrivals.popleft()
        self._next, self._seq, self._last_ns = first + n, frame.seq, now
        return out

    def _loss(self, frame: Frame, jump: int, now: int, fs_hz: float) -> list[HealthEvent]:
        n = frame.samples.shape[1]
        overflow = FrameFlag.OVERFLOW in frame.flags
        there = jump > 0 or FrameFlag.GAP_BEFORE in frame.flags
        if there and jump <= 0:
            self.lost += 1
            self.lost_unknown += 1
        share = self._delivered_share(fs_hz)
        if share is not None and share < _SLOW:
            return self._tell("slow-network", frame.first_sample, n, now, 100 * share)
        if overflow and not there:
            return []  # the gap was told with the block before
        return self._tell(
            "overflow" if overflow else "dropped-blocks",
            frame.first_sample,
            n,
            now,
            jump if jump > 0 else None,
        )

    def _delivered_share(self, fs_hz: float) -> float | None:
        """Samples that arrived over samples that were due in the last second; None if it is not yet known."""
        if len(self._arrivals) < 4:
            return None
        spans = [b[0] - a[0] for a, b in zip(self._arrivals, list(self._arrivals)[1:], strict=False)]
        elapsed = sum(spans) / 1e9
        if elapsed < 0.5 * _RATE_WINDOW_S or max(spans) > 0.4 * sum(spans):
            return None  # too short, or one stall that explains all of it
        arrived = sum(n for _, n in list(self._arrivals)[1:])
        return arrived / (elapsed * fs_hz)

    def _tell(
        self, kind: str, first: int, n: int, now: int, value: float | None, about: str = ""
    ) -> list[HealthEvent]:
        end = first + n
        last, before = self._told.get(kind, now), self._latest.get(kind)
        self._told[kind] = now
        if now - last >= _QUIET_S * 1e9:
            before = None
        if before is not None:
            first, self._going_on = before.first_sample, self._going_on | {kind}
            if kind != "slow-network":
                value = None if value is None or before.value is None else value + before.value
        else:
            self._going_on -= {kind}
        size = None if value is None else f"{about}{value:.0f}"
        self._latest[kind] = event = make_event(kind, first, end, value=value, size=size)
        return [event] if before is None else []

    def lasting(self) -> list[HealthEvent]:
        """What has been told and was seen again since and lately, summed up."""
        now = self._last_ns or 0
        return [
            self._latest[kind] for kind in sorted(self._going_on) if now - self._told[kind] < _QUIET_S * 1e9
        ]

    def tick(self, now_ns: int) -> list[HealthEvent]:
        """Asked now and then while no frame comes: a stall that has not ended yet, once."""
        if self._asked_ns is None:
            self._asked_ns = now_ns
        since, patience_s = self._last_ns, max(2 * _STALL_S, self._stall_s)
        if since is None:
            since, patience_s = self._asked_ns, _FIRST_S
        if self._stalled or (now_ns - since) / 1e9 < patience_s:
            return []
        self._stalled = True
        at = self._next or 0
        return [make_event("stall", at, at, value=(now_ns - since) / 1e9)]

    def error(self, err: HilError) -> HealthEvent:
        """What the error that ended the stream means."""
        at = self._next or 0
        words = f"{err} {err.__cause__ or ''}".lower()
        if isinstance(err, ProtocolError):
            kind = "protocol"
        elif isinstance(err, DeviceTimeout) or (
            isinstance(err, ConnectionLost)
            and ("no samples" in words or "hangs" in words or "timed out" in words)
        ):
            kind = "half-reply"
        else:
            kind = "disconnect"
        return make_event(kind, at, at)
