"""The one thing that echoes without labels leave open in a line of free positions: u -> s u, x -> x/s.

Only the edges of the sectors tell s. Each angle is in its sector, uniform in angle before it is seen, so that

    p(shown u_b | s) = s p_b(s u_b) [Phi((high - s u_b)/(s sigma_b)) - Phi((low - s u_b)/(s sigma_b))]

Beams are weaker at the edges, so fewer echoes stand out there: how many fewer, by the distance from the nearer edge,
is counted in the echoes themselves and is part of p_b. Both edges of a sector move alike with s but not with what is
counted, which keeps the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TRIALS = 41
_ELSEWHERE = 2e-3
_PULLED, _PULL = 0.05, 0.25
_DEPTHS = np.array([0, 0.25, 0.5, 0.75, 1, 1.5, 2, np.inf])
_MIDDLES = np.array([0.125, 0.375, 0.625, 0.875, 1.25, 1.75, 2.5])
_ZOOMS = 8
_COUNTS = 2
_COUNTING_STEPS = 8
_PSEUDO_COUNT = 4.0
_LEAST_SEEN = 0.4
# how well the place of an edge is known in spite of the profile, in beams
_EDGE_ERROR, _EDGE_SHIFT = 0.02, 0.05
_EDGE, _LEAST_AT_EDGE = 0.1, 0.4


@dataclass(frozen=True, slots=True)
class ScalePosterior:
    """scale : true u over shown u. sigma : its standard deviation. at_edge : the best lies at the end of the window."""

    scale: float
    sigma: float
    at_edge: bool


def scale_posterior(
    u: NDArray[np.float64],
    sigma_u: NDArray[np.float64],
    sector_u: NDArray[np.float64],
    beam_u: float,
    window: float,
    *,
    beams_fit: bool,
) -> ScalePosterior:
    """Posterior of the scale on 1 +- window.

    u (B,), sigma_u (B,) : angles shown and their standard deviation. sector_u (B, 2) : where they truly are.
    beam_u : width of the array's beam; a second echo within it pulls a few angles by a part of that.
    beams_fit : the transmit beams were made for this array. Only then do they fade alike at both edges, which is
    counted; beams of the nominal array sit where its own scale puts them, and counting would take over that scale.
    """
    # an edge that is known to a part of a beam, less so where a beam holds many degrees
    edges = np.array([-1.0, 1.0]) * sector_u * (2 / np.sqrt(np.maximum(1 - sector_u**2, 1e-3)) - 1)
    lever = float(abs(np.sum(edges)) / np.sum(sector_u**2)) * beam_u
    found = _posterior(u, sigma_u, sector_u, beam_u, np.ones(len(_MIDDLES)), 1.0, window)
    for _ in range(_COUNTS if beams_fit else 0):
        # near the edges of the flat density only: a free profile could pass for a shifted edge
        seen = _share_seen(found.scale * u, sector_u, beam_u)
        near = min(_EDGE_SHIFT * lever + 3 * found.sigma, window / 2)
        found = _posterior(u, sigma_u, sector_u, beam_u, seen, found.scale, near)
    return ScalePosterior(
        found.scale, float(np.hypot(found.sigma, _EDGE_ERROR * lever)), abs(found.scale - 1) > 0.9 * window
    )


def filled(u: NDArray[np.float64], sector_u: NDArray[np.float64]) -> bool:
    """Whether angles (B,) reach both edges of their sectors (B, 2), which is what the scale is taken from."""
    place = (u - sector_u[:, 0]) / (sector_u[:, 1] - sector_u[:, 0])
    least = _LEAST_AT_EDGE * _EDGE * len(u)
    return bool(np.sum(place < _EDGE) >= least and np.sum(place > 1 - _EDGE) >= least)


def _measure(sector_u: NDArray[np.float64], beam_u: float) -> NDArray[np.float64]:
    """(B, J) part of each sector, in angle, that is so deep inside it, in beams of u; rows sum to 1."""
    middle = sector_u.mean(axis=1, keepdims=True)
    rising = np.arcsin(np.clip(np.minimum(sector_u[:, :1] + beam_u * _DEPTHS, middle), -1, 1))
    falling = np.arcsin(np.clip(np.maximum(sector_u[:, 1:] - beam_u * _DEPTHS, middle), -1, 1))
    part = np.diff(rising, axis=1) - np.diff(falling, axis=1)
    return part / part.sum(axis=1, keepdims=True)


def _posterior(
    u: NDArray[np.float64],
    sigma_u: NDArray[np.float64],
    sector_u: NDArray[np.float64],
    beam_u: float,
    seen: NDArray[np.float64],
    center: float,
    half: float,
) -> ScalePosterior:
    """On a grid of center +- half, then on finer ones around its best."""
    mean, sigma = center, half
    for _ in range(_ZOOMS):
        trial = center + np.linspace(-half, half, _TRIALS)
        log_likelihood = np.array([_log_likelihood(s, u, sigma_u, sector_u, beam_u, seen) for s in trial])
        p = np.exp(log_likelihood - log_likelihood.max())
        p /= p.sum()
        mean = float(p @ trial)
        step = float(trial[1] - trial[0])
        sigma = float(np.sqrt(p @ (trial - mean) ** 2))
        if sigma > 2 * step:
            break
        center, half = float(trial[int(np.argmax(p))]), 8 * step
    return ScalePosterior(mean, sigma, False)


def _share_seen(
    true: NDArray[np.float64], sector_u: NDArray[np.float64], beam_u: float
) -> NDArray[np.float64]:
    """(J,) of the echoes at a depth, how many stand out; 1 in the middle of the sectors."""
    measure = _measure(sector_u, beam_u)
    depth = np.minimum(true - sector_u[:, 0], sector_u[:, 1] - true) / beam_u
    count = np.histogram(np.maximum(depth, 0), _DEPTHS)[0]
    seen = np.ones(len(count))
    for _ in range(_COUNTING_STEPS):
        expected = (measure / (measure @ seen)[:, None]).sum(axis=0)
        seen = np.clip((count + _PSEUDO_COUNT) / (expected + _PSEUDO_COUNT), _LEAST_SEEN, 1 / _LEAST_SEEN)
    return seen


def _log_likelihood(
    scale: float,
    u: NDArray[np.float64],
    sigma_u: NDArray[np.float64],
    sector_u: NDArray[np.float64],
    beam_u: float,
    seen: NDArray[np.float64],
) -> float:
    from scipy.special import ndtr

    true = scale * u
    low, high = sector_u[:, 0] - true, sector_u[:, 1] - true
    inside = np.zeros(len(u))
    pulled = np.full(len(u), _PULL * beam_u)
    for share, sigma in ((1 - _PULLED, scale * sigma_u), (_PULLED, pulled)):
        inside += share * (ndtr(high / sigma) - ndtr(low / sigma))
    theta = np.arcsin(np.clip(sector_u, -1, 1))
    near = np.clip(true, sector_u[:, 0], sector_u[:, 1])
    density = 1 / ((theta[:, 1] - theta[:, 0]) * np.sqrt(np.maximum(1 - near**2, 1e-3)))
    depth = np.minimum(near - sector_u[:, 0], sector_u[:, 1] - near) / beam_u
    density *= np.interp(depth, _MIDDLES, seen) / (_measure(sector_u, beam_u) @ seen)
    elsewhere = _ELSEWHERE / (2 * (sector_u[:, 1] - sector_u[:, 0]))
    return float(np.sum(np.log(scale * ((1 - _ELSEWHERE) * density * inside + elsewhere))))
