"""Is the port order mirrored? x -> -x with u -> -u is an exact ambiguity of unlabelled data.

Both hypotheses, u_true = al u_hat + be with al > 0 and with al < 0, are weighed by everything that is known:
every source lies in front of the line (|u| <= 1) or inside a known support, angles inside an asymmetric
support are even in angle (density 1 / cos in u), known angles, and the sense of a table's turns. On a plane
only known angles (two) or turns tell. Small position errors do not: they are stated for both orders alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.diagnose.fitted import FittedArray
from calib.gauges.fix import find_anchors
from calib.gauges.line import Anchor, ScalePrior
from calib.gauges.rotation import fit_rotations
from calib.gauges.standing import standing_angles
from calib.gauges.turn import plane_sense
from calib.result import GaugeRequest
from hil.core.errors import NotIdentifiable

#: Log of the odds at which an orientation is called known.
SURE = np.log(1000.0)
_MARGIN_U = 0.01
_ANCHOR_SIGMA = 0.004  # what the grid over be resolves
_HINT = (
    "give a known angle well off broadside (--anchor DEG@T0:T1) together with emitters spread over the field, "
    "or turn the array by known steps (--rotations)"
)


@dataclass(frozen=True, slots=True)
class Orientation:
    """mirrored : the ports run against the stated order. log_odds : in favour of the stated order. evidence :
    in words."""

    mirrored: bool
    log_odds: float
    evidence: str


def orientation(fitted: FittedArray, request: GaugeRequest, *, uniform_support: bool = True) -> Orientation:
    """Which orientation fits.

    fitted : a converged fit. request : support_deg, anchors_deg and rotations are used, whatever its kind.
    uniform_support : the angles fill the support evenly (its asymmetry then tells).

    Raises NotIdentifiable if both orientations explain data and evidence.
    """
    if fitted.layout.is_line:
        odds, words = _line(fitted, request, uniform_support)
    else:
        odds, words = _plane(fitted, request)
    if abs(odds) < SURE:
        raise NotIdentifiable(
            "the mirror image of this array explains the data as well"
            + (f" ({', '.join(words)} do not tell)" if words else ""),
            parameters=["mirror"], hint=_HINT,
        )  # fmt: skip
    return Orientation(odds < 0, odds, ", ".join(words))


def _line(fitted: FittedArray, request: GaugeRequest, uniform_support: bool) -> tuple[float, list[str]]:
    evidence, layout, model = fitted.evidence, fitted.layout, fitted.fit.model
    nominal = layout.nominal[:, 0] - layout.nominal[:, 0].mean()
    learned = model.r[:, 0] - model.r[:, 0].mean()
    # the same positions, read from the other end of the line, are as near to the nominal ones
    priors = (
        ScalePrior(learned, nominal, layout.position_std),
        ScalePrior(-learned, nominal, layout.position_std),
    )
    words: list[str] = []
    anchors: tuple[Anchor, ...] = ()
    if request.anchors_deg:
        anchors = find_anchors(request, evidence, line=True)
        words.append(f"{len(anchors)} known angle{'s' * (len(anchors) != 1)}")
    support = (-np.pi / 2, np.pi / 2)
    if request.support_deg is not None:
        support = tuple(np.deg2rad(np.clip(request.support_deg, -90, 90)))
        words.append("the support")
    samples, _ = evidence.dwells.samples()
    even = uniform_support and request.support_deg is not None and not evidence.dwells.continuous
    odds = _evidence(samples, priors[0], 1, anchors, support, even=even)
    odds -= _evidence(samples, priors[1], -1, anchors, support, even=even)
    if request.rotations:
        words.append("the sense of the turns")
        seen = standing_angles(
            request.rotations, evidence.theta, evidence.sigma, evidence.valid, evidence.time_s,
            periodic=False, fit=evidence.fit, sub=evidence.sub,
        )  # fmt: skip
        field = (-np.pi / 3, np.pi / 3)
        # fit_rotations turns the sign itself: the prior is of |al|
        straight, mirrored = (fit_rotations(seen, priors[0], field, mirrored=m) for m in (False, True))
        if straight is not None or mirrored is not None:
            worst = float(len(seen) * np.log(1e3))
            odds += (mirrored.cost if mirrored else worst) - (straight.cost if straight else worst)
    return float(odds), words


def _evidence(
    samples: NDArray[np.float64],
    prior: ScalePrior,
    sign: int,
    anchors: tuple[Anchor, ...],
    support_rad: tuple[float, float],
    *,
    even: bool,
) -> float:
    """Log of the integral over (|al|, be) of prior and likelihood of one orientation."""
    mean, std = 1.0, 0.0
    if prior.position_std > 0:
        al = np.linspace(0.3, 3.0, 1801)
        weight = np.exp(-0.5 * ((al - 1) / 0.6) ** 2)
        # of the magnitude only: how near the places are does not depend on the direction
        close = ScalePrior(np.sort(sign * prior.learned), np.sort(prior.nominal), prior.position_std)
        weight *= np.exp(close.log_density(al) - close.log_density(al).max())
        weight /= weight.sum()
        mean = float(weight @ al)
        std = float(np.sqrt(weight @ (al - mean) ** 2))
    al = sign * np.clip(mean + std * np.linspace(-4, 4, 33), 0.3, 3.0)
    log_p = -0.5 * np.linspace(-4, 4, 33) ** 2
    be = np.arange(-2.5, 2.5, _ANCHOR_SIGMA / 2)
    low, high = np.sin(support_rad[0]), np.sin(support_rad[1])
    log_like = np.repeat(log_p[:, None], len(be), axis=1)
    inside = np.quantile(samples, [0.01, 0.99]) if len(samples) > 100 else samples[[0, -1]]
    ends = al[:, None, None] * inside + be[:, None]
    outside = np.maximum(low - ends.min(axis=-1), 0) + np.maximum(ends.max(axis=-1) - high, 0)
    log_like -= 0.5 * (outside / _MARGIN_U) ** 2
    for anchor in anchors:
        spread = np.hypot(anchor.sigma, _ANCHOR_SIGMA)
        log_like -= 0.5 * ((al[:, None] * anchor.u_hat + be - anchor.u_true) / spread) ** 2
    if even:
        some = samples[:: max(1, len(samples) // 80)]
        u = al[:, None, None] * some + be[:, None]
        density = -0.5 * np.log(np.maximum(1 - u**2, 2e-3)) + np.log(np.abs(al))[:, None, None]
        log_like += density.sum(axis=-1) * len(samples) / len(some)
    top = float(log_like.max())
    return top + float(np.log(np.exp(log_like - top).sum()))


def _plane(fitted: FittedArray, request: GaugeRequest) -> tuple[float, list[str]]:
    evidence = fitted.evidence
    words: list[str] = []
    odds = 0.0
    if len(request.anchors_deg) >= 2:
        words.append(f"{len(request.anchors_deg)} known angles")
        anchors = find_anchors(request, evidence, line=False)
        odds -= _turn_misfit(anchors, 1.0) - _turn_misfit(anchors, -1.0)
    if request.rotations:
        words.append("the sense of the turns")
        seen = standing_angles(
            request.rotations, evidence.theta, evidence.sigma, evidence.valid, evidence.time_s,
            periodic=True, fit=evidence.fit, sub=evidence.sub,
        )  # fmt: skip
        odds += 2 * SURE * plane_sense(seen)
    return odds, words


def _turn_misfit(anchors: tuple[Anchor, ...], sign: float) -> float:
    """Half chi2 of one rotation for all anchors, azimuth_true = sign azimuth_hat + delta."""
    delta = np.array([a.u_true - sign * a.u_hat for a in anchors])
    centre = np.angle(np.exp(1j * delta).mean())
    miss = (delta - centre + np.pi) % (2 * np.pi) - np.pi
    spread = np.array([np.hypot(a.sigma, _ANCHOR_SIGMA) for a in anchors])
    return float(0.5 * np.sum((miss / spread) ** 2))
