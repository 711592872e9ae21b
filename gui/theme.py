"""Dark and light, and the size of text, for widgets and plots alike; both may change while the window is open."""

from __future__ import annotations

from typing import Literal

import pyqtgraph as pg
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QWidget

Theme = Literal["dark", "light"]
#: One colour a channel, told apart by colour-blind readers by their order in the legend, too.
CHANNEL_COLOURS = ("#4c9be8", "#e8814c", "#58b368", "#c678dd", "#d9b44a", "#56b6c2", "#e06c75", "#9aa5b1")
#: window, base (fields, plots), text, dim text, buttons, accent
_COLOURS = {
    "dark": ("#1f242b", "#15191e", "#d7dde5", "#8b949e", "#2d333b", "#4c9be8"),
    "light": ("#f1f3f5", "#ffffff", "#1b1f24", "#6b7580", "#e3e7eb", "#0b6bb8"),
}
_POINTS = 10.0
_AXES = ("left", "bottom", "right", "top")


def apply_theme(application: QApplication, theme: Theme = "dark", text_percent: int = 100) -> None:
    """Colours and text size of all windows; plots that are there already need `colour_plots`."""
    window, base, text, dim, button, accent = (QColor(name) for name in _COLOURS[theme])
    palette = QPalette()
    role = QPalette.ColorRole
    for which, colour in (
        (role.Window, window), (role.WindowText, text), (role.Base, base), (role.AlternateBase, window),
        (role.Text, text), (role.Button, button), (role.ButtonText, text), (role.ToolTipBase, base),
        (role.ToolTipText, text), (role.PlaceholderText, dim), (role.Highlight, accent),
        (role.HighlightedText, QColor("white")),
    ):  # fmt: skip
        palette.setColor(which, colour)
    for which in (role.Text, role.ButtonText, role.WindowText):
        palette.setColor(QPalette.ColorGroup.Disabled, which, dim)
    if application.style().name() != "fusion":
        application.setStyle("Fusion")
    application.setPalette(palette)
    font = application.font()
    font.setPointSizeF(_POINTS * text_percent / 100)
    application.setFont(font)
    pg.setConfigOptions(
        antialias=False, imageAxisOrder="row-major", useOpenGL=False, background=base, foreground=text
    )


def colour_plots(window: QWidget, theme: Theme) -> None:
    """Plots take their colours when they are made: give those of an open window the new ones."""
    _, base, text, *_ = (QColor(name) for name in _COLOURS[theme])
    for plot in window.findChildren(pg.PlotWidget):
        plot.setBackground(base)
        item = plot.getPlotItem()
        assert item is not None
        for name in _AXES:
            axis = item.getAxis(name)
            axis.setPen(text)
            axis.setTextPen(text)
        if item.legend is not None:
            item.legend.setLabelTextColor(text)
            for _, label in item.legend.items:
                label.setText(label.text, color=text)
