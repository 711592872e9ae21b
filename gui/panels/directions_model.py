"""What the direction views draw, worked out from pictures: curves, markers, ranges that mislead. No Qt."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.diagnose.lobes import LobeMap
from gui.doa_sources import get_source
from gui.picture import Picture

Range = tuple[float, float]
Trace = Literal["nominal", "calibrated", "beside", "hold", "A", "B"]
#: Directions that are marked.
MOST_MARKERS = 8
#: With more directions than this their standard deviations stand in the legend.
UNCROWDED = 4
_FLOORS_DB = (-80.0, -20.0)
#: Pictures for which a smaller range must do before it is taken.
_PATIENCE = 60


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """angles_deg (G,) and level_db (G,), peak 0 dB; name : for the legend."""

    angles_deg: NDArray[np.float64]
    level_db: NDArray[np.float64]
    name: str


@dataclass(frozen=True, slots=True)
class Marker:
    """A direction found. sigma_deg : NaN if not known. images_deg : ranges that look the same to this array."""

    angle_deg: float
    sigma_deg: float
    images_deg: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One moment. line : front and back look the same. floor_db : of the level axis. blind_deg : ranges that are measured
    badly. positive : where angles grow, in words. message : what the user has to know, or "". n_found : directions, of
    which at most MOST_MARKERS are in `markers`."""

    curves: dict[Trace, Curve]
    markers: tuple[Marker, ...]
    n_found: int
    blind_deg: tuple[Range, ...]
    line: bool
    floor_db: float
    positive: str
    message: str

    @property
    def crowded(self) -> bool:
        """Too many directions for long words beside each."""
        return len(self.markers) > UNCROWDED


def image_ranges(lobes: LobeMap, angle_deg: float, *, line: bool) -> tuple[Range, ...]:
    """Ranges that the array confuses with a direction: its response over the threshold, apart from the main lobe."""
    angles = lobes.angles_deg
    here = int(np.argmin(np.abs((angles - angle_deg + 180) % 360 - 180)))
    alike = lobes.ambiguity[here] > lobes.threshold
    n = len(alike)
    main = np.zeros(n, dtype=bool)
    for step in (1, -1):
        i = here
        while alike[i] and not (main[i] and i != here):
            main[i] = True
            i += step
            if line and not 0 <= i < n:
                break
            i %= n
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (alike & ~main).astype(int), [0]))))
    return tuple(
        (float(angles[a]), float(angles[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)
    )


def marker_text(angle_deg: float, sigma_deg: float, *, bearing: bool = False, short: bool = False) -> str:
    """`+12.34° ± 0.05°`; as a bearing `012.34°`; short : without the standard deviation."""
    angle = f"{round(angle_deg % 360, 2) % 360:06.2f}°" if bearing else f"{angle_deg:+.2f}°"
    if short:
        return angle
    return f"{angle} ± {sigma_deg:.2g}°" if np.isfinite(sigma_deg) else f"{angle} ± ?"


@dataclass(slots=True)
class DirectionsModel:
    """Remembers what pictures leave: the highest levels (while `holding`), two frozen traces, the range of levels."""

    holding: bool = False
    shading: bool = True
    frozen: dict[Trace, Curve] = field(default_factory=dict)
    _held: Curve | None = None
    _held_for: tuple[object, ...] = ()
    _best: Curve | None = None
    _floor_db: float = _FLOORS_DB[1]
    _floor_for: str = ""
    _calm: int = 0

    def take(self, picture: Picture) -> Drawing:
        """What is to be drawn now."""
        p = picture
        source = get_source(p.method)
        label, knows = source.label, "network" in source.needs
        curves: dict[Trace, Curve] = {}
        if p.angles_deg is not None and p.nominal_db is not None:
            curves["nominal"] = Curve(
                p.angles_deg, p.nominal_db, label if knows else f"{label}, nominal array"
            )
        if p.angles_deg is not None and p.calibrated_db is not None:
            curves["calibrated"] = Curve(p.angles_deg, p.calibrated_db, f"{label}, calibrated")
        self._best = curves.get("calibrated") or curves.get("nominal")
        if p.angles_deg is not None and p.beside_db is not None:
            curves["beside"] = Curve(p.angles_deg, p.beside_db, "MUSIC")
        self._hold(p)
        if self._held is not None:
            curves["hold"] = self._held
        curves.update(self.frozen)
        geometry = p.stream.geometry
        line = geometry is not None and geometry.kind == "line"
        marks: list[Marker] = []
        for angle, sigma in zip(p.doa_deg[:MOST_MARKERS], p.sigma_deg[:MOST_MARKERS], strict=True):
            shaded = self.shading and p.lobes is not None
            images = image_ranges(p.lobes, float(angle), line=line) if shaded and p.lobes else ()
            marks.append(Marker(float(angle), float(sigma), images))
        blind = tuple(p.lobes.blind_deg) if self.shading and p.lobes is not None else ()
        return Drawing(
            curves, tuple(marks), len(p.doa_deg), blind, line, self._floor(curves, p.method), _positive(p), _message(p)
        )  # fmt: skip

    def freeze(self, which: Literal["A", "B"]) -> None:
        """Keep the best curve of now; nothing if there is none."""
        if self._best is not None:
            name = f"{which} {time.strftime('%H:%M:%S')} {self._best.name}"
            self.frozen[which] = Curve(self._best.angles_deg, self._best.level_db.copy(), name)

    def release(self, which: Literal["A", "B"]) -> None:
        """Forget a frozen trace."""
        self.frozen.pop(which, None)

    def clear(self) -> None:
        """Forget the highest levels and both frozen traces."""
        self.frozen.clear()
        self._held = None

    def _hold(self, p: Picture) -> None:
        best = self._best
        if not self.holding:
            self._held = None
            return
        if best is None:
            return
        now = (p.method, p.calibrated_db is not None, len(best.angles_deg), *best.angles_deg[[0, -1]])
        level = best.level_db
        if self._held is not None and self._held_for == now:
            level = np.maximum(self._held.level_db, level)
        self._held, self._held_for = Curve(best.angles_deg, level, "max hold"), now

    def _floor(self, curves: dict[Trace, Curve], method: str) -> float:
        """Holds all but the deepest nulls; grows at once and shrinks late, so that the axis is calm."""
        deepest = min((float(np.percentile(c.level_db, 5)) for c in curves.values()), default=_FLOORS_DB[1])
        wanted = float(np.clip(10 * np.floor((deepest - 3) / 10), *_FLOORS_DB))
        self._calm = self._calm + 1 if wanted > self._floor_db else 0
        if method != self._floor_for or wanted < self._floor_db or self._calm > _PATIENCE:
            self._floor_db, self._floor_for, self._calm = wanted, method, 0
        return self._floor_db


def _positive(p: Picture) -> str:
    geometry = p.stream.geometry
    if geometry is None:
        return ""
    if geometry.kind != "line":
        return "0°: +y, + clockwise seen from above"
    return f"0°: broadside, + towards channel {int(np.argmax(geometry.positions_m[:, 0]))}"


def _message(p: Picture) -> str:
    if p.stream.geometry is None:
        return "The array is not known: fill in Array, e.g. ula:8:0.5"
    if p.problem:
        return p.problem
    if not len(p.doa_deg):
        return "" if p.n_sources else "no signal"
    known = p.calibration is not None or "network" in get_source(p.method).needs
    return "" if known else "not calibrated: ± is of the noise alone"
