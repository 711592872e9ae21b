"""How long a calibration stays good, predicted from how the phases of its device moved between calibrations.

Model: the phase of each element relative to the others moves by a constant rate (drawn per element, standard
deviation rho) and by a random walk (variance q per second), and every calibration sees it with its own noise. Rho and
q are not known: all pairs on a grid count by their likelihood under a log-uniform prior, so that few calibrations
give a cautious answer. Given rho and q all is Gaussian, and the phase error at any later time follows by conditioning
on every calibration of the same coherence epoch (Rasmussen and Williams 2006, eq. 2.19, with the kernels of a line
and of Brownian motion).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.epoch import EpochScope
from hil.store.status import parse_utc

#: Share of devices that are to be within the tolerance at the predicted time; 0.9 is what is promised.
CONFIDENCE = 0.95
#: Predictions end at this many times the time that was observed.
HORIZON = 10.0
_GRID = np.geomspace(0.003, 30.0, 28)
_DRAWS = 3000
_MOST = 40
_TIMES = 60
_FC_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Outlook:
    """How long a calibration stays good.

    Attributes
    ----------
    good_for_s : from its creation, seconds; NaN where not known. at_least : good_for_s is as far as the history
        allows to look, not the end. calibrations : number that it was measured from. span_s : time between them.
    rate_deg_per_h, walk_deg_per_sqrt_h : typical drift of one element. reason : in words.
    """

    good_for_s: float
    at_least: bool
    calibrations: int
    span_s: float
    rate_deg_per_h: float
    walk_deg_per_sqrt_h: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """Calibrations of one epoch relative to one of them: s (K,) seconds, y (K, M-1) degrees, noise variances."""

    s: NDArray[np.float64]
    y: NDArray[np.float64]
    noise: NDArray[np.float64]
    noise_0: float


def outlook(calibration: Calibration, history: Sequence[Calibration], tolerance_deg: float) -> Outlook:
    """Predict until when the phase errors of all elements stay within `tolerance_deg` (rms over elements).

    history : calibrations of the store, oldest first; the last 40 count. Those of another device, array or carrier, and
    those learned from the same recordings, are not looked at.
    """
    m = calibration.geometry.n_elements
    alike = [c for c in _distinct([calibration, *reversed(history)]) if _alike(c, calibration)][:_MOST]
    if m < 2 or calibration not in alike or len(alike) < 2:
        return _unknown(
            len(alike),
            "not known: it takes two calibrations of this device, from recordings at different times",
        )
    groups = _groups(alike, calibration)
    own, *others = [_seen(group) for group in groups]
    used = [g for g in (own, *others) if len(g.s)]
    if not used:
        return _unknown(len(alike), "not known: no two calibrations lie in one coherence epoch")
    span_s = max(float(np.ptp([0.0, *g.s])) for g in used)
    scale = math.sqrt(max(float(np.mean(g.y**2 * span_s / np.abs(g.s[:, None]))) for g in used)) or 1e-6
    rho, walk = (v.ravel() for v in np.meshgrid(_GRID * scale / span_s, _GRID * scale / math.sqrt(span_s)))
    score = sum((_log_likelihood(g, rho**2, walk**2) for g in used), np.zeros(len(rho)))
    weight = np.exp(score - score.max())
    weight /= weight.sum()
    rng = np.random.default_rng(0)
    cells = rng.choice(len(rho), _DRAWS, p=weight)
    normal = rng.standard_normal((_DRAWS, m - 1))
    times_s = span_s * np.geomspace(1e-3, HORIZON, _TIMES)
    good = np.array([_within(own, t, rho**2, walk**2, cells, normal, m * tolerance_deg**2) for t in times_s])
    good_for_s, at_least = _until(times_s, good >= CONFIDENCE)
    n = len(own.s) + 1 if len(own.s) else sum(len(g.s) + 1 for g in others)
    words = f"from {n} calibrations over {span_s / 3600:.3g} h, for {tolerance_deg:g} degrees rms"
    if at_least:
        words += f"; {HORIZON:g} times that time is as far as they allow to look"
    elif good_for_s == 0:
        words = f"the phases are not known to {tolerance_deg:g} degrees rms to begin with; {words}"
    return Outlook(
        good_for_s, at_least, n, span_s,
        3600 * math.sqrt(float(weight @ rho**2)), 60 * math.sqrt(float(weight @ walk**2)), words,
    )  # fmt: skip


def _unknown(n: int, reason: str) -> Outlook:
    return Outlook(math.nan, False, n, 0.0, math.nan, math.nan, reason)


def _distinct(calibrations: list[Calibration]) -> list[Calibration]:
    """Each id once; of those learned from the same recording, the first given."""
    out: dict[object, Calibration] = {}
    for c in calibrations:
        out.setdefault(c.captures or c.id, c)
    return list({c.id: c for c in out.values()}.values())


def _alike(c: Calibration, of: Calibration) -> bool:
    return (
        c.converged
        and c.device_serial == of.device_serial
        and c.geometry.equals(of.geometry)
        and abs(c.fc_hz / of.fc_hz - 1) < _FC_TOLERANCE
        and parse_utc(c.created_utc) is not None
    )


def _groups(alike: list[Calibration], first: Calibration) -> list[list[Calibration]]:
    """By coherence epoch, that of `first` in front, itself in front of it."""
    groups: list[list[Calibration]] = []
    for c in [first, *(c for c in alike if c is not first)]:
        home = next((g for g in groups if _comparable(g[0], c)), None)
        if home is None:
            groups.append([c])
        else:
            home.append(c)
    return groups


def _comparable(a: Calibration, b: Calibration) -> bool:
    """Nothing is known to have redrawn the phases in between."""
    if a.epoch is None or b.epoch is None:
        return True
    return a.epoch.change_since(b.epoch) in (None, EpochScope.NOTHING)


def _seen(group: list[Calibration]) -> _Seen:
    first = group[0]
    m = first.geometry.n_elements
    # rows: an orthonormal basis of what a common phase leaves
    basis = np.linalg.svd(np.eye(m) - 1 / m)[0][:, : m - 1].T
    rows = [(_seconds(c) - _seconds(first), c) for c in group[1:] if _seconds(c) != _seconds(first)]
    y = [basis @ _phase_change_deg(first, c) for _, c in rows]
    return _Seen(
        np.array([s for s, _ in rows]),
        np.array(y).reshape(len(rows), m - 1),
        np.array([_noise(c) for _, c in rows]),
        _noise(first),
    )


def _seconds(c: Calibration) -> float:
    when = parse_utc(c.created_utc)
    return math.nan if when is None else when.timestamp()


def _phase_change_deg(a: Calibration, b: Calibration) -> NDArray[np.float64]:
    ratio = b.impairments.gain / a.impairments.gain
    ratio = ratio / np.abs(ratio)
    return np.degrees(np.angle(ratio * np.conj(ratio.sum())))


def _noise(c: Calibration) -> float:
    """Variance of a phase, degrees squared; 0 where it is not known: then noise counts as drift."""
    known = c.sigma.phase_deg[np.isfinite(c.sigma.phase_deg)]
    return float(np.mean(known**2)) if len(known) else 0.0


def _brown(s: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance of a two-sided Brownian motion that is 0 at time 0."""
    return np.where(s * t > 0, np.minimum(np.abs(s), np.abs(t)), 0.0)


def _covariance(g: _Seen, rho2: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G, K, K) of what was seen, for every cell of the grid."""
    s, t = g.s[:, None], g.s[None, :]
    noise = np.diag(g.noise) + g.noise_0 + 1e-12 * np.eye(len(g.s))
    return rho2[:, None, None] * (s * t) + q[:, None, None] * _brown(s, t) + noise


def _log_likelihood(g: _Seen, rho2: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    covariance = _covariance(g, rho2, q)
    explained = np.einsum(
        "kj,gkj->g", g.y, np.linalg.solve(covariance, np.broadcast_to(g.y, (len(q), *g.y.shape)))
    )
    return -0.5 * (explained + g.y.shape[1] * np.linalg.slogdet(covariance)[1])


def _within(
    g: _Seen,
    t_s: float,
    rho2: NDArray[np.float64],
    q: NDArray[np.float64],
    cells: NDArray[np.int64],
    normal: NDArray[np.float64],
    limit: float,
) -> float:
    """Probability that the squared phase error at t_s, summed over elements, is within `limit`."""
    variance = rho2 * t_s**2 + q * t_s + g.noise_0
    mean = np.zeros((len(q), normal.shape[1]))
    if len(g.s):
        with_seen = rho2[:, None] * t_s * g.s + q[:, None] * _brown(g.s, np.array(t_s)) + g.noise_0
        gain = np.linalg.solve(_covariance(g, rho2, q), with_seen[:, :, None])[:, :, 0]
        variance = variance - np.sum(gain * with_seen, axis=1)
        mean = gain @ g.y
    error = mean[cells] + np.sqrt(np.maximum(variance, 0.0))[cells, None] * normal
    return float(np.mean(np.sum(error**2, axis=1) <= limit))


def _until(times_s: NDArray[np.float64], good: NDArray[np.bool_]) -> tuple[float, bool]:
    """Last time of the first good stretch, and whether it has no end within sight."""
    if np.all(good):
        return float(times_s[-1]), True
    first_bad = int(np.argmin(good))
    return (float(times_s[first_bad - 1]) if first_bad else 0.0), False
