"""Cheap numbers of one health block that need no calibration: levels, noise, rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.observations import mdl_sources
from hil.health.bits import stuck_bits
from hil.health.blocks import HealthBlock

_TINY = 1e-30
_HOP = 0.5


@dataclass(frozen=True, slots=True)
class Readings:
    """What one block shows.

    covariance : (S, M, M) complex128, whitened. values : (S, M) eigenvalues, ascending; vectors : (S, M, M).
    level_db, noise_db : (M,) dBFS per channel, not whitened; level_db is that of nothing for samples that never
    change; noise_db is NaN where it cannot be told from the
    signals. tail : (S,) log of eigenvalue K + 1 over the mean of the smaller ones, 0 if there are none.
    stuck : (M,) mask of bits that never change, None if the samples are no integers. signal_db : power of the signals over the noise per element.
    """

    block: HealthBlock
    covariance: NDArray[np.complex128]
    values: NDArray[np.float64]
    vectors: NDArray[np.complex128]
    level_db: NDArray[np.float64]
    noise_db: NDArray[np.float64]
    tail: NDArray[np.float64]
    signal_db: float
    stuck: NDArray[np.int64] | None = None

    @property
    def rank(self) -> NDArray[np.intp]:
        """(S,) sources by MDL."""
        return mdl_sources(self.values, self.block.windows.shape[2])


def median(values: NDArray[np.float64]) -> float:
    """Median of a few numbers: np.median takes twenty times as long for them."""
    ordered = np.sort(values)
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def read_block(
    block: HealthBlock, n_sources: int, whitening: NDArray[np.float64], full_scale_bits: int | None = None
) -> Readings:
    """Readings with `n_sources` signals assumed; whitening : (M,) factor per channel; full_scale_bits : of integers."""
    raw = block.covariance
    power = np.maximum(np.einsum("smm->sm", raw).real.mean(axis=0), _TINY)
    first = block.windows[0, :, 0]
    # what never changes carries nothing, whatever its value; at full scale it is too much
    still = np.all(block.windows == first[:, None], axis=(0, 2)) & (block.clipped < 0.5)
    power[still] = _TINY
    white = raw * (whitening[:, None] * whitening)
    values, vectors = np.linalg.eigh(white)
    values = np.maximum(values, _TINY)
    m = values.shape[1]
    k = min(n_sources, m - 1)
    tail = tail_of(values, k)
    # a window that straddles a hop shows two directions: its second signal is not noise
    calm = tail <= median(tail) + _HOP
    noise = channel_noise(white[calm], vectors[calm][:, :, : m - k]) / whitening**2
    floor = median(values[:, : m - k].mean(axis=1))
    signal = median(values[:, m - k :].sum(axis=1)) / m
    return Readings(
        block, white, values, vectors, 10 * np.log10(power), 10 * np.log10(noise), tail,
        10 * np.log10(max(signal / floor, 1e-3)),
        None if full_scale_bits is None else stuck_bits(block.stretch, full_scale_bits),
    )  # fmt: skip


def tail_of(values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """(S,) log of eigenvalue k + 1 over the mean of the smaller ones, 0 if there are none; values : (S, M) ascending."""
    m = values.shape[1]
    if k > m - 2:
        return np.zeros(len(values))
    return np.log(values[:, m - k - 1] / values[:, : m - k - 1].mean(axis=1))


def channel_noise(
    covariance: NDArray[np.complex128], noise_vectors: NDArray[np.complex128]
) -> NDArray[np.float64]:
    """(M,) noise power of every channel, whatever the signals' directions; NaN where it cannot be told.

    With P = I - U U^H of each window, E diag(P R P) = |P|^2 s2 is linear in the channels' noise powers s2.
    """
    if covariance.shape[1] < 2:
        return np.full(
            covariance.shape[1], np.nan
        )  # nothing tells the noise of a single channel from its signal
    projector = noise_vectors @ noise_vectors.conj().transpose(0, 2, 1)
    inside = np.einsum("sij,sji->si", projector @ covariance, projector).real.mean(axis=0)
    mixing = (np.abs(projector) ** 2).mean(axis=0)
    # where one channel's noise hides in the signals' directions the equations say nothing about it
    values, vectors = np.linalg.eigh(mixing)
    if values[-1] > 30 * values[0]:
        return np.full(len(inside), np.nan)
    power = vectors @ ((inside @ vectors) / values)
    return np.where(power > 0, np.maximum(power, _TINY), np.nan)
