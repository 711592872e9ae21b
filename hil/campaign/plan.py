"""What a sweep shall do: angles, order, and what makes a point good."""

from __future__ import annotations

import hashlib
import json
import math
import random
from dataclasses import asdict, dataclass
from typing import Literal

from drivers.positioner.arrival import Approach
from hil.core.errors import ConfigError

MOST_POINTS = 100_000
MOST_EMITTERS = 16
_MOST_SAMPLES = 1 << 40

Order = Literal["up", "down", "random"]
Layout = Literal["collection", "interleaved"]
ORDERS: tuple[Order, ...] = ("up", "down", "random")
APPROACHES: tuple[Approach, ...] = ("any", "cw", "ccw")
LAYOUTS: tuple[Layout, ...] = ("collection", "interleaved")


@dataclass(frozen=True, slots=True)
class Plan:
    """A turntable campaign. Table angles are degrees as the table counts them, clockwise seen from above.

    Attributes
    ----------
    angles_deg : set-points of the table, each once. order : in which they are visited; "random" (by `seed`) keeps
        drift from looking like an angle.
    samples : per channel and point. block_samples : of one block; None: the device's own.
    approach : side from which each angle is reached ("cw": turning clockwise, so from smaller angles), because of
        backlash; the table first goes `approach_deg` beyond. "any": the short way.
    settle_s : between arrival and the first sample. tolerance_deg, dwell_s, stall_s : see
        `drivers.positioner.arrival.ArrivalRule`; the tolerance also holds for the read-back after the samples.
    retries : of a point whose checks fail, before it is left out as bad.
    min_snr_db : over all channels, a point below is bad; None: not checked.
    reference_deg : what the table reads when the array looks at azimuth 0 of the room.
    emitters_deg : azimuths of the emitters in the room, clockwise; (): not known, then no truth is written.
    layout : of the recordings. note : free text of the operator.
    """

    angles_deg: tuple[float, ...]
    order: Order = "up"
    seed: int = 0
    samples: int = 81_920
    block_samples: int | None = None
    approach: Approach = "any"
    approach_deg: float = 2.0
    settle_s: float = 0.3
    tolerance_deg: float = 0.1
    dwell_s: float = 0.3
    stall_s: float = 3.0
    retries: int = 2
    min_snr_db: float | None = None
    reference_deg: float = 0.0
    emitters_deg: tuple[float, ...] = ()
    layout: Layout = "collection"
    note: str = ""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def visits(self) -> tuple[int, ...]:
        """Indices into `angles_deg` in the order in which they are visited."""
        by_angle = sorted(range(len(self.angles_deg)), key=lambda i: self.angles_deg[i])
        if self.order == "down":
            by_angle.reverse()
        if self.order == "random":
            random.Random(self.seed).shuffle(by_angle)
        return tuple(by_angle)

    def truth_deg(self, table_deg: float) -> tuple[float, ...]:
        """Directions of the emitters relative to the array, -180 to 180, with the table at `table_deg`.

        Turning the array clockwise by t moves a fixed emitter to its azimuth minus t (SigMF spatial extension).
        """
        return tuple(wrapped_deg(a - (table_deg - self.reference_deg)) for a in self.emitters_deg)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what is measured; a note or another number of retries does not change it."""
        fields = asdict(self)
        for free in ("note", "retries", "stall_s", "dwell_s"):
            del fields[free]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def wrapped_deg(angle_deg: float) -> float:
    """The same direction within (-180, 180]."""
    return 180.0 - (180.0 - angle_deg) % 360.0


def parse_angles(text: str, where: str = "--angles") -> tuple[float, ...]:
    """`A:B:STEP` (both ends, if the step fits), or angles separated by commas, in degrees. Raises ConfigError."""
    hint = "write for example -60:60:1, or -30,0,30"
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            if not all(map(math.isfinite, (first, last, step))) or step == 0 or (last - first) * step < 0:
                raise ConfigError(f"{text!r} never comes from {first:g} to {last:g}", where=where, hint=hint)
            n = math.floor((last - first) / step + 1e-9) + 1
            if n > MOST_POINTS:
                raise ConfigError(f"{text!r} is {n} points, at most {MOST_POINTS} are taken", where=where)
            return tuple(round(first + i * step, 9) + 0.0 for i in range(n))
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"cannot read {text!r} as angles", where=where, hint=hint) from None


def _check(plan: Plan) -> None:
    def bad(field: str, why: str, hint: str = "") -> ConfigError:
        return ConfigError(f"{field} {why}", where="plan", hint=hint)

    angles = plan.angles_deg
    if not 1 <= len(angles) <= MOST_POINTS:
        raise bad("angles", f"are {len(angles)} points; 1 to {MOST_POINTS} are taken")
    if not all(math.isfinite(a) and abs(a) <= 3600 for a in angles):
        raise bad("angles", "must lie within -3600 and 3600 degrees")
    if len(set(angles)) < len(angles):
        raise bad("angles", "name the same angle twice", "each angle once")
    for field, allowed in (("order", ORDERS), ("approach", APPROACHES), ("layout", LAYOUTS)):
        if getattr(plan, field) not in allowed:
            raise bad(field, f"is {getattr(plan, field)!r}", f"one of {', '.join(allowed)}")
    for field, low, high in (
        ("samples", 1, _MOST_SAMPLES), ("approach_deg", 0, 90), ("settle_s", 0, 3600), ("tolerance_deg", 1e-4, 10),
        ("dwell_s", 0, 60), ("stall_s", 0.5, 600), ("retries", 0, 100), ("reference_deg", -3600, 3600),
        ("seed", 0, 2**63 - 1),
    ):  # fmt: skip
        value = getattr(plan, field)
        if not math.isfinite(value) or not low <= value <= high:
            raise bad(field, f"is {value:g}; {low:g} to {high:g} is taken")
    if plan.block_samples is not None and plan.block_samples < 1:
        raise bad("block_samples", f"is {plan.block_samples}")
    if plan.min_snr_db is not None and not abs(plan.min_snr_db) <= 200:
        raise bad("min_snr_db", f"is {plan.min_snr_db:g}")
    if len(plan.emitters_deg) > MOST_EMITTERS or not all(math.isfinite(a) for a in plan.emitters_deg):
        raise bad("emitters", f"are {plan.emitters_deg}", f"at most {MOST_EMITTERS} azimuths in degrees")
    if len(plan.note) > 4000:
        raise bad("note", "is longer than 4000 characters")
