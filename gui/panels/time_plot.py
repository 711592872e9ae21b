"""A plot of the past: seconds before now, with marks where something happened."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import Qt

from gui.history import Marks
from gui.panels.panel import major_grid

_MOST_LINES = 12
_STEPS_S = (60.0, 120.0, 300.0)


class TimePlot(pg.PlotWidget):
    """x: seconds, now is 0 and the past negative."""

    def __init__(self, span_s: float, left: str) -> None:
        super().__init__()
        self.setLabel("bottom", "time / s (0: now)")
        self.setLabel("left", left)
        self.setMouseEnabled(x=False, y=True)
        major_grid(self)
        self._lines: list[pg.InfiniteLine] = []
        for i in range(_MOST_LINES):
            line = pg.InfiniteLine(
                angle=90, pen=pg.mkPen("#e06c75", width=1, style=Qt.PenStyle.DashLine), label="",
                labelOpts={"position": 0.94 - 0.1 * (i % 3), "color": "#e06c75", "movable": False, "anchors": [(0, 0), (0, 0)]},
            )  # fmt: skip
            line.setVisible(False)
            self.addItem(line)
            self._lines.append(line)
        self.show_span(span_s)

    def show_span(self, span_s: float) -> None:
        """So far back."""
        self.span_s = self._shown_s = span_s
        self.getViewBox().setRange(xRange=(-span_s, 0), padding=0)

    def show_age(self, age_s: float) -> None:
        """What there is so far, in steps, up to the span."""
        shown = min(next((s for s in _STEPS_S if age_s <= s), self.span_s), self.span_s)
        if shown != self._shown_s:
            self._shown_s = shown
            self.getViewBox().setRange(xRange=(-shown, 0), padding=0)

    def show_marks(self, marks: Marks, now_s: float) -> None:
        """The newest of them that are not too long ago."""
        there = [mark for mark in marks if now_s - mark.time_s < self.span_s][-_MOST_LINES:]
        for i, line in enumerate(self._lines):
            line.setVisible(i < len(there))
            if i < len(there):
                line.setValue(there[i].time_s - now_s)
                line.label.setFormat(there[i].words)
