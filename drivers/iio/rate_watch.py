"""Samples delivered against elapsed time: a loss that no register reports shows as a lasting deficit."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 20.0  # long against jitter, short against the drift of two clocks (100 ppm: 2 ms)
_MARGIN_S = 0.1  # network and scheduler jitter


class RateWatch:
    """Judges a stream only where the reader has caught up, i.e. where a fetch had to wait for the device.

    There the number of samples delivered minus elapsed time times rate (the lead) is constant up to jitter,
    unless samples were lost; then it falls by their number and stays down.

    Parameters
    ----------
    fs_hz : samples per second.
    buffer_samples : what the device may hold back.
    """

    def __init__(self, fs_hz: float, buffer_samples: int) -> None:
        self._fs_hz = fs_hz
        self._margin = _MARGIN_S * fs_hz + buffer_samples
        self._delivered = 0
        self._began: float | None = None
        self._leads: deque[tuple[float, float]] = deque()  # (time, lead), leads falling
        self._low = 0

    def block_arrived(self, n: int, fetch_began: float, now: float) -> bool:
        """Count a block; True if it shows that samples were lost before it."""
        if self._began is None:
            self._began = now
        else:
            self._delivered += n
        if now - fetch_began < 0.25 * n / self._fs_hz:
            return False  # it was waiting for us: the backlog says nothing
        lead = self._delivered - (now - self._began) * self._fs_hz
        while self._leads and self._leads[0][0] < now - _WINDOW_S:
            self._leads.popleft()
        best = self._leads[0][1] if self._leads else lead
        while self._leads and self._leads[-1][1] <= lead:
            self._leads.pop()
        self._leads.append((now, lead))
        if best - lead <= self._margin:
            self._low = 0
            return False
        self._low += 1
        if self._low < 3:
            return False
        self._leads.clear()
        self._low = 0
        return True
