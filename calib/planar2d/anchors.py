"""Known directions in the data of a plane, and what a fixed gauge says in words and sigmas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.layout import Layout
from calib.planar2d.gauge import DirectionAnchor, PlaneGauge
from calib.planar2d.model import TWO_PI, Plane, directions
from calib.planar2d.torus import fold
from calib.result import GaugeRequest
from hil.core.calibration import Sigma
from hil.core.errors import ConfigError, NotIdentifiable

#: azimuth_deg, elevation_deg, t0_s or None, t1_s or None
Anchor2d = tuple[float, float, float | None, float | None]

_DB_PER_NEPER = 20 / np.log(10)
_STANDING = 0.6  # share of the blocks


def find_direction_anchors(
    anchors: tuple[Anchor2d, ...],
    d: NDArray[np.float64],
    covariance: NDArray[np.float64],
    valid: NDArray[np.bool_],
    time_s: NDArray[np.float64] | None,
) -> tuple[DirectionAnchor, ...]:
    """Where each anchor's source was seen: d (B, K, 2), covariance (B, K, 2, 2), valid (B, K), time_s (B,).

    Raises NotIdentifiable if no source, or more than one, stands still in an interval; ConfigError for an
    elevation outside 0..90 degrees or times without times of the blocks.
    """
    out: list[DirectionAnchor] = []
    for azimuth, elevation, t0, t1 in anchors:
        if not 0 <= elevation <= 90:
            raise ConfigError(f"anchor elevation {elevation:g} is not within 0..90 degrees")
        inside = np.ones(len(d), bool)
        if t0 is not None or t1 is not None:
            if time_s is None:
                raise ConfigError("anchor with times: the observations carry no times")
            inside &= (time_s >= (-np.inf if t0 is None else t0)) & (time_s <= (np.inf if t1 is None else t1))
        name = f"anchor {azimuth:g}, {elevation:g} degrees"
        keep = np.flatnonzero(inside & valid.any(axis=1))
        d_hat, spread = _standing(d[keep], covariance[keep], valid[keep], name)
        true = directions(np.deg2rad(azimuth), np.deg2rad(elevation))
        out.append(DirectionAnchor(d_hat, spread, true))
    return tuple(out)


def _standing(
    d: NDArray[np.float64], covariance: NDArray[np.float64], valid: NDArray[np.bool_], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean direction and its covariance of the one source that is in nearly all blocks."""
    hint = "name an interval (t0, t1) in which one source stands there"
    if len(d) == 0:
        raise NotIdentifiable(f"{name}: no usable block in its interval", parameters=["direction"], hint=hint)
    noise = float(np.sqrt(np.median(np.trace(covariance, axis1=-2, axis2=-1)[valid])))
    step = max(len(d) // 60, 1)
    candidates = d[::step][valid[::step]]
    gap = np.linalg.norm(candidates[:, None, None, :] - d[None], axis=-1)
    near = (gap < 5 * noise) & valid[None]
    share = near.any(axis=2).mean(axis=1)
    best = int(np.argmax(share))
    if share[best] < _STANDING:
        raise NotIdentifiable(
            f"{name}: no source stands still in its interval", parameters=["direction"], hint=hint
        )
    rivals = candidates[share > _STANDING]
    if np.any(np.linalg.norm(rivals - candidates[best], axis=1) > 20 * noise):
        raise NotIdentifiable(
            f"{name}: several sources stand still in its interval", parameters=["direction"], hint=hint
        )
    weight = np.linalg.inv(covariance[near[best]])
    total = np.linalg.inv(weight.sum(axis=0))
    return total @ np.einsum("lij,lj->i", weight, d[near[best]]), total


def same_copy(
    anchors: tuple[DirectionAnchor, ...], period: NDArray[np.float64]
) -> tuple[DirectionAnchor, ...]:
    """Lattices of known positions: bring all anchors to the copy of the torus that the first one is on."""
    first = anchors[0].d_true - anchors[0].d_hat
    first = fold(first, period)
    moved = [replace(a, d_hat=a.d_true - first - fold(a.d_true - a.d_hat - first, period)) for a in anchors]
    return tuple(moved)


def words(
    request: GaugeRequest,
    anchors: tuple[Anchor2d, ...],
    settled: int,
    position_std: float,
    lowest_rad: float,
) -> tuple[str, str, list[str]]:
    """(kind, what is assumed, what data alone leave open) for a file and the user."""
    free = position_std > 0
    open_ = ["shift of all directions (phase ramps along x and y)"]
    if free:
        open_.append("linear map of all directions (scale, stretch, shear and rotation of the positions)")
    near = f"position errors are about {position_std:.2g} wavelengths"
    if request.kind == "oracle":
        return "oracle", "the true array is known", [f"{text}: set by the truth" for text in open_]
    if anchors:
        stood = "; ".join(f"azimuth {a[0]:g} elevation {a[1]:g}" for a in anchors)
        assumes = f"a source stood at {stood} degrees as stated"
        open_[0] += ": set by the given directions"
        if free and settled >= 3:
            open_[1] += ": set by the given directions"
        elif free:
            assumes += f"; {near}"
            open_[1] += ": three given directions that are not on one line would set it"
        return "anchor", assumes, open_
    visible = f"every source stands at least {np.rad2deg(lowest_rad):.3g} degrees above the array's plane"
    open_[0] += ": one given direction would set it"
    if free:
        open_[1] += ": three given directions that are not on one line would set it"
    kind = "prior" if request.kind in ("prior", "support") else "none"
    return kind, f"{near} and {visible}" if free else visible, open_


def export_sigma(
    model: Plane, covariance: NDArray[np.float64], gauge: PlaneGauge, layout: Layout, *, free_positions: bool
) -> Sigma:
    """One sigma per parameter: the data's information (4N, 4N) plus what the gauge leaves open.

    gain_db relative to ||g||, phase_deg relative to the reference element 0, position_m around the mean.
    d' = A d + b changes phases by -2 pi r . b and positions by -r (A - 1).
    """
    n = model.n_elements
    r = model.r
    change = np.zeros((4 * n, 6))
    change[n : 2 * n, 4:] = -TWO_PI * r
    if free_positions:
        for i in range(2):
            for j in range(2):
                change[(2 + j) * n : (3 + j) * n, 2 * i + j] = -r[:, i]
    total = covariance + change @ gauge.covariance @ change.T
    phase = total[n : 2 * n, n : 2 * n]
    reference = int(np.flatnonzero(layout.order == 0)[0])
    phase_var = np.diag(phase) + phase[reference, reference] - 2 * phase[:, reference]
    centring = np.eye(n) - 1 / n
    gain_db, phase_deg, position = np.empty(n), np.empty(n), np.zeros((n, 3))
    gain_db[layout.order] = _DB_PER_NEPER * np.sqrt(np.maximum(np.diag(total)[:n], 0))
    phase_deg[layout.order] = np.rad2deg(np.sqrt(np.maximum(phase_var, 0)))
    for i in range(2):
        part = centring @ total[(2 + i) * n : (3 + i) * n, (2 + i) * n : (3 + i) * n] @ centring
        position[layout.order, i] = np.sqrt(np.maximum(np.diag(part), 0)) * layout.wavelength_m
    return Sigma(gain_db, phase_deg, position, np.full(n, np.nan))
