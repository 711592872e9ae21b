"""Angles of emitters over time, and the counter-based random numbers behind them.

Everything here is a function of scene time alone, so any piece of a signal can be made at any moment.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sim_backend.echo_spec import Target, TargetHop
from sim_backend.scene import ChamberSpec, Emitter, Hop, Track

_MASK = (1 << 64) - 1


def mix64(*words: int) -> int:
    """A 64-bit hash of integers (the finaliser of splitmix64, chained)."""
    h = 0x9E3779B97F4A7C15
    for word in words:
        h = (h ^ (word & _MASK)) & _MASK
        h = (h + 0x9E3779B97F4A7C15) & _MASK
        h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & _MASK
        h ^= h >> 31
    return h


def uniform(*words: int) -> float:
    """A number in [0, 1) that is a hash of integers."""
    return (mix64(*words) >> 11) * 2.0**-53


class Table:
    """Heading of the array over scene time, degrees clockwise from above: steps, the last one kept."""

    def __init__(self, chamber: ChamberSpec) -> None:
        self._steps = chamber.steps_deg or (0.0,)
        self._step_s = chamber.step_s

    def index(self, sample: int, fs_hz: float) -> int:
        """Which step the sample lies in."""
        if len(self._steps) == 1:
            return 0
        return min(_dwell(sample, self._step_s * fs_hz), len(self._steps) - 1)

    def border(self, index: int, fs_hz: float) -> int:
        """First sample of a step; far away past the last one."""
        return 1 << 62 if index >= len(self._steps) else _border(index, self._step_s * fs_hz)

    def heading_deg(self, index: int) -> float:
        """Heading of a step."""
        return self._steps[index]

    def changes(self, t0_s: float, t1_s: float) -> Iterator[tuple[float, float]]:
        """(t_s, heading_deg) of the step that t0_s lies in, as of t0_s, and of those that begin in t0_s..t1_s."""
        index = min(int(t0_s / self._step_s + 1e-9), len(self._steps) - 1)
        yield t0_s, self._steps[index]
        while (index := index + 1) < len(self._steps) and (t_s := index * self._step_s) < t1_s:
            if t_s > t0_s:
                yield t_s, self._steps[index]


class Motion:
    """Azimuth of one emitter or target over scene time, in the room.

    Parameters
    ----------
    emitter : emitter or target: its `hop`, `track` or constant `angle_deg`.
    key : integer that makes this emitter's hops its own.
    """

    def __init__(self, emitter: Emitter | Target, key: int) -> None:
        self._emitter = emitter
        self._key = key

    @property
    def moves(self) -> bool:
        """It hops or tracks."""
        return self._emitter.hop is not None or self._emitter.track is not None

    @property
    def kind(self) -> str:
        """ "hold" where the angle is constant between changes, "linear" where it moves evenly."""
        return "linear" if self._emitter.track else "hold"

    def hop_index(self, sample: int, fs_hz: float) -> int:
        """Which dwell the sample lies in; 0 without hops."""
        hop = self._emitter.hop
        if hop is None:
            return 0
        return _dwell(sample, hop.period_s * fs_hz)

    def hop_border(self, index: int, fs_hz: float) -> int:
        """First sample of a dwell; far away without hops."""
        hop = self._emitter.hop
        return 1 << 62 if hop is None else _border(index, hop.period_s * fs_hz)

    def dwell_deg(self, index: int) -> float:
        """Angle of a dwell in degrees."""
        hop = self._emitter.hop
        return self._emitter.angle_deg if hop is None else _hop_deg(hop, self._key, index)

    def angle_deg(self, t_s: float) -> float:
        """Angle in degrees at scene second t_s of a static or tracking emitter."""
        track = self._emitter.track
        return self._emitter.angle_deg if track is None else _track_deg(track, self._emitter.angle_deg, t_s)

    @property
    def rate_rad_per_s(self) -> float:
        """Greatest angular rate between hops."""
        track = self._emitter.track
        return math.radians(track.rate_deg_per_s) if track else 0.0

    def changes(self, t0_s: float, t1_s: float) -> Iterator[tuple[float, float]]:
        """(t_s, angle_deg) that describe the angle over t0_s <= t < t1_s.

        Hops: the start of every dwell that overlaps, to be held. Tracks: the ends and every turning point,
        to be joined by straight lines (exact). Static: t0_s.
        """
        hop, track = self._emitter.hop, self._emitter.track
        if hop is not None:
            index = max(0, int(t0_s / hop.period_s))
            while index * hop.period_s < t1_s:
                yield index * hop.period_s, _hop_deg(hop, self._key, index)
                index += 1
        elif track is not None:
            yield t0_s, self.angle_deg(t0_s)
            sweep_s = (track.max_deg - track.min_deg) / track.rate_deg_per_s
            first_s = (track.max_deg - self._emitter.angle_deg) / track.rate_deg_per_s
            index = max(0, math.ceil((t0_s - first_s) / sweep_s))
            while (t_s := first_s + index * sweep_s) < t1_s:
                if t_s > t0_s:
                    yield t_s, track.max_deg if index % 2 == 0 else track.min_deg
                index += 1
            yield t1_s, self.angle_deg(t1_s)
        else:
            yield t0_s, self._emitter.angle_deg


def seen_from_table(
    points: list[tuple[float, float]], headings: list[tuple[float, float]], *, linear: bool
) -> list[tuple[float, float]]:
    """Angles relative to the turned array from angles in the room; both lists are (t_s, degrees) in order.

    Held angles are wrapped to -180..180. Straight lines get two points a nanosecond apart at every turn.
    """
    if not linear:
        borders = sorted({t for t, _ in (*points, *headings)})
        return [(t, _wrapped(_held(points, t) - _held(headings, t))) for t in borders]
    # the next piece begins where this one ends, perhaps with a turn just then
    points = [*points[:-1], (points[-1][0] - 1e-9, points[-1][1])]
    times = [t for t, _ in points]
    out = [(t, deg - _held(headings, t)) for t, deg in points]
    room = np.array([deg for _, deg in points])
    for (t, new), (_, old) in zip(headings[1:], headings[:-1], strict=True):
        here = float(np.interp(t, times, room))
        out = [p for p in out if p[0] != t] + [(t - 1e-9, here - old), (t, here - new)]
    return sorted(out)


def seen_from_turning_table(
    points: list[tuple[float, float]], knots: list[tuple[float, float]], *, linear: bool
) -> list[tuple[float, float]]:
    """The same under a table that turns: straight lines between `knots`, which begin and end the stretch of time. linear :
    so do the angles in the room. Returns the ends of straight lines, not wrapped, two a nanosecond apart at a jump."""
    begins_s, ends_s = knots[0][0], knots[-1][0] - 1e-9
    t_room, room = [t for t, _ in points], [deg for _, deg in points]
    t_knots, turned = [t for t, _ in knots], [deg for _, deg in knots]
    jumps = () if linear else [t for t in t_room if begins_s < t < ends_s]
    inner = [t for t in (*t_room, *t_knots) if begins_s <= t <= ends_s]
    times = sorted({begins_s, ends_s, *inner, *(t - 1e-9 for t in jumps)})
    seen = [
        (float(np.interp(t, t_room, room)) if linear else _held(points, t))
        - float(np.interp(t, t_knots, turned))
        for t in times
    ]
    return list(zip(times, seen, strict=True))


def _held(points: list[tuple[float, float]], t_s: float) -> float:
    return points[max(bisect_right(points, t_s, key=lambda point: point[0]) - 1, 0)][1]


def _wrapped(deg: float) -> float:
    return deg if -180 <= deg <= 180 else (deg + 180) % 360 - 180


def _dwell(sample: int, dwell_samples: float) -> int:
    """Which dwell the sample lies in."""
    index = int(sample / dwell_samples)
    while _border(index + 1, dwell_samples) <= sample:
        index += 1
    while _border(index, dwell_samples) > sample:
        index -= 1
    return index


def _border(index: int, dwell_samples: float) -> int:
    # the margin keeps a border that is an integer up to rounding on that integer
    return math.ceil(index * dwell_samples - 1e-6)


def _hop_deg(hop: Hop | TargetHop, key: int, index: int) -> float:
    return hop.min_deg + (hop.max_deg - hop.min_deg) * uniform(key, index)


def _track_deg(track: Track, start_deg: float, t_s: float) -> float:
    span = track.max_deg - track.min_deg
    way = math.fmod(start_deg - track.min_deg + track.rate_deg_per_s * t_s, 2 * span)
    return track.min_deg + (way if way <= span else 2 * span - way)


def unit_vectors(azimuth_deg: NDArray[np.float64], elevation_deg: float = 0.0) -> NDArray[np.float64]:
    """Unit vectors (J, 3) from the array to the source: (sin az cos el, cos az cos el, sin el)."""
    az, el = np.deg2rad(azimuth_deg), math.radians(elevation_deg)
    up = np.full(len(az), math.sin(el))
    return np.column_stack((np.sin(az) * math.cos(el), np.cos(az) * math.cos(el), up))
