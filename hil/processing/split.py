"""Training, validation and test parts of a data set, by held-out angles, by held-out runs, or by both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError

SplitBy = Literal["angle", "run", "angle+run"]
SPLITS: tuple[SplitBy, ...] = ("angle", "run", "angle+run")
PARTS = ("train", "val", "test")
#: Points that are in no part: of a held-out angle but not of a held-out run, or the other way round.
LEFT_OUT = 3


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """by : what is held out. val, test : share of the angles (or runs) in these parts; 0: none. seed : of the choice."""

    by: SplitBy = "angle"
    val: float = 0.1
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in SPLITS:
            raise ConfigError(f"{self.by!r} is unknown", where="--split", hint=f"one of {', '.join(SPLITS)}")
        for name, value in (("--val", self.val), ("--test", self.test)):
            if not 0 <= value < 1:
                raise ConfigError(f"{value:g} is no share", where=name, hint="for example 0.2")
        if self.val + self.test >= 1:
            raise ConfigError("--val and --test leave nothing to train on", where="--test")
        if not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"{self.seed} is out of range", where="--seed")


def places(directions_deg: NDArray[np.float64], tolerance_deg: float) -> NDArray[np.int64]:
    """(P,) number of the place of each direction (P,); those within the tolerance of one another, also in steps and
    across +-180 degrees, are one place. Numbers ascend with the angle."""
    order = np.argsort(directions_deg, kind="stable")
    ascending = directions_deg[order]
    number = np.concatenate(([0], np.cumsum(np.diff(ascending) > tolerance_deg)))
    if number[-1] and ascending[0] + 360.0 - ascending[-1] <= tolerance_deg:
        number[number == number[-1]] = 0
    out = np.empty(len(order), np.int64)
    out[order] = number
    return out


def least_step_deg(plans: Sequence[Sequence[float]]) -> float:
    """The smallest distance between two angles of one plan; 1 where no plan has two."""
    steps = [b - a for plan in plans for a, b in pairwise(sorted(plan))]
    return min(steps, default=1.0)


def split_points(
    place: NDArray[np.int64], run: NDArray[np.int64], settings: SplitSettings
) -> NDArray[np.uint8]:
    """(P,) 0 train, 1 val, 2 test, 3 left out, from place and run (P,) of each point.

    The outermost places are never held out: the others lie between trained ones. Raises ConfigError: too few.
    """
    rng = np.random.default_rng(settings.seed)
    inner, runs = np.unique(place)[1:-1], np.unique(run)
    if settings.by == "angle":
        return _parts(place, (inner, inner), settings, rng, "angles")
    by_run = _parts(run, (runs, runs), settings, rng, "runs")
    if settings.by == "run":
        return by_run
    inside = [np.intersect1d(inner, place[by_run == k]) for k in (1, 2)]
    by_place = _parts(place, (inside[0], inside[1]), settings, rng, "angles")
    out = np.where(by_place == by_run, by_place, np.uint8(LEFT_OUT)).astype(np.uint8)
    if np.all(out != 0):
        raise _too_few("angles and runs", len(inner) + 2)
    return out


def _parts(
    of: NDArray[np.int64],
    candidates: tuple[NDArray[np.int64], NDArray[np.int64]],
    settings: SplitSettings,
    rng: np.random.Generator,
    words: str,
) -> NDArray[np.uint8]:
    """0, 1 or 2 for each, its value drawn from the candidates of val and of test."""
    out, total = np.zeros(len(of), np.uint8), len(np.unique(of))
    for part, share in ((1, settings.val), (2, settings.test)):
        if not share:
            continue
        free = np.setdiff1d(candidates[part - 1], of[out != 0])
        if not len(free):
            raise _too_few(words, total)
        out[np.isin(of, rng.permutation(free)[: max(1, round(share * total))])] = part
    if np.all(out != 0):
        raise _too_few(words, total)
    return out


def _too_few(words: str, total: int) -> ConfigError:
    other = "angle" if words == "runs" else "run"
    return ConfigError(
        f"too few {words} ({total}) to hold some of them out", where="--split",
        hint=f"give more campaigns, hold out by {other}, or --val 0",
    )  # fmt: skip
