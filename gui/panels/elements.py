"""What was learned of each element."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

from gui.panels.panel import Panel, fill_with_plot


class ElementsPanel(Panel):
    """What was learned of each element: a circle (radius: gain), a hand in it (phase), error bars of the phase."""

    title = "Elements"

    def __init__(self) -> None:
        super().__init__()
        self.plot = fill_with_plot(self)
        self.plot.setAspectLocked(True)
        self.plot.hideAxis("left")
        self.plot.setLabel("bottom", "element")
        self.plot.setMouseEnabled(x=False, y=False)
        self._hands = self.plot.plot(pen=pg.mkPen("#e8814c", width=2), connect="pairs")
        self._circles = pg.ScatterPlotItem(pxMode=False, pen=pg.mkPen("#4c9be8", width=2), brush=None)
        self._ones = pg.ScatterPlotItem(
            pxMode=False, pen=pg.mkPen("#9aa5b1", width=1, style=Qt.PenStyle.DotLine), brush=None
        )
        self._fans = self.plot.plot(pen=pg.mkPen("#e8814c90", width=6), connect="pairs")
        self.plot.addItem(self._ones)
        self.plot.addItem(self._circles)

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
