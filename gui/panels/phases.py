"""Phase of every channel over time: drift, and what breaks it."""

from __future__ import annotations

import time

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout

from gui.facts import Facts
from gui.panels.channel_buttons import ChannelButtons, channel_colour
from gui.panels.panel import Panel
from gui.panels.phase_history import WAYS, PhaseHistory, Way, drift_words
from gui.panels.time_plot import TimePlot
from gui.picture import Picture
from gui.station import Station

_HEIGHT_PX = 32
_WORDS_S = 2.0
_LABELS: dict[Way, tuple[str, str]] = {
    "receivers": (
        "receivers",
        "Of the one signal there is, the array's own phases for its direction taken out. On a line a common ramp of the "
        "phases turns the direction instead: no signal of unknown direction shows it, and it is not drawn",
    ),
    "received": (
        "as received",
        "Of the one signal there is, as it came: a drift of the receivers only while emitter and array stand still",
    ),
    "followed": (
        "as learned",
        "Of the calibration that the learner keeps following: any number of signals. On a line without the common ramp",
    ),
}


class PhasesPanel(Panel):
    """Phases against channel 0 over ten minutes, their rates in words, marks at epochs and gaps."""

    title = "Phases"
    always = True

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station = station
        self.history = PhaseHistory()
        self.plot = TimePlot(600.0, "phase / °")
        self.way = QComboBox()
        for i, way in enumerate(WAYS):
            self.way.addItem(_LABELS[way][0], way)
            self.way.setItemData(i, _LABELS[way][1], Qt.ItemDataRole.ToolTipRole)
        self.way.setMinimumHeight(_HEIGHT_PX)
        self.span = QComboBox()
        for words, span_s in (("1 min", 60.0), ("10 min", 600.0)):
            self.span.addItem(words, span_s)
        self.span.setCurrentIndex(1)
        self.span.setMinimumHeight(_HEIGHT_PX)
        self.absolute = QCheckBox("Absolute")
        self.absolute.setMinimumHeight(_HEIGHT_PX)
        self.absolute.setToolTip("The phases themselves; else their change since the last mark")
        self.channels = ChannelButtons()
        self.words = QLabel("")
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row = QHBoxLayout()
        for widget in (self.way, self.span, self.absolute):
            row.addWidget(widget)
        row.addWidget(self.channels, stretch=1)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 2)
        column.addLayout(row)
        column.addWidget(self.plot, stretch=1)
        column.addWidget(self.words)
        self._curves: list[pg.PlotCurveItem] = []
        self._seen: object = None
        self._next_words_s = 0.0
        self.way.currentIndexChanged.connect(self._changed)
        self.span.currentIndexChanged.connect(lambda: self.plot.show_span(self.span.currentData()))
        self.absolute.toggled.connect(self._changed)
        self.channels.changed.connect(self._changed)
        self._changed()

    def show_picture(self, picture: Picture) -> None:
        """Gather it; drawn twice a second."""
        if self.history.add(picture) and self.isVisible():
            self._draw()

    def show_facts(self, facts: Facts) -> None:
        """What the learner follows, and gaps."""
        now_s = time.monotonic()
        self.history.note_gaps(facts.gaps, now_s)
        desk = self._station.desk
        update = desk.update
        if update is not None and update is not self._seen:
            self._seen = update
            result = update.result
            # an array learned anew stands for the middle of what it was learned from: a step back in time
            if result is not None and result.converged and update.tracked:
                self.history.add_learned(now_s, result.impairments.gain)
        if facts.learning == "off":
            self.history.why["followed"] = "nothing is learned: start learning"
        if now_s >= self._next_words_s and self.isVisible():
            self._next_words_s = now_s + _WORDS_S
            self._say()

    def _way(self) -> Way:
        return self.way.currentData()

    def _changed(self) -> None:
        way = self._way()
        self.way.setToolTip(_LABELS[way][1])
        self.plot.setLabel("left", "phase / °" if self.absolute.isChecked() else "change / °")
        self._draw()
        self._say()

    def _say(self) -> None:
        way = self._way()
        verdict, rates = drift_words(self.history.drift(way), self.history.why[way])
        self.words.setText(verdict)
        self.words.setToolTip(rates or verdict)

    def _draw(self) -> None:
        way, history = self._way(), self.history
        m = history.n_channels
        if m != len(self._curves):
            self._make_curves(m)
        times = history.times_s(way)
        if not len(times):
            for curve in self._curves:
                curve.setData([], [])
            return
        rows = history.phases_deg(way) if self.absolute.isChecked() else history.changes_deg(way)
        now_s = max(float(times[-1]), float(history.times_s("receivers")[-1:].max(initial=-np.inf)))
        x = times - now_s
        for channel, curve in enumerate(self._curves):
            there = self.channels.shown(channel)
            curve.setVisible(there)
            if there:
                curve.setData(x, rows[:, channel])
        self.plot.show_age(float(now_s - times[0]))
        self.plot.show_marks(history.marks, now_s)

    def _make_curves(self, n: int) -> None:
        for curve in self._curves:
            self.plot.removeItem(curve)
        self._curves = []
        self.channels.set_count(n)
        for channel in range(n):
            curve = pg.PlotCurveItem(pen=pg.mkPen(channel_colour(channel), width=2), connect="finite")
            self.plot.addItem(curve)
            self._curves.append(curve)
