"""Puts labels on an array of known shape and unknown gauge: which offset and scale (or rotation) they mean."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from calib.gauges.line import ScalePrior
from calib.layout import Layout
from calib.model import Model, find_peaks
from calib.observations import Subspaces
from calib.pilot.fit import Labelled, Unknowns, group_excess, located
from calib.pilot.model import CoupledModel
from hil.core.errors import NotIdentifiable

_TOLERANCE_RAD = np.deg2rad(2.0)  # of a statement, before its scatter is known
_MOST_PAIRS = 400
_SHALLOW = 2.0
_LOOKS = 40


@dataclass(frozen=True, slots=True)
class Match:
    """The model in the labels' gauge, the groups (G',) that agree with it, and what is wrong, in words."""

    model: Model
    kept: NDArray[np.intp]
    problem: str = ""


def match_labels(model: Model, lab: Labelled, layout: Layout, unknowns: Unknowns) -> Match:
    """Robust gauge from labels of which some may be wrong.

    Raises NotIdentifiable if one label alone could mean several standing sources.
    """
    best = _line(model, lab, layout, unknowns) if lab.line else _plane(model, lab, unknowns)
    kept = np.flatnonzero(_fits(best, lab))
    if len(kept) and 2 * len(kept) > len(lab):
        return Match(best, kept)
    words = (
        f"the labels contradict the unlabelled blocks or one another: {len(kept)} of {len(lab)} fit one offset"
        " and scale of the angles"
    )
    return Match(best, kept if len(kept) else np.arange(len(lab)), words)


def _line(model: Model, lab: Labelled, layout: Layout, unknowns: Unknowns) -> Model:
    nominal = layout.nominal[:, 0] - layout.nominal[:, 0].mean()
    prior = ScalePrior(model.r[:, 0] - model.r[:, 0].mean(), nominal, unknowns.position_std)
    mean, std = prior.moments()
    seen = [_standing(model, lab, g) for g in range(len(lab))]
    if len(lab) == 1:
        require_one(seen[0], lab.labels.names[0])
    u, slope = lab.d[:, 0], np.linalg.norm(lab.slope, axis=(1, 2))
    tolerance = _tolerances(lab) * slope + 0.005
    best, most = (mean, 0.0), (-1, -np.inf)
    for al, be in _candidates(seen, u, mean, std):
        gap = np.array([np.min(np.abs(al * s + be - u[g]), initial=np.inf) for g, s in enumerate(seen)])
        fine = gap < tolerance
        cost = -float(np.sum(np.minimum(gap / tolerance, 1) ** 2)) - 0.5 * ((al - mean) / max(std, 1e-3)) ** 2
        if (int(fine.sum()), cost) > most:
            best, most = (al, be), (int(fine.sum()), cost)
    al, be = _least_squares(best, seen, u, tolerance, (mean, std))
    return model.scaled(al).shifted(be).normalised()


def _candidates(
    seen: list[NDArray[np.float64]], u: NDArray[np.float64], mean: float, std: float
) -> list[tuple[float, float]]:
    """(al, be) from single labels with the expected scale, and from pairs."""
    out = [(mean, float(u[g] - mean * s)) for g, found in enumerate(seen) for s in found]
    if std == 0:
        return out
    pairs = [(i, j) for i in range(len(u)) for j in range(i) if abs(u[i] - u[j]) > 0.05]
    rng = np.random.default_rng(0)
    for at in rng.permutation(len(pairs))[:_MOST_PAIRS]:
        i, j = pairs[at]
        for a, b in product(seen[i], seen[j]):
            al = (u[i] - u[j]) / (a - b) if a != b else np.inf
            if abs(al - mean) < 5 * std + 0.02:
                out.append((float(al), float(u[i] - al * a)))
    return out


def _least_squares(
    start: tuple[float, float],
    seen: list[NDArray[np.float64]],
    u: NDArray[np.float64],
    tolerance: NDArray[np.float64],
    scale: tuple[float, float],
) -> tuple[float, float]:
    """Offset and, as far as the labels tell it better than the prior, scale over the labels that agree."""
    al, be = start
    if not any(len(s) for s in seen):
        return al, be
    for _ in range(2):
        near = np.array(
            [s[np.argmin(np.abs(al * s + be - u[g]))] if len(s) else np.nan for g, s in enumerate(seen)]
        )
        fine = np.abs(al * near + be - u) < tolerance
        if not fine.any():
            return al, be
        x, y = near[fine], u[fine]
        if scale[1] > 0 and np.ptp(x) > 0.02:
            weight = 1e-6 / scale[1] ** 2
            square = float(np.sum((x - x.mean()) ** 2))
            al = (float(np.sum((x - x.mean()) * y)) + weight * scale[0]) / (square + weight)
        be = float(np.mean(y - al * x))
    return al, be


def _standing(model: Model, lab: Labelled, group: int) -> NDArray[np.float64]:
    """u of the peaks that are in nearly all blocks of a statement."""
    mine = np.flatnonzero(lab.group == group)
    mine = mine[np.unique(np.linspace(0, len(mine) - 1, _LOOKS).astype(int))]
    signal = lab.signal[mine]
    nothing = np.ones(len(mine))
    sub = Subspaces(signal, lab.variance[mine], np.ones((len(mine), signal.shape[2])), nothing)
    theta, depth = find_peaks(model, sub, (-1.3, 1.3))
    theta = np.where(depth < 0.3, theta, np.nan)
    width = 0.05 / max(model.aperture, 0.25)
    first = theta[len(theta) // 2]
    first = first[np.isfinite(first)]
    share = [np.mean(np.any(np.abs(theta - c) < width, axis=1)) for c in first]
    standing = first[np.array(share) > 0.6] if len(first) else first
    return np.array([np.nanmedian(theta[np.abs(theta - c) < width]) for c in standing])


def _plane(model: Model, lab: Labelled, unknowns: Unknowns) -> Model:
    """Best of a full turn by the number of labels in the neighbourhood of a null, then refined."""
    if unknowns.position_std == 0:
        return model
    best, most = model, (-1, np.inf)
    for turn in np.linspace(-np.pi, np.pi, 180, endpoint=False):
        trial = model.shifted(float(turn))
        excess = _excess(trial, lab)
        key = (int(np.sum(excess < _SHALLOW)), float(np.median(excess)))
        if (key[0], -key[1]) > (most[0], -most[1]):
            best, most = trial, key
    for _ in range(3):
        plain = CoupledModel(best.g, best.r, np.zeros(0, complex))
        _, delta, _ = located(plain, lab, np.full(len(lab), 1.0))
        best = best.shifted(-float(np.median(delta[:, 0])))
    return best


def _excess(model: Model, lab: Labelled) -> NDArray[np.float64]:
    plain = CoupledModel(model.g, model.r, np.zeros(0, complex))
    d, _, _ = located(plain, lab, np.full(len(lab), 1.0))
    return group_excess(plain, lab, d)


def _fits(model: Model, lab: Labelled) -> NDArray[np.bool_]:
    plain = CoupledModel(model.g, model.r, np.zeros(0, complex))
    d, delta, _ = located(plain, lab, np.full(len(lab), 1.0))
    near = np.abs(delta[:, 0]) < _tolerances(lab) + np.deg2rad(0.3)
    return near & (group_excess(plain, lab, d) < _SHALLOW)


def _tolerances(lab: Labelled) -> NDArray[np.float64]:
    given = lab.labels.sigma_rad
    return np.where(np.isnan(given), _TOLERANCE_RAD, np.maximum(5 * np.nan_to_num(given), np.deg2rad(0.5)))


def require_one(seen: NDArray[np.float64], name: str) -> None:
    """Raise NotIdentifiable if a lone label could mean several standing sources."""
    if len(seen) > 1:
        raise NotIdentifiable(
            f"label {name}: several sources stand still in its interval", parameters=["angle offset"],
            hint="label an interval with one standing source, or a second direction",
        )  # fmt: skip
