"""Blocks of several targets reduced to their strongest one, by what differs between them: their delays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced, delay_vectors
from calib.gpi.search import PeakSearch
from calib.gpi.threshold import detection_threshold

_MOST_OTHERS = 4
#: Targets closer than this in delay, cells of 1/bandwidth, cannot be told apart without knowing the array.
_APART_CELLS = 0.8


def strongest_alone(
    data: Reduced, x: NDArray[np.float64], sector_u: NDArray[np.float64], false_alarm: float
) -> tuple[Reduced, int]:
    """The data without the weaker targets of each block, and in how many blocks there were any.

    data : in units of N0 = 1. x : (K,) positions in wavelengths, which say where targets are; what each brings is
    fitted with a free vector over the elements, Y = sum_t z_t b(tau_t)^T, so that errors of x cannot bend it. sector_u :
    (B, 2), limits of u of the strongest; weaker ones are looked for anywhere.
    """
    count = data.n_blocks
    own = np.ones(len(x), complex)
    eta = detection_threshold(
        false_alarm, x, np.array([[-1.0, 1.0]]), data.n_subcarriers, data.spacing_hz, data.window_s
    )
    delays = PeakSearch(data, x, sector_u)(own).delay_s[:, None]
    anywhere = np.tile([-1.0, 1.0], (count, 1))
    present = np.ones((count, 1), bool)
    taps = data.taps.copy()
    cell_s = 1 / (data.spacing_hz * data.n_subcarriers)
    index = np.arange(count)
    for _ in range(_MOST_OTHERS):
        _, rest = _parted(data, delays[index], present[index], index)
        part = data.select(index)
        left = Reduced(rest, part.outside, data.basis, data.spacing_hz, data.window_s)
        peaks = PeakSearch(left, x, anywhere[index])(own)
        apart = np.abs(delays[index] - peaks.delay_s[:, None]) + np.where(present[index], 0, np.inf)
        new = (peaks.statistic > eta) & (apart.min(axis=1) > _APART_CELLS * cell_s)
        if not new.any():
            break
        delays = np.concatenate([delays, np.zeros((count, 1))], axis=1)
        present = np.concatenate([present, np.zeros((count, 1), bool)], axis=1)
        delays[index[new], -1], present[index[new], -1] = peaks.delay_s[new], True
        index = index[new]
    several = np.flatnonzero(present.sum(axis=1) > 1)
    if len(several):
        first, rest = _parted(data, delays[several], present[several], several)
        taps[several] = rest + first
    return Reduced(taps, data.outside, data.basis, data.spacing_hz, data.window_s), len(several)


def _parted(
    data: Reduced, delays: NDArray[np.float64], present: NDArray[np.bool_], index: NDArray[np.intp]
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """((b, K, r) what the first target of each block brings, what no target explains)."""
    b, t = delays.shape
    vectors = delay_vectors(data.n_subcarriers, data.spacing_hz, delays.ravel())
    # taps are CSI conj(Q): a path b(tau) is there b^T conj(Q)
    beta = (vectors.T @ data.basis.conj()).reshape(b, t, -1) / np.sqrt(data.n_subcarriers)
    beta = beta * present[:, :, None]
    gram = beta.conj() @ beta.transpose(0, 2, 1) + np.eye(t) * (~present)[:, :, None]
    taps = data.taps[index]
    z = np.linalg.solve(gram, beta.conj() @ taps.transpose(0, 2, 1))  # (b, t, K)
    first = z[:, 0, :, None] * beta[:, 0, None, :]
    rest = taps - np.einsum("btk,btr->bkr", z, beta)
    return first.astype(np.complex64), rest.astype(np.complex64)
