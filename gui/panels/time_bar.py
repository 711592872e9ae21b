"""A time bar: where a recording is, what happened in it, and a place to drag to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QPolygonF,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from gui.playing import Mark, MarkKind

#: Shape and colour of each kind.
COLOURS: dict[MarkKind, str] = {
    "gap": "#e5534b",
    "epoch": "#c678dd",
    "segment": "#9aa5b1",
    "event": "#e0a030",
}
_MARGIN_PX, _TRACK_PX, _NEAR_PX = 10, 12, 5
_STEP_S, _LARGE_STEP_S = 1.0, 10.0


class TimeBar(QWidget):
    """Drag, click or arrow keys call `seek` with seconds."""

    def __init__(self, seek: Callable[[float], None]) -> None:
        super().__init__()
        self._seek = seek
        self._position_s, self._length_s = 0.0, 0.0
        self._marks: tuple[Mark, ...] = ()
        self.setMinimumSize(160, 56)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName("Time of the recording")

    def show_marks(self, length_s: float, marks: Sequence[Mark]) -> None:
        """Of another recording; length 0: there is none."""
        self._length_s, self._marks, self._position_s = length_s, tuple(marks), 0.0
        self.setEnabled(length_s > 0)
        self.update()

    def show_position(self, position_s: float) -> None:
        """Drawn anew only where it has moved by a pixel."""
        if abs(self._x(position_s) - self._x(self._position_s)) >= 0.5:
            self._position_s = position_s
            self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Wide and low."""
        return QSize(400, 56)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Track, what was played, marks above and below, handle."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        role, y = self.palette(), self.height() / 2
        track = QRectF(_MARGIN_PX, y - _TRACK_PX / 2, max(self.width() - 2 * _MARGIN_PX, 1), _TRACK_PX)
        painter.setPen(QPen(role.color(QPalette.ColorRole.PlaceholderText), 1))
        painter.setBrush(role.color(QPalette.ColorRole.Base))
        painter.drawRoundedRect(track, 3, 3)
        if self._length_s <= 0:
            return
        x = self._x(self._position_s)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(role.color(QPalette.ColorRole.Highlight))
        painter.drawRect(QRectF(track.left(), track.top() + 2, x - track.left(), _TRACK_PX - 4))
        for mark in self._marks:
            self._paint_mark(painter, mark, y)
        painter.setPen(QPen(role.color(QPalette.ColorRole.WindowText), 2))
        painter.setBrush(role.color(QPalette.ColorRole.Button))
        painter.drawRoundedRect(QRectF(x - 5, y - 14, 10, 28), 3, 3)

    def _paint_mark(self, painter: QPainter, mark: Mark, y: float) -> None:
        colour, x = QColor(COLOURS[mark.kind]), self._x(mark.at_s)
        painter.setPen(QPen(colour, 2))
        if mark.kind == "event":  # a triangle above, and how long it lasted
            end = self._x(mark.at_s + mark.length_s)
            painter.drawLine(QPointF(x, y - 12), QPointF(max(end, x + 1), y - 12))
            painter.setBrush(colour)
            painter.drawPolygon(
                QPolygonF([QPointF(x - 4, y - 22), QPointF(x + 4, y - 22), QPointF(x, y - 14)])
            )
            return
        painter.drawLine(QPointF(x, y - 8), QPointF(x, y + 12))
        if mark.kind == "gap":  # a square below; a diamond for an epoch; a tick for the rest
            painter.fillRect(QRectF(x - 4, y + 13, 8, 8), colour)
        elif mark.kind == "epoch":
            painter.setBrush(colour)
            corners = [QPointF(x, y + 12), QPointF(x + 5, y + 17), QPointF(x, y + 22), QPointF(x - 5, y + 17)]
            painter.drawPolygon(QPolygonF(corners))

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Go there."""
        if event.button() is Qt.MouseButton.LeftButton:
            self._go(event.position().x())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Drag."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event.position().x())

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Arrows: a second; page keys: ten; Home, End."""
        steps = {
            Qt.Key.Key_Left: -_STEP_S, Qt.Key.Key_Right: _STEP_S, Qt.Key.Key_PageUp: -_LARGE_STEP_S,
            Qt.Key.Key_PageDown: _LARGE_STEP_S, Qt.Key.Key_Home: -self._length_s, Qt.Key.Key_End: self._length_s,
        }  # fmt: skip
        step = steps.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
            return
        self._to(self._position_s + step)

    def event(self, event: QEvent) -> bool:
        """A tooltip says the time under the pointer and what is marked there."""
        if isinstance(event, QHelpEvent) and self._length_s > 0:
            words = [f"{self._time(event.pos().x()):.2f} s"]
            words += [m.words for m in self.marks_near(event.pos().x())][:4]
            QToolTip.showText(event.globalPos(), "\n".join(words), self)
            return True
        return super().event(event)

    def marks_near(self, x: float) -> list[Mark]:
        """Whose sign, or stretch, is at this pixel."""
        return [
            m
            for m in self._marks
            if self._x(m.at_s) - _NEAR_PX <= x <= self._x(m.at_s + m.length_s) + _NEAR_PX
        ]

    def _go(self, x: float) -> None:
        self._to(self._time(x))

    def _to(self, position_s: float) -> None:
        if self._length_s > 0:
            self._position_s = min(max(position_s, 0.0), self._length_s)
            self._seek(self._position_s)
            self.update()

    def _x(self, seconds: float) -> float:
        share = min(max(seconds / self._length_s, 0.0), 1.0) if self._length_s > 0 else 0.0
        return _MARGIN_PX + share * max(self.width() - 2 * _MARGIN_PX, 1)

    def _time(self, x: float) -> float:
        share = (x - _MARGIN_PX) / max(self.width() - 2 * _MARGIN_PX, 1)
        return min(max(share, 0.0), 1.0) * self._length_s
