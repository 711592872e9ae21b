"""Which channels hear nothing any more: from what they have in common with the others, without a calibration.

    rho_m = 1 - (T / (T - M + 1)) / (R_mm (R^-1)_mm)

is the share of a channel's power that the other channels explain (multiple coherence, unbiased at 0: Fisher
1924). A channel that goes silent keeps its noise, 1 - rho of its power before, and shares nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hil.health.blocks import SNAPSHOTS
from hil.health.readings import Readings

_NOTHING = 0.05
_SOMETHING = 0.25
_BLOCKS = 6
_LEAST_FALL_DB = 1.0
_CALM_DB = 2.0


def shared_power(readings: Sequence[Readings]) -> NDArray[np.float64]:
    """(M,) rho, mean over all windows."""
    r = np.concatenate([x.covariance for x in readings])
    m = r.shape[1]
    own = np.maximum(np.einsum("smm->sm", r).real, 1e-30)
    scale = 1 / np.sqrt(own)
    coherence = r * scale[:, :, None] * scale[:, None, :] + 1e-9 * np.eye(m)
    inverse = np.einsum("smm->sm", np.linalg.inv(coherence)).real
    alone = SNAPSHOTS / max(SNAPSHOTS - m + 1, 1) / np.maximum(inverse, 1.0)
    return 1 - alone.mean(axis=0)


def silent_channels(before: Sequence[Readings], after: Sequence[Readings]) -> tuple[int, ...]:
    """Channels whose share fell from something to nothing, and whose level fell with it; not all of them."""
    if not before or not after or before[-1].covariance.shape[1] < 2:
        return ()
    before = before[-_BLOCKS:]
    was, now = shared_power(before), shared_power(after)
    fall = np.mean([r.level_db for r in after], axis=0) - np.mean([r.level_db for r in before], axis=0)
    lost = (now < _NOTHING) & (was > _SOMETHING)
    if not lost.any() or (lost.all() and np.ptp(fall) < _LEAST_FALL_DB):
        return ()  # the emitters are gone
    others = np.array([np.median(np.delete(fall, m)) for m in range(len(fall))])
    # two coherent waves leave one channel silent, too, but not without hills and valleys in the others
    calm = np.array([np.abs(np.delete(fall, m) - others[m]).max() < _CALM_DB for m in range(len(fall))])
    due = np.minimum(0.5 * 10 * np.log10(np.maximum(1 - was, 1e-3)), -_LEAST_FALL_DB)
    return tuple(np.flatnonzero(lost & calm & (fall - others < due)).tolist())
