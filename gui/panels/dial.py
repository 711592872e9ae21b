"""A dial: where a turntable stands, where it goes, and between which limits it may turn."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from hil.core.device import Range

_TARGET, _LIMIT = "#e8814c", "#e5534b"
_STEP_DEG = 30


class Dial(QWidget):
    """0 degrees points up, positive turns clockwise, seen from above."""

    def __init__(self) -> None:
        super().__init__()
        self._azimuth_deg, self._target_deg = math.nan, math.nan
        self._limits_deg: Range | None = None
        self.setMinimumSize(150, 150)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Turntable seen from above")

    def show_angles(self, azimuth_deg: float, target_deg: float | None, limits_deg: Range | None) -> None:
        """NaN: not known. Nothing is drawn anew where nothing has changed."""
        target = math.nan if target_deg is None else target_deg
        shown = (self._azimuth_deg, self._target_deg, self._limits_deg)
        if repr(shown) == repr((azimuth_deg, target, limits_deg)):
            return
        self._azimuth_deg, self._target_deg, self._limits_deg = azimuth_deg, target, limits_deg
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Square."""
        return QSize(220, 220)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Scale, limits, target, needle."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        dim, text = palette.color(QPalette.ColorRole.PlaceholderText), palette.color(QPalette.ColorRole.Text)
        centre = QPointF(self.width() / 2, self.height() / 2)
        radius = min(self.width(), self.height()) / 2 - 1.5 * self.fontMetrics().height() - 4
        painter.setPen(QPen(dim, 1))
        painter.setBrush(palette.color(QPalette.ColorRole.Base))
        painter.drawEllipse(centre, radius, radius)
        for angle in range(-180, 180, _STEP_DEG):
            painter.setPen(QPen(dim, 1))
            painter.drawLine(_at(centre, radius, angle), _at(centre, radius - 7, angle))
            place = _at(centre, radius + self.fontMetrics().height(), angle)
            painter.setPen(text)
            painter.drawText(
                QRectF(place.x() - 24, place.y() - 10, 48, 20), Qt.AlignmentFlag.AlignCenter, f"{angle}"
            )
        self._paint_limits(painter, centre, radius)
        if not math.isnan(self._target_deg):
            colour = QColor(_TARGET)
            painter.setPen(QPen(colour, 2, Qt.PenStyle.DashLine))
            painter.drawLine(centre, _at(centre, radius - 10, self._target_deg))
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            tip = [_at(centre, radius - 12, self._target_deg), _at(centre, radius, self._target_deg - 4),
                   _at(centre, radius, self._target_deg + 4)]  # fmt: skip
            painter.drawPolygon(QPolygonF(tip))
        if not math.isnan(self._azimuth_deg):
            needle = [_at(centre, radius - 9, self._azimuth_deg), _at(centre, 8, self._azimuth_deg + 90),
                      _at(centre, 16, self._azimuth_deg + 180), _at(centre, 8, self._azimuth_deg - 90)]  # fmt: skip
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(palette.color(QPalette.ColorRole.Highlight))
            painter.drawPolygon(QPolygonF(needle))

    def _paint_limits(self, painter: QPainter, centre: QPointF, radius: float) -> None:
        """Red: where it must not go; a bar at each limit. A table that turns further than once shows its bars only."""
        limits = self._limits_deg
        if limits is None:
            return
        span = limits.maximum - limits.minimum
        painter.setPen(QPen(QColor(_LIMIT), 6))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if span < 360.0:
            box = QRectF(centre.x() - radius, centre.y() - radius, 2 * radius, 2 * radius)
            begin = 90.0 - limits.maximum  # Qt counts anticlockwise from the right, in sixteenths of a degree
            painter.drawArc(box, round(begin * 16), -round((360.0 - span) * 16))
        painter.setPen(QPen(QColor(_LIMIT), 3))
        for angle in (limits.minimum, limits.maximum):
            painter.drawLine(_at(centre, radius - 12, angle), _at(centre, radius + 3, angle))


def _at(centre: QPointF, radius: float, angle_deg: float) -> QPointF:
    angle = math.radians(angle_deg)
    return QPointF(centre.x() + radius * math.sin(angle), centre.y() - radius * math.cos(angle))
