"""Strict reading of a scene's [[target]] and [transmit] tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim_backend.echo_spec import Target, TargetHop, TransmitSpec

if TYPE_CHECKING:
    from sim_backend.scene import Track
    from sim_backend.scene_reader import Table

_MOST_RANGE_M = 1e5


def read_target(t: Table) -> Target:
    """One [[target]]. Raises SceneError."""
    if t.has("hop") and t.has("track"):
        raise t.error("track", "a target has either hop or track")
    hop = track = None
    if t.has("hop"):
        hop = _hop(t.sub("hop"))
    if t.has("track"):
        track = _track(t.sub("track"))
    spec = Target(
        t.number("angle_deg", 0.0, -180, 180),
        t.number("range_m", 10.0, 0.0, _MOST_RANGE_M, above=True),
        t.number("rcs_db", 0.0, -200, 100),
        t.number("speed_m_s", 0.0, -1e4, 1e4),
        t.number("elevation_deg", 0.0, -90, 90),
        t.number("phase_deg", 0.0, -360, 360),
        hop,
        track,
    )
    t.done()
    if track and not track.min_deg <= spec.angle_deg <= track.max_deg:
        raise t.error("angle_deg", "the start of a track must lie in its min_deg..max_deg")
    if hop and hop.min_m is not None and spec.speed_m_s:
        raise t.error("speed_m_s", "a target whose range hops has no speed", "leave out min_m and max_m")
    return spec


def _hop(t: Table) -> TargetHop:
    period_s = t.number("period_s", 0.01, 1e-4, 1e6)
    low, high = t.range_deg(-60.0, 60.0)
    near = far = None
    if t.has("min_m") or t.has("max_m"):
        near = t.number("min_m", 10.0, 0.0, _MOST_RANGE_M, above=True)
        far = t.number("max_m", 40.0, 0.0, _MOST_RANGE_M, above=True)
        if not near < far:
            raise t.error("min_m", "must be less than max_m")
    t.done()
    return TargetHop(period_s, low, high, near, far)


def _track(t: Table) -> Track:
    from sim_backend.scene import Track

    low, high = t.range_deg(-60.0, 60.0)
    rate = t.number("rate_deg_per_s", 5.0, 0.0, 1e4, above=True)
    t.done()
    if rate > 1000 * (high - low):
        raise t.error(
            "rate_deg_per_s", "turns more than 1000 times a second", "use a wider range or a lower rate"
        )
    return Track(rate, low, high)


def read_transmit(t: Table) -> TransmitSpec:
    """The [transmit] table. Raises SceneError."""
    phase = t.raw("phase_std_deg", "uniform")
    if isinstance(phase, str) and phase != "uniform":
        raise t.error("phase_std_deg", f'{phase[:40]!r} is neither a number nor "uniform"')
    spec = TransmitSpec(
        t.number("leakage_db", 10.0, -400.0, 100.0),
        t.number("leakage_spread_db", 2.0, 0.0, 40.0),
        t.number("leakage_delay_s", 0.0, 0.0, 1e-4),
        t.number("gain_std", 0.0, 0.0, 10.0),
        None if phase == "uniform" else t.checked("phase_std_deg", phase, 0.0, 360.0),
    )
    t.done()
    return spec
