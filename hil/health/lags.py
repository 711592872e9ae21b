"""Which channels lag behind the others, or carry their conjugate: from correlations, without a calibration.

    R2(l) = c(l)^H Y^-1 c(l) / E|x_m|^2,   c(l) = E x_m(t + l) y(t)*

y are the strongest components of the other channels: whatever their directions, they explain a channel that
belongs to them at lag 0, one that is ahead by k samples at l = -k, and one with I and Q exchanged only as its
conjugate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

#: What a lag other than 0 must explain beyond lag 0, as a share.
_MARGIN = 1.03
_LONGEST = 2048  # samples of a stretch: lags up to half of it
_LEAST = 0.1  # of a channel's power: less is nothing in common


@dataclass(frozen=True, slots=True)
class LagFinding:
    """kind : "slip", "swapped-iq" or "unlocked-channel". members : channels. lag : samples, positive: ahead of the
    others, samples are missing there."""

    kind: str
    members: tuple[int, ...]
    lag: int
    share: float


def find_lags(
    stretches: Sequence[NDArray[np.complex64]], sets: Sequence[tuple[int, ...]], n_sources: int
) -> LagFinding | None:
    """The set of channels that does not keep step with the rest, or None.

    stretches : (M, n) contiguous samples each. sets : sets of channels that may slip together, single channels
    and groups. The same samples are at most half of n apart.
    """
    m = stretches[0].shape[0]
    stretches = [x[:, :_LONGEST] for x in stretches]
    spectra = [np.asarray(fft.fft(x, 2 * x.shape[1], axis=1)) for x in stretches]
    best: LagFinding | None = None
    gain = 0.0
    lonely: list[LagFinding] = []
    for members in sets:
        rest = [i for i in range(m) if i not in members]
        if not rest:
            continue
        share, mirrored = _explained(stretches, spectra, list(members), rest, n_sources)
        reach = len(share) // 2
        at = int(share.argmax())
        lag, here = reach - at, float(share[reach])
        if len(members) == 1:
            if mirrored > 2 * max(here, 0.05) and mirrored > 2 * share[at] * 0.8:
                return LagFinding("swapped-iq", members, 0, mirrored)
            if share[at] < _LEAST:
                lonely.append(LagFinding("unlocked-channel", members, 0, float(share[at])))
                continue
        improved = float(share[at]) - here
        # few channels cannot tell as many emitters apart: they fit better at a lag that turns one against another
        if len(rest) <= n_sources:
            continue
        if lag and share[at] > max(_MARGIN * here, here + 0.01, _LEAST) and improved > gain:
            best, gain = LagFinding("slip", members, lag, float(share[at])), improved
    if best is not None:
        return best
    return lonely[0] if len(lonely) == 1 else None


def _explained(
    stretches: Sequence[NDArray[np.complex64]], spectra: Sequence[NDArray[np.complex64]], members: list[int],
    rest: list[int], n_sources: int,
) -> tuple[NDArray[np.float64], float]:  # fmt: skip
    """Share of the members' power that the rest explains, over lags -n/2..n/2; of their conjugate at lag 0."""
    n = stretches[0].shape[1]
    reach = n // 2
    total = np.zeros(2 * reach + 1)
    mirrored = 0.0
    for x, spectrum in zip(stretches, spectra, strict=True):
        y = x[rest]
        values, vectors = np.linalg.eigh((y @ y.conj().T).astype(complex))
        count = min(2 * n_sources, len(rest))
        strong = values[-count:] > 1e-3 * values[-1]
        w, power = vectors[:, -count:][:, strong].astype(np.complex64), values[-count:][strong]
        ahead = spectrum[members][:, None] * (w.conj().T @ spectrum[rest]).conj()[None]
        c: NDArray[np.complex64] = np.asarray(fft.ifft(ahead, axis=-1), np.complex64)
        own = np.maximum(np.einsum("mt,mt->m", x[members], x[members].conj()).real, 1e-30)
        square = (c.real**2 + c.imag**2) / power[:, None]
        square = np.concatenate((square[..., -reach:], square[..., : reach + 1]), axis=-1)
        share = square.sum(axis=1) / own[:, None]
        total += share.mean(axis=0)
        conj = np.abs(x[members].conj() @ (w.conj().T @ y).conj().T) ** 2 / power
        mirrored += float((conj.sum(axis=1) / own).mean())
    return total / len(stretches), mirrored / len(stretches)
