"""From a converged fit and what may be assumed to absolute angles and their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.dwells import Dwells, edges_reached
from calib.gauges.line import Affine, Anchor, ScalePrior, fit_anchors, fit_support
from calib.gauges.oracle import ASSUMES, align_to_truth
from calib.gauges.planar import fit_rotation
from calib.gauges.standing import Sightings, standing_angles
from calib.gauges.turn import SENSE_HINT, plane_sense, turned_line
from calib.layout import Layout
from calib.model import Model
from calib.observations import Subspaces
from calib.refine import Fit
from calib.result import GaugeRequest
from hil.core.errors import ConfigError, NotIdentifiable
from hil.core.gauge import Gauge

MAX_TENSION = 4.0
_FIELD_RAD = np.deg2rad(60.0)


@dataclass(frozen=True, slots=True)
class Fixed:
    """The model in absolute angles.

    covariance : (2, 2) of (al, be) on a line, (1, 1) of the rotation on a plane. tension : sigmas between
    the assumption and the nominal positions. open : in words, what stays unknown.
    """

    model: Model
    gauge: Gauge
    covariance: NDArray[np.float64]
    tension: float
    open: list[str]
    al: float = 1.0
    be: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Angles of the blocks in the frame of the model: theta, sigma, valid (B, K), time (B,), dwells.

    fit, sub, layout : what they come from, where at hand: the fit and the subspaces of its blocks tell how the
    array's own uncertainty moves the angles, the layout is needed to compare with a truth.
    """

    theta: NDArray[np.float64]
    sigma: NDArray[np.float64]
    valid: NDArray[np.bool_]
    time_s: NDArray[np.float64] | None
    dwells: Dwells
    fit: Fit | None = None
    sub: Subspaces | None = None
    layout: Layout | None = None


def fix_gauge(
    model: Model,
    nominal: NDArray[np.float64],
    position_std: float,
    request: GaugeRequest,
    evidence: Evidence,
) -> Fixed:
    """Apply the request. nominal (N, D) centred and position_std in wavelengths.

    Raises NotIdentifiable if an anchor or a standing emitter cannot be found in the data.
    """
    if model.is_line:
        return _fix_line(model, nominal, position_std, request, evidence)
    return _fix_plane(model, nominal, position_std, request, evidence)


def _fix_line(
    model: Model,
    nominal: NDArray[np.float64],
    position_std: float,
    request: GaugeRequest,
    evidence: Evidence,
) -> Fixed:
    centred = nominal[:, 0] - nominal[:, 0].mean()
    prior = ScalePrior(model.r[:, 0] - model.r[:, 0].mean(), centred, position_std)
    samples, sigma = evidence.dwells.samples()
    kind = request.kind
    notes: list[str] = []
    support_rad = None
    if request.support_deg is not None:
        support_rad = float(np.deg2rad(request.support_deg[0])), float(np.deg2rad(request.support_deg[1]))
    if kind == "support" and support_rad is not None:
        if support_rad[0] < -np.pi / 2 or support_rad[1] > np.pi / 2:
            raise ConfigError("support: broadside angles of a line lie in -90..90 degrees")
        reached = edges_reached(evidence.dwells)
        affine = fit_support(
            samples, sigma, support_rad, prior, reached,
            find_anchors(request, evidence, line=True),
            use_density=not evidence.dwells.continuous,
        )  # fmt: skip
        assumes = (
            f"the emitters' angles fill {np.rad2deg(support_rad[0]):g} to {np.rad2deg(support_rad[1]):g} degrees "
            f"and reach both edges ({len(samples)} independent angles seen)"
        )
        if request.anchors_deg:
            assumes += (
                f"; a source stood at {', '.join(f'{a[0]:g}' for a in request.anchors_deg)} degrees as stated"
            )
        for seen, name, angle in zip(reached, ("lower", "upper"), support_rad, strict=True):
            if not seen:
                notes.append(
                    f"the motion did not turn at the {name} edge ({np.rad2deg(angle):g} degrees) of the "
                    "support: that edge was not used"
                )
    elif kind == "anchor":
        anchors = find_anchors(request, evidence, line=True)
        field = support_rad or (-_FIELD_RAD, _FIELD_RAD)
        affine = fit_anchors(anchors, prior, field)
        angles = ", ".join(f"{a[0]:g}" for a in request.anchors_deg)
        assumes = f"a source stood at {angles} degrees as stated"
        if len(anchors) == 1 and position_std > 0:
            assumes += f"; position errors are about {position_std:.2g} wavelengths (scale of angles)"
    elif kind == "rotation":
        field = support_rad or (-_FIELD_RAD, _FIELD_RAD)
        seen = _seen_on_table(request, evidence, free_positions=position_std > 0, periodic=False)
        affine, assumes, remarks = turned_line(seen, prior, field, find_anchors(request, evidence, line=True))
        notes += remarks
    elif kind == "oracle" and request.truth is not None:
        match = align_to_truth(model, request.truth, evidence.layout)
        affine = Affine(match.al, match.be, np.zeros((2, 2)), 0.0, 0.0)
        assumes = ASSUMES
    else:
        affine = fit_support(samples, sigma, (-np.pi / 2, np.pi / 2), prior, (False, False))
        assumes = f"position errors are about {position_std:.2g} wavelengths and every source is in front of the array"
    # the data alone never show these on a line; where an assumption settles them, that is said as well
    settled = {
        "support": ": set by the assumed support", "anchor": ": set by the given angles",
        "rotation": ": set by the known turns", "oracle": ": taken from the truth",
    }.get(kind, "")  # fmt: skip
    open_ = [f"angle offset (phase ramp along the line){settled}"]
    if position_std > 0:
        open_.append(f"angle scale (common scale of the positions){settled}")
    fixed = model.shifted(0.0) if affine.al == 1 else model.scaled(affine.al)
    fixed = fixed.shifted(affine.be).normalised()
    gauge = _line_gauge(affine, kind, assumes, request.support_deg)
    return Fixed(
        fixed, gauge, affine.covariance, abs(affine.tension), open_, affine.al, affine.be, tuple(notes)
    )


def _line_gauge(affine: Affine, kind: str, assumes: str, support_deg: tuple[float, float] | None) -> Gauge:
    return Gauge(
        kind=kind,
        assumes=assumes,
        offset_sigma_deg=float(np.rad2deg(affine.be_sigma)),
        scale_sigma=affine.al_sigma / affine.al,
        angle_sigma_deg=float(np.rad2deg(affine.angle_sigma_rad)),
        support_deg=support_deg,
    )


def _fix_plane(
    model: Model,
    nominal: NDArray[np.float64],
    position_std: float,
    request: GaugeRequest,
    evidence: Evidence,
) -> Fixed:
    kind, open_ = request.kind, ["rotation of the array: set by the given angle or sector"]
    samples, sigma = evidence.dwells.samples()
    if position_std == 0:
        gauge = Gauge("known-geometry", "the nominal positions are exact", support_deg=request.support_deg)
        return Fixed(model, gauge, np.zeros((1, 1)), 0.0, [])
    sector = None
    if request.support_deg is not None and request.support_deg[1] - request.support_deg[0] < 350:
        sector = float(np.deg2rad(request.support_deg[0])), float(np.deg2rad(request.support_deg[1]))
    notes: list[str] = []
    if request.rotations:
        notes = _checked_sense(_seen_on_table(request, evidence, free_positions=True, periodic=True))
    if kind == "oracle" and request.truth is not None:
        turn = -align_to_truth(model, request.truth, evidence.layout).rotation_rad
        gauge = Gauge("oracle", ASSUMES, support_deg=request.support_deg)
        return Fixed(model.shifted(turn).normalised(), gauge, np.zeros((1, 1)), 0.0,
                     ["rotation of the array: taken from the truth"], 1.0, turn)  # fmt: skip
    if kind == "anchor":
        fit = fit_rotation(
            model.r, nominal, position_std, anchors=find_anchors(request, evidence, line=False)
        )
        angles = ", ".join(f"{a[0]:g}" for a in request.anchors_deg)
        assumes = f"a source stood at {angles} degrees as stated"
    elif kind == "support" and sector is not None:
        reached = edges_reached(evidence.dwells)
        if not evidence.dwells.continuous or all(reached):
            fit = fit_rotation(
                model.r, nominal, position_std, azimuth=samples, sigma=sigma, sector_rad=sector
            )
        else:
            fit = fit_rotation(model.r, nominal, position_std)
        low, high = np.rad2deg(sector)
        assumes = f"the emitters' azimuths fill {low:g} to {high:g} degrees and reach both edges"
    else:
        fit = fit_rotation(model.r, nominal, position_std)
        assumes = f"position errors are about {position_std:.2g} wavelengths (rotation of the array)"
        open_ = ["rotation of the array"]
        kind = "none" if kind == "support" else kind
        if kind == "rotation":
            assumes += "; the sense of the table's turns excludes the mirror image"
            notes.append(
                "the turns of a table tell nothing about the azimuth of a planar array, only that it is not "
                "mirrored: give one known azimuth (--anchor)"
            )
    degrees = np.rad2deg([fit.delta_sigma, fit.angle_sigma_rad])
    gauge = Gauge(kind, assumes, float(degrees[0]), 0.0, float(degrees[1]), request.support_deg)
    fixed = model.shifted(fit.delta).normalised()
    covariance = np.array([[fit.delta_sigma**2]])
    return Fixed(fixed, gauge, covariance, abs(fit.tension), open_, 1.0, fit.delta, tuple(notes))


def _seen_on_table(
    request: GaugeRequest, evidence: Evidence, *, free_positions: bool, periodic: bool
) -> Sightings:
    return standing_angles(
        request.rotations, evidence.theta, evidence.sigma, evidence.valid, evidence.time_s,
        periodic=periodic, fit=evidence.fit, sub=evidence.sub, free_positions=free_positions,
    )  # fmt: skip


def _checked_sense(seen: Sightings) -> list[str]:
    """Refuse a plane that turns the wrong way; a remark if the turns cannot tell."""
    sense = plane_sense(seen)
    if sense < 0:
        raise NotIdentifiable(
            "table positions: the azimuths move against the stated turns",
            parameters=["mirror"],
            hint=SENSE_HINT,
        )
    return [] if sense else ["no emitter stood still over several table positions: the turns were not used"]


def find_anchors(request: GaugeRequest, evidence: Evidence, *, line: bool) -> tuple[Anchor, ...]:
    """Where each anchor's source was seen."""
    out: list[Anchor] = []
    for degrees, t0, t1 in request.anchors_deg:
        inside = np.ones(len(evidence.theta), bool)
        if t0 is not None or t1 is not None:
            if evidence.time_s is None:
                raise ConfigError("anchor with times: the observations carry no times")
            if t0 is not None:
                inside &= evidence.time_s >= t0
            if t1 is not None:
                inside &= evidence.time_s <= t1
        theta, sigma = _standing(evidence, inside, f"{degrees:g}", periodic=not line)
        true = np.sin(np.deg2rad(degrees)) if line else np.deg2rad(degrees)
        out.append(Anchor(theta, sigma, float(true)))
    return tuple(out)


def _standing(
    evidence: Evidence, inside: NDArray[np.bool_], name: str, *, periodic: bool
) -> tuple[float, float]:
    """Angle and sigma of the one source that is in (nearly) all blocks of `inside`."""
    hint = "give the time during which the source stood there: --anchor DEG@T0:T1 (seconds)"
    valid = evidence.valid & inside[:, None]
    blocks = np.flatnonzero(valid.any(axis=1))
    if len(blocks) == 0:
        raise NotIdentifiable(
            f"anchor {name} degrees: no usable block in its interval", parameters=["angle offset"], hint=hint
        )
    theta, sigma = evidence.theta[blocks], evidence.sigma[blocks]
    theta = np.where(valid[blocks], theta, np.nan)
    candidates = theta[:: max(len(theta) // 60, 1)].ravel()
    candidates = candidates[np.isfinite(candidates)]
    noise = float(np.median(sigma))

    def near(centre: float) -> NDArray[np.bool_]:
        gap = theta - centre
        if periodic:
            gap = (gap + np.pi) % (2 * np.pi) - np.pi
        return np.abs(gap) < 5 * np.maximum(sigma, noise)

    share = np.array([np.mean(near(c).any(axis=1)) for c in candidates])
    best = int(np.argmax(share))
    if share[best] < 0.6:
        raise NotIdentifiable(
            f"anchor {name} degrees: no source stands still in its interval",
            parameters=["angle offset"], hint=hint,
        )  # fmt: skip
    apart = candidates[share > 0.6] - candidates[best]
    if periodic:
        apart = (apart + np.pi) % (2 * np.pi) - np.pi
    if np.any(np.abs(apart) > 20 * noise):
        raise NotIdentifiable(
            f"anchor {name} degrees: several sources stand still in its interval",
            parameters=["angle offset"], hint="name an interval with one standing source",
        )  # fmt: skip
    mine = near(float(candidates[best]))
    gap = theta[mine] - candidates[best]
    if periodic:
        gap = (gap + np.pi) % (2 * np.pi) - np.pi
    weight = 1 / sigma[mine] ** 2
    return float(candidates[best] + gap @ weight / weight.sum()), float(1 / np.sqrt(weight.sum()))
