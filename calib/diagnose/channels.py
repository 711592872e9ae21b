"""Channels that do not belong: dead, not locked to the others, or with I and Q exchanged.

Sources make the channels of a coherent array coherent, |R_ij| / sqrt(R_ii R_jj) > 0, whatever the gains. A
channel with I and Q exchanged carries the conjugate: it is coherent with nobody in R = E x x^H, and with
everybody in the complementary covariance C = E x x^T.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from calib.diagnose.finding import Finding
from hil.core.errors import ShapeError

_KIND = "channels"
#: Below the others by this much a channel counts as dead even if something of the signal leaks in.
_DEAD_DB = 25.0
_WEAK_DB = 12.0


def channel_faults(
    covariance: NDArray[np.complex128],
    n_snapshots: int,
    complementary: NDArray[np.complex128] | None = None,
) -> list[Finding]:
    """What is wrong with single channels; one finding without a fault if nothing is.

    covariance : (B, M, M) X X^H / T of blocks. complementary : (B, M, M) X X^T / T of the same blocks; without it an
    exchange of I and Q is told from a channel that is not locked only as "either".

    Raises ShapeError : shapes that do not fit.
    """
    if complementary is not None and complementary.shape != covariance.shape:
        raise ShapeError(f"complementary {complementary.shape} for covariances {covariance.shape}")
    power = np.einsum("bmm->bm", covariance).real.mean(axis=0)
    m = len(power)
    alive = power > 0
    level_db = 10 * np.log10(np.maximum(power, 1e-300) / max(float(np.median(power[alive])), 1e-300)) if alive.any() else np.full(m, -300.0)  # fmt: skip
    linked = _coherent(covariance, n_snapshots) & alive & alive[:, None]
    groups = connected_components(csr_array(linked), directed=False)[1]
    sizes = np.bincount(groups)
    biggest = int(sizes.argmax())
    if sizes[biggest] < 2:
        return [
            Finding(
                _KIND, True, "no two channels carry a common signal", "is the emitter on, and in band?", 0.99
            )
        ]
    members = groups == biggest
    conjugate = (
        np.zeros((m, m), bool) if complementary is None else _coherent(complementary, n_snapshots, covariance)
    )
    tie = bool(np.sum(sizes == sizes[biggest]) > 1)
    out: list[Finding] = []
    for channel in np.flatnonzero(~members).tolist():
        out.append(
            _alone(channel, level_db[channel], conjugate[channel] & members, complementary is not None, tie)
        )
    for channel in np.flatnonzero(members & (level_db < -_WEAK_DB)).tolist():
        kind = "dead-channel" if level_db[channel] < -_DEAD_DB else "weak-channel"
        words = f"channel {channel} is {-level_db[channel]:.0f} dB below the others"
        out.append(Finding(kind, True, words, "check its cable, antenna and gain setting", 0.99, (channel,)))
    return out or [Finding(_KIND, False, f"all {m} channels carry the same signals", "", 0.99)]


def _alone(channel: int, level_db: float, conjugate: NDArray[np.bool_], checked: bool, tie: bool) -> Finding:
    if conjugate.any():
        doubt = " (or those of the other half)" if tie else ""
        return Finding(
            "swapped-iq", True, f"channel {channel} carries the conjugate of the others: I and Q are exchanged{doubt}",
            "exchange I and Q of this channel (cables, or the driver's channel map)", 0.5 if tie else 0.99, (channel,),
        )  # fmt: skip
    if level_db < -_WEAK_DB:
        return Finding(
            "dead-channel", True, f"channel {channel} carries no signal ({-level_db:.0f} dB below the others)",
            "check its cable, antenna and gain setting", 0.99, (channel,),
        )  # fmt: skip
    other = "" if checked else ", or its I and Q are exchanged"
    return Finding(
        "dead-channel", True,
        f"channel {channel} has power but nothing in common with the others: no antenna, or not locked to them{other}",
        "check its antenna cable and the common clock and LO", 0.95 if checked else 0.5, (channel,),
    )  # fmt: skip


def _coherent(
    product: NDArray[np.complex128], n_snapshots: int, covariance: NDArray[np.complex128] | None = None
) -> NDArray[np.bool_]:
    """(M, M) True where two channels have something in common: mean |c|^2 over blocks against its chance level 1/T."""
    power = np.einsum("bmm->bm", product if covariance is None else covariance).real
    square = np.abs(product) ** 2 / np.maximum(power[:, :, None] * power[:, None, :], 1e-300)
    chance = 1 / n_snapshots
    # |c|^2 T is exponential for unrelated channels; a receive filter leaves as few as T/2 independent samples
    limit = 2 * chance * (1 + 6 / np.sqrt(len(product)))
    linked = square.mean(axis=0) > limit
    np.fill_diagonal(linked, False)
    return linked
