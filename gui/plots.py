"""Directions and spectrum: drawn from pictures."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

from gui.picture import Picture

CHANNEL_COLOURS = ("#4c9be8", "#e8814c", "#58b368", "#c678dd", "#d9b44a", "#56b6c2", "#e06c75", "#9aa5b1")
_MOST_MARKERS = 8


class DirectionPlot(pg.PlotWidget):
    """Nominal (thin) and calibrated (bold) direction spectra, peaks with one standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.setLabel("bottom", "direction / ° (0: broadside, positive towards +x)")
        self.setLabel("left", "level / dB")
        self.setYRange(-50, 3)
        self.showGrid(x=True, y=True, alpha=0.25)
        self.addLegend(offset=(-10, 10))
        self.nominal = self.plot(pen=pg.mkPen("#9aa5b1", width=1), name="nominal array")
        self.calibrated = self.plot(pen=pg.mkPen("#4c9be8", width=3), name="calibrated array")
        self._bars: list[pg.LinearRegionItem] = []
        self._lines: list[pg.InfiniteLine] = []
        for _ in range(_MOST_MARKERS):
            region = pg.LinearRegionItem(movable=False, brush="#e8814c50", pen=pg.mkPen(None))
            line = pg.InfiniteLine(angle=90, pen=pg.mkPen("#e8814c", width=1.5))
            for item in (region, line):
                item.setVisible(False)
                self.addItem(item)
            self._bars.append(region)
            self._lines.append(line)

    def show_picture(self, p: Picture) -> None:
        """Draw it."""
        if p.angles_deg is None or p.nominal_db is None:
            self.nominal.setData([], [])
            self.calibrated.setData([], [])
        else:
            self.nominal.setData(p.angles_deg, p.nominal_db)
            empty = p.calibrated_db is None
            self.calibrated.setData([] if empty else p.angles_deg, [] if empty else p.calibrated_db)
        for k in range(_MOST_MARKERS):
            there = k < len(p.doa_deg)
            self._lines[k].setVisible(there)
            known = there and bool(np.isfinite(p.sigma_deg[k]))
            self._bars[k].setVisible(known)
            if there:
                self._lines[k].setValue(float(p.doa_deg[k]))
            if known:
                self._bars[k].setRegion((p.doa_deg[k] - p.sigma_deg[k], p.doa_deg[k] + p.sigma_deg[k]))


class SpectrumPlot(pg.PlotWidget):
    """Averaged spectra of all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.setLabel("bottom", "frequency from the carrier", units="Hz")
        self.setLabel("left", "level / dBFS")
        self.setYRange(-120, 0)
        self.showGrid(x=True, y=True, alpha=0.25)
        self._curves: list[pg.PlotDataItem] = []

    def show_picture(self, p: Picture) -> None:
        """Draw it."""
        while len(self._curves) < len(p.psd_dbfs):
            colour = CHANNEL_COLOURS[len(self._curves) % len(CHANNEL_COLOURS)]
            self._curves.append(self.plot(pen=pg.mkPen(colour, width=1)))
        for m, curve in enumerate(self._curves):
            curve.setVisible(m < len(p.psd_dbfs))
            if m < len(p.psd_dbfs):
                curve.setData(p.frequency_hz, p.psd_dbfs[m])


class ElementsPlot(pg.PlotWidget):
    """What was learned of each element: a circle (radius: gain), a hand in it (phase), error bars of the phase."""

    def __init__(self) -> None:
        super().__init__()
        self.setAspectLocked(True)
        self.hideAxis("left")
        self.setLabel("bottom", "element")
        self.setMouseEnabled(x=False, y=False)
        self._hands = self.plot(pen=pg.mkPen("#e8814c", width=2), connect="pairs")
        self._circles = pg.ScatterPlotItem(pxMode=False, pen=pg.mkPen("#4c9be8", width=2), brush=None)
        self._ones = pg.ScatterPlotItem(
            pxMode=False, pen=pg.mkPen("#9aa5b1", width=1, style=Qt.PenStyle.DotLine), brush=None
        )
        self._fans = self.plot(pen=pg.mkPen("#e8814c90", width=6), connect="pairs")
        self.addItem(self._ones)
        self.addItem(self._circles)

    def show_gains(self, gain: np.ndarray, sigma_deg: np.ndarray) -> None:
        """gain (M,) complex, sigma_deg (M,) of its phase."""
        m = len(gain)
        x = np.arange(m, dtype=float)
        scale = 0.42 / max(float(np.abs(gain).max()), 1e-9)
        self._ones.setData(x, np.zeros(m), size=np.full(m, 2 * scale))
        self._circles.setData(x, np.zeros(m), size=2 * scale * np.abs(gain))
        # 0 degrees points up, positive turns clockwise, like a compass
        turn = 1j * np.conj(gain) * scale
        self._hands.setData(
            np.column_stack((x, x + turn.real)).ravel(), np.column_stack((np.zeros(m), turn.imag)).ravel()
        )
        wide = np.deg2rad(np.nan_to_num(sigma_deg))
        low, high = turn * np.exp(1j * wide), turn * np.exp(-1j * wide)
        self._fans.setData(
            np.column_stack((x + low.real, x + high.real)).ravel(),
            np.column_stack((low.imag, high.imag)).ravel(),
        )
