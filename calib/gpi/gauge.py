"""What sets the absolute angles: the edges of the sectors, known angles, nothing, or the truth (diagnosis)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.fit import Problem
from calib.gpi.ramp import EdgePosterior
from calib.gpi.search import Peaks, PeakSearch, any_ramp
from calib.result import GaugeRequest
from hil.core.errors import ConfigError, NotIdentifiable
from hil.core.gauge import Gauge

# the rms angle error stays below angle_sigma_deg in 90 % of the cases
_NINETY_PERCENT = 1.645
_MIN_ANCHOR_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class GaugeFixed:
    """delta : shift of u still to be taken away. sigma_u : of the shift. open : in words, what stays unknown."""

    gauge: Gauge
    delta: float
    sigma_u: float
    open: str


def _gauge(kind: str, assumes: str, sigma_u: float, support: tuple[float, float] | None) -> Gauge:
    low, high = np.deg2rad(np.clip(support or (-60.0, 60.0), -85, 85))
    # rms over the angles of d theta = d u/cos theta
    spread = float(np.sqrt(np.mean(1 / np.cos(np.linspace(low, high, 201)) ** 2)))
    return Gauge(
        kind=kind,
        assumes=assumes,
        offset_sigma_deg=float(np.rad2deg(sigma_u)),
        angle_sigma_deg=float(np.rad2deg(_NINETY_PERCENT * sigma_u * spread)),
        support_deg=support,
    )


def _hull(sector_deg: NDArray[np.float64]) -> tuple[float, float]:
    return float(sector_deg[:, 0].min()), float(sector_deg[:, 1].max())


def by_edges(
    posterior: EdgePosterior, sector_deg: NDArray[np.float64], support: tuple[float, float] | None
) -> GaugeFixed:
    """The ramp was set by the sectors' edges; the posterior says how well."""
    sigma = posterior.sigma
    if posterior.at_edge:
        sigma = max(sigma, float(np.ptp(posterior.trial)) / 2)
    assumes = (
        f"each angle is anywhere in its sector with equal probability ({len(sector_deg)} blocks, sectors "
        f"{float(np.median(np.diff(sector_deg, axis=1))):.3g} degrees wide)"
    )
    gauge = _gauge("support", assumes, sigma, support or _hull(sector_deg))
    return GaugeFixed(
        gauge, 0.0, sigma, "angle offset (phase ramp along the line): set by the assumed sectors"
    )


def left_open(request: GaugeRequest, sector_deg: NDArray[np.float64] | None) -> GaugeFixed:
    """No claim on absolute angles."""
    if sector_deg is None:
        half, assumes = 1.0, "nothing: absolute angles are arbitrary"
    else:
        half = float(np.median(np.diff(np.sin(np.deg2rad(sector_deg)), axis=1))) / 2
        assumes = "each source is inside its sector; absolute angles inside it are not claimed"
    kind = request.kind if request.kind != "support" else "none"
    sigma = half / np.sqrt(3)
    return GaugeFixed(
        _gauge(kind, assumes, sigma, request.support_deg), 0.0, sigma,
        "angle offset (phase ramp along the line)",
    )  # fmt: skip


def by_truth(
    kappa: NDArray[np.complex128],
    gain: NDArray[np.complex128],
    x: NDArray[np.float64],
    support: tuple[float, float] | None,
) -> GaugeFixed:
    """Diagnosis: the ramp that agrees best with the true gains (N,)."""
    overlap = kappa * gain.conj()
    step = 1 / (16 * max(float(np.ptp(x)), 0.5))
    trial = np.arange(-1.0, 1.0 + step, step)
    best = 0.0
    for _ in range(3):
        match = np.abs(np.exp(2j * np.pi * np.outer(trial, x)) @ overlap)
        best = float(trial[int(np.argmax(match))])
        step /= 16
        trial = best + step * np.arange(-20, 21)
    return GaugeFixed(
        _gauge("oracle", "the true gains were given (diagnosis)", 0.0, support), best, 0.0,
        "angle offset (phase ramp along the line): taken from the truth",
    )  # fmt: skip


def by_anchors(
    problem: Problem,
    kappa: NDArray[np.complex128],
    request: GaugeRequest,
    time_s: NDArray[np.float64] | None,
) -> GaugeFixed:
    """Known angles at known times: delta = mean of (angle shown - angle known), weighted by information.

    Raises
    ------
    ConfigError : times are needed and the blocks carry none.
    NotIdentifiable : no block in the interval shows a source, or it does not stand still.
    """
    total, weight = 0.0, 0.0
    spread = 2 * np.pi * float(np.std(problem.x))
    for degrees, t0, t1 in request.anchors_deg:
        blocks = _interval(t0, t1, time_s, problem.data.n_blocks)
        known = float(np.sin(np.deg2rad(degrees)))
        search, peaks = _around(problem, kappa, blocks)
        found = peaks.select(peaks.statistic > problem.eta(search))
        if len(found) < _MIN_ANCHOR_BLOCKS:
            raise NotIdentifiable(
                f"anchor {degrees:g} degrees: a source stands out in {len(found)} blocks of its interval",
                parameters=["angle offset"],
                hint="give the time during which the source stood there: --anchor DEG@T0:T1 (seconds)",
            )
        information = 2 * found.statistic * spread**2
        centre = float(np.median(found.u))
        pull = (found.u - centre) * np.sqrt(information)
        if float(np.median(np.abs(pull))) > 3.0:
            raise NotIdentifiable(
                f"anchor {degrees:g} degrees: the source does not stand still in its interval",
                parameters=["angle offset"],
                hint="name an interval with one standing source: --anchor DEG@T0:T1 (seconds)",
            )
        near = np.abs(pull) < 6
        total += float(np.sum(information[near] * (found.u[near] - known)))
        weight += float(information[near].sum())
    sigma = float(1 / np.sqrt(weight))
    angles = ", ".join(f"{a[0]:g}" for a in request.anchors_deg)
    return GaugeFixed(
        _gauge("anchor", f"a source stood at {angles} degrees as stated", sigma, request.support_deg),
        total / weight, sigma, "angle offset (phase ramp along the line): set by the given angles",
    )  # fmt: skip


def _around(
    problem: Problem, kappa: NDArray[np.complex128], blocks: NDArray[np.intp]
) -> tuple[PeakSearch, Peaks]:
    """Peaks of these blocks within a beam of the strongest one's, whatever ramp kappa still has.

    An angle at the end of a period of the ramp would show up at both ends; around one place it does not.
    """
    data = problem.data.select(blocks)
    wide = PeakSearch(data, problem.x, np.tile(any_ramp(problem.x), (len(blocks), 1)))
    first = wide(kappa)
    middle = float(first.u[int(np.argmax(first.statistic))])
    beam = 1 / max(float(np.ptp(problem.x)), 0.5)
    search = PeakSearch(data, problem.x, np.tile([middle - beam, middle + beam], (len(blocks), 1)))
    return search, search(kappa)


def _interval(
    t0: float | None, t1: float | None, time_s: NDArray[np.float64] | None, n_blocks: int
) -> NDArray[np.intp]:
    inside = np.ones(n_blocks, bool)
    if t0 is not None or t1 is not None:
        if time_s is None:
            raise ConfigError("anchor with times: the channel responses carry no times")
        inside &= time_s >= (-np.inf if t0 is None else t0)
        inside &= time_s <= (np.inf if t1 is None else t1)
    if not inside.any():
        raise NotIdentifiable("anchor: no block in its interval", parameters=["angle offset"])
    return np.flatnonzero(inside)
