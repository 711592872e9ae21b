"""Which labels agree with one another, and how well: wrong ones are named and left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, stdtrit

from calib.pilot.fit import Extra, Labelled, Unknowns, group_excess, located, solve
from calib.pilot.model import CoupledModel
from calib.pilot.start import start

_UNKNOWN_TOLERANCE_RAD = np.deg2rad(1.0)  # scatter of statements that is still taken as their uncertainty
_SUBSETS = 80
_SHALLOW = 2.0  # excess of a null that is not there
_SIGMAS = 5.0
_ODD_RAD = np.deg2rad(0.05)  # smaller disagreement is not worth an accusation
_ODD_P = 1e-3
_MOST_TESTED = 40
_MANY = 20


@dataclass(frozen=True, slots=True)
class Agreement:
    """The fit to the labels that agree.

    kept : (G',) groups used. sigma_rad (G',) : uncertainty given to each, scatter_rad what was estimated (0 if
    given). checked : redundancy left, statements beyond what the unknowns need. contradiction : in words, or "".
    """

    model: CoupledModel
    lab: Labelled
    kept: NDArray[np.intp]
    sigma_rad: NDArray[np.float64]
    scatter_rad: float
    checked: int
    contradiction: str = ""


def agree(lab: Labelled, unknowns: Unknowns, *, seed: int = 0, extra: Extra | None = None,
          begin: CoupledModel | None = None) -> Agreement:  # fmt: skip
    """Fit labels, dropping statements that contradict the others.

    extra : what other data know (semi-supervised); begin : start there instead of at the labels' own start.
    """
    needed = needed_angles(unknowns, lab) if extra is None else 1
    groups = np.arange(len(lab))
    given = lab.labels.sigma_rad
    model = _fit(lab, unknowns, np.nan_to_num(given), extra, begin)
    fine = _consistent(model, lab, given)
    kept, contradiction = groups, ""
    if not fine.all() and len(lab) > needed:
        kept = _consensus(lab, unknowns, given, needed, seed, extra, begin, groups[fine])
        # the majority must be right, and must be checked by at least one statement more than is needed
        if 2 * len(kept) <= len(lab) or len(kept) <= needed:
            contradiction = (
                f"the labels contradict one another: no {max(needed + 1, len(lab) // 2 + 1)} of {len(lab)} "
                "agree on one array (wrong labels, coherent sources or coupling); more labels would tell which"
            )
            kept = groups
    elif not fine.all():
        contradiction = "no array of this kind has its nulls at the stated angles"
    scatter = 0.0
    for _ in range(4 + len(lab) // 3):
        part = lab.only(kept)
        sigma = np.where(np.isnan(part.labels.sigma_rad), scatter, part.labels.sigma_rad)
        model = _fit(part, unknowns, sigma, extra, begin if extra is not None else model)
        if contradiction:
            break
        scatter = scatter_of(model, part, needed)
        odd = _odd_one(model, part, unknowns, scatter, needed, extra)
        if odd is not None and 2 * (len(kept) - 1) > len(lab):
            kept, scatter = np.delete(kept, odd), 0.0
            continue
        sigma = np.where(np.isnan(part.labels.sigma_rad), scatter, part.labels.sigma_rad)
        off = distance(model, part, sigma)
        still = off < _SIGMAS
        if still.all() or still.sum() <= max(needed, len(lab) // 2):
            break
        kept = kept[still]
    part = lab.only(kept)
    sigma = np.where(np.isnan(part.labels.sigma_rad), scatter, part.labels.sigma_rad)
    model = solve(model, part, unknowns, sigma, n_soft=0, n_hard=4, extra=extra)
    return Agreement(model, part, kept, sigma, scatter, len(kept) - needed, contradiction)


def needed_angles(unknowns: Unknowns, lab: Labelled) -> int:
    """Different directions that the unknowns need: 1 for gains, 1 + D with positions, more with coupling."""
    return (1 if unknowns.position_std == 0 else 1 + lab.d.shape[1]) + (unknowns.n_coupling > 0)


def _fit(
    lab: Labelled,
    unknowns: Unknowns,
    sigma: NDArray[np.float64],
    extra: Extra | None,
    begin: CoupledModel | None,
) -> CoupledModel:
    first = start(lab, unknowns) if begin is None else begin
    return solve(first, lab, unknowns, sigma, extra=extra)


def _tolerance(given: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(given), _UNKNOWN_TOLERANCE_RAD, _SIGMAS * np.nan_to_num(given))


def _consistent(model: CoupledModel, lab: Labelled, given: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(G,) the source is seen at the statement, within its tolerance."""
    free = np.full(len(lab), 1.0)
    d, delta, spread = located(model, lab, free)
    noise = np.sqrt(np.trace(spread, axis1=1, axis2=2))
    noise = np.where(noise > 0.5, 0.0, noise)  # a direction that cannot be moved, such as elevation 0
    near = np.linalg.norm(delta, axis=1) <= _tolerance(given) + _SIGMAS * noise
    return near & (group_excess(model, lab, d) < _SHALLOW)


def _consensus(
    lab: Labelled,
    unknowns: Unknowns,
    given: NDArray[np.float64],
    needed: int,
    seed: int,
    extra: Extra | None,
    begin: CoupledModel | None,
    first: NDArray[np.intp],
) -> NDArray[np.intp]:
    """Largest set of statements that one array explains, over small subsets."""
    rng = np.random.default_rng(seed)
    size = min(needed + 1, len(lab) - 1)
    if len(lab) <= 9:
        subsets = [np.array(c) for c in combinations(range(len(lab)), size)]
        subsets = [subsets[i] for i in rng.permutation(len(subsets))[:_SUBSETS]]
    else:
        subsets = [np.sort(rng.choice(len(lab), size, replace=False)) for _ in range(_SUBSETS)]
    best, cost = first, np.inf
    for subset in [first, *subsets]:
        if len(subset) < size:
            continue
        part = lab.only(subset)
        model = _fit(part, unknowns, np.nan_to_num(part.labels.sigma_rad), extra, begin)
        fine = np.flatnonzero(_consistent(model, lab, given))
        away = _away(model, lab)[fine]
        here = float(np.sum(away**2))
        if len(fine) > len(best) or (len(fine) == len(best) and here < cost):
            best, cost = fine, here
        if len(best) >= 0.8 * len(lab) and len(lab) > 9:
            break
    return best


def _away(model: CoupledModel, lab: Labelled) -> NDArray[np.float64]:
    return np.linalg.norm(located(model, lab, np.full(len(lab), 1.0))[1], axis=1)


def scatter_of(model: CoupledModel, lab: Labelled, needed: int) -> float:
    """Uncertainty of statements that came without one, from their distance to where the sources are seen."""
    unknown = np.isnan(lab.labels.sigma_rad)
    spare = len(lab) - needed
    if not unknown.any() or spare < 1:
        return 0.0
    _, delta, spread = located(model, lab, np.full(len(lab), 1.0))
    movable = np.array([np.diagonal(s) < 0.25 for s in spread])
    square = np.where(movable, delta**2, 0.0)
    noise = np.where(movable, np.diagonal(spread, axis1=1, axis2=2), 0.0)
    used = movable & unknown[:, None]
    if not used.any():
        return 0.0
    floor = 2 * float(np.median(noise[used]))
    if len(lab) < _MANY:
        # the median of a few says little; single wrong ones among them are for the outlier test
        extra = float(np.mean(square[used])) * len(lab) / spare - floor
    else:
        extra = float(np.median(square[used])) / 0.455 * len(lab) / spare - floor  # 0.455: median of chi2_1
    # of a few statements the scatter itself is known badly
    widened = float(stdtrit(spare, 0.95) / stdtrit(1e6, 0.95))
    return widened * float(np.sqrt(max(extra, 0.0)))


def _odd_one(
    model: CoupledModel,
    lab: Labelled,
    unknowns: Unknowns,
    scatter: float,
    needed: int,
    extra: Extra | None,
) -> int | None:
    """The one statement without which all others agree far better (outlier test on few statements)."""
    unknown = np.isnan(lab.labels.sigma_rad)
    dof = (len(lab) - 1) * lab.slope.shape[2] - needed
    if scatter < _ODD_RAD or not unknown.all() or dof < 2 or len(lab) > _MOST_TESTED:
        return None
    best, square = -1, np.inf
    for g in range(len(lab)):
        rest = lab.only(np.delete(np.arange(len(lab)), g))
        trial = solve(model, rest, unknowns, np.zeros(len(rest)), n_soft=4, n_hard=2, extra=extra)
        here = float(np.sum(_away(trial, rest) ** 2))
        if here < square:
            best, square = g, here
    everything = float(np.sum(_away(model, lab) ** 2))
    floor = len(lab) * (0.1 * _ODD_RAD) ** 2
    ratio = (everything - square) / (max(square, floor) / dof)
    return best if fdtrc(1, dof, ratio) < _ODD_P / len(lab) else None


def distance(model: CoupledModel, lab: Labelled, sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) sigmas between statement and source, infinite where no null is near."""
    d, delta, spread = located(model, lab, np.full(len(lab), 1.0))
    noise = np.diagonal(spread, axis1=1, axis2=2)
    z = np.where(noise < 0.25, np.abs(delta) / np.sqrt(sigma[:, None] ** 2 + 4 * noise + 1e-14), 0.0).max(
        axis=1
    )
    return np.where(group_excess(model, lab, d) < _SHALLOW, z, np.inf)


def seen_at(model: CoupledModel, lab: Labelled, group: int) -> float | None:
    """Angle in degrees at which a statement's source is really seen (at the stated elevation), None if nowhere."""
    part = lab.only(np.array([group])).turned(model)
    limit = np.pi / 2 if lab.line else np.pi
    inside = np.mean(part.signal @ part.signal.conj().transpose(0, 2, 1), axis=0)
    tilt = float(part.labels.elevation_rad[0])

    def deepest(angle: NDArray[np.float64]) -> tuple[float, float]:
        at = replace(part.labels, azimuth_rad=angle, elevation_rad=np.full(len(angle), tilt))
        a = model.steering(at.direction(line=lab.line))
        a = a / np.linalg.norm(a, axis=1, keepdims=True)
        depth = 1 - np.einsum("gm,mn,gn->g", a.conj(), inside, a).real
        best = int(np.argmin(depth))
        return float(angle[best]), float(depth[best])

    coarse = np.linspace(-limit, limit, 2001)
    step = float(coarse[1] - coarse[0])
    angle, _ = deepest(coarse)
    angle, depth = deepest(angle + step * np.linspace(-1, 1, 101))
    floor = float(np.median(part.variance.max(axis=1))) * lab.dof
    return float(np.rad2deg(angle)) if depth < 20 * floor else None
