"""How well each attempt explained its data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg

from gui.learn_desk import Attempt
from gui.panels.panel import major_grid

_TO_DB = 10 / math.log(10)
_GOOD, _NOT_YET, _NOISE = "#58b368", "#e8814c", "#9aa5b1"


class ScorePlot(pg.PlotWidget):
    """Depth of MUSIC's nulls over the attempts: the loss. A dot is green where it converged; the grey steps are what
    noise alone leaves: no array explains the data better."""

    def __init__(self) -> None:
        super().__init__()
        self.setLabel("left", "null depth / dB")
        self.setLabel("bottom", "attempt")
        self.setMouseEnabled(x=False, y=False)
        self.setLimits(minXRange=4.0, minYRange=3.0)
        major_grid(self)
        self.predicted = pg.PlotCurveItem(pen=pg.mkPen(_NOISE, width=2), connect="pairs")
        self.reached = pg.PlotCurveItem(pen=pg.mkPen(_NOISE, width=1), connect="finite")
        self.dots = pg.ScatterPlotItem(size=8, pen=pg.mkPen(None))
        for item in (self.predicted, self.reached, self.dots):
            self.addItem(item)

    def show_attempts(self, attempts: Sequence[Attempt]) -> None:
        """All of them, oldest first."""
        x = np.arange(1, len(attempts) + 1, dtype=float)
        score = _TO_DB * np.array([a.score for a in attempts])
        noise = _TO_DB * np.array([a.predicted_score for a in attempts])
        self.predicted.setData(np.column_stack((x - 0.4, x + 0.4)).ravel(), np.repeat(noise, 2))
        self.reached.setData(x, score)
        there = np.isfinite(score)
        colours = [pg.mkBrush(_GOOD if a.converged else _NOT_YET) for a in attempts]
        self.dots.setData(x[there], score[there], brush=[c for c, t in zip(colours, there, strict=True) if t])
