"""What the table's turns tell without a direction: phases of coherence epochs, and whether stated directions are all wrong alike.

An emitter that stands still at azimuth t_0 is seen at t_0 - h where the table stands at h. For a trial t_0 these are labels, and
the pilot fit over all epochs (calib.pilot.fit) tells how well they explain the blocks; the t_0 that does so best also tells
by how much the groups turned. What is left open of t_0 (on a plane all of it) hardly moves them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.observations import Observations
from calib.pilot.calibrate import sorted_blocks
from calib.pilot.fit import Labelled, Unknowns, attach, nulls, solve
from calib.pilot.labels import Labels
from calib.pilot.model import CoupledModel
from calib.pilot.start import start
from calib.pilot.sweep import group_parts, turns_of
from calib.result import Prior
from hil.core.errors import NotIdentifiable
from hil.core.geometry import ArrayGeometry

_MOST_STATEMENTS = 40
_STEPS_DEG = (6.0, 1.5, 0.4, 0.1)
_ENDFIRE_DEG = 84.0
_AT_NOISE = 1.0  # mean of log(1 + D / (dof v)); log 2 is what noise gives


def turns_from_rotation(
    obs: Observations,
    heading_deg: NDArray[np.float64],
    geometry: ArrayGeometry,
    fc_hz: float,
    *,
    epoch: NDArray[np.intp],
    groups: Sequence[Sequence[int]],
    prior: Prior | None = None,
) -> NDArray[np.float64]:
    """(E, M) radians by which every channel is turned in each epoch against epoch 0.

    obs : covariances of B blocks that show one emitter, the same. heading_deg : (B,) of the table, clockwise.

    Raises NotIdentifiable : the table turned so far that the emitter cannot always have been in front of a line.
    """
    layout, prepared = sorted_blocks(obs, geometry, fc_hz, prior or Prior(), 1)
    unknowns = Unknowns(layout.nominal, layout.position_std)
    low, high = 0.0, 0.0
    if layout.is_line:
        low, high = float(heading_deg.max()) - _ENDFIRE_DEG, float(heading_deg.min()) + _ENDFIRE_DEG
        if low > high:
            raise NotIdentifiable(
                f"the table turned over {np.ptp(heading_deg):.0f} degrees: no emitter was in front of the line all the time",
                parameters=["phase"], hint="use the points within 160 degrees, or give --labels recording",
            )  # fmt: skip

    def labelled(room_deg: float, most: int) -> Labelled:
        lab, _ = attach(
            _labels(room_deg - heading_deg, epoch), prepared, line=layout.is_line, epoch=epoch,
            parts=group_parts(groups, layout.order),
        )  # fmt: skip
        return lab.only(_thinned(lab, most))

    def fitted(room_deg: float, most: int) -> tuple[float, CoupledModel, Labelled]:
        lab = labelled(room_deg, most)
        exact = np.zeros(len(lab))
        model = solve(start(lab, unknowns), lab, unknowns, exact, n_soft=8, n_hard=0)
        now = nulls(model, lab)
        return float(np.mean(np.log1p(now.depth / (lab.dof * now.variance)))), model, lab

    def best_of(trials: ArrayLike) -> float:
        trials = np.asarray(trials, np.float64)
        costs: list[float] = []
        for trial in trials.tolist():
            costs.append(fitted(trial, _MOST_STATEMENTS)[0])
            if not layout.is_line and costs[-1] < _AT_NOISE:  # a plane's azimuth is free: any will do
                break
        return float(trials[int(np.argmin(costs))])

    if layout.is_line:
        best = best_of(np.arange(low, high + 1e-9, _STEPS_DEG[0]))
        for step in _STEPS_DEG[1:]:
            near = best + step * np.arange(-3, 4)
            best = best_of(near[(near >= low) & (near <= high)])
    else:
        middle = float(np.median(heading_deg))
        best = best_of(middle + np.arange(-180.0, 180.0, 2 * _STEPS_DEG[0]))
    _, model, lab = fitted(best, len(heading_deg))
    return turns_of(model, lab, layout)


def other_reading(
    obs: Observations,
    angle_deg: NDArray[np.float64],
    geometry: ArrayGeometry,
    fc_hz: float,
    *,
    epoch: NDArray[np.intp],
    groups: Sequence[Sequence[int]],
    prior: Prior | None = None,
) -> str:
    """What is wrong with all labels alike, in words, where an array of the stated kind explains the blocks but for that; or "".

    angle_deg : (B,) stated directions of one emitter, seen by a line. Tried: all shifted by up to 30 degrees, all mirrored.
    """
    layout, prepared = sorted_blocks(obs, geometry, fc_hz, prior or Prior(), 1)
    if not layout.is_line:
        return ""
    unknowns, parts = Unknowns(layout.nominal, layout.position_std), group_parts(groups, layout.order)

    def cost(sign: int, shift_deg: float) -> float:
        lab, _ = attach(
            _labels(sign * angle_deg + shift_deg, epoch), prepared, line=True, epoch=epoch, parts=parts
        )
        lab = lab.only(_thinned(lab, _MOST_STATEMENTS))
        model = solve(start(lab, unknowns), lab, unknowns, np.zeros(len(lab)), n_soft=8, n_hard=0)
        now = nulls(model, lab)
        return float(np.mean(np.log1p(now.depth / (lab.dof * now.variance))))

    for sign in (1, -1):
        best = 0.0
        for step, reach in ((_STEPS_DEG[0], 5), *((s, 3) for s in _STEPS_DEG[1:])):
            near = best + step * np.arange(-reach, reach + 1)
            best = float(near[int(np.argmin([cost(sign, float(d)) for d in near]))])
        if cost(sign, best) < _AT_NOISE and (sign < 0 or abs(best) > 2 * _STEPS_DEG[-1]):
            if sign < 0:
                return "the stated directions are mirrored: the table turns the other way, or the ports are in the opposite order"
            return f"all stated directions are off by {-best:+.1f} degrees: check --emitter and --reference of the sweep"
    return ""


def _labels(angle_deg: NDArray[np.float64], epoch: NDArray[np.intp]) -> Labels:
    """One statement for each angle of each epoch."""
    rows = np.column_stack((epoch.astype(float), np.round(angle_deg, 6)))
    kinds, group = np.unique(rows, axis=0, return_inverse=True)
    block = np.argsort(group.ravel(), kind="stable")
    angle = np.deg2rad(kinds[:, 1])
    return Labels(
        block, group.ravel()[block], angle, np.zeros_like(angle), np.zeros_like(angle),
        tuple(f"{a:g} degrees" for a in kinds[:, 1]),
    )  # fmt: skip


def _thinned(lab: Labelled, most: int) -> NDArray[np.intp]:
    """Evenly, some of every epoch."""
    if len(lab) <= most or lab.epoch is None:
        return np.arange(len(lab))
    kept = []
    for e in np.unique(lab.epoch):
        mine = np.flatnonzero(lab.epoch == e)
        share = max(3, round(most * len(mine) / len(lab)))
        kept.append(mine[np.unique(np.linspace(0, len(mine) - 1, share).astype(int))])
    return np.sort(np.concatenate(kept))
