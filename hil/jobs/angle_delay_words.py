"""What `hil angle-delay` says about paths that cannot be taken at face value."""

from __future__ import annotations

import math

import numpy as np

from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay_paths import PathEstimate
from hil.learning.csi_recording import CsiCapture

#: Energy, in units of the noise, that a path may leave by moving through the range bins.
_LEFT_OVER = 2.0
#: A path that moves this part of a range bin is named.
_MOVED_BINS = 0.5
#: Nothing on the ground is faster.
_FAST_M_S = 100.0


def span_m_s(fc_hz: float, block_s: float) -> float:
    """The greatest radial speed that blocks of this length tell from another; NaN without blocks."""
    return SPEED_OF_LIGHT_M_S / (4 * fc_hz * block_s) if block_s > 0 else math.nan


def migrates(estimate: PathEstimate, seconds: float) -> bool:
    """Whether a path leaves something because its delay changes: phases of 2 pi bins x y, x and y in -1/2..1/2."""
    return any(
        10 ** (p.snr_db / 10) * (2 * np.pi / 12 * p.range_rate_m_s * seconds / estimate.range_bin_m) ** 2
        > _LEFT_OVER
        for p in estimate.paths
    )


def beyond_the_prefix(capture: CsiCapture, estimate: PathEstimate) -> list[str]:
    """A note if paths are later than the cyclic prefix allows."""
    if capture.prefix is None:
        return []
    late = np.array([p.delay_s for p in estimate.paths]) + estimate.reference_s
    count = int(np.count_nonzero(capture.prefix.outside_s(late)))
    if not count:
        return []
    reach_m = (capture.prefix.clean_s[1] - estimate.reference_s) * SPEED_OF_LIGHT_M_S / 2
    return [
        f"{count} of the paths lie beyond {reach_m:.4g} m, where the cyclic prefix ends: they lose power "
        "and raise the noise; a longer prefix (hil waveform new ofdm --cp) reaches farther"
    ]


def cut_short(estimate: PathEstimate, max_paths: int) -> list[str]:
    """A note if the search did not come to its own end."""
    if estimate.exhausted:
        return [
            "the search ended at the bound on its computing: weaker paths may be missing, and those listed be less "
            "exact; a shorter --seconds or fewer --paths is searched to the end"
        ]
    return [] if estimate.complete else [f"more than {max_paths} paths: raise --paths to see the others"]


def of_speeds(
    estimate: PathEstimate, fc_hz: float, seconds: float, block_s: float, shortest_s: float, undecided: int
) -> list[str]:
    """Notes on speeds that may be others. block_s : of the blocks that paths are found in; shortest_s : that are kept."""
    if not shortest_s > 0:
        return []
    span, cell = span_m_s(fc_hz, shortest_s), SPEED_OF_LIGHT_M_S / (2 * fc_hz * max(seconds, shortest_s))
    notes = [
        f"the path at {p.range_m:.4g} m, {p.angle_deg:.1f} degrees moves as fast as can be told: {span:.4g} m/s away and "
        "towards the array look the same; a shorter --seconds may tell"
        for p in estimate.paths
        if abs(p.range_rate_m_s) > span - cell
    ]
    if estimate.paths and span < _FAST_M_S:
        notes.append(
            f"what is faster than {span:.3g} m/s is listed at another speed, by a multiple of {2 * span:.4g} m/s: a shorter "
            "--seconds makes shorter blocks"
        )
    if undecided:
        notes.append(
            f"the speed of {undecided} of the paths may be another by a multiple of {2 * span_m_s(fc_hz, block_s):.4g} m/s: "
            "a shorter --seconds tells"
        )
    blind = 2 * span_m_s(fc_hz, block_s)
    if block_s > 1.5 * shortest_s and blind < 2 * _FAST_M_S:
        notes.append(
            f"faster than {blind / 2:.3g} m/s paths are found less easily, and not at multiples of {blind:.4g} m/s: "
            "a shorter --seconds sees them"
        )
    far = [p for p in estimate.paths if abs(p.range_rate_m_s) * seconds > _MOVED_BINS * estimate.range_bin_m]
    if far:
        moved = max(abs(p.range_rate_m_s) * seconds for p in far)
        notes.append(
            f"{len(far)} of the paths move by up to {moved:.3g} m meanwhile, more than half a range bin: ranges are those "
            "of the middle of the look"
        )
    return notes
