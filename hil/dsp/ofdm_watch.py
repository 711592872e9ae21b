"""When to search a stream for the waveform: often after a change, seldom while nothing is there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.waveform import Waveform
from hil.dsp.ofdm_acquire import Acquired, Search

_SEARCH_SAMPLES = 4096
_LONGEST_SEARCH = 1 << 21
#: Longest pause between searches that found nothing, and the change of power that ends it.
_PAUSE_S = 0.25
_CHANGE = 1.4


class Watch:
    """Searches for a waveform, also upside down, and spaces failures out.

    Parameters
    ----------
    waveform : what to look for. max_offset_hz : as of `ofdm_acquire.Search`.

    Attributes
    ----------
    need : samples of a search, whole periods. inverted : the last search found the conjugate waveform.
    """

    def __init__(self, waveform: Waveform, max_offset_hz: float | None) -> None:
        self._wave, self._limit_hz = waveform, max_offset_hz
        period = len(waveform.samples)
        least = 2 if period < _LONGEST_SEARCH else 1
        self.need = period * max(least, -(-_SEARCH_SAMPLES // period))
        self._searches: dict[bool, Search] = {}
        self.reset()

    def reset(self) -> None:
        """Begin anew: the next samples are searched at once."""
        self.inverted = False
        self._failures = 0
        self._not_before = 0
        self._power = 0.0

    def skip(self, x: NDArray[np.complex64], first: int) -> int:
        """How many of the samples x (M, n) from index `first` may be passed over."""
        pause = min(max(self._not_before - first, 0), x.shape[1])
        for low in range(0, pause, self.need):
            if _power(x[:, low : low + self.need]) > _CHANGE * self._power:
                self._not_before = first + low
                return low
        return pause

    def look(self, x: NDArray[np.complex64], first: int) -> Acquired | None:
        """Search x (M, need) complex64."""
        found = self._search(False).run(x)
        if found is not None:
            self.reset()
            return found
        if self._failures % 4 == 0:
            self.inverted = self._search(True).run(x) is not None
        pause = min(self.need << min(self._failures, 20), int(_PAUSE_S * self._wave.fs_hz))
        self._failures += 1
        self._not_before = first + max(self.need, pause)
        self._power = _power(x)
        return None

    def _search(self, inverted: bool) -> Search:
        if inverted not in self._searches:
            samples = np.conj(self._wave.samples) if inverted else self._wave.samples
            self._searches[inverted] = Search(samples, self._wave.fs_hz, self._limit_hz)
        return self._searches[inverted]


def _power(x: NDArray[np.complex64]) -> float:
    return float(np.vdot(x, x).real) / max(1, x.size)
