"""Direction spectra, nominal and calibrated, with the directions found."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg

from gui.panels.panel import Panel, fill_with_plot
from gui.picture import Picture

_MOST_MARKERS = 8


class DirectionsPanel(Panel):
    """Nominal (thin) and calibrated (bold) direction spectra, peaks with one standard deviation."""

    title = "Directions"

    def __init__(self) -> None:
        super().__init__()
        self.plot = fill_with_plot(self)
        self.plot.setLabel("bottom", "direction / ° (0: broadside, positive towards +x)")
        self.plot.setLabel("left", "level / dB")
        self.plot.setYRange(-50, 3)
        self.plot.showGrid(x=True, y=True, alpha=0.25)
        self.plot.addLegend(offset=(-10, 10))
        self.nominal = self.plot.plot(pen=pg.mkPen("#9aa5b1", width=1), name="nominal array")
        self.calibrated = self.plot.plot(pen=pg.mkPen("#4c9be8", width=3), name="calibrated array")
        self._bars: list[pg.LinearRegionItem] = []
        self._lines: list[pg.InfiniteLine] = []
        for _ in range(_MOST_MARKERS):
            region = pg.LinearRegionItem(movable=False, brush="#e8814c50", pen=pg.mkPen(None))
            line = pg.InfiniteLine(angle=90, pen=pg.mkPen("#e8814c", width=1.5))
            for item in (region, line):
                item.setVisible(False)
                self.plot.addItem(item)
            self._bars.append(region)
            self._lines.append(line)

    def show_picture(self, picture: Picture) -> None:
        """Draw it."""
        p = picture
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
