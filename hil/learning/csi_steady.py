"""Which blocks of a capture hold the waveform all the time: transmitters start late, stop early, and fade in between.

A coherent model takes the amplitude of what stands still as constant; a block that holds the waveform half of the time
would look like echoes that are not there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.dsp.angle_delay_phase import strongest_pattern

#: Share of the energy in one pattern (the direct path) from which its amplitude tells.
_ONE_PATTERN = 0.8
#: Its amplitude may differ by this part, by what noise allows, or by so many times the usual scatter: echoes that move
#: beat with the direct path.
_AMPLITUDE = 0.03
_SIGMAS = 6.0
_SCATTERS = 6.0
#: Without such a pattern: a block this much weaker than the others has not all of the waveform.
_WEAKER = 0.25
#: More than that share is no beginning or end, but how the signal is.
_MOST = 0.5


def steady(csi: NDArray[np.complexfloating[Any, Any]], *, own: bool) -> NDArray[np.bool_]:
    """(B,) False for blocks of csi (B, M, S) in which the waveform was not on all the time.

    own : the array's own transmitter, whose direct path is as strong in every block. All True if they differ too much.
    """
    b = len(csi)
    everything = np.ones(b, bool)
    if b < 4:
        return everything
    flat = csi.reshape(b, -1)
    power = np.sum(np.abs(flat) ** 2, axis=1, dtype=float)
    total = float(power.sum())
    if not total > 0:
        return everything
    part = strongest_pattern(flat)[0]
    pattern = part.conj() @ flat
    along = np.abs(flat @ (pattern / np.linalg.norm(pattern)).conj())
    energy = float(np.sum(along**2))
    if own and energy > _ONE_PATTERN * total:
        middle = float(np.median(along))
        rest = max(total - energy, 0.0) / max((b - 1) * flat.shape[1], 1)
        off = np.abs(along - middle)
        usual = float(np.median(off))
        good = off < max(_AMPLITUDE * middle, _SIGMAS * float(np.sqrt(rest / 2)), _SCATTERS * usual)
    else:
        good = power > _WEAKER * float(np.median(power))
    return good if np.mean(good) > _MOST else everything
