"""Is a point good? Checked on the recorded samples and on the table's read-back; each failure in words."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hil.campaign.plan import Plan
from hil.dsp.source_count import mdl
from hil.sweep.window import Taken

_SILENT_DB = 30.0
_MOST_OVERLOADED = 1e-4  # of the samples of a channel


def snr_db(covariance: NDArray[np.complex128], n_sources: int | None, n_snapshots: int) -> float:
    """Signal over noise in one channel, mean over channels; NaN with one channel.

    Noise is the mean of the M - K smallest eigenvalues. n_sources : K; None: counted (MDL).
    """
    m = len(covariance)
    if m < 2 or not np.all(np.isfinite(covariance)):
        return math.nan
    values = np.linalg.eigvalsh(covariance)[::-1]
    k = int(mdl(values, max(n_snapshots, 2))) if n_sources is None else n_sources
    noise = float(np.mean(values[min(max(k, 1), m - 1) :]))
    signal = float(np.mean(values)) - noise
    tiny = np.finfo(float).tiny
    return 10 * math.log10(max(signal, tiny) / max(noise, tiny))


def failures(
    plan: Plan, taken: Taken, set_deg: float, before_deg: float, after_deg: float, snr: float
) -> list[str]:
    """What is wrong with a point; [] if nothing is. before_deg, after_deg : read-back around the samples."""
    found = []
    for when, at in (("before", before_deg), ("after", after_deg)):
        if not abs(at - set_deg) <= plan.tolerance_deg:
            found.append(
                f"the table stood at {at:.2f} degrees {when} the samples, {set_deg:.2f} was asked for"
            )
            break
    if taken.lost or taken.lost_unknown or taken.overflow:
        least = f"at least {taken.lost}" if taken.lost else "some"
        found.append(f"{least if taken.lost_unknown or taken.overflow else taken.lost} samples were lost")
    limit = max(1.0, _MOST_OVERLOADED * taken.n)
    loud = [m for m, count in enumerate(taken.overloads) if count > limit]
    if loud:
        found.append(f"overload on {_channels(loud)}: lower the gain")
    if len(taken.epochs) > 1:
        found.append("the coherence epoch changed within the point: phases may have jumped")
    level = np.real(np.diag(taken.covariance))
    silent = [m for m, v in enumerate(level) if not v > np.median(level) * 10 ** (-_SILENT_DB / 10)]
    if silent:
        found.append(f"no signal on {_channels(silent)}: check its cable")
    if plan.min_snr_db is not None and not snr >= plan.min_snr_db:
        found.append(f"SNR {snr:.1f} dB, at least {plan.min_snr_db:g} dB was asked for")
    return found


def _channels(indices: list[int]) -> str:
    return f"channel{'s' if len(indices) > 1 else ''} {', '.join(map(str, indices))}"
