"""Which source of a capture an anchor speaks of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay_direct import frequency_period
from hil.dsp.angle_delay_looks import Separated
from hil.learning.csi_recording import CsiCapture
from hil.learning.settings import LearnSettings

#: A stated range farther than this part of a range bin from the target is pointed out.
_NEAR_BINS = 0.3


def span_s(capture: CsiCapture) -> float:
    """From the first block of one look to the first of the next."""
    time_s = capture.time_s
    return float(time_s[-1] - time_s[0]) + (float(np.diff(time_s).mean()) if len(time_s) > 1 else 1.0)


def anchored(
    settings: LearnSettings,
    found: Separated,
    capture: CsiCapture,
    anchor_range_m: float | None,
    *,
    still: bool,
) -> tuple[LearnSettings, list[str]]:
    """Anchors speak of one look: that at the given range, or the strongest."""
    if not settings.anchors_deg or (len(found.looks) < 2 and anchor_range_m is None):
        return settings, []
    if len(settings.anchors_deg) > 1 and still:
        raise ConfigError(
            f"{len(settings.anchors_deg)} anchors for {len(found.looks)} targets that stand still", where="--anchor",
            hint="give one anchor, and with --anchor-range which target it is",
        )  # fmt: skip
    delay_s = np.array([look.delay_s for look in found.looks])
    late_s = delay_s - (delay_s[0] if found.direct is None else found.direct.delay_s)
    # delays repeat; after a direct path they are positive, but for noise
    period_s = frequency_period(capture.frequency_hz)
    before_s = period_s / 2 if found.direct is None else 1 / float(np.ptp(capture.frequency_hz))
    ranges: NDArray[np.float64] = ((late_s + before_s) % period_s - before_s) * SPEED_OF_LIGHT_M_S / 2
    chosen = 0
    notes: list[str] = []
    if anchor_range_m is not None:
        chosen = int(np.argmin(np.abs(ranges - anchor_range_m)))
        bin_m = SPEED_OF_LIGHT_M_S / (2 * float(np.ptp(capture.frequency_hz)))
        off_m = anchor_range_m - float(ranges[chosen])
        if abs(off_m) > bin_m:
            raise ConfigError(
                f"no target at {anchor_range_m:g} m: they are at {', '.join(f'{r:.4g}' for r in sorted(ranges))} m",
                where="--anchor-range", hint=f"name one of them to within {bin_m:.3g} m",
            )  # fmt: skip
        if abs(off_m) > _NEAR_BINS * bin_m:
            zero = (
                "direct path" if found.direct is not None else "strongest target, as no direct path is heard"
            )
            notes.append(
                f"--anchor-range {anchor_range_m:g} is {abs(off_m):.3g} m {'beyond' if off_m > 0 else 'short of'} that "
                f"target ({abs(off_m) / bin_m:.2g} range bins): check that it is the one that is meant. It only names "
                f"the target: no delay follows from it, and ranges count from the {zero}"
            )
    begin = chosen * span_s(capture)
    end = begin + float(capture.time_s[-1] - capture.time_s[0])
    moved: tuple[tuple[float, float | None, float | None], ...] = tuple(
        (deg, begin + (t0 or 0.0), end if t1 is None else min(begin + t1, end))
        for deg, t0, t1 in settings.anchors_deg
    )
    which = "" if anchor_range_m is not None else " (the strongest; --anchor-range names another)"
    taken = f"the anchor is taken for the target at {ranges[chosen]:.4g} m{which}"
    return replace(settings, anchors_deg=moved), [taken, *notes]
