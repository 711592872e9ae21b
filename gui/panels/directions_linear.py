"""Level against angle."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QFontMetricsF
from PySide6.QtWidgets import QGraphicsRectItem

from gui.panels.directions_ink import Ink, ink_of, letters, shade
from gui.panels.directions_model import MOST_MARKERS, Drawing, Range, Trace, marker_text

_TRACES: tuple[Trace, ...] = ("A", "B", "hold", "nominal", "beside", "calibrated")
_TICKS_DEG = (90.0, 45.0, 30.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
_TICK_LETTERS = 5.0
#: Room over 0 dB for the numbers, part of the range.
_HEADROOM = 0.34
_ROWS = 4


class AngleAxis(pg.AxisItem):
    """Lines at angles that people use; letter_px : width of a digit of their numbers."""

    letter_px = 8.0

    def tickSpacing(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, float]]:  # noqa: N802 - pyqtgraph's names
        """Spacing of the lines and of those between them."""
        least = (maxVal - minVal) * _TICK_LETTERS * self.letter_px / max(size, 1.0)
        fitting = [t for t in _TICKS_DEG if t >= least] or [_TICKS_DEG[0]]
        return [(fitting[-1], 0.0)]


class LevelAxis(pg.AxisItem):
    """No lines over the peak, where the numbers stand."""

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:  # noqa: N802 - pyqtgraph's names
        """Those up to 0 dB."""
        levels = super().tickValues(minVal, maxVal, size)
        return [(spacing, [v for v in values if v <= 0]) for spacing, values in levels[:1]]


class LinearView(pg.PlotWidget):
    """Angle to the right, level upwards; directions as lines with a bar of one sigma and their number."""

    def __init__(self) -> None:
        self._angles = AngleAxis("bottom")
        super().__init__(axisItems={"bottom": self._angles, "left": LevelAxis("left")})
        self.showGrid(x=True, y=True, alpha=0.2)
        self.getAxis("left").setLabel("dB", siPrefixEnableRanges=())
        self.hideButtons()
        self._curves: dict[Trace, pg.PlotDataItem] = {name: self.plot() for name in _TRACES}
        for curve in self._curves.values():
            curve.setDownsampling(auto=True, method="peak")
            curve.setClipToView(True)
        self._blind: list[QGraphicsRectItem] = []
        self._images: list[QGraphicsRectItem] = []
        self._bars = [self._rectangle() for _ in range(MOST_MARKERS)]
        self._lines = [pg.InfiniteLine(angle=90) for _ in range(MOST_MARKERS)]
        self.numbers = [pg.TextItem(anchor=(0, 0.5)) for _ in range(MOST_MARKERS)]
        for k in range(MOST_MARKERS):
            self._lines[k].setZValue(-5)
            self.numbers[k].setZValue(20)
            self.getViewBox().addItem(self._lines[k], ignoreBounds=True)
            self.getViewBox().addItem(self.numbers[k], ignoreBounds=True)
            for item in (self._lines[k], self.numbers[k]):
                item.setVisible(False)
        self._texts = [""] * MOST_MARKERS
        self._range: tuple[object, ...] = ()
        self.restyle()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """The palette of a panel's parts changes after its own."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_ink"):
            self.restyle()

    def restyle(self) -> None:
        """Colours and letters of the palette."""
        self._ink: Ink = ink_of(self)
        ink = self._ink
        self.setBackground(ink.paper)
        self._font = letters(self, 1.5, bold=True)
        self._angles.letter_px = QFontMetricsF(letters(self, 1.25)).horizontalAdvance("0")
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(ink.dim)
            axis.setTextPen(ink.text)
            axis.setTickFont(letters(self, 1.25))
            axis.label.setFont(letters(self, 1.1))
        for name, curve in self._curves.items():
            colour, width = ink.traces[name]
            curve.setPen(pg.mkPen(colour, width=width))
        for k in range(MOST_MARKERS):
            self._lines[k].setPen(pg.mkPen(ink.marker, width=2))
            self._bars[k].setBrush(shade(ink.marker, 90))
            self.numbers[k].setFont(self._font)
            self.numbers[k].setColor(ink.marker)
            self.numbers[k].fill = pg.mkBrush(shade(ink.paper, 200))
        for rectangles, colour, alpha in ((self._blind, ink.blind, 45), (self._images, ink.image, 45)):
            for rectangle in rectangles:
                rectangle.setBrush(shade(colour, alpha))

    def draw(self, drawing: Drawing) -> None:
        """Show it."""
        d = drawing
        for name, curve in self._curves.items():
            have = d.curves.get(name)
            if have is not None:
                curve.setData(have.angles_deg, have.level_db)
            elif curve.xData is not None:
                curve.clear()
        self._frame(d)
        self._place(self._blind, d.blind_deg, self._ink.blind)
        self._place(self._images, tuple(r for m in d.markers for r in m.images_deg), self._ink.image)
        self._mark(d)

    def _frame(self, d: Drawing) -> None:
        """Axes that fit array and method; what the user has zoomed into stays until these change."""
        limits = (-90.0, 90.0) if d.line else (-180.0, 180.0)
        wanted = (limits, d.floor_db, d.positive)
        if wanted == self._range:
            return
        if not self._range or self._range[0] != limits:
            self.setLimits(xMin=limits[0], xMax=limits[1])
            self.getViewBox().setXRange(*limits, padding=0)
        self.getViewBox().setYRange(d.floor_db, -_HEADROOM * d.floor_db, padding=0)
        words = f"angle / °   ({d.positive})" if d.positive else "angle / °"
        self.getAxis("bottom").setLabel(words, siPrefixEnableRanges=())
        self._range = wanted

    def _mark(self, d: Drawing) -> None:
        px_deg, px_db = (abs(s) for s in self.getViewBox().viewPixelSize())  # type: ignore[union-attr]
        ends = [-np.inf] * _ROWS
        order = sorted(range(len(d.markers)), key=lambda k: d.markers[k].angle_deg)
        right = self.viewRect().right()
        for k in range(len(d.markers), MOST_MARKERS):
            for item in (self._lines[k], self._bars[k], self.numbers[k]):
                item.setVisible(False)
        for k in order:
            m = d.markers[k]
            text = marker_text(m.angle_deg, m.sigma_deg, short=d.crowded)
            if text != self._texts[k]:
                self.numbers[k].setText(text)
                self._texts[k] = text
            width = self.numbers[k].boundingRect().width() * px_deg
            left = min(m.angle_deg + 4 * px_deg, right - width)
            row = next((i for i in range(_ROWS) if ends[i] < left), int(np.argmin(ends)))
            ends[row] = left + width
            height = self.numbers[k].boundingRect().height() * px_db
            self.numbers[k].setPos(left, -_HEADROOM * d.floor_db - (row + 0.6) * height)
            self._lines[k].setValue(m.angle_deg)
            known = bool(np.isfinite(m.sigma_deg))
            if known:
                self._bars[k].setRect(m.angle_deg - m.sigma_deg, -500, 2 * m.sigma_deg, 1000)
            self._bars[k].setVisible(known)
            for item in (self._lines[k], self.numbers[k]):
                item.setVisible(True)

    def _place(self, rectangles: list[QGraphicsRectItem], ranges: tuple[Range, ...], colour: str) -> None:
        while len(rectangles) < len(ranges):
            rectangle = self._rectangle()
            rectangle.setBrush(shade(colour, 45))
            rectangles.append(rectangle)
        for k, rectangle in enumerate(rectangles):
            rectangle.setVisible(k < len(ranges))
            if k < len(ranges):
                rectangle.setRect(ranges[k][0], -500, ranges[k][1] - ranges[k][0], 1000)

    def _rectangle(self) -> QGraphicsRectItem:
        rectangle = QGraphicsRectItem()
        rectangle.setPen(Qt.PenStyle.NoPen)
        rectangle.setZValue(-10)
        rectangle.setVisible(False)
        self.getViewBox().addItem(rectangle, ignoreBounds=True)
        return rectangle
