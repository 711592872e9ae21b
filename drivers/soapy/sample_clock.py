"""How many samples are missing, from the hardware times of what arrives."""

from __future__ import annotations

_BACKWARDS = -1  # samples: time that runs back by one or more is not that of a sample counter
_FRACTION = 0.3  # of a sample: an unreported gap that is no whole number of samples, likewise
_MAX_ODD = 3


class SampleClock:
    """Compares each time stamp with the one expected from the samples since the last.

    `gap = rint((t - t_last - n 1e9 / fs) fs / 1e9)` samples. Reads without a time stamp (the rest of a datagram)
    just count. A driver that stamps by the wall clock gives itself away by time that runs backwards or jitters
    by parts of a sample; from then on its times are not used, and losses are known only as far as it reports
    them.

    Parameters
    ----------
    fs_hz : samples per second, as read back.

    Attributes
    ----------
    first_ns : hardware time of the first sample of the latest arrival, None if not known.
    trusted : False once the times proved not to be those of a sample counter.
    """

    def __init__(self, fs_hz: float) -> None:
        self._ns_per_sample = 1e9 / fs_hz
        self._anchor_ns: int | None = None
        self._since = 0  # samples after the anchor
        self._reported = False
        self._odd = 0
        self.first_ns: float | None = None
        self.trusted = True

    def loss_reported(self) -> None:
        """The driver said that samples are missing before the next ones."""
        self._reported = True

    def arrived(self, n: int, stamp_ns: int | None) -> tuple[bool, int | None]:
        """Count n samples: (True if some are missing before them, their number or None if not known)."""
        reported, self._reported = self._reported, False
        gap = 0
        if stamp_ns is None or not self.trusted:
            self._without_stamp(reported)
            self._since += n
            return reported, None
        if self._anchor_ns is not None:
            exact = (stamp_ns - self._anchor_ns) / self._ns_per_sample - self._since
            gap = round(exact)
            # a device that restarts after an overflow need not do so on its old sample grid
            self._odd += not reported and abs(exact - gap) > _FRACTION
            if gap <= _BACKWARDS or self._odd >= _MAX_ODD:
                self.trusted = False
                self._anchor_ns, self.first_ns = None, None
                self._since += n
                return reported, None
        self._anchor_ns, self._since, self.first_ns = stamp_ns, n, float(stamp_ns)
        lost = reported or gap > 0
        return lost, gap if gap > 0 else None

    def _without_stamp(self, reported: bool) -> None:
        if self._anchor_ns is None or not self.trusted:
            self.first_ns = None
        else:
            self.first_ns = self._anchor_ns + self._since * self._ns_per_sample
        if reported:
            self._anchor_ns, self.first_ns = None, None
