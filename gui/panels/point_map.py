"""The points of a sweep at a glance: one cell an angle, its state by colour and by sign."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from gui.sweep_desk import PointState

_HEIGHT_PX = 44
_SIGN_PX = 9.0  # cells narrower than this have no sign
_COLOURS: dict[PointState, str] = {
    "open": "#5a616c", "now": "#2f6fb7", "again": "#c77f17", "done": "#2f8f4e", "bad": "#c0281c",
}  # fmt: skip
_SIGNS: dict[PointState, str] = {"open": "", "now": "→", "again": "↻", "done": "✓", "bad": "✕"}
_WORDS: dict[PointState, str] = {
    "open": "not yet", "now": "now", "again": "being made again", "done": "finished", "bad": "given up",
}  # fmt: skip


class PointMap(QWidget):
    """Cells from the smallest to the largest angle; the pointer tells which."""

    def __init__(self) -> None:
        super().__init__()
        self._cells: list[tuple[float, PointState]] = []
        self.setMinimumHeight(_HEIGHT_PX)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("points of the sweep")

    @property
    def cells(self) -> list[tuple[float, PointState]]:
        """(angle in degrees, state), by angle."""
        return list(self._cells)

    def show_points(self, angles_deg: Sequence[float], states: Sequence[PointState]) -> None:
        """Draw them."""
        cells = sorted(zip(angles_deg, states, strict=True))
        if cells != self._cells:
            self._cells = cells
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw."""
        del event
        painter = QPainter(self)
        if not self._cells:
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "no plan")
            return
        wide = self.width() / len(self._cells)
        gap = 1.0 if wide > 4 else 0.0
        bar = self.height() - self.fontMetrics().height()
        for k, (_, state) in enumerate(self._cells):
            cell = QRectF(k * wide, 0, max(wide - gap, 1.0), bar)
            painter.fillRect(cell, QColor(_COLOURS[state]))
            if wide >= _SIGN_PX and _SIGNS[state]:
                painter.setPen(QColor("white"))
                painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, _SIGNS[state])
        painter.setPen(self.palette().windowText().color())
        below = QRectF(0, bar, self.width(), self.height() - bar)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, f"{self._cells[0][0]:g}°")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{self._cells[-1][0]:g}°")

    def event(self, event) -> bool:
        """The angle under the pointer."""
        if isinstance(event, QHelpEvent) and self._cells:
            k = min(int(event.pos().x() / self.width() * len(self._cells)), len(self._cells) - 1)
            angle, state = self._cells[max(k, 0)]
            QToolTip.showText(event.globalPos(), f"{angle:g}°: {_WORDS[state]}", self)
            return True
        return super().event(event)
