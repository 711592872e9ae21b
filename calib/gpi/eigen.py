"""Closed-form learning of kappa: alternate between map maxima and the principal eigenvector.

With angle and delay of every block fixed, J = mean |kappa^H z_b|^2 over ||kappa||^2 = N (loss 14 of
Mateos-Ramos et al. 2025) is largest at kappa = sqrt(N) x principal eigenvector of sum z z^H. No learning
rate. Blocks whose maximum noise alone explains carry no information and double the variance: left out.

The start needs no kappa at all: with the tap of most energy h and the middle u0 of the block's sector,

    E conj(a_n(u0)) h_n conj(conj(a_m(u0)) h_m) = P kappa_n conj(kappa_m) T_nm + noise on the diagonal
    T_nm = E exp(j 2 pi (x_n - x_m)(u - u0))

is known up to kappa, whatever the phases; kappa is the principal eigenvector of its match with T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.gpi.search import Peaks, PeakSearch, abs2, conj_steering

_CHUNK = 512


def unit(kappa: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """kappa with ||kappa||^2 = N and sum(kappa) > 0: the global phase is never known."""
    total = kappa.sum()
    phase = np.conj(total) / abs(total) if abs(total) > 0 else 1.0
    return kappa * phase * np.sqrt(len(kappa)) / np.linalg.norm(kappa)


def principal(z: NDArray[np.complex64], weight: NDArray[np.float64] | None = None) -> NDArray[np.complex128]:
    """sqrt(N) x principal eigenvector of sum_b w_b z_b z_b^H, z (B, N)."""
    zw = z if weight is None else z * weight.astype(np.float32)[:, None]
    gram = zw.T.astype(np.complex128) @ z.conj()
    return unit(np.linalg.eigh((gram + gram.conj().T) / 2)[1][:, -1])


@dataclass(frozen=True, slots=True)
class Alternation:
    """Outcome. kappa (N,); peaks at the last kappa; change: 1 - |<old, new>|/N of the last round, up to a ramp; rounds."""

    kappa: NDArray[np.complex128]
    peaks: Peaks
    change: float
    rounds: int


def alternate(
    search: PeakSearch,
    kappa: NDArray[np.complex128],
    eta: float,
    *,
    max_rounds: int = 25,
    tolerance: float = 1e-7,
    index: NDArray[np.intp] | None = None,
    stop: Callable[[], bool] | None = None,
    on_round: Callable[[int, Peaks], None] | None = None,
) -> Alternation:
    """Alternate until kappa stands still.

    eta : maxima below are not used (units of N S N0), unless fewer than 3 N remain: then the 3 N largest.
    index : blocks to use. stop : asked before every round. on_round : called with the peaks of each.
    """
    change = 1.0
    peaks = search(kappa, index)
    rounds = 0
    while rounds < max_rounds and not (stop is not None and stop()):
        rounds += 1
        used = _used(peaks.statistic, eta, 3 * len(kappa))
        new = principal(peaks.z[used])
        change = _difference(new, kappa, search.x)
        kappa = new
        peaks = search(kappa, index)
        if on_round is not None:
            on_round(rounds, peaks)
        if change < tolerance:
            break
    return Alternation(kappa, peaks, change, rounds)


def _difference(new: NDArray[np.complex128], old: NDArray[np.complex128], x: NDArray[np.float64]) -> float:
    """1 - correlation without the phase ramp, which creeps for many rounds and is fixed elsewhere."""
    ratio = new * old.conj()
    ratio = ratio * np.conj(ratio.sum()) / max(abs(ratio.sum()), 1e-30)
    weight, centred = np.abs(ratio), x - np.average(x, weights=np.abs(ratio))
    slope = np.sum(weight * centred * np.angle(ratio)) / max(np.sum(weight * centred**2), 1e-30)
    return 1 - float(abs(np.sum(ratio * np.exp(-1j * slope * centred)))) / len(new)


def _used(statistic: NDArray[np.float64], eta: float, at_least: int) -> NDArray[np.intp]:
    used = np.flatnonzero(statistic > eta)
    if len(used) >= at_least:
        return used
    return np.argsort(statistic)[-at_least:]


def strongest_taps(data: Reduced, delays_s: NDArray[np.float64]) -> NDArray[np.complex64]:
    """h (B, N): each block at the delay of most energy over all elements."""
    filters = data.filters(delays_s)
    out = np.empty((data.n_blocks, data.n_elements), np.complex64)
    for i in range(0, data.n_blocks, _CHUNK):
        taps = data.taps[i : i + _CHUNK]
        at = taps.reshape(-1, data.rank) @ filters
        energy = abs2(at).reshape(len(taps), data.n_elements, -1).sum(axis=1)
        out[i : i + _CHUNK] = np.einsum("bnr,br->bn", taps, filters.T[np.argmax(energy, axis=1)])
    return out


def sector_start(search: PeakSearch) -> NDArray[np.complex128]:
    """kappa from the known sectors alone, in closed form, any phases (see the top of this file)."""
    data, x = search.data, search.x
    h = strongest_taps(data, search.fine_s[::4])
    low, high = search.sector_u.T
    middle = (low + high) / 2
    rotated = h * conj_steering(x, middle)
    energy = np.sum(abs2(h), axis=1) / data.n_subcarriers
    excess = energy - float(np.quantile(energy, 0.25))
    weight = np.clip(excess / energy, 0.0, 1.0)
    seen = (rotated * weight.astype(np.float32)[:, None]).T.astype(np.complex128) @ rotated.conj()
    subset = np.linspace(0, data.n_blocks - 1, min(data.n_blocks, 256)).astype(int)
    places = np.linspace(-1, 1, 33)[None, :] * ((high - low) / 2)[subset, None]
    vectors = conj_steering(x, places.ravel()).conj()
    expected = vectors.T.astype(np.complex128) @ vectors.conj() / len(vectors)
    matched = seen * expected.conj()
    np.fill_diagonal(matched, 0.0)
    vector = np.linalg.eigh((matched + matched.conj().T) / 2)[1][:, -1]
    # amplitudes of elements that see little coherence are poorly known: only the phases are kept
    return unit(np.exp(1j * np.angle(vector)))


def curvature_start(search: PeakSearch, order: NDArray[np.intp]) -> NDArray[np.complex128]:
    """kappa from second differences of the phase over neighbours, which no angle changes on an even line.

    For wide sectors. order : (N,) elements by position. On an uneven line each step is interpolated.
    """
    h = strongest_taps(search.data, search.fine_s[::4])[:, order]
    x = search.x[order]
    pair = h[:, 1:] * h[:, :-1].conj()
    pair /= np.maximum(np.abs(pair), 1e-30)
    step = np.angle(np.mean(pair[:, 1:] * pair[:, :-1].conj(), axis=0))
    phase = np.zeros(len(x))
    for n in range(2, len(x)):
        ratio = (x[n] - x[n - 1]) / max(x[n - 1] - x[n - 2], 1e-9)
        phase[n] = phase[n - 1] + ratio * (phase[n - 1] - phase[n - 2]) + step[n - 2]
    out = np.empty(len(x), complex)
    out[order] = np.exp(1j * phase)
    return unit(out)
