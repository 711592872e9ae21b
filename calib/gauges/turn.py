"""Known relative rotations in words: what they settle on a line and on a plane, and when they are not enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.gauges.line import Affine, Anchor, ScalePrior
from calib.gauges.rotation import RotationFit, fit_rotations
from calib.gauges.standing import Sightings
from hil.core.errors import NotIdentifiable

#: Above this the turns are too few: the same bound as for any other assumption (contract.md).
_LIMIT_RAD = np.deg2rad(0.5)
#: Cost by which one sense of rotation must beat the other one.
_CLEAR = 8.0
SENSE_HINT = (
    "angles count clockwise seen from above (the array turns right); if the table did turn so, the ports are "
    "connected in the opposite order"
)


def turned_line(
    seen: Sightings, prior: ScalePrior, field_rad: tuple[float, float], anchors: tuple[Anchor, ...]
) -> tuple[Affine, str, tuple[str, ...]]:
    """(al, be) from the turns, what is assumed, and remarks.

    Raises NotIdentifiable : too few positions, no emitter stood still, or the angles move the wrong way.
    """
    if seen.n_positions < 2:
        raise NotIdentifiable(
            f"table positions: only {seen.n_positions} of {seen.n_given} has usable blocks",
            parameters=["angle offset", "angle scale"],
            hint="times count in seconds from the first block learned from",
        )
    fit = fit_rotations(seen, prior, field_rad, anchors, limit_rad=_LIMIT_RAD)
    mirrored = fit_rotations(seen, prior, field_rad, (), mirrored=True)
    if fit is None and mirrored is None:
        raise NotIdentifiable(
            "table positions: no emitter stood still in the room while the table turned",
            parameters=["angle offset", "angle scale"],
            hint="let at least one emitter stand still, in front of the array at three table positions or more",
        )
    if fit is None or not _clearly(fit, mirrored):
        raise NotIdentifiable(
            "table positions: the angles move against the stated turns",
            parameters=["mirror"],
            hint=SENSE_HINT,
        )
    needed = 1 if prior.position_std == 0 else 2
    if fit.n_constraints < needed:
        raise NotIdentifiable(
            f"one emitter seen at {fit.n_positions} table positions leaves the angles open",
            parameters=["angle offset", "angle scale"],
            hint="turn the table to at least 3 positions, or let several emitters stand still meanwhile",
        )
    if fit.ambiguous:
        raise NotIdentifiable(
            f"two arrangements explain the {fit.n_positions} table positions equally well (the emitters stand to "
            "the left or to the right)",
            parameters=["angle offset"],
            hint="turn the table to one more position, or let another emitter stand still",
        )
    e = len(fit.emitters_rad)
    assumes = (
        f"{e} emitter{'s' * (e != 1)} stood still in the room, in front of the array, while the table rested at "
        f"{fit.n_positions} known positions over {np.rad2deg(fit.span_rad):.3g} degrees, each right to "
        f"{np.rad2deg(fit.table_sigma_rad):.2g} degrees"
    )
    if prior.position_std > 0 and fit.affine.al_sigma > 0.5 * prior.moments()[1]:
        assumes += f"; position errors are about {prior.position_std:.2g} wavelengths (scale of angles)"
    if anchors:
        assumes += f"; {len(anchors)} known angle{'s' * (len(anchors) != 1)} as stated"
    return fit.affine, assumes, tuple(_remarks(fit, seen))


def _clearly(straight: RotationFit, mirrored: RotationFit | None) -> bool:
    """False if the opposite sense explains the sightings clearly better."""
    return mirrored is None or straight.cost < mirrored.cost + _CLEAR


def _remarks(fit: RotationFit, seen: Sightings) -> list[str]:
    out = []
    if fit.affine.angle_sigma_rad > _LIMIT_RAD:
        have = np.rad2deg(fit.span_rad)
        if np.isfinite(fit.needed_span_rad) and fit.needed_span_rad > fit.span_rad:
            out.append(
                f"turn by at least {np.rad2deg(fit.needed_span_rad):.0f} degrees in all (it was {have:.3g}), "
                "or let more emitters stand still"
            )
        else:
            out.append("add table positions or standing emitters, or give one known angle (--anchor)")
    if seen.n_positions < seen.n_given:
        out.append(
            f"{seen.n_given - seen.n_positions} of {seen.n_given} table positions had no usable block and were "
            "left out"
        )
    if fit.table_sigma_rad > np.deg2rad(0.06):
        out.append(f"the table's angles scatter by {np.rad2deg(fit.table_sigma_rad):.2g} degrees")
    return out


def plane_sense(seen: Sightings) -> int:
    """+1 if azimuths follow the turns of the table as stated, -1 if they follow them mirrored, 0: cannot tell.

    azimuth = azimuth_source - heading; a plane with reversed port order shows the opposite sign.
    """
    sigma = np.sqrt(np.diag(seen.covariance))
    straight, mirrored = (_coincidences(seen, sigma, sign) for sign in (1.0, -1.0))
    if straight == mirrored:
        return 0
    return 1 if straight > mirrored else -1


def _coincidences(seen: Sightings, sigma: NDArray[np.float64], sign: float) -> int:
    """Pairs of sightings at different headings that are one source in the room."""
    room = seen.angle + sign * seen.heading_rad
    gap = (room[:, None] - room + np.pi) % (2 * np.pi) - np.pi
    tolerance = 6 * np.hypot(sigma[:, None], sigma) + np.deg2rad(0.5)
    other = np.abs(np.sin((seen.heading_rad[:, None] - seen.heading_rad) / 2)) > np.sin(np.deg2rad(0.5))
    return int(np.sum((np.abs(gap) < tolerance) & other)) // 2
