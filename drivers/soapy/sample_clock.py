"""How many samples are missing, from the hardware times of what arrives."""

from __future__ import annotations

_BACKWARDS = -1  # samples: time that runs back by one or more is not that of a sample counter
_FRACTION = 0.3  # of a sample: an unreported gap that is no whole number of samples, likewise
_MAX_ODD = 3
_MAX_UNDATED = 1000  # arrivals without any time stamp
_AHEAD_S = 1.0


class Plausibility:
    """Hardware time cannot run ahead of the clock on the wall.

    Samples arrive late, by more or less, but never before they were taken: `now - stamp` does not fall by more
    than a second below the least value seen, unless the stamp is wrong.
    """

    def __init__(self) -> None:
        self._least_s: float | None = None

    def allows(self, stamp_ns: float, now_s: float) -> bool:
        """True if samples of this hardware time can have arrived by now."""
        return self._least_s is None or now_s - stamp_ns * 1e-9 >= self._least_s - _AHEAD_S

    def seen(self, stamp_ns: float, now_s: float) -> None:
        """Samples of this hardware time, which is believed, have arrived."""
        late_s = now_s - stamp_ns * 1e-9
        self._least_s = late_s if self._least_s is None else min(self._least_s, late_s)

    def forget(self) -> None:
        """The hardware time was set."""
        self._least_s = None


class SampleClock:
    """Compares each time stamp with the one expected from the samples since the last.

    `gap = rint((t - t_last - n 1e9 / fs) fs / 1e9)` samples. Reads without a time stamp (the rest of a datagram)
    just count. A driver that stamps by the wall clock gives itself away by time that runs backwards or jitters
    by parts of a sample; from then on its times are not used, and losses are known only as far as it reports
    them. A jump that leads beyond the clock on the wall is a loss of unknown size.

    Parameters
    ----------
    fs_hz : samples per second, as read back.

    Attributes
    ----------
    first_ns : hardware time of the first sample of the latest arrival, None if not known.
    trusted : False once the times proved not to be those of a sample counter, or never came.
    """

    def __init__(self, fs_hz: float) -> None:
        self._ns_per_sample = 1e9 / fs_hz
        self._anchor_ns: int | None = None
        self._since = 0  # samples after the anchor
        self._reported = False
        self._odd = 0
        self._undated = 0
        self._plausibility = Plausibility()
        self.first_ns: float | None = None
        self.trusted = True

    def loss_reported(self) -> None:
        """The driver said that samples are missing before the next ones."""
        self._reported = True

    def arrived(self, n: int, stamp_ns: int | None, now_s: float) -> tuple[bool, int | None]:
        """Count n samples that came at `now_s` (any steady clock).

        Returns (True if some are missing before them, their number or None if not known).
        """
        reported, self._reported = self._reported, False
        if stamp_ns is None or not self.trusted:
            self._without_stamp(reported)
            self._since += n
            return reported, None
        gap, lost = 0, reported
        if self._anchor_ns is not None:
            exact = (stamp_ns - self._anchor_ns) / self._ns_per_sample - self._since
            gap = round(exact)
            # a device that restarts after an overflow need not do so on its old sample grid
            self._odd += not reported and abs(exact - gap) > _FRACTION
            if gap <= _BACKWARDS or self._odd >= _MAX_ODD:
                self.trusted = False
                self._anchor_ns, self.first_ns = None, None
                self._since += n
                return reported or gap <= _BACKWARDS, None  # datagrams in the wrong order, for example
            lost |= gap > 0
            if gap > 0 and not self._plausibility.allows(stamp_ns, now_s):
                gap = 0
                self._plausibility.forget()
        self._plausibility.seen(stamp_ns, now_s)
        self._anchor_ns, self._since, self.first_ns = stamp_ns, n, float(stamp_ns)
        return lost, gap if gap > 0 else None

    def _without_stamp(self, reported: bool) -> None:
        if self._anchor_ns is None or not self.trusted:
            self.first_ns = None
        else:
            self.first_ns = self._anchor_ns + self._since * self._ns_per_sample
        if reported:
            self._anchor_ns, self.first_ns = None, None
        self._undated = self._undated + 1 if self._anchor_ns is None else 0
        self.trusted &= self._undated < _MAX_UNDATED


class HandedOut:
    """Hardware time of the end of what was handed out: it tells how much a new start of the streams skips."""

    def __init__(self) -> None:
        self._next_ns: float | None = None
        self._plausibility = Plausibility()

    def forget(self, *, clock_too: bool = False) -> None:
        """What comes next does not go on from here: another rate, a new count. clock_too : another clock."""
        self._next_ns = None
        if clock_too:
            self._plausibility.forget()

    def handed(self, n: int, time_ns: float | None, fs_hz: float, now_s: float) -> None:
        """n samples, the first of them of this hardware time (None: not known)."""
        self._next_ns = None if time_ns is None else time_ns + n * 1e9 / fs_hz
        if self._next_ns is not None:
            self._plausibility.seen(self._next_ns, now_s)

    def skipped(self, time_ns: float | None, fs_hz: float, now_s: float) -> int | None:
        """Samples between the last one and this one, None if not known."""
        if time_ns is None or self._next_ns is None:
            return None
        if not self._plausibility.allows(time_ns, now_s):
            self._plausibility.forget()
            return None
        n = round((time_ns - self._next_ns) * 1e-9 * fs_hz)
        return n if n >= 0 else None
