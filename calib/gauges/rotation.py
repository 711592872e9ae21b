"""Absolute angles of a line from known relative rotations: u_true = al u_hat + be, no absolute angle known.

An emitter that stands still in the room at angle t_e while the table turns clockwise by h is seen at

    u_hat = kappa sin(t_e - h) + C,     al = 1 / kappa,  be = -C / kappa

(one emitter at three headings: a three-number linear fit, u_hat = A cos h + B sin h + C; several emitters
before and after one turn: a conic; here Gauss-Newton over kappa, C and every t_e, which is as good as
either and takes any mixture of them). Which sighting belongs to which emitter is not told: for a trial
(al, be) the room angles arcsin(al u_hat + be) + h of one emitter coincide at all headings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gauges.association import Assignment, assign, costed, in_front, solve, starts
from calib.gauges.line import Affine, Anchor, ScalePrior, summary
from calib.gauges.standing import Sightings

_TOLERANCES_RAD = np.deg2rad([5.0, 2.5, 1.2, 0.6, 0.3])
#: How far a table may be from its stated angles: tried in turn, then estimated from the residuals.
_TABLE_RAD = np.deg2rad([0.01, 0.06, 0.2])
_MOST_TABLE_ERROR_RAD = np.deg2rad(0.4)
_TABLE_FLOOR_RAD = float(np.deg2rad(0.01))  # the step of a good encoder; few sightings cannot show it
_GATE = 5.0
_MODE_COST = 8.0
_REFINED = 5
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class RotationFit:
    """Outcome of `fit_rotations`.

    affine : u_true = al u_hat + be. emitters_rad : (E,) room angles at heading 0. n_matched : sightings that
    belong to them. n_positions : table positions used. span_rad : range of their headings. cost : of the best
    assignment (lower is better). n_constraints : sightings less emitters; two are needed, one if the positions
    are known. table_sigma_rad : scatter of the table beyond what noise explains. needed_span_rad : range of headings
    that would do. ambiguous : separate solutions explain the sightings equally well.
    """

    affine: Affine
    emitters_rad: NDArray[np.float64]
    n_matched: int
    n_positions: int
    span_rad: float
    cost: float
    n_constraints: int
    table_sigma_rad: float
    needed_span_rad: float
    ambiguous: bool


def fit_rotations(
    seen: Sightings,
    prior: ScalePrior,
    field_rad: tuple[float, float],
    anchors: tuple[Anchor, ...] = (),
    *,
    mirrored: bool = False,
    limit_rad: float = np.deg2rad(0.5),
) -> RotationFit | None:
    """Posterior of (al, be) from standing angles at known headings; None if nothing coincides.

    seen : sightings in the frame of the learned line. prior : of the scale. field_rad : where the angle error
    is stated. anchors : known angles, used as well. mirrored : al < 0, the array's order is reversed.
    limit_rad : the angle sigma for which `needed_span_rad` is estimated.
    """
    if len(seen) < 2:
        return None
    coarse = [
        _approached(seen, prior, anchors, *start) for start in starts(seen, prior, -1 if mirrored else 1)
    ]
    near: list[Assignment] = []
    for fit in sorted((f for f in coarse if f is not None), key=lambda f: f.cost):
        # starts that ended in the same place must not crowd out another solution
        if len(near) < _REFINED and all(
            abs(fit.kappa - o.kappa) > 0.003 or abs(fit.offset - o.offset) > 0.003 for o in near
        ):
            near.append(fit)
    fits: list[Assignment] = []
    for table in _TABLE_RAD:
        tried = [_settled(seen, prior, anchors, fit, float(table)) for fit in near]
        fits += [f for f in tried if f is not None]
        if fits and _explained(min(fits, key=lambda f: f.cost), prior, anchors):
            break
    if not fits:
        return None
    best = min(fits, key=lambda f: f.cost)
    table = _table_sigma(seen, prior, anchors, best)
    again = [solve(seen, prior, anchors, f, table) for f in fits if f.table_rad == best.table_rad]
    fits = [costed(seen, f) for f in again if f is not None]
    best = min(fits, key=lambda f: f.cost)
    modes = _distinct([f for f in fits if f.cost < best.cost + _MODE_COST], best)
    affine = _posterior(modes, best, seen, prior, anchors, field_rad, table)
    used = best.owner >= 0
    headings = seen.heading_rad[used]
    span = float(np.ptp(headings)) if used.any() else 0.0
    return RotationFit(
        affine, best.emitters, int(used.sum()), len(np.unique(seen.position[used])), span, best.cost,
        best.n_constraints + len(anchors), table, _needed_span(best, seen, prior, field_rad, limit_rad, table),
        _ambiguous(modes, field_rad, limit_rad),
    )  # fmt: skip


def _approached(
    seen: Sightings, prior: ScalePrior, anchors: tuple[Anchor, ...], al: float, be: float
) -> Assignment | None:
    """Assign and fit in turn with a closing tolerance."""
    fit = Assignment(1 / al, -be / al, np.empty(0), np.full(len(seen), -1))
    for tolerance in _TOLERANCES_RAD:
        emitters, owner = assign(seen, fit.kappa, fit.offset, np.full(len(seen), tolerance))
        if not len(emitters):
            return None
        started = Assignment(fit.kappa, fit.offset, emitters, owner)
        solved = solve(seen, prior, anchors, started, tolerance / 3, rounds=4)
        if solved is None:
            return None
        fit = solved
    return costed(seen, fit)


def _settled(
    seen: Sightings, prior: ScalePrior, anchors: tuple[Anchor, ...], fit: Assignment, table_rad: float
) -> Assignment | None:
    """The same with the gate that noise and a table's scatter of `table_rad` ask for."""
    sigma = np.sqrt(np.diag(seen.covariance))
    for tolerance in (2.0, 1.4, 1.0, 1.0):
        slope = np.sqrt(np.maximum(1 - ((seen.angle - fit.offset) / fit.kappa) ** 2, 0.05**2))
        own = np.hypot(sigma / (abs(fit.kappa) * slope), table_rad)
        emitters, owner = assign(seen, fit.kappa, fit.offset, tolerance * _GATE * own)
        if not len(emitters):
            return None
        settled = tolerance == 1.0 and np.array_equal(owner, fit.owner)
        solved = solve(seen, prior, anchors, Assignment(fit.kappa, fit.offset, emitters, owner), table_rad)
        if solved is None:
            return None
        fit = solved
        if settled:
            break
    return costed(seen, fit) if in_front(fit, seen) else None


def _freedom(fit: Assignment, prior: ScalePrior, anchors: tuple[Anchor, ...]) -> int:
    """Sightings beyond what (al, be) and the emitters take."""
    return fit.n_constraints + len(anchors) - (1 if prior.position_std == 0 else 2)


def _explained(fit: Assignment, prior: ScalePrior, anchors: tuple[Anchor, ...]) -> bool:
    """True if every sighting belongs to an emitter and noise explains the rest."""
    freedom = max(_freedom(fit, prior, anchors), 1)
    return bool(np.all(fit.owner >= 0)) and fit.chi2 < freedom + 4 * np.sqrt(2 * freedom)


def _table_sigma(seen: Sightings, prior: ScalePrior, anchors: tuple[Anchor, ...], fit: Assignment) -> float:
    """Scatter of the table that brings chi2 down to its freedom, at least what is granted to any table."""
    freedom = _freedom(fit, prior, anchors)
    if freedom < 1:
        return _TABLE_FLOOR_RAD

    def surplus(table_rad: float) -> float:
        again = solve(seen, prior, anchors, fit, table_rad)
        return (again.chi2 if again is not None else fit.chi2) - freedom

    if surplus(_TABLE_FLOOR_RAD) < 2 * np.sqrt(2 * freedom):
        return _TABLE_FLOOR_RAD
    if surplus(_MOST_TABLE_ERROR_RAD) > 0:
        return _MOST_TABLE_ERROR_RAD
    low, high = _TABLE_FLOOR_RAD, _MOST_TABLE_ERROR_RAD
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return high


def _distinct(fits: list[Assignment], best: Assignment) -> list[Assignment]:
    """One of each solution; the best first."""
    out = [best]
    for fit in sorted(fits, key=lambda f: f.cost):
        spread = np.sqrt(np.diag(fit.covariance)) if fit.covariance is not None else np.zeros(2)
        if all(
            abs(fit.kappa - o.kappa) > 0.5 * spread[0] + 1e-6
            or abs(fit.offset - o.offset) > 0.5 * spread[1] + 1e-6
            for o in out
        ):
            out.append(fit)
    return out


def _ambiguous(modes: list[Assignment], field_rad: tuple[float, float], limit_rad: float) -> bool:
    """True if two solutions differ by more than the limit and by far more than either one's own sigma."""
    u = np.sin(np.linspace(*field_rad, 31))
    for other in modes[1:]:
        gap = (other.kappa - modes[0].kappa) * u + other.offset - modes[0].offset
        own = 0.0
        for mode in (modes[0], other):
            assert mode.covariance is not None
            own += float(np.sqrt(np.trace(mode.covariance)))
        if np.sqrt(np.mean(gap**2)) > max(limit_rad, 5 * own):
            return True
    return False


def _posterior(
    modes: list[Assignment], best: Assignment, seen: Sightings, prior: ScalePrior, anchors: tuple[Anchor, ...],
    field_rad: tuple[float, float], table_rad: float,
) -> Affine:  # fmt: skip
    """Mixture of the solutions' own Gaussians, as (al, be); few sightings make it wider (Student's t)."""
    rng = np.random.default_rng(0)
    freedom = max(_freedom(best, prior, anchors), 0)
    points, weights = [], []
    for mode in modes:
        covariance = mode.covariance
        assert covariance is not None
        draws = rng.multivariate_normal(np.zeros(2), covariance, _DRAWS, check_valid="ignore", method="eigh")
        if table_rad > _TABLE_FLOOR_RAD:  # estimated from the residuals themselves
            draws *= np.sqrt(freedom / rng.chisquare(max(freedom, 1), _DRAWS))[:, None]
        kappa, offset = mode.kappa + draws[:, 0], mode.offset + draws[:, 1]
        good = kappa * np.sign(mode.kappa) > 0.2
        points.append(np.stack((1 / kappa[good], -offset[good] / kappa[good])))
        volume = np.sqrt(max(float(np.linalg.det(covariance)), 1e-300))
        chance = np.exp(best.cost - mode.cost) * volume
        weights.append(np.full(int(good.sum()), chance))
    p = np.concatenate(weights)
    return summary(
        np.concatenate(points, axis=1),
        p / p.sum(),
        field_rad,
        _tension(best, seen, prior, anchors, table_rad),
        True,
    )


def _tension(
    fit: Assignment, seen: Sightings, prior: ScalePrior, anchors: tuple[Anchor, ...], table_rad: float
) -> float:
    """Sigmas between the scale that the turns alone give and the scale of the nominal positions."""
    a_mean, a_std = prior.moments()
    if _freedom(fit, prior, anchors) < 0 or prior.position_std == 0:
        return 0.0
    loose = ScalePrior(prior.learned, prior.nominal, 10.0)
    alone = solve(seen, loose, anchors, fit, table_rad)
    if alone is None or alone.covariance is None:
        return 0.0
    sigma = float(np.sqrt(alone.covariance[0, 0])) / alone.kappa**2
    return (abs(1 / alone.kappa) - a_mean) / float(np.hypot(sigma, a_std))


def _needed_span(
    fit: Assignment, seen: Sightings, prior: ScalePrior, field_rad: tuple[float, float], limit_rad: float, table_rad: float
) -> float:  # fmt: skip
    """Range of headings at which the same emitters and steps would reach the limit; inf if none in front does."""
    used = fit.owner >= 0
    owner, heading = fit.owner[used], seen.heading_rad[used]
    middle = (heading.max() + heading.min()) / 2
    span = float(np.ptp(heading))
    if span <= 0:
        return np.inf
    angle = np.linspace(*field_rad, 61)
    # where the emitters stand is the user's to choose: in front of the turned array as well as may be
    seen_from = fit.emitters - middle
    seen_from = seen_from - np.clip(seen_from.mean(), -0.2, 0.2)
    for wanted in np.deg2rad(np.arange(2.0, 161.0, 2.0)):
        phase = seen_from[owner] - (heading - middle) * wanted / span
        if np.any(np.abs(phase) > np.deg2rad(88.0)):
            break
        jacobian = np.zeros((len(owner), 2 + len(fit.emitters)))
        jacobian[:, 0], jacobian[:, 1] = np.sin(phase), 1.0
        jacobian[np.arange(len(owner)), 2 + owner] = fit.kappa * np.cos(phase)
        noise = np.diag(seen.covariance)[used] + (table_rad * fit.kappa * np.cos(phase)) ** 2 + 1e-16
        normal = (jacobian / noise[:, None]).T @ jacobian
        a_mean, a_std = prior.moments()
        normal[0, 0] += (a_mean / max(a_std, 1e-7)) ** 2
        covariance = np.linalg.pinv(normal, rcond=1e-14)[:2, :2]
        lever = np.stack((np.sin(angle), np.ones_like(angle))) / (fit.kappa * np.maximum(np.cos(angle), 0.05))
        if 1.9 * np.sqrt(np.mean(np.sum(lever * (covariance @ lever), axis=0))) < limit_rad:
            return float(wanted)
    return np.inf
