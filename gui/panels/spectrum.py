"""Power spectra of the channels."""

from __future__ import annotations

import pyqtgraph as pg

from gui.panels.panel import Panel, fill_with_plot
from gui.picture import Picture
from gui.theme import CHANNEL_COLOURS


class SpectrumPanel(Panel):
    """Averaged spectra of all channels."""

    title = "Spectrum"

    def __init__(self) -> None:
        super().__init__()
        self.plot = fill_with_plot(self)
        self.plot.setLabel("bottom", "frequency from the carrier", units="Hz")
        self.plot.setLabel("left", "level / dBFS")
        self.plot.setYRange(-120, 0)
        self.plot.showGrid(x=True, y=True, alpha=0.25)
        self._curves: list[pg.PlotDataItem] = []

    def show_picture(self, picture: Picture) -> None:
        """Draw it."""
        p = picture
        while len(self._curves) < len(p.psd_dbfs):
            colour = CHANNEL_COLOURS[len(self._curves) % len(CHANNEL_COLOURS)]
            self._curves.append(self.plot.plot(pen=pg.mkPen(colour, width=1)))
        for m, curve in enumerate(self._curves):
            curve.setVisible(m < len(p.psd_dbfs))
            if m < len(p.psd_dbfs):
                curve.setData(p.frequency_hz, p.psd_dbfs[m])
