"""Known directions of some blocks: which block, which angle, how well it is known, what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.errors import ConfigError, ShapeError


@dataclass(frozen=True, slots=True)
class Interval:
    """A source stands at `angle_deg` (broadside angle or azimuth) from t0_s to t1_s, seconds since the start.

    sigma_deg : one standard deviation of the stated angle, None: not known.
    """

    t0_s: float
    t1_s: float
    angle_deg: float
    elevation_deg: float = 0.0
    sigma_deg: float | None = None

    def __post_init__(self) -> None:
        if not self.t0_s < self.t1_s:
            raise ConfigError(
                f"label: {self.t0_s:g} to {self.t1_s:g} s is empty",
                where="labels",
                hint="t1_s must be after t0_s",
            )
        _check_angles(self.angle_deg, self.elevation_deg, self.sigma_deg)


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of blocks, one entry per (block, source).

    Attributes
    ----------
    block : (P,) index into the observations, ascending within a group.
    group : (P,) ascending: entries of one group share one statement, hence one error of the angle.
    azimuth_rad, elevation_rad : (G,) stated direction of each group (a line: broadside angle, cone with elevation).
    sigma_rad : (G,) one standard deviation of the stated angle, NaN where not known.
    names : (G,) for messages.
    """

    block: NDArray[np.intp]
    group: NDArray[np.intp]
    azimuth_rad: NDArray[np.float64]
    elevation_rad: NDArray[np.float64]
    sigma_rad: NDArray[np.float64]
    names: tuple[str, ...]

    @property
    def n_groups(self) -> int:
        """G."""
        return len(self.names)

    @property
    def most_per_block(self) -> int:
        """Largest number of labelled sources in one block."""
        return int(np.bincount(self.block).max()) if len(self.block) else 0

    def direction(self, *, line: bool) -> NDArray[np.float64]:
        """(G, D): u on a line, (x, y) components of the unit vector on a plane."""
        x = np.sin(self.azimuth_rad) * np.cos(self.elevation_rad)
        if line:
            return x[:, None]
        return np.column_stack((x, np.cos(self.azimuth_rad) * np.cos(self.elevation_rad)))

    def slopes(self, *, line: bool) -> NDArray[np.float64]:
        """(G, D, Q) change of the direction per radian of the stated angles; Q = 1 on a line, (az, el) on a plane."""
        sa, ca = np.sin(self.azimuth_rad), np.cos(self.azimuth_rad)
        se, ce = np.sin(self.elevation_rad), np.cos(self.elevation_rad)
        if line:
            return np.maximum(np.hypot(ca * ce, sa * se), 1e-3)[:, None, None]
        return np.stack(
            (np.column_stack((ca * ce, -sa * ce)), np.column_stack((-sa * se, -ca * se))), axis=-1
        )

    def without(self, groups: Sequence[int]) -> Labels:
        """The same without some groups."""
        keep = np.setdiff1d(np.arange(self.n_groups), np.asarray(groups, int))
        return self.only(keep)

    def only(self, groups: NDArray[np.intp]) -> Labels:
        """The same with some groups alone, renumbered."""
        number = np.full(self.n_groups, -1)
        number[groups] = np.arange(len(groups))
        mine = number[self.group] >= 0
        return Labels(
            self.block[mine], number[self.group[mine]], self.azimuth_rad[groups], self.elevation_rad[groups],
            self.sigma_rad[groups], tuple(self.names[g] for g in groups),
        )  # fmt: skip


def labels_of_blocks(
    angles_deg: ArrayLike,
    n_blocks: int,
    elevation_deg: ArrayLike | None = None,
    sigma_deg: ArrayLike | None = None,
) -> Labels:
    """Labels given block by block; equal angles of consecutive blocks are one statement.

    angles_deg : (B,) or (B, K) degrees, NaN where a source's direction is not known. elevation_deg, sigma_deg :
    of a shape that broadcasts to it, or None. Raises ShapeError, ConfigError.
    """
    angle = np.asarray(angles_deg, np.float64)
    angle = angle[:, None] if angle.ndim == 1 else angle
    if angle.ndim != 2 or len(angle) != n_blocks:
        raise ShapeError(f"angles_deg: {angle.shape} for {n_blocks} blocks, expected (B,) or (B, K)")
    elevation = _like(elevation_deg, angle, 0.0, "elevation_deg")
    sigma = _like(sigma_deg, angle, np.nan, "angle_sigma_deg")
    _check_angles(angle, elevation, sigma)
    block: list[int] = []
    group: list[int] = []
    heads: list[tuple[int, int]] = []
    for k in range(angle.shape[1]):
        before = None
        for b in np.flatnonzero(np.isfinite(angle[:, k])).tolist():
            here = (angle[b, k], elevation[b, k])
            if before is None or before != (b - 1, *here):
                heads.append((b, k))
            before = (b, *here)
            block.append(b)
            group.append(len(heads) - 1)
    at = tuple(np.array(heads, int).reshape(-1, 2).T)
    names = tuple(f"{angle[b, k]:g} degrees (from block {b})" for b, k in heads)
    return Labels(
        np.array(block, np.intp), np.array(group, np.intp), np.deg2rad(angle[at]), np.deg2rad(elevation[at]),
        np.deg2rad(sigma[at]), names,
    )  # fmt: skip


def labels_of_intervals(intervals: Sequence[Interval], time_s: NDArray[np.float64] | None) -> Labels:
    """Labels given by time. time_s : (B,) of the blocks, seconds since the start.

    Raises ConfigError if the blocks have no times or an interval holds none of them.
    """
    if time_s is None:
        raise ConfigError("labels with times: the observations carry no times")
    block: list[NDArray[np.intp]] = []
    group: list[NDArray[np.intp]] = []
    for g, i in enumerate(intervals):
        inside = np.flatnonzero((time_s >= i.t0_s) & (time_s <= i.t1_s))
        if len(inside) == 0:
            raise ConfigError(
                f"no block between {i.t0_s:g} and {i.t1_s:g} s ({i.angle_deg:g} degrees)", where="labels",
                hint="times count from the start of the recording, in seconds; the last fifth is held out",
            )  # fmt: skip
        block.append(inside)
        group.append(np.full(len(inside), g))
    names = tuple(f"{i.angle_deg:g} degrees at {i.t0_s:g} to {i.t1_s:g} s" for i in intervals)
    return Labels(
        np.concatenate([np.zeros(0, np.intp), *block]),
        np.concatenate([np.zeros(0, np.intp), *group]),
        np.deg2rad([i.angle_deg for i in intervals]),
        np.deg2rad([i.elevation_deg for i in intervals]),
        np.deg2rad([np.nan if i.sigma_deg is None else i.sigma_deg for i in intervals]),
        names,
    )


def _like(
    values: ArrayLike | None, angle: NDArray[np.float64], default: float, name: str
) -> NDArray[np.float64]:
    given = np.asarray(default if values is None else values, np.float64)
    if given.ndim == 1 and len(given) == len(angle):
        given = given[:, None]
    try:
        return np.broadcast_to(given, angle.shape)
    except ValueError:
        raise ShapeError(f"{name}: {given.shape} does not fit angles {angle.shape}") from None


def _check_angles(angle: ArrayLike, elevation: ArrayLike, sigma: ArrayLike | None) -> None:
    if np.any(np.abs(np.asarray(angle, float)) > 360) or np.any(np.isinf(np.asarray(angle, float))):
        raise ConfigError("an angle is beyond 360 degrees", where="labels")
    tilt = np.asarray(elevation, float)
    if not np.all(np.isfinite(tilt)) or np.any(np.abs(tilt) > 90):
        raise ConfigError("an elevation is not within -90..90 degrees", where="labels")
    if sigma is not None and np.any(np.asarray(sigma, float) < 0):
        raise ConfigError("an uncertainty is negative", where="labels")
