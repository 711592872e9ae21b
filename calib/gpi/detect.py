"""The MAPRT detector and position estimator on the full angle-delay grid (Mateos-Ramos et al. 2025, 9-11).

    M_ij = |a(theta_i; kappa)^H Y b(tau_j)^*|^2,   decide "source" if max M > eta, position at the maximum

theta uniform in each block's own sector, tau uniform in the window, end points included. These are the numbers
that are compared with the paper; learning uses `calib.gpi.search`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.gpi.search import abs2, conj_steering
from calib.gpi.threshold import empirical_threshold

_CHUNK = 64


def angle_grid(sector_deg: NDArray[np.float64], n_angles: int = 100) -> NDArray[np.float64]:
    """(B, A) radians, uniform in angle inside each sector (B, 2), end points included."""
    low, high = np.deg2rad(np.atleast_2d(sector_deg)).T
    return low[:, None] + (high - low)[:, None] * np.linspace(0, 1, n_angles)


def angle_delay_maps(
    data: Reduced,
    kappas: NDArray[np.complex128],
    x_wavelengths: NDArray[np.float64],
    theta_rad: NDArray[np.float64],
    delay_s: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Maps (Q, B, A, D) float32 in units of N S (of N S N0 for data with N0 = 1).

    kappas (Q, N), ||kappa||^2 = N. theta_rad (B, A). delay_s (D,).
    """
    filters = data.filters(delay_s)
    beams = conj_steering(x_wavelengths, np.sin(theta_rad))
    out = np.empty((len(kappas), data.n_blocks, theta_rad.shape[1], len(delay_s)), np.float32)
    for q, kappa in enumerate(kappas.conj().astype(np.complex64)):
        summed = beams @ (data.taps * kappa[:, None])
        flat = summed.reshape(-1, data.rank) @ filters
        out[q] = abs2(flat).reshape(out.shape[1:])
    out /= np.float32(data.n_elements * data.n_subcarriers)
    return out


@dataclass(frozen=True, slots=True)
class Decisions:
    """Maxima of the maps of B blocks for Q gain vectors: statistic, theta_rad, delay_s, each (Q, B)."""

    statistic: NDArray[np.float64]
    theta_rad: NDArray[np.float64]
    delay_s: NDArray[np.float64]


def decide(
    data: Reduced,
    kappas: NDArray[np.complex128],
    x_wavelengths: NDArray[np.float64],
    sector_deg: NDArray[np.float64],
    n_angles: int = 100,
    n_delays: int = 100,
) -> Decisions:
    """Test statistic max M/(N S N0) and arg max of every block, for each kappa of (Q, N); data with N0 = 1."""
    theta = angle_grid(sector_deg, n_angles)
    delays = np.linspace(*data.window_s, n_delays)
    shape = (len(kappas), data.n_blocks)
    statistic, angle, delay = np.empty(shape), np.empty(shape), np.empty(shape)
    for i in range(0, data.n_blocks, _CHUNK):
        part = slice(i, i + _CHUNK)
        maps = angle_delay_maps(data.select(part), kappas, x_wavelengths, theta[part], delays)
        flat = maps.reshape(len(kappas), maps.shape[1], -1)
        best = np.argmax(flat, axis=2)
        statistic[:, part] = np.take_along_axis(flat, best[..., None], 2)[..., 0]
        angle[:, part] = np.take_along_axis(
            np.broadcast_to(theta[part], (len(kappas), *theta[part].shape)), (best // n_delays)[..., None], 2
        )[..., 0]
        delay[:, part] = delays[best % n_delays]
    return Decisions(statistic, angle, delay)


@dataclass(frozen=True, slots=True)
class Operating:
    """One point of the curves of Fig. 3. position_rmse_m, position_median_m: over true detections."""

    false_alarm: float
    threshold: float
    detection: float
    position_rmse_m: float
    position_median_m: float


def operating_points(
    noise_maxima: NDArray[np.float64],
    source_maxima: NDArray[np.float64],
    position_error_m: NDArray[np.float64],
    rates: NDArray[np.float64],
) -> list[Operating]:
    """Detection and position error at set false-alarm rates; the thresholds are quantiles of `noise_maxima`.

    noise_maxima (B0,) from blocks without a source, source_maxima and position_error_m (B1,) with one.
    """
    out: list[Operating] = []
    for rate in rates:
        eta = empirical_threshold(noise_maxima, float(rate))
        found = source_maxima > eta
        errors = position_error_m[found]
        rmse = float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan")
        median = float(np.median(errors)) if len(errors) else float("nan")
        out.append(Operating(float(rate), eta, float(np.mean(found)), rmse, median))
    return out
