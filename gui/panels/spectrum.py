"""Power spectra of the channels."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from gui.panels.channel_buttons import ChannelButtons, channel_colour
from gui.panels.panel import Panel, major_grid
from gui.picture import Picture

_HEIGHT_PX = 32
#: Pictures over which the floor is averaged: about a second.
_FLOOR_PICTURES = 30
_FLOOR_SHARE = 0.1


class SpectrumPanel(Panel):
    """Averaged spectra of all channels in dBFS, their largest values so far, and the floor under them."""

    title = "Spectrum"

    def __init__(self) -> None:
        super().__init__()
        self.plot = pg.PlotWidget()
        self.plot.setLabel("bottom", "frequency from the carrier", units="Hz")
        self.plot.setLabel("left", "level / dBFS")
        self.plot.setYRange(-120, 0)
        major_grid(self.plot)
        self.channels = ChannelButtons()
        self.channels.changed.connect(self._choose)
        self.hold = QCheckBox("Max hold")
        self.hold.setMinimumHeight(_HEIGHT_PX)
        self.hold.setToolTip("Keep the largest value of the channels that are shown")
        self.hold.toggled.connect(self.clear_hold)
        self.clear = QPushButton("Clear")
        self.clear.setMinimumHeight(_HEIGHT_PX)
        self.clear.setMaximumWidth(52)
        self.clear.clicked.connect(self.clear_hold)
        self.floor_words = QLabel("floor -")
        self.floor_words.setMinimumWidth(1)  # a narrow dock cuts it first
        self.floor_words.setToolTip(
            "The quietest tenth of the band of the channels that are shown, averaged over a second: the noise "
            "in one bin where part of the band is free of signals, else an upper limit of it"
        )
        row = QHBoxLayout()
        row.addWidget(self.channels, stretch=1)
        for widget in (self.floor_words, self.hold, self.clear):
            row.addWidget(widget)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 0)
        column.addLayout(row)
        column.addWidget(self.plot, stretch=1)
        self._curves: list[pg.PlotCurveItem] = []
        self.highest = pg.PlotCurveItem(skipFiniteCheck=True)
        self.floor = pg.InfiniteLine(angle=0)
        self._take_ink()
        for item in (self.highest, self.floor):
            item.setVisible(False)
            item.setZValue(10)
            self.plot.addItem(item)
        self._frequency_hz: NDArray[np.float64] = np.zeros(0)
        self._held: NDArray[np.float64] | None = None
        self._power: NDArray[np.float64] | None = None

    @property
    def floor_dbfs(self) -> float:
        """Of the channels that are shown, in one bin; NaN before the first picture."""
        shown = [m for m in range(len(self._curves)) if self._is_shown(m)]
        if self._power is None or not shown:
            return float("nan")
        level = 10 * np.log10(self._power[shown].mean(axis=0))
        return float(np.quantile(level, _FLOOR_SHARE))

    def clear_hold(self) -> None:
        """Forget the largest values."""
        self._held = None
        self.highest.setVisible(False)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Another theme has other ink."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "floor"):
            self._take_ink()
        super().changeEvent(event)

    def show_picture(self, picture: Picture) -> None:
        """Draw it."""
        level, frequency = picture.psd_dbfs, picture.frequency_hz
        if len(frequency) != len(self._frequency_hz) or not np.array_equal(frequency, self._frequency_hz):
            self._frequency_hz, self._power = frequency, None
            self.plot.getViewBox().setRange(xRange=(float(frequency[0]), float(frequency[-1])), padding=0)
            self.clear_hold()
        if len(level) != len(self._curves):
            self._make_curves(len(level))
        self._average(level)
        x, drawn = self._peaks(frequency, level)
        for m, curve in enumerate(self._curves):
            if self._is_shown(m):
                curve.setData(x, drawn[m])
        floor = self.floor_dbfs
        self.floor.setVisible(bool(np.isfinite(floor)))
        if np.isfinite(floor):
            self.floor.setValue(floor)
            self.floor_words.setText(f"floor\n{floor:.0f} dBFS")
        if self.hold.isChecked():
            self._hold(level)

    def _peaks(
        self, frequency: NDArray[np.float64], level: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Not more points than pixels: the largest of neighbours, so that no line is lost."""
        n = -(-len(frequency) // max(self.plot.width(), 64))
        if n == 1:
            return frequency, level
        at = np.arange(0, len(frequency), n)
        return frequency[np.minimum(at + n // 2, len(frequency) - 1)], np.maximum.reduceat(level, at, axis=1)

    def _take_ink(self) -> None:
        ink = self.palette().text().color()
        self.highest.setPen(pg.mkPen(ink, width=1))
        self.floor.setPen(pg.mkPen(ink, width=1, style=Qt.PenStyle.DashLine))

    def _hold(self, level: NDArray[np.float64]) -> None:
        shown = [m for m in range(len(level)) if self._is_shown(m)]
        if not shown:
            return
        top = level[shown].max(axis=0)
        held = self._held = top if self._held is None else np.maximum(self._held, top)
        x, drawn = self._peaks(self._frequency_hz, held[None])
        self.highest.setData(x, drawn[0])
        self.highest.setVisible(True)

    def _average(self, level: NDArray[np.float64]) -> None:
        power = 10 ** (level / 10)
        if self._power is None or self._power.shape != power.shape:
            self._power = power
        else:
            self._power += (power - self._power) / _FLOOR_PICTURES

    def _is_shown(self, channel: int) -> bool:
        return self.channels.shown(channel)

    def _make_curves(self, n: int) -> None:
        for curve in self._curves:
            self.plot.removeItem(curve)
        self._curves = []
        for m in range(n):
            curve = pg.PlotCurveItem(pen=pg.mkPen(channel_colour(m), width=1), skipFiniteCheck=True)
            self.plot.addItem(curve)
            self._curves.append(curve)
        self.channels.set_count(n)
        self._choose()

    def _choose(self) -> None:
        for m, curve in enumerate(self._curves):
            curve.setVisible(self._is_shown(m))
        self.clear_hold()
