"""What the window asks of every panel."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtWidgets import QVBoxLayout, QWidget

from gui.facts import Facts
from gui.picture import Picture


class Panel(QWidget):
    """One dock of the window. Both methods are called in the window's thread, only while the panel is visible.

    Attributes
    ----------
    title : of the dock. always : they are called while it is hidden, too: it gathers a history.
    """

    title = ""
    always = False

    def show_picture(self, picture: Picture) -> None:
        """Every new picture, some 30 a second."""

    def show_facts(self, facts: Facts) -> None:
        """Some times a second."""


def fill_with_plot(panel: Panel) -> pg.PlotWidget:
    """A plot that is all there is in the panel."""
    plot = pg.PlotWidget()
    column = QVBoxLayout(panel)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(plot)
    return plot


def major_grid(plot: pg.PlotWidget) -> None:
    """A grid at the labelled ticks only: drawn anew with every picture, the minor lines cost more than all curves."""
    plot.showGrid(x=True, y=True, alpha=0.25)
    for axis in ("bottom", "left"):
        plot.getAxis(axis).setStyle(maxTickLevel=0)
