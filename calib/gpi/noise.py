"""Noise and fading from the data themselves: N0 of each element, SNR, share of blocks with a source.

Nothing here needs kappa to be right; what does (the SNR after coherent summing) says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from calib.gpi.delay import Reduced
from hil.core.errors import NotIdentifiable

_MIN_OUTSIDE = 4


def noise_levels(data: Reduced) -> NDArray[np.float64]:
    """N0 of each element (N,), energy per subcarrier, in the units of the data.

    From what lies outside the delay subspace, where no source can be: gamma distributed with S - r degrees,
    median over the blocks (a few disturbed blocks do not matter). If the window leaves nothing outside: median
    over a grid of delays, of which a single source lights few.
    """
    free = data.n_subcarriers - data.rank
    if free >= max(_MIN_OUTSIDE, data.n_subcarriers // 16):
        return np.median(data.outside, axis=0) / gammaincinv(free, 0.5)
    count = max(4 * data.rank, 32)
    filters = data.filters(np.linspace(*data.window_s, count))
    index = np.linspace(0, data.n_blocks - 1, min(data.n_blocks, 1024)).astype(int)
    power = np.abs(data.taps[index] @ filters) ** 2 / data.n_subcarriers
    return np.median(power.transpose(1, 0, 2).reshape(data.n_elements, -1), axis=1) / np.log(2)


def whitened(data: Reduced) -> tuple[Reduced, NDArray[np.float64]]:
    """The data with N0 = 1 on every element, and the factor (N,) that did it."""
    levels = noise_levels(data)
    dead = np.flatnonzero(~(levels > 1e-12 * np.median(levels)))
    if len(dead):
        raise NotIdentifiable(
            f"element {', '.join(str(m) for m in dead)} hears nothing, not even noise",
            parameters=["gain"], hint="check the cable and port of that channel, or leave it out",
        )  # fmt: skip
    factor = 1 / np.sqrt(levels)
    return data.scaled(factor), factor


@dataclass(frozen=True, slots=True)
class Fading:
    """snr : sigma_g^2 N S/N0 after coherent summing (linear). present : share of blocks with a source.

    sigma_snr : relative standard error of snr.
    """

    snr: float
    present: float
    sigma_snr: float


def fading(statistic: NDArray[np.float64], eta: float, false_alarm: float) -> Fading:
    """SNR and share of sources from map maxima (B,) in units of N S N0, with the kappa that made them.

    Above a threshold eta an exponential has no memory: mean(M - eta | M > eta) = 1 + SNR for Rayleigh fading
    and coherent summing by the right kappa; a wrong one loses SNR in proportion to its coherent gain. The
    expected false alarms (rate at eta, exceeding it by 1 on average) are taken out.
    """
    above = statistic[statistic > eta] - eta
    if len(above) == 0:
        return Fading(0.0, 0.0, float("inf"))
    present, mean = 1.0, float(above.mean())
    for _ in range(20):
        false = (1 - present) * false_alarm * len(statistic)
        true = max(len(above) - false, 1.0)
        mean = max((float(above.sum()) - 1.1 * false) / true, 0.1)
        present = float(np.clip(true / len(statistic) * np.exp(min((eta - 1) / mean, 50.0)), 0.0, 1.0))
    return Fading(max(mean - 1, 0.0), present, float(mean / max(mean - 1, 1e-3) / np.sqrt(len(above))))


def mean_signal_power(data: Reduced) -> float:
    """Mean over all blocks of ||signal||^2/N0, whatever its direction and fading; data in units of N0 = 1."""
    energy = np.einsum("bnr,bnr->", data.taps.conj(), data.taps).real / data.n_blocks
    return float(energy - data.n_elements * data.rank)
