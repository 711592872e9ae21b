"""Blocks for the Fisher information: as a recording showed them, or as an experiment plans them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.fisher.array import ArrayPoint, Unknowns
from calib.fisher.information import Looks
from calib.observations import Observations, prepare
from calib.result import GaugeRequest, LearnResult
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S

Kind = Literal["line", "planar", "volume"]


def looks_at(
    azimuth_rad: ArrayLike,
    elevation_rad: ArrayLike | None = None,
    *,
    kind: Kind,
    power: ArrayLike = 100.0,
    n_snapshots: float = 256,
) -> Looks:
    """Blocks of uncorrelated sources at given angles over unit noise, every angle unknown.

    Parameters
    ----------
    azimuth_rad : (B, K), broadside angle on a line. elevation_rad : (B, K), then azimuth and elevation are
        both unknown. kind : "line": the coordinate is sin(angle); "planar": a plane x, y whose heights are known,
        so that unknown elevations mean two free direction cosines, at elevation 0 as well; "volume".
    power : (K,) or one number, source power over noise power per element. n_snapshots : T.

    Raises
    ------
    ConfigError : elevations on a line.
    """
    azimuth = np.atleast_2d(np.asarray(azimuth_rad, float))
    k = azimuth.shape[1]
    zero = np.zeros_like(azimuth)
    s, c = np.sin(azimuth), np.cos(azimuth)
    if kind == "line":
        if elevation_rad is not None:
            raise ConfigError("on a line azimuth and elevation cannot be told apart")
        return _looks_u(s, np.broadcast_to(power, (k,)), n_snapshots)
    if elevation_rad is None:
        direction = np.stack((s, c, zero), axis=-1)
        tangent = np.stack((c, -s, zero), axis=-1)[:, :, None]
    else:
        elevation = np.broadcast_to(np.asarray(elevation_rad, float), azimuth.shape)
        se, ce = np.sin(elevation), np.cos(elevation)
        direction = np.stack((s * ce, c * ce, se), axis=-1)
        if kind == "planar":
            tangent = np.stack((np.stack((c, -s, zero), axis=-1), np.stack((-s, -c, zero), axis=-1)), axis=2)
            per_rad = np.stack((1 / np.maximum(ce, 0.01), 1 / np.maximum(np.abs(se), 0.01)), axis=-1)
            return _looks(direction, tangent, per_rad, np.broadcast_to(power, (k,)), n_snapshots)
        tangent = np.stack(
            (np.stack((c * ce, -s * ce, zero), axis=-1), np.stack((-s * se, -c * se, ce), axis=-1)), axis=2
        )
    return _looks(direction, tangent, np.ones(tangent.shape[:3]), np.broadcast_to(power, (k,)), n_snapshots)


def _looks_u(u: NDArray[np.float64], power: NDArray[np.float64], n_snapshots: float) -> Looks:
    zero = np.zeros_like(u)
    direction = np.stack((u, zero, zero), axis=-1)
    tangent = np.zeros((*u.shape, 1, 3))
    tangent[..., 0, 0] = 1.0
    return _looks(direction, tangent, _slope(u)[..., None], power, n_snapshots)


def _slope(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """d angle / d u, bounded near endfire."""
    return 1 / np.sqrt(np.maximum(1 - u**2, 1e-4))


def _looks(
    direction: NDArray[np.float64],
    tangent: NDArray[np.float64],
    per_rad: NDArray[np.float64],
    power: NDArray[np.float64],
    n_snapshots: float,
) -> Looks:
    b, k = direction.shape[:2]
    covariance = np.broadcast_to(np.diag(np.asarray(power, float)).astype(complex), (b, k, k))
    return Looks(
        direction, tangent, per_rad, covariance, np.ones(b), n_snapshots,
        np.full(per_rad.shape, np.inf), np.full((b, k), -1),
    )  # fmt: skip


def angles_rad(looks: Looks, *, line: bool) -> NDArray[np.float64]:
    """(B, K) broadside angle or azimuth."""
    if line:
        return np.arcsin(np.clip(looks.direction[..., 0], -1, 1))
    return np.arctan2(looks.direction[..., 0], looks.direction[..., 1])


def point_of(
    geometry: ArrayGeometry,
    fc_hz: float,
    gain: ArrayLike | None = None,
    position_error_m: ArrayLike = 0.0,
    coupling: ArrayLike | None = None,
) -> ArrayPoint:
    """The array to linearise at: nominal unless errors are given."""
    n = geometry.n_elements
    wavelength_m = SPEED_OF_LIGHT_M_S / fc_hz
    positions = (geometry.positions_m + np.asarray(position_error_m, float)) / wavelength_m
    return ArrayPoint(
        np.ones(n, complex) if gain is None else np.asarray(gain, complex),
        positions - positions.mean(axis=0),
        np.eye(n, dtype=complex) if coupling is None else np.asarray(coupling, complex),
    )


def kind_of(geometry: ArrayGeometry) -> Kind:
    """The geometry's kind as a literal."""
    return "line" if geometry.kind == "line" else "planar" if geometry.kind == "planar" else "volume"


def default_unknowns(
    geometry: ArrayGeometry, *, free_positions: bool = True, elevation: bool = False
) -> Unknowns:
    """What the learner learns: gains, and positions along the array's own dimensions."""
    axes = {"line": "x", "planar": "xy", "volume": "xyz"}[geometry.kind]
    return Unknowns(True, axes if free_positions else None, None, elevation)  # pyright: ignore[reportArgumentType]


def plan_looks(
    geometry: ArrayGeometry,
    angles_deg: Sequence[float],
    *,
    n_sources: int = 1,
    elevations_deg: Sequence[float] | None = None,
    blocks_per_angle: int = 1,
    snr_db: float = 20.0,
    n_snapshots: int = 256,
    turntable: bool = False,
    kind: Kind | None = None,
) -> Looks:
    """Blocks of a planned experiment.

    With K sources, block b shows the angles b, b + A/K, b + 2 A/K ... of the list. elevations_deg : every angle at
    every elevation. turntable : one standing source and known steps of the table: the angles are known up
    to one offset. kind : see `looks_at`, default that of the geometry.

    Raises
    ------
    ConfigError : no angles, K sources that would coincide, a line with elevations.
    """
    azimuth = np.deg2rad(np.asarray(angles_deg, float))
    if len(azimuth) < n_sources or len(azimuth) == 0:
        raise ConfigError(f"{len(azimuth)} angles for {n_sources} sources at a time", where="--angles")
    kind = kind or kind_of(geometry)
    line = kind == "line"
    if line and np.any(np.abs(azimuth) >= np.pi / 2):
        raise ConfigError("on a line angles lie between -90 and 90 degrees", where="--angles")
    elevation = None
    if elevations_deg is not None:
        if line:
            raise ConfigError("on a line azimuth and elevation cannot be told apart", where="--elevations")
        rise = np.deg2rad(np.asarray(elevations_deg, float))
        elevation = np.tile(rise, len(azimuth))
        azimuth = np.repeat(azimuth, len(rise))
    steps = np.arange(n_sources) * len(azimuth) // n_sources
    index = (np.arange(len(azimuth))[:, None] + steps) % len(azimuth)
    looks = looks_at(
        azimuth[index], None if elevation is None else elevation[index], kind=kind,
        power=10 ** (snr_db / 10), n_snapshots=n_snapshots * blocks_per_angle,
    )  # fmt: skip
    if turntable:
        if n_sources > 1:
            raise ConfigError("a turntable plan has one source", where="--sources")
        looks = replace(looks, emitter=np.zeros_like(looks.emitter))
    return looks


def looks_of_result(
    result: LearnResult, obs: Observations, geometry: ArrayGeometry, fc_hz: float
) -> tuple[ArrayPoint, Looks, NDArray[np.intp]]:
    """The blocks a result was learned from, with the powers and the noise that they show, and their (B,) places.

    Raises
    ------
    ShapeError : result and observations do not belong together. NotIdentifiable : no block was usable.
    """
    peaks = result.peaks_deg
    if len(peaks) != obs.n_blocks:
        raise ShapeError(f"a result of {len(peaks)} blocks for {obs.n_blocks} observed")
    prepared = prepare(obs, result.n_sources)
    angle = np.deg2rad(peaks[prepared.index])
    complete = np.flatnonzero(np.isfinite(angle).all(axis=1))
    if len(complete) == 0:
        raise NotIdentifiable("no block with all its directions", parameters=["gain", "phase", "position"])
    angle, cov = angle[complete], prepared.covariance[complete]
    noise = prepared.sub.noise[complete]
    imp = result.impairments
    point = point_of(geometry, fc_hz, imp.gain * prepared.whitening, imp.position_error_m, imp.coupling)
    looks = looks_at(angle, kind=kind_of(geometry), n_snapshots=prepared.snapshots)
    steering, _ = point.steering(looks.direction, looks.tangent)
    inverse = np.linalg.pinv(point.base() @ steering)
    signal = cov - noise[:, None, None] * np.eye(cov.shape[1])
    power = inverse @ signal @ inverse.conj().transpose(0, 2, 1)
    values, vectors = np.linalg.eigh((power + power.conj().transpose(0, 2, 1)) / 2)
    values = np.maximum(values, 1e-3 * values[:, -1:])
    power = (vectors * values[:, None, :]) @ vectors.conj().transpose(0, 2, 1)
    return point, replace(looks, source_covariance=power, noise=noise), prepared.index[complete]


def with_anchors(
    looks: Looks,
    degrees: float,
    *,
    line: bool,
    within_deg: float | NDArray[np.float64] = 0.01,
    blocks: NDArray[np.bool_] | None = None,
) -> Looks:
    """Take the azimuth or broadside angle of sources within `within_deg` of a given one as exactly known.

    within_deg : (B, K) or one number. blocks : (B,) the blocks in which it stood there, default all. Raises NotIdentifiable if none shows it.
    """
    gap = np.abs((np.rad2deg(angles_rad(looks, line=line)) - degrees + 180) % 360 - 180)
    there = gap <= within_deg
    if blocks is not None:
        there &= blocks[:, None]
    if not there.any():
        raise NotIdentifiable(
            f"no block shows a source at {degrees:g} degrees", parameters=["angle offset"],
            hint="give the time during which the source stood there: --anchor DEG@T0:T1 (seconds)",
        )  # fmt: skip
    known = looks.known_sigma_rad.copy()
    known[there, 0] = 0.0
    return replace(looks, known_sigma_rad=known)


def with_support(
    looks: Looks, support_deg: tuple[float, float], n_angles: int | None = None, *, line: bool
) -> Looks:
    """The lowest and the highest angle seen lie at the edges of the support, within its width over n.

    For n independent angles spread evenly over the support the gap at each edge is exponential with that mean.
    n_angles : default: every source of every block.
    """
    width = np.deg2rad(support_deg[1] - support_deg[0])
    if width > np.deg2rad(350):
        return looks
    count = n_angles or looks.direction[..., 0].size
    middle = np.deg2rad(sum(support_deg) / 2)
    turn = (angles_rad(looks, line=line) - middle + np.pi) % (2 * np.pi) - np.pi
    known = looks.known_sigma_rad.copy()
    for place in (np.argmin(turn), np.argmax(turn)):
        at = (*np.unravel_index(place, turn.shape), 0)
        known[at] = min(known[at], width / count)
    return replace(looks, known_sigma_rad=known)


def constrained(
    looks: Looks,
    gauge: GaugeRequest | None,
    *,
    line: bool,
    n_angles: int | None = None,
    time_s: NDArray[np.float64] | None = None,
    within_deg: float | NDArray[np.float64] = 0.01,
) -> tuple[Looks, list[str]]:
    """Looks with what a gauge request says about angles, and the assumptions in words.

    n_angles : independent angles seen. time_s : (B,) of the blocks, for anchors with times. within_deg : how close
    to an anchor a source counts as the one that stands there.
    """
    words: list[str] = []
    if gauge is None:
        return looks, words
    for degrees, t0, t1 in gauge.anchors_deg:
        inside = np.ones(looks.n_blocks, bool)
        if time_s is not None:
            inside &= (time_s >= (-np.inf if t0 is None else t0)) & (time_s <= (np.inf if t1 is None else t1))
        looks = with_anchors(looks, degrees, line=line, within_deg=within_deg, blocks=inside)
    if gauge.anchors_deg:
        words.append(
            f"sources stood at {', '.join(f'{a[0]:g}' for a in gauge.anchors_deg)} degrees as stated"
        )
    if gauge.support_deg is not None and (gauge.kind == "support" or line):
        looks = with_support(looks, gauge.support_deg, n_angles, line=line)
        low, high = gauge.support_deg
        words.append(f"the emitters' angles fill {low:g} to {high:g} degrees evenly and reach both edges")
    return looks, words
