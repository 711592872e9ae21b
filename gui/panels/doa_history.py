"""Directions over time."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QVBoxLayout

from gui.facts import Facts
from gui.panels.doa_log import SLOT_S, DoaLog, write_csv
from gui.panels.panel import Panel
from gui.panels.parts import HEIGHT_PX, button
from gui.panels.time_plot import TimePlot
from gui.picture import Picture
from gui.station import Station

_MARKER = "#4c9be8"
#: Two redraws a second: more cannot be seen in a minute's width.
_DRAW_S = 0.5
_MOST_DRAWN = 1500


class DoaHistoryPanel(Panel):
    """Every direction found is a dash as long as the time it stands for, with a bar of one standard deviation.

    Directions of different moments are not joined: which emitter is which is not known.
    """

    title = "Directions over time"
    always = True

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station = station
        self.history = DoaLog()
        self.plot = TimePlot(60.0, "direction / °")
        self.bands = pg.PlotCurveItem(
            pen=pg.mkPen(_MARKER + "70", width=3), connect="pairs", skipFiniteCheck=True
        )
        self.dashes = pg.PlotCurveItem(pen=pg.mkPen(_MARKER, width=2), connect="pairs", skipFiniteCheck=True)
        self.plot.addItem(self.bands)
        self.plot.addItem(self.dashes)
        self.span = QComboBox()
        for words, span_s in (("1 min", 60.0), ("10 min", 600.0)):
            self.span.addItem(words, span_s)
        self.span.setMinimumHeight(HEIGHT_PX)
        self.span.currentIndexChanged.connect(self._respan)
        self.clear = button("Clear", None, "Forget what was seen")
        self.clear.clicked.connect(self._clear)
        self.export_button = button(
            "Export CSV", None, "A row for each direction: time, angle, standard deviation"
        )
        self.export_button.clicked.connect(self._ask)
        self.words = QLabel("")
        row = QHBoxLayout()
        row.addWidget(self.span)
        row.addWidget(self.words, stretch=1)
        row.addWidget(self.clear)
        row.addWidget(self.export_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 2)
        column.addLayout(row)
        column.addWidget(self.plot, stretch=1)
        self._next_draw_s = 0.0
        self._range = (0.0, 0.0)

    def show_picture(self, picture: Picture) -> None:
        """Keep it; drawn twice a second."""
        now_s = picture.t_mono_ns / 1e9
        if picture.angles_deg is not None and len(picture.angles_deg):
            self._fit(float(picture.angles_deg[0]), float(picture.angles_deg[-1]))
        late = not 0 <= self._next_draw_s - now_s < _DRAW_S
        if self.history.add(picture) and late and self.isVisible():
            self._next_draw_s = now_s + _DRAW_S
            self._draw(now_s)

    def show_facts(self, facts: Facts) -> None:
        """Gaps."""
        self.history.note_gaps(facts.gaps, time.monotonic())

    def export(self, path: Path) -> None:
        """Write all that is kept as CSV, in the errands' thread."""
        kept = self.history.kept()
        self._station.errands.send("Export directions", lambda: write_csv(path, kept))

    def _ask(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Directions as CSV", "directions.csv", "CSV (*.csv)")
        if name:
            self.export(Path(name))

    def _draw(self, now_s: float) -> None:
        log = self.history
        first = int(np.searchsorted(log.times_s, now_s - self.plot.span_s))
        step = -(-(len(log) - first) // _MOST_DRAWN) or 1
        keep = slice(first, None, step)
        x = log.times_s[keep] - now_s
        doa, sigma = log.doa_deg[keep], log.sigma_deg[keep]
        at, which = np.nonzero(np.isfinite(doa))
        self.dashes.setData(_pairs(x[at], x[at] + step * SLOT_S), np.repeat(doa[at, which], 2))
        at, which = np.nonzero(np.isfinite(doa) & np.isfinite(sigma))
        middle, angle, spread = x[at] + step * SLOT_S / 2, doa[at, which], sigma[at, which]
        self.bands.setData(np.repeat(middle, 2), _pairs(angle - spread, angle + spread))
        self.plot.show_marks(log.marks, now_s)
        there = log.doa_deg[-1]
        n = int(np.isfinite(there).sum())
        self.words.setText(f"{n} direction{'s' * (n != 1)} now" if n else "no direction now")

    def _fit(self, low: float, high: float) -> None:
        if (low, high) != self._range:
            self._range = (low, high)
            self.plot.setLimits(yMin=low, yMax=high)
            self.plot.getViewBox().setRange(yRange=(low, high), padding=0)

    def _respan(self) -> None:
        self.plot.show_span(self.span.currentData())

    def _clear(self) -> None:
        self.history.clear()
        self.dashes.setData([], [])
        self.bands.setData([], [])


def _pairs(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack((a, b)).ravel()
