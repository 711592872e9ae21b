"""What a plan would do, before anything moves: the way of the table, the time, the size."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.positioner.arrival import stops
from drivers.positioner.positioner import PositionerInfo
from hil.campaign.plan import Plan
from hil.core.errors import ConfigError

#: Of a table whose speed nobody states: that of Hamlib's usual rotators.
ASSUMED_SPEED_DEG_PER_S = 6.0


@dataclass(frozen=True, slots=True)
class Preview:
    """An estimate.

    Attributes
    ----------
    points : number. way_deg : sum of all moves. moving_s, waiting_s, recording_s : parts of `seconds`. bytes : of the
        samples. speed_deg_per_s : assumed.
    """

    points: int
    way_deg: float
    moving_s: float
    waiting_s: float
    recording_s: float
    bytes: int
    speed_deg_per_s: float

    @property
    def seconds(self) -> float:
        """All together, without retries."""
        return self.moving_s + self.waiting_s + self.recording_s


def preview(
    plan: Plan,
    *,
    fs_hz: float,
    n_channels: int,
    from_deg: float = 0.0,
    speed_deg_per_s: float = ASSUMED_SPEED_DEG_PER_S,
    sample_bytes: int = 4,
) -> Preview:
    """Of a sweep that begins with the table at `from_deg`. sample_bytes : of one complex sample."""
    at, way = from_deg, 0.0
    for index in plan.visits:
        for stop in stops(plan.angles_deg[index], at, plan.approach, plan.approach_deg):
            way += abs(stop - at)
            at = stop
    n = len(plan.angles_deg)
    return Preview(
        n, way, way / speed_deg_per_s, n * (plan.settle_s + plan.dwell_s), n * plan.samples / fs_hz,
        n * plan.samples * n_channels * sample_bytes, speed_deg_per_s,
    )  # fmt: skip


def check_limits(plan: Plan, info: PositionerInfo) -> None:
    """Raise ConfigError if the table cannot reach an angle, or not from the side that is asked for."""
    limits = info.limits_deg
    outside = [a for a in plan.angles_deg if not limits.contains(a)]
    if outside:
        raise ConfigError(
            f"{len(outside)} of {len(plan.angles_deg)} angles, such as {outside[0]:g}, are outside the table's "
            f"{limits} degrees",
            where="--angles", hint="choose angles within the limits, or change those of the table",
        )  # fmt: skip
    if plan.approach == "any":
        return
    beyond = -plan.approach_deg if plan.approach == "cw" else plan.approach_deg
    short = [a for a in plan.angles_deg if not limits.contains(a + beyond)]
    if short:
        raise ConfigError(
            f"{short[0]:g} degrees cannot be reached {plan.approach}: {short[0] + beyond:g} is outside the table's "
            f"{limits} degrees",
            where="--approach", hint="leave room for the approach, or use --approach any",
        )  # fmt: skip
