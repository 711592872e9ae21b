"""Samples delivered against elapsed time: a loss that no register reports shows as a lasting deficit."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 20.0  # long against jitter, short against the drift of two clocks (100 ppm: 2 ms)
_MARGIN_S = 0.1  # network and scheduler jitter
_SETTLE_S = 0.5  # a deficit must last that long
_FALLING = 0.02  # share of the rate by which a lead falls all the time: too slow, not a step


class RateWatch:
    """Judges a stream only where the reader has caught up, i.e. where a fetch had to wait for the device.

    There the number of samples delivered minus elapsed time times rate (the lead) is constant up to jitter,
    unless samples were lost; then it steps down by their number and stays there. A source that is not tied to
    the clock (a free-running emulator) shows a lead that grows, which ends the watch, or one that keeps
    falling, which counts as loss only where no overflow register could tell.

    Parameters
    ----------
    fs_hz : samples per second.
    buffer_samples : what the device may hold back.
    has_register : True if the device also reports overflows by itself.
    """

    def __init__(self, fs_hz: float, buffer_samples: int, has_register: bool) -> None:
        self._fs_hz = fs_hz
        self._margin = _MARGIN_S * fs_hz + buffer_samples
        self._has_register = has_register
        self._delivered = 0
        self._began: float | None = None
        self._leads: deque[tuple[float, float]] = deque()  # (time, lead), leads falling
        self._low: tuple[float, float] | None = None
        self._off = False

    def block_arrived(self, n: int, fetch_began: float, now: float) -> bool:
        """Count a block; True if it shows that samples were lost before it."""
        if self._off:
            return False
        if self._began is None:
            self._began = now
            return False
        self._delivered += n
        lead = self._delivered - (now - self._began) * self._fs_hz
        if lead > 2.0 * self._margin:
            self._off = True  # faster than its own rate: not tied to the clock
            return False
        if now - fetch_began < 0.25 * n / self._fs_hz:
            return False  # it was waiting for us: the backlog says nothing
        while self._leads and self._leads[0][0] < now - _WINDOW_S:
            self._leads.popleft()
        best = self._leads[0][1] if self._leads else lead
        while self._leads and self._leads[-1][1] <= lead:
            self._leads.pop()
        self._leads.append((now, lead))
        if best - lead <= self._margin:
            self._low = None
            return False
        return self._judge(now, lead)

    def forget(self) -> None:
        """A loss was reported otherwise: do not report it again."""
        self._leads.clear()
        self._low = None

    def _judge(self, now: float, lead: float) -> bool:
        if self._low is None:
            self._low = (now, lead)
        since, lead_then = self._low
        if now - since < _SETTLE_S:
            return False
        self.forget()
        falling = (lead_then - lead) / ((now - since) * self._fs_hz) > _FALLING
        return not (falling and self._has_register)
