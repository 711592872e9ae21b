"""Level as radius: against the array's own angle (0 up, clockwise), or against the compass with north up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt
from PySide6.QtGui import QPainterPath
from PySide6.QtWidgets import QGraphicsPathItem

from gui.panels.directions_ink import Ink, ink_of, letters, shade
from gui.panels.directions_model import MOST_MARKERS, Curve, Drawing, Range, Trace, marker_text

_TRACES: tuple[Trace, ...] = ("A", "B", "hold", "nominal", "beside", "calibrated")
_MOST_RINGS = 4
#: Where words go if their place is taken, in their own sizes: away from the axis, then nearer to the centre.
_STEPS = tuple(
    (inwards, outwards) for inwards in (0, 1, 2) for outwards in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
)
#: In a view lower than so many letters there is room for the four main directions only.
_ROOMY_LETTERS = 18
_SPOKES_DEG = range(0, 360, 30)
_WINDS = {0: "N", 90: "E", 180: "S", 270: "W"}
_OUTSIDE, _NUMBERS = 1.09, 1.2
_EDGE = 1.38
#: Of the ring labels, from where the array points: seldom in the way of what it hears.
_LABELS_DEG = 75.0


def mirrored_deg(angle_deg: float) -> float:
    """The direction behind a line that looks the same as one in front."""
    return 180.0 - angle_deg


def show_numbers(
    texts: list[pg.TextItem], view: pg.ViewBox, radius: float, wanted: list[tuple[float, str]]
) -> None:
    """Words at azimuths in degrees, outside a circle: those next to the four main directions first, the others outwards
    of them."""
    for k, text in enumerate(texts):
        text.setVisible(k < len(wanted))
    taken: list[QRectF] = []
    for k in sorted(range(len(wanted)), key=lambda k: abs((wanted[k][0] + 45.0) % 90.0 - 45.0)):
        angle, words = wanted[k]
        if words != texts[k].toPlainText():
            texts[k].setText(words)
        _stand_outside(texts[k], view, radius, np.deg2rad(angle), taken)


def _stand_outside(
    text: pg.TextItem, view: pg.ViewBox, radius: float, azimuth_rad: float, taken: list[QRectF]
) -> None:
    """Put words (anchor 0, 0) outside a circle, never out of sight, clear of the places that are taken."""
    s, c = float(np.sin(azimuth_rad)), float(np.cos(azimuth_rad))
    px, py = (abs(step) for step in view.viewPixelSize())
    size, seen = text.boundingRect(), view.viewRect()
    width, height = size.width() * px, size.height() * py
    above = abs(c) > abs(
        s
    )  # words over and under the circle make way to the sides, those at its sides up and down
    left, top = radius * s - width * (0.5 - 0.5 * s), radius * c + height * (0.5 + 0.5 * c)
    place = QRectF()
    for inwards, outwards in _STEPS:
        along, across = (outwards, inwards) if above else (-inwards, -outwards)
        x = left + along * np.copysign(width, s)
        y = top - across * np.copysign(height, c)
        x, y = min(max(x, seen.left()), seen.right() - width), min(max(y, seen.top() + height), seen.bottom())
        place = QRectF(x, y - height, width, height)
        if not any(place.intersects(other) for other in taken):
            break
    taken.append(place)
    text.setPos(place.left(), place.bottom())


class RoundView(pg.PlotWidget):
    """compass : north up; angles are bearings and the array points to `heading_deg`. both_sides : of a line, whose two sides
    look the same, also the back is drawn (thin), as it may be there that the signal comes from."""

    def __init__(self, *, compass: bool) -> None:
        super().__init__()
        self.compass = compass
        self.heading_deg = 0.0
        self.both_sides = True
        self.setAspectLocked(True)
        self.hideAxis("left")
        self.hideAxis("bottom")
        self.hideButtons()
        self.setMouseEnabled(x=False, y=False)
        self._blind, self._images, self._bars = (self._path(z) for z in (-10, -9, -8))
        self._grid = self.plot(connect="finite")
        self._rays, self._back_rays = self.plot(connect="pairs"), self.plot(connect="pairs")
        self._front: dict[Trace, pg.PlotDataItem] = {name: self.plot() for name in _TRACES}
        self._back: dict[Trace, pg.PlotDataItem] = {name: self.plot() for name in _TRACES}
        for rays in (self._rays, self._back_rays):
            rays.setZValue(-5)
        self._pointer = self.plot(connect="finite")
        self._spokes = [self._text() for _ in _SPOKES_DEG]
        self._rings = [self._text() for _ in range(_MOST_RINGS)]
        self.numbers = [self._text((0, 0)) for _ in range(2 * MOST_MARKERS)]
        self._state: tuple[object, ...] = ()
        self._unit: tuple[Any, ...] = (None,)
        self.restyle()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """The palette of a panel's parts changes after its own."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_rays"):
            self.restyle()

    def restyle(self) -> None:
        """Colours and letters of the palette."""
        ink: Ink = ink_of(self)
        self.setBackground(ink.paper)
        self._grid.setPen(pg.mkPen(ink.grid, width=1))
        self._pointer.setPen(pg.mkPen(ink.text, width=2))
        for name in _TRACES:
            colour, width = ink.traces[name]
            self._front[name].setPen(pg.mkPen(colour, width=width))
            self._back[name].setPen(pg.mkPen(shade(colour, 150), width=1))
        self._rays.setPen(pg.mkPen(ink.marker, width=2))
        self._back_rays.setPen(pg.mkPen(ink.marker, width=1))
        self._bars.setBrush(shade(ink.marker, 110))
        self._images.setBrush(shade(ink.image, 50))
        self._blind.setBrush(shade(ink.blind, 50))
        for text in (*self._spokes, *self._rings):
            text.setFont(letters(self, 1.2))
            text.setColor(ink.dim)
        for text in self.numbers:
            text.setFont(letters(self, 1.5, bold=True))
            text.setColor(ink.marker)
            text.fill = pg.mkBrush(shade(ink.paper, 200))
        self._state = ()

    def draw(self, drawing: Drawing) -> None:
        """Show it."""
        d = drawing
        turn = self.heading_deg if self.compass else 0.0
        behind = d.line and self.both_sides
        roomy = min(self.width(), self.height()) > _ROOMY_LETTERS * self.fontInfo().pixelSize()
        state = (turn, d.line, self.both_sides, d.floor_db, roomy)
        if state != self._state:
            self._state = state
            self._scale(d, turn, roomy)
        for name in _TRACES:
            have = d.curves.get(name)
            if have is None:
                for curve in (self._front[name], self._back[name]):
                    if curve.xData is not None:
                        curve.clear()
                continue
            radius = np.clip(1 - have.level_db / d.floor_db, 0.0, 1.0)
            x, y = self._directions(have, turn)
            self._front[name].setData(radius * x, radius * y)
            if behind:
                x, y = self._directions(have, turn, back=True)
                self._back[name].setData(radius * x, radius * y)
            elif self._back[name].xData is not None:
                self._back[name].clear()
        self._shade(self._blind, d.blind_deg, turn, behind)
        self._shade(self._images, tuple(r for m in d.markers for r in m.images_deg), turn, behind)
        self._shade(
            self._bars,
            tuple(
                (m.angle_deg - m.sigma_deg, m.angle_deg + m.sigma_deg)
                for m in d.markers
                if np.isfinite(m.sigma_deg)
            ),
            turn, behind,
        )  # fmt: skip
        self._mark(d, turn, behind)

    def _directions(
        self, curve: Curve, turn: float, *, back: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Unit vectors (G,) of a curve's angles; those of the live curves are kept."""
        angles = curve.angles_deg
        if self._unit[0] is not angles or self._unit[1] != turn:
            front, behind = np.deg2rad(angles + turn), np.deg2rad(180.0 - angles + turn)
            vectors = (np.sin(front), np.cos(front)), (np.sin(behind), np.cos(behind))
            if curve.name[:2] in ("A ", "B "):
                return vectors[back]
            self._unit = (angles, turn, *vectors)
        return self._unit[3 if back else 2]

    def _mark(self, d: Drawing, turn: float, behind: bool) -> None:
        rays = [(m.angle_deg + turn, m) for m in d.markers]
        twins = [(mirrored_deg(m.angle_deg) + turn, m) for m in d.markers] if behind else []
        for item, some in ((self._rays, rays), (self._back_rays, twins)):
            at = np.deg2rad([angle for angle, _ in some])
            x = np.column_stack((np.zeros(len(at)), np.sin(at))).ravel()
            item.setData(x, np.column_stack((np.zeros(len(at)), np.cos(at))).ravel())
        wanted = [(angle, marker_text(angle if self.compass else m.angle_deg, m.sigma_deg, bearing=self.compass, short=d.crowded))
                  for angle, m in rays]  # fmt: skip
        wanted += [
            (angle, "or " + marker_text(angle, m.sigma_deg, bearing=True, short=True))
            for angle, m in twins
            if self.compass
        ]
        show_numbers(self.numbers, self.getViewBox(), _NUMBERS, wanted)

    def _shade(self, item: QGraphicsPathItem, ranges: tuple[Range, ...], turn: float, behind: bool) -> None:
        """Wedges; built again only when they change."""
        key = (ranges, turn, behind)
        if item.data(0) == key:
            return
        item.setData(0, key)
        path = QPainterPath()
        circle = QRectF(-1, -1, 2, 2)
        both = [(low + turn, high + turn) for low, high in ranges]
        if behind:
            both += [(mirrored_deg(high) + turn, mirrored_deg(low) + turn) for low, high in ranges]
        for low, high in both:
            # Qt counts from +x towards -y of its own frame, which is upside down here
            path.moveTo(QPointF(0, 0))
            path.arcTo(circle, low - 90, high - low)
            path.closeSubpath()
        item.setPath(path)

    def _scale(self, d: Drawing, turn: float, roomy: bool) -> None:
        """Rings, spokes, their labels, where the array points."""
        half = d.line and not self.both_sides
        upright = half and not self.compass
        round_ = np.deg2rad(np.linspace(-90, 90, 91) + turn if half else np.linspace(0, 360, 181))
        xs: list[float] = []
        ys: list[float] = []
        step_db = 10.0 if d.floor_db >= -40 else 20.0
        levels = np.arange(0.0, d.floor_db, -step_db)
        for ring in 1 - levels / d.floor_db:
            xs += [*(ring * np.sin(round_)), np.nan]
            ys += [*(ring * np.cos(round_)), np.nan]
        for text, angle in zip(self._spokes, _SPOKES_DEG, strict=True):
            s, c = float(np.sin(np.deg2rad(angle))), float(np.cos(np.deg2rad(angle)))
            inside = not half or np.cos(np.deg2rad(angle - turn)) > -1e-9
            text.setVisible(bool(inside) and (roomy or angle % 90 == 0))
            if inside:
                xs += [0.0, s, np.nan]
                ys += [0.0, c, np.nan]
            own = angle if angle <= 180 else angle - 360
            if self.compass:
                text.setText(_WINDS.get(angle, f"{angle}"))
            elif d.line and abs(own) > 90:
                text.setText("back" if own == 180 else "")
            else:
                text.setText(f"{own:+d}°" if 0 < abs(own) < 180 else f"{abs(own)}°")
            text.setPos(_OUTSIDE * s, _OUTSIDE * c)
        self._grid.setData(np.array(xs), np.array(ys))
        at = np.deg2rad(turn + _LABELS_DEG)
        for k, text in enumerate(self._rings):
            text.setVisible(roomy and k < len(levels))
            if k < len(levels):
                ring = 1 - levels[k] / d.floor_db
                text.setText(f"{levels[k]:.0f} dB")
                text.setPos(ring * np.sin(at), ring * np.cos(at))
        s, c = np.sin(np.deg2rad(turn)), np.cos(np.deg2rad(turn))
        px, py = np.cos(np.deg2rad(turn)), -np.sin(np.deg2rad(turn))
        # the array's own line and where it looks
        tip = 0.16
        self._pointer.setData(
            np.array([-0.1 * px, 0.1 * px, np.nan, 0, tip * s, np.nan,
                      tip * s - 0.05 * (s + px), tip * s, tip * s - 0.05 * (s - px)]),
            np.array([-0.1 * py, 0.1 * py, np.nan, 0, tip * c, np.nan,
                      tip * c - 0.05 * (c + py), tip * c, tip * c - 0.05 * (c - py)]),
        )  # fmt: skip
        self.getViewBox().setRange(
            xRange=(-_EDGE, _EDGE), yRange=(-0.1 if upright else -_EDGE, _EDGE), padding=0
        )

    def _text(self, anchor: tuple[float, float] = (0.5, 0.5)) -> pg.TextItem:
        text = pg.TextItem(anchor=anchor)
        self.getViewBox().addItem(text, ignoreBounds=True)
        return text

    def _path(self, z: float) -> QGraphicsPathItem:
        path = QGraphicsPathItem()
        path.setPen(Qt.PenStyle.NoPen)
        path.setZValue(z)
        self.getViewBox().addItem(path, ignoreBounds=True)
        return path
