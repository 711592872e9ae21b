"""Which standing angle belongs to which emitter, and the fit of one such assignment (see calib.gauges.rotation).

For a trial (al, be) the room angles arcsin(al u_hat + be) + heading of one emitter coincide at all headings;
nothing else is needed to tell emitters apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gauges.line import Anchor, ScalePrior
from calib.gauges.standing import Sightings

_COARSE_RAD = np.deg2rad(2.0)
_LOG_RANGE = np.log(2.0)  # a sighting that belongs to nothing may be anywhere in u
_EMITTER_COST = 3.0
_STARTS = 12
_FRONT_RAD = np.deg2rad(91.0)


@dataclass(slots=True)
class Assignment:
    """One hypothesis: kappa, offset C, emitters (E,), which emitter each sighting belongs to (-1: none)."""

    kappa: float
    offset: float
    emitters: NDArray[np.float64]
    owner: NDArray[np.intp]
    chi2: float = np.inf
    cost: float = np.inf
    table_rad: float = 0.0
    covariance: NDArray[np.float64] | None = None  # of (kappa, C)

    @property
    def n_constraints(self) -> int:
        """Sightings less emitters."""
        return int(np.sum(self.owner >= 0)) - len(self.emitters)


def starts(seen: Sightings, prior: ScalePrior, sign: int) -> list[tuple[float, float]]:
    """Trial (al, be), sign(al) = sign, at which many room angles of different headings coincide, best first."""
    a_mean, a_std = prior.moments()
    reach = min(5 * a_std, 0.6)
    als = sign * (a_mean + (np.linspace(-reach, reach, 1 + 2 * int(np.ceil(reach / 0.03)))))
    bes = np.linspace(-0.9, 0.9, 73)
    al, be = (x.ravel() for x in np.meshgrid(als, bes, indexing="ij"))
    order = np.argsort(np.diag(seen.covariance))[:60]
    u, heading, position = seen.angle[order], seen.heading_rad[order], seen.position[order]
    first, second = np.triu_indices(len(u), 1)
    other = position[first] != position[second]
    first, second = first[other], second[other]
    if not len(first):
        return []
    if len(first) > 600:  # a sample of the pairs ranks starts well enough
        pick = np.random.default_rng(0).choice(len(first), 600, replace=False)
        first, second = first[pick], second[pick]
    v = al[:, None] * u + be[:, None]
    inside = np.abs(v) <= 1.02
    room = np.arcsin(np.clip(v, -1, 1)) + heading
    gap = (room[:, first] - room[:, second]) / _COARSE_RAD
    score = np.sum(np.exp(-0.5 * gap**2) * (inside[:, first] & inside[:, second]), axis=1)
    found: list[tuple[float, float]] = []
    for i in np.argsort(-score):
        if score[i] <= 0 or len(found) >= _STARTS:
            break
        if all(abs(al[i] - a) > 0.05 or abs(be[i] - b) > 0.07 for a, b in found):
            found.append((float(al[i]), float(be[i])))
    return found


def costed(seen: Sightings, fit: Assignment) -> Assignment:
    """`fit` with its cost: minus log likelihood, normal where matched, anywhere in u where not."""
    used = fit.owner >= 0
    phase = fit.emitters[fit.owner[used]] - seen.heading_rad[used]
    spread = np.hypot(np.sqrt(np.diag(seen.covariance)[used]), fit.table_rad * fit.kappa * np.cos(phase))
    narrow = np.log(np.sqrt(2 * np.pi) * np.maximum(spread, 1e-8))
    first = np.bincount(fit.owner[used], weights=narrow) / np.bincount(fit.owner[used])
    fit.cost = 0.5 * fit.chi2 + float(narrow.sum() - first.sum())
    fit.cost += _LOG_RANGE * float(np.sum(~used)) + (_LOG_RANGE + _EMITTER_COST) * len(fit.emitters)
    return fit


def assign(
    seen: Sightings, kappa: float, offset: float, tolerance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """(emitters (E,), owner (n,)) for a trial gauge: emitters are groups of room angles that coincide, at most one sighting of each table position.

    The more positions there are, the more of them must show an emitter: chance coincidences of hopping ones don't.
    """
    v = (seen.angle - offset) / kappa
    room = np.arcsin(np.clip(v, -1, 1)) + seen.heading_rad
    free = np.abs(v) <= 1.05
    owner = np.full(len(seen), -1, dtype=np.intp)
    emitters: list[float] = []
    fewest = 2 if seen.n_positions <= 3 else max(3, -(-seen.n_positions // 4))
    gap = np.abs(room[:, None] - room)
    near = gap <= np.maximum(tolerance[:, None], tolerance)
    shows = seen.position[:, None] == np.unique(seen.position)
    while True:
        group = near & free & free[:, None]
        count = ((group @ shows) > 0).sum(axis=1)
        centre = int(np.argmax(count))
        if count[centre] < fewest:
            return np.array(emitters), owner
        members = np.flatnonzero(group[centre])
        members = members[np.argsort(gap[centre, members], kind="stable")]
        _, once = np.unique(seen.position[members], return_index=True)
        best = members[once]
        owner[best] = len(emitters)
        emitters.append(float(np.median(room[best])))
        free[best] = False


def solve(
    seen: Sightings, prior: ScalePrior, anchors: tuple[Anchor, ...], fit: Assignment, table_rad: float,
    rounds: int = 12,
) -> Assignment | None:  # fmt: skip
    """Gauss-Newton over (kappa, C, emitters) with the assignment held; None if it leads nowhere.

    table_rad : standard deviation of the table's angles, beside the sightings' own covariance.
    """
    used = fit.owner >= 0
    owner, heading, u = fit.owner[used], seen.heading_rad[used], seen.angle[used]
    base = seen.covariance[np.ix_(used, used)]
    together = seen.position[used][:, None] == seen.position[used]
    x = np.concatenate(([fit.kappa, fit.offset], fit.emitters))
    a_mean, a_std = prior.moments()
    a_std = max(a_std, 1e-7)
    sign = np.sign(fit.kappa)
    n, size = len(u), len(x)
    whiten = np.eye(n)
    chi2 = np.inf
    normal = np.eye(size)
    for step in range(rounds):
        phase = x[2 + owner] - heading
        slope = x[0] * np.cos(phase)
        if step < 4:  # the table's scatter acts through the slope
            try:
                # one error of the table moves all that was seen at that position
                common = table_rad**2 * np.outer(slope, slope) * together
                whiten = np.linalg.inv(np.linalg.cholesky(base + common + 1e-16 * np.eye(n)))
            except np.linalg.LinAlgError:
                return None
        jacobian = np.zeros((n + 1 + len(anchors), size))
        residual = np.zeros(n + 1 + len(anchors))
        model = np.zeros((n, size))
        model[:, 0], model[:, 1] = np.sin(phase), 1.0
        model[np.arange(n), 2 + owner] = slope
        residual[:n] = whiten @ (u - x[0] * np.sin(phase) - x[1])
        jacobian[:n] = whiten @ model
        residual[n] = (sign * a_mean - 1 / x[0]) / a_std
        jacobian[n, 0] = -1 / x[0] ** 2 / a_std
        for i, anchor in enumerate(anchors):
            spread = np.hypot(anchor.sigma, x[0] * anchor.sigma_true) + 1e-9
            residual[n + 1 + i] = (anchor.u_hat - x[0] * anchor.u_true - x[1]) / spread
            jacobian[n + 1 + i, :2] = anchor.u_true / spread, 1 / spread
        chi2 = float(residual @ residual)
        normal = jacobian.T @ jacobian
        scale = 1 / np.sqrt(np.diag(normal) + 1e-30)
        inner = normal * scale * scale[:, None] + 1e-10 * np.eye(size)
        change = scale * np.linalg.solve(inner, scale * (jacobian.T @ residual))
        limit = max(abs(change[0]) / 0.2, abs(change[1]) / 0.3, np.abs(change[2:]).max() / 0.2, 1.0)
        x = x + change / limit
        if x[0] * sign < 0.2:
            return None
        if np.max(np.abs(change) * np.sqrt(np.diag(normal))) < 1e-3:
            break
    scale = 1 / np.sqrt(np.diag(normal) + 1e-30)
    inverse = scale * np.linalg.inv(normal * scale * scale[:, None] + 1e-12 * np.eye(size)) * scale[:, None]
    return Assignment(float(x[0]), float(x[1]), x[2:], fit.owner, chi2, np.inf, table_rad, inverse[:2, :2])


def in_front(fit: Assignment, seen: Sightings) -> bool:
    """True if every emitter stood in front of the line whenever it was seen."""
    used = fit.owner >= 0
    seen_at = fit.emitters[fit.owner[used]] - seen.heading_rad[used]
    return bool(np.all(np.abs(seen_at) < _FRONT_RAD))
