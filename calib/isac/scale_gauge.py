"""The one factor that positions learned from echoes leave open, u' = al u and x' = x / al: what sets it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from calib.gpi.delay import Reduced
from calib.gpi.fit import independent_share
from calib.gpi.search import Peaks, PeakSearch
from calib.gpi.threshold import detection_threshold
from calib.isac.learn import PositionsFound
from calib.isac.scale import filled
from calib.result import GaugeRequest
from hil.core.errors import NotIdentifiable
from hil.core.gauge import Gauge

# the rms angle error stays below angle_sigma_deg in 90 % of the cases
_NINETY_PERCENT = 1.645
_LEAST_U = 0.17
_LEAST_BLOCKS = 3
_RATE = 3e-3
_WINDOW = 0.15
#: Too small an array shows angles beyond endfire; farther out they would come back on the other side.
_BEYOND = 1.06
_TRIALS = 61
#: Share of blocks whose angle has nothing to do with a target.
_ELSEWHERE = 2e-3


@dataclass(frozen=True, slots=True)
class ScaleFixed:
    """al : by which positions are still too large. sigma : its relative standard deviation. open : what it rests on, in words. reason :
    why it must not be used, or "".
    """

    gauge: Gauge
    al: float
    sigma: float
    open: str
    reason: str = ""


def fix_scale(
    data: Reduced,
    found: PositionsFound,
    gauge: GaugeRequest,
    sector_u: NDArray[np.float64],
    x0: NDArray[np.float64],
    std: float,
    time_s: NDArray[np.float64] | None,
    truth: NDArray[np.float64] | None,
) -> ScaleFixed:
    """What the request says about the factor of found.x (K,).

    data : N0 = 1. sector_u (B, 2) : used while learning. x0 (K,), std : nominal places and their spread, wavelengths.
    truth (K,) : for "oracle".

    Raises NotIdentifiable : an anchor at broadside, or one that the data do not show.
    """
    if gauge.kind == "support":
        return _by_edges(data, found, gauge, sector_u)
    if gauge.kind == "anchor":
        al, sigma = _by_anchors(data, found, gauge, time_s)
        angles = ", ".join(f"{a[0]:g}" for a in gauge.anchors_deg)
        words = f"a target stood at {angles} degrees as stated"
        return _fixed("anchor", words, al, sigma, gauge, "set by the given angles")
    x = found.x - found.x.mean()
    if truth is not None:
        al = float(x @ truth / (truth @ truth))
        return _fixed("oracle", "the true positions were given (diagnosis)", al, 0.0, gauge, "from the truth")
    al = float(x @ x0 / (x0 @ x0))
    sigma = std / float(np.linalg.norm(x0))
    words = f"the array is as large as stated, each place to {std:.2g} wavelengths"
    return _fixed(gauge.kind, words, al, sigma, gauge, "only the nominal size sets it")


def _fixed(kind: str, assumes: str, al: float, sigma: float, request: GaugeRequest, how: str) -> ScaleFixed:
    low, high = np.deg2rad(np.clip(request.support_deg or (-60.0, 60.0), -85, 85))
    spread = float(np.sqrt(np.mean(np.tan(np.linspace(low, high, 201)) ** 2)))
    gauge = Gauge(
        kind=kind,
        assumes=assumes,
        scale_sigma=sigma,
        angle_sigma_deg=float(np.rad2deg(_NINETY_PERCENT * sigma * spread)),
        support_deg=request.support_deg,
    )
    return ScaleFixed(gauge, al, sigma, f"one factor of all positions (scale of sin(angle)): {how}")


def peaks_near_sectors(
    data: Reduced, x: NDArray[np.float64], sector_u: NDArray[np.float64], margin: float
) -> tuple[Peaks, NDArray[np.float64]]:
    """(maxima, limits of u (B, 2)) within the sectors, or beside their edges by up to `margin` of u.

    An edge that cuts angles off could not tell the scale. Only the surroundings of what is inside are searched: far
    outside an ambiguity of the array would be as high.
    """
    own = np.ones(len(x), complex)
    reach = margin * np.max(np.abs(sector_u), axis=1)
    inside = PeakSearch(data, x, sector_u)(own).u
    low, high = np.maximum(inside, sector_u[:, 0]) - reach, np.minimum(inside, sector_u[:, 1]) + reach
    limits = np.clip(np.stack([low, high], axis=1), -_BEYOND, _BEYOND)
    return PeakSearch(data, x, limits)(own), limits


def _by_edges(
    data: Reduced, found: PositionsFound, gauge: GaugeRequest, sector_u: NDArray[np.float64]
) -> ScaleFixed:
    x = found.x - found.x.mean()
    peaks, limits = peaks_near_sectors(data, x, sector_u, _WINDOW)
    used = peaks.statistic > detection_threshold(
        _RATE, x, limits, data.n_subcarriers, data.spacing_hz, data.window_s
    )
    words = "targets are anywhere in their sectors with equal probability, up to the edges"
    if np.count_nonzero(used) < _LEAST_BLOCKS:
        return _fixed("support", words, 1.0, float("inf"), gauge, "set by the edges of the sectors")
    u, sectors = peaks.u[used], sector_u[used]
    sigma_u = 1 / (2 * np.pi * float(np.std(x)) * np.sqrt(2 * peaks.statistic[used]))
    # a target that stays for ten blocks is one angle
    al, sigma = _edge_posterior(u, sigma_u, sectors, independent_share(u, sectors))
    reason = ""
    if abs(al - 1) > _WINDOW - 3 * sigma:
        reason = f"the angles ask for an array more than {100 * _WINDOW:.0f} % larger or smaller than the one found"
    elif not filled(u * al, sectors):
        reason = "the targets do not reach both edges of their sectors, which alone would tell the size of the array"
    fixed = _fixed("support", words, al, sigma, gauge, "set by the edges of the sectors")
    return replace(fixed, reason=reason)


def _edge_posterior(
    u: NDArray[np.float64], sigma_u: NDArray[np.float64], sector_u: NDArray[np.float64], share: float
) -> tuple[float, float]:
    """(true u over shown u, its standard deviation) from shown u (B,), each true one uniform in angle in its sector.

    share : of the B angles that are independent.

    p(shown | al) = al / cos(theta) [Phi((high - al u) / (al sigma)) - Phi((low - al u) / (al sigma))]
    """
    low, high = sector_u.T
    theta = np.diff(np.arcsin(sector_u), axis=1)[:, 0]
    elsewhere = _ELSEWHERE / (2 * (high - low))
    centre, half = 1.0, _WINDOW
    while True:
        trial = centre + np.linspace(-half, half, _TRIALS)
        height = np.empty(_TRIALS)
        for k, al in enumerate(trial):
            true, sigma = al * u, al * sigma_u
            inside = ndtr((high - true) / sigma) - ndtr((low - true) / sigma)
            slope = np.sqrt(np.maximum(1 - np.clip(true, low, high) ** 2, 1e-3))
            height[k] = share * np.sum(np.log(al * ((1 - _ELSEWHERE) * inside / (theta * slope) + elsewhere)))
        p = np.exp(height - height.max())
        p /= p.sum()
        mean = float(p @ trial)
        sigma = float(np.sqrt(p @ (trial - mean) ** 2))
        if sigma > half / 15:
            return mean, sigma
        centre, half = float(trial[int(np.argmax(height))]), half / 5


def _by_anchors(
    data: Reduced, found: PositionsFound, gauge: GaugeRequest, time_s: NDArray[np.float64] | None
) -> tuple[float, float]:
    """(al, sigma): known u against the u that found.x shows, weighted by information."""
    top = bottom = 0.0
    x = found.x - found.x.mean()
    for degrees, t0, t1 in gauge.anchors_deg:
        known = float(np.sin(np.deg2rad(degrees)))
        if abs(known) < _LEAST_U:
            raise NotIdentifiable(
                f"anchor {degrees:g} degrees: near broadside a direction does not show the size of the array",
                parameters=["angle scale"], hint="give an anchor 10 degrees or more off broadside, or --support A:B",
            )  # fmt: skip
        inside = np.ones(data.n_blocks, bool)
        if time_s is not None:
            inside &= time_s >= (-np.inf if t0 is None else t0)
            inside &= time_s <= (np.inf if t1 is None else t1)
        part = data.select(np.flatnonzero(inside))
        limits = np.tile([-1.0, 1.0], (part.n_blocks, 1))
        shown: NDArray[np.float64] = np.empty(0)
        strength = shown
        if part.n_blocks:
            peaks = PeakSearch(part, x, limits)(np.ones(len(x), complex))
            eta = detection_threshold(_RATE, x, limits, part.n_subcarriers, part.spacing_hz, part.window_s)
            used = peaks.statistic > eta
            shown, strength = peaks.u[used], peaks.statistic[used]
        weight = 2 * strength * (2 * np.pi * float(np.std(x))) ** 2
        if (
            len(shown) < _LEAST_BLOCKS
            or float(np.median(np.abs(shown - np.median(shown)) * np.sqrt(weight))) > 3
        ):
            raise NotIdentifiable(
                f"anchor {degrees:g} degrees: no target stands still there in its interval", parameters=["angle scale"],
                hint="give the time during which it stood there: --anchor DEG@T0:T1 (seconds)",
            )  # fmt: skip
        top += float(np.sum(weight)) * known**2
        bottom += float(np.sum(weight * shown)) * known
    return top / bottom, float(1 / np.sqrt(top))
