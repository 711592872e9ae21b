"""A null space in words: what cannot be known from the data, and what would settle it."""

from __future__ import annotations

from collections.abc import Sequence

from calib.fisher.array import ArrayPoint, Unknowns
from calib.fisher.gauge import Direction

_UNSEEN = "cannot be known from these data"
CONVENTIONS = ("scale", "phase", "shift-x", "shift-y", "shift-z")
_RESEMBLES = {
    "ramp": "an offset of sin(angle) (a phase ramp across the array)",
    "rotation": "a rotation of the array",
    "stretch": "a common scale of the positions",
    "map": "a stretch or shear of the positions along one axis",
    "warp": "a warping of the angle scale",
    "scale": "the overall gain",
    "phase": "the overall phase",
    "shift": "a common shift",
    "every": "single positions along one axis",
}


def is_convention(direction: Direction) -> bool:
    """True for the common complex gain and the common shift, which change no direction."""
    return direction.name in CONVENTIONS


def describe_null_space(
    null: Sequence[Direction], point: ArrayPoint, unknowns: Unknowns, *, single_look: bool = False
) -> list[str]:
    """Sentences for the open directions among `null` (conventions are left out)."""
    open_ = [d for d in null if not is_convention(d)]
    names = [d.name for d in open_ if d.name]
    ramps = [n for n in names if n.startswith("ramp")]
    maps = [n for n in names if n.startswith("map") or n == "stretch"]
    turns = [n for n in names if n.startswith("rotation")]
    warps = [n for n in names if n == "warp"]
    out: list[str] = []
    if point.kind == "line":
        out += _line(bool(ramps), bool(maps), len(warps))
        if turns:
            out.append(
                f"a rotation of this line in the plane {_UNSEEN}: know the y positions, or give a known angle"
            )
    else:
        out += _solid(point.kind, unknowns.elevation, len(ramps), len(maps), turns)
    for axis in "xyz":
        count = names.count(f"every-{axis}")
        if count:
            out.append(
                f"{count} {axis} positions {_UNSEEN}: no source ever moved along {axis}; "
                f"take them as known, or show sources at several elevations"
            )
    mixed = names.count("mix")
    if mixed and point.kind == "line":
        out.append(
            f"on this line the known angle settles the offset; the scale of sin(angle) around it {_UNSEEN}: "
            "give one more known angle"
            if mixed == 1 and not warps and not (ramps or maps)
            else f"on this line {mixed} more numbers of the angle scale {_UNSEEN}: give {mixed} more known angles"
        )
    elif mixed:
        out.append(
            f"what the known angles leave of rotations, ramps and linear maps of the positions ({mixed} "
            f"number{'s' * (mixed > 1)}) {_UNSEEN}: give more known directions"
        )
    rest = [d for d in open_ if not d.name]
    if rest:
        which = ", ".join(dict.fromkeys(p for d in rest for p in d.parameters[:2]))
        what = "1 further combination" if len(rest) == 1 else f"{len(rest)} further combinations"
        cure = (
            "the emitter must move or hop, or the array must turn"
            if single_look
            else "show more different angles"
        )
        out.append(f"{what} of the parameters, mostly {_shorten(which)}, {_UNSEEN}: {cure}")
    return out


def _shorten(text: str, most: int = 6) -> str:
    parts = text.split(", ")
    return ", ".join(parts[:most]) + (" ..." if len(parts) > most else "")


def _line(ramp: bool, stretch: bool, warps: int) -> list[str]:
    if warps:
        return [
            f"on this line of equal spacing with unconstrained coupling an offset and a warping of sin(angle) "
            f"({int(ramp) + warps} numbers) {_UNSEEN}: give three known angles, or bound the coupling"
        ]
    if ramp and stretch:
        return [
            f"on this line a common offset and scale of sin(angle) {_UNSEEN}: give two known angles, "
            "or three table positions"
        ]
    if ramp:
        return [
            f"on this line a common offset of sin(angle) (a phase ramp along it) {_UNSEEN}: give one known "
            "angle, or three table positions"
        ]
    if stretch:
        return [
            f"on this line a common scale of sin(angle) (of the positions) {_UNSEEN}: give one known angle off "
            "broadside, or three table positions"
        ]
    return []


def _solid(kind: str, elevation: bool, ramps: int, maps: int, turns: Sequence[str]) -> list[str]:
    what = "in this array" if kind == "volume" else "on this plane"
    if ramps and maps:
        tilt = " and any tilt of it" if len(turns) > 1 else ""
        return [
            f"{what} any linear map of the positions{tilt} and an offset of both direction cosines {_UNSEEN}: give "
            "three known directions that do not lie on one line"
        ]
    out = []
    if ramps:
        out.append(
            f"{what} a common offset of the direction cosines ({ramps} phase ramp{'s' * (ramps != 1)}) {_UNSEEN}: "
            f"give one known {'direction' if elevation else 'angle'}"
        )
    if maps:
        out.append(f"{what} a linear map of the positions {_UNSEEN}: give two known directions")
    if len(turns) == 1:
        out.append(f"{what} a rotation of the whole array {_UNSEEN}: give one known azimuth")
    elif turns:
        out.append(
            f"a rotation of the whole array in space ({len(turns)} angles) {_UNSEEN}: give two known directions"
        )
    return out


def mirror_note(null: Sequence[Direction], point: ArrayPoint) -> str:
    """The discrete ambiguity that goes with an open scale or rotation, or an empty string."""
    names = {d.name for d in null}
    if point.kind == "line" and ("stretch" in names or "map-xx" in names):
        return "the mirror image (elements and angles with the other sign) fits equally well"
    if point.kind != "line" and any(n.startswith("rotation") for n in names):
        return "the mirror image of the array fits equally well"
    return ""


def describe_weak(direction: Direction) -> str:
    """One sentence for a direction that the data show, but badly."""
    head = direction.name.partition("-")[0]
    what = _RESEMBLES.get(head) or f"a combination of {', '.join(direction.parameters)}"
    return (
        f"{what} is weakly seen: singular value {direction.relative:.1e} of the largest, one standard deviation "
        f"{_size(direction.sigma_rad)} rms per element"
    )


def _size(sigma_rad: float) -> str:
    degrees = 57.29577951308232 * sigma_rad
    return f"{degrees:.2g} degrees of phase" if degrees < 180 else "more than half a turn of phase"
