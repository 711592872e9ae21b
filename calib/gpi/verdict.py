"""Is kappa right? Tests that need no truth, on blocks whose source stands out, in units of N0 = 1.

At the right kappa the matched block is z = gamma S kappa + noise of S N0 on every element, so that

    residual  r_b = (||z||^2 - |kappa^H z|^2/N)/S  has mean N - 3/2      (one complex dimension for the source,
                                                                        half of one for its fitted angle)
    element   sum_b |z_bn - kappa_n g_b/N|^2/S     has mean n (1 - 3/(2N))
    region    N sum_b conj(g_b) z_b/sum_b |g_b|^2, over the blocks of one range of angles, equals kappa
              up to noise of N/sum P on every element,                   P_b = |g_b|^2/(N S)

A kappa of correlation c leaves (1 - c^2) P on top of the first, and the last sees what changes with the angle:
positions, coupling, a wrong optimum. Expectations and spreads are known, so each is an absolute test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.search import Peaks, abs2

MAX_FIELD_LOSS = 1e-3
_REGIONS = 12
_SIGMAS = 5.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the data say about kappa.

    misfit, misfit_sigma : estimate of 1 - c^2 from all blocks and its standard error. element_z : (N,) excess
    of each element's residual in standard errors. region_misfit, region_sigma : (G,) the same by range of
    angles. statistical_loss : bound on 1 - c that noise alone leaves (mean + 5 standard deviations).
    total_power : sum P over the blocks used. excess : log of the residual over its mean. threshold : of
    excess. reason : why kappa must not be used, or "".
    """

    misfit: float
    misfit_sigma: float
    element_z: NDArray[np.float64]
    region_misfit: NDArray[np.float64]
    region_sigma: NDArray[np.float64]
    statistical_loss: float
    total_power: float
    excess: float
    threshold: float
    n_used: int
    reason: str


def judge(kappa: NDArray[np.complex128], peaks: Peaks, n_subcarriers: int) -> Verdict:
    """Judge kappa (N,), ||kappa||^2 = N, by the peaks of the blocks with a source."""
    n, count = len(kappa), len(peaks)
    z = peaks.z.astype(np.complex128)
    g = z @ kappa.conj()
    power = abs2(g) / (n * n_subcarriers)
    total = float(power.sum())
    residual = z - (g / n)[:, None] * kappa
    energy = abs2(residual) / n_subcarriers
    dof = n - 1.5
    expected = max(count - 1, 1) * dof
    misfit = (float(energy.sum()) - expected) / max(total, 1e-12)
    misfit_sigma = float(np.sqrt(max(count, 1) * dof)) / max(total, 1e-12)
    share = np.abs(kappa) ** 2 / n
    element_expected = max(count - 1, 1) * (1 - 1.5 * share)
    element_z = (energy.sum(axis=0) - element_expected) / np.sqrt(max(count, 1))
    region_misfit, region_sigma = _regions(kappa, peaks.u, z, g, power)
    statistical = 0.5 * (dof + _SIGMAS * np.sqrt(n)) / max(total, 1e-12)
    excess = float(np.log(max(float(energy.sum()), 1e-12) / expected))
    threshold = _SIGMAS / float(np.sqrt(expected)) + 2e-3 * total / expected
    reason = _why_not(
        n, count, misfit, misfit_sigma, element_z, total, region_misfit, region_sigma, statistical
    )
    return Verdict(
        misfit, misfit_sigma, element_z, region_misfit, region_sigma, statistical, total, excess, threshold,
        count, reason,
    )  # fmt: skip


def _regions(
    kappa: NDArray[np.complex128],
    u: NDArray[np.float64],
    z: NDArray[np.complex128],
    g: NDArray[np.complex128],
    power: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n = len(kappa)
    count = int(min(_REGIONS, power.sum() // (40 * n), len(u) // 4))
    if count < 2:
        return np.empty(0), np.empty(0)
    order = np.argsort(u, kind="stable")
    misfit, sigma = [], []
    for part in np.array_split(order, count):
        total = float(power[part].sum())
        local = n * (g[part].conj() @ z[part]) / np.sum(abs2(g[part]))
        # a ramp is what the angles of this region absorbed; only the rest tells an error
        misfit.append(float(np.sum(abs2(local - kappa))) / n - (n - 1.5) / total)
        sigma.append(float(np.sqrt(n)) / total)
    return np.array(misfit), np.array(sigma)


def _why_not(
    n: int,
    count: int,
    misfit: float,
    misfit_sigma: float,
    element_z: NDArray[np.float64],
    total: float,
    region_misfit: NDArray[np.float64],
    region_sigma: NDArray[np.float64],
    statistical: float,
) -> str:
    if count < n:
        return (
            f"a source stands out of the noise in only {count} blocks; at least {n} are needed "
            "(more blocks, a stronger source, or a narrower window of delays)"
        )
    if misfit > 2e-3 + _SIGMAS * misfit_sigma:
        return (
            f"one source and these gains leave {100 * misfit:.2g} % of the signal unexplained (noise: "
            f"{100 * misfit_sigma:.2g} %): several paths at one delay, delay skew between the elements, positions "
            "that are wrong, or the search failed"
        )
    worst = int(np.argmax(element_z))
    error = float(element_z[worst]) * np.sqrt(count) * n / max(total, 1e-12)
    if element_z[worst] > _SIGMAS + 1 and error > 0.02:
        return (
            f"element {worst} does not follow one complex gain (error {np.sqrt(error):.2g} of its amplitude)"
        )
    if len(region_misfit):
        over = region_misfit - 2e-3 - _SIGMAS * region_sigma
        if np.max(over) > 0:
            at = int(np.argmax(over))
            return (
                f"in one part of the angles {100 * region_misfit[at]:.2g} % of the signal follow another array "
                "(positions, coupling, or the search failed)"
            )
    if statistical > MAX_FIELD_LOSS:
        more = statistical / MAX_FIELD_LOSS
        return (
            f"the noise leaves the gains open by {statistical:.2g} (limit {MAX_FIELD_LOSS:g}): about {more:.1f} "
            "times as many blocks are needed"
        )
    return ""
