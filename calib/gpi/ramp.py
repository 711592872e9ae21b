"""The one thing that blocks without labels leave open: kappa_n exp(-j 2 pi x_n delta) shifts every u by delta.

Only the edges of the sectors (or a known angle) tell delta. Two ways, both from one table of
|g_b(u)|^2 around the angle that each block shows when it may leave its sector by the search window:

- `line_search`: the mean of the sector-limited maxima, J(delta), the paper's own criterion. A shift is kept
  only if J rises by more than the standard error of the rise.
- `edge_posterior`: p(data | delta) with each angle uniform in its sector (in angle, not in u) and Rayleigh
  fading, proportional to the integral of exp(M/(N S N0 (1 + 1/SNR))) over the shifted sector. It uses the
  same edges efficiently and comes with its own standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.search import TWO_PI, Peaks, abs2

_BEAMS = 1.5
_POINTS_PER_BEAM = 24
_OUTLIERS = 2e-3


def shifted(
    kappa: NDArray[np.complex128], x_wavelengths: NDArray[np.float64], delta: float
) -> NDArray[np.complex128]:
    """kappa (N,) that shows every u larger by delta, `kappa exp(-j 2 pi x delta)`."""
    return kappa * np.exp(-2j * np.pi * x_wavelengths * delta)


@dataclass(frozen=True, slots=True)
class BeamCuts:
    """|g_b(u)|^2/(N S N0) on u_b + offsets for each block, at its own delay.

    u (B,): where each block has its maximum. offsets (K,) ascending, even. power (B, K) float64.
    """

    u: NDArray[np.float64]
    offsets: NDArray[np.float64]
    power: NDArray[np.float64]


def beam_cuts(
    kappa: NDArray[np.complex128], x_wavelengths: NDArray[np.float64], peaks: Peaks, n_subcarriers: int
) -> BeamCuts:
    """Cuts through the maxima of maps that were searched in sectors widened by the window of delta."""
    aperture = max(float(np.ptp(x_wavelengths)), 0.5)
    count = int(2 * _BEAMS * _POINTS_PER_BEAM) | 1
    offsets = np.linspace(-_BEAMS, _BEAMS, count) / aperture
    vectors = np.exp(-1j * TWO_PI * np.outer(x_wavelengths, offsets)).astype(np.complex64)
    g = (peaks.z * kappa.conj().astype(np.complex64)) @ vectors
    power = abs2(g).astype(float) / (len(x_wavelengths) * n_subcarriers)
    return BeamCuts(peaks.u, offsets, power)


@dataclass(frozen=True, slots=True)
class LineSearch:
    """delta : shift to take away from kappa's angles, 0 if not significant. rise, sigma : of J at the best."""

    delta: float
    rise: float
    sigma: float
    trial: NDArray[np.float64]
    objective: NDArray[np.float64]


def line_search(cuts: BeamCuts, sector_u: NDArray[np.float64], window: float = 0.02) -> LineSearch:
    """Best delta in +-window by the mean of the sector-limited maxima; sector_u (B, 2).

    Two stages, steps of window/10 and window/50. Kept only if J rises by more than its standard error.
    """
    zero = _limited_maxima(cuts, sector_u, 0.0)

    def means(trial: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([_limited_maxima(cuts, sector_u, float(d)).mean() for d in trial])

    coarse = np.linspace(-window, window, 21)
    values = means(coarse)
    near = coarse[int(np.argmax(values))]
    fine = np.clip(near + np.linspace(-window / 10, window / 10, 11), -window, window)
    fine_values = means(fine)
    best = float(fine[int(np.argmax(fine_values))])
    gain = _limited_maxima(cuts, sector_u, best) - zero
    rise, sigma = float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))
    keep = rise > sigma
    order = np.argsort(np.concatenate((coarse, fine)), kind="stable")
    return LineSearch(
        best if keep else 0.0, rise, sigma,
        np.concatenate((coarse, fine))[order], np.concatenate((values, fine_values))[order],
    )  # fmt: skip


def _limited_maxima(cuts: BeamCuts, sector_u: NDArray[np.float64], delta: float) -> NDArray[np.float64]:
    """Maximum of each cut inside the sector shifted by delta; the edge's own value where it is outside."""
    low, high = (sector_u + delta - cuts.u[:, None]).T
    inside = (cuts.offsets >= low[:, None]) & (cuts.offsets <= high[:, None])
    best = np.max(np.where(inside, cuts.power, 0.0), axis=1)
    return np.maximum(best, np.maximum(_interpolated(cuts, low), _interpolated(cuts, high)))


def _interpolated(cuts: BeamCuts, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Parabola through three points of each cut; 0 beyond the cut."""
    step = cuts.offsets[1] - cuts.offsets[0]
    place = (at - cuts.offsets[0]) / step
    i = np.clip(np.rint(place).astype(int), 1, len(cuts.offsets) - 2)
    t = np.clip(place - i, -1, 1)
    rows = np.arange(len(at))
    a, b, c = cuts.power[rows, i - 1], cuts.power[rows, i], cuts.power[rows, i + 1]
    value = b + t * (c - a) / 2 + t**2 * (a + c - 2 * b) / 2
    outside = (place < 0) | (place > len(cuts.offsets) - 1)
    return np.where(outside, 0.0, np.maximum(value, 0.0))


@dataclass(frozen=True, slots=True)
class EdgePosterior:
    """delta, sigma : posterior mean and standard deviation. rise : log-likelihood ratio of the best to 0.

    trial, log_likelihood : (D,). at_edge : the best lies at the end of the window.
    """

    delta: float
    sigma: float
    rise: float
    trial: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    at_edge: bool


def edge_posterior(
    cuts: BeamCuts,
    sector_u: NDArray[np.float64],
    snr: float,
    window: float = 0.02,
    *,
    n_trials: int = 161,
    outliers: float = _OUTLIERS,
    tempering: float = 1.0,
) -> EdgePosterior:
    """Posterior of delta on +-window from blocks with a source.

    Parameters
    ----------
    cuts : of maps searched in sectors widened by `window`. sector_u : (B, 2) true sectors. snr : linear,
    after coherent summing. outliers : share of blocks whose maximum is not the source (anywhere in the
    widened sector). tempering : independent angles over blocks, for blocks that show the same angle.
    """
    trial = np.linspace(-window, window, n_trials)
    exponent = cuts.power / (1 + 1 / max(snr, 1e-3))
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    step = cuts.offsets[1] - cuts.offsets[0]
    cumulative = np.zeros_like(weight)
    cumulative[:, 1:] = np.cumsum((weight[:, 1:] + weight[:, :-1]) / 2, axis=1) * step
    total = cumulative[:, -1]
    theta = np.arcsin(np.clip(sector_u, -1, 1))
    width = theta[:, 1] - theta[:, 0]
    wide = sector_u[:, 1] - sector_u[:, 0] + 2 * window
    log_likelihood = np.empty(n_trials)
    for i, delta in enumerate(trial):
        low, high = (sector_u + delta - cuts.u[:, None]).T
        inside = _cumulated(cumulative, cuts.offsets, high) - _cumulated(cumulative, cuts.offsets, low)
        u = np.clip(cuts.u - delta, sector_u[:, 0], sector_u[:, 1])
        density = 1 / (width * np.sqrt(np.maximum(1 - u**2, 1e-4)))
        share = (1 - outliers) * density * inside / total + outliers / wide
        log_likelihood[i] = np.sum(np.log(share))
    log_likelihood *= tempering
    p = np.exp(log_likelihood - log_likelihood.max())
    p /= p.sum()
    mean = float(p @ trial)
    sigma = float(np.sqrt(p @ (trial - mean) ** 2 + (trial[1] - trial[0]) ** 2 / 12))
    rise = float(log_likelihood.max() - np.interp(0.0, trial, log_likelihood))
    best = int(np.argmax(log_likelihood))
    return EdgePosterior(mean, sigma, rise, trial, log_likelihood, best < 3 or best > n_trials - 4)


def _cumulated(
    cumulative: NDArray[np.float64], offsets: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each row's cumulative integral at its own place, linear between points, constant beyond."""
    step = offsets[1] - offsets[0]
    place = np.clip((at - offsets[0]) / step, 0, len(offsets) - 1)
    i = np.minimum(place.astype(int), len(offsets) - 2)
    t = place - i
    rows = np.arange(len(at))
    return cumulative[rows, i] * (1 - t) + cumulative[rows, i + 1] * t
