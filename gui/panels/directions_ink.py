"""Colours and letters of the direction views, on dark and on light."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QWidget


@dataclass(frozen=True, slots=True)
class Ink:
    """text, dim : letters and grid. marker, image, blind : of directions found and of ranges. traces : of the curves, with
    the width in pixels."""

    paper: str
    text: str
    dim: str
    grid: str
    marker: str
    image: str
    blind: str
    traces: dict[str, tuple[str, float]]


def ink_of(widget: QWidget) -> Ink:
    """For the palette that the widget has now."""
    palette = widget.palette()
    paper = palette.color(QPalette.ColorRole.Base)
    dark = paper.lightness() < 128
    return Ink(
        paper.name(), palette.color(QPalette.ColorRole.Text).name(), "#9aa5b1" if dark else "#5a646e",
        "#3a424c" if dark else "#c9d0d7", "#ff9d5c" if dark else "#b84a00", "#e06c75" if dark else "#c22f3d",
        "#9aa5b1" if dark else "#6b7580",
        {
            "nominal": ("#aab4bf" if dark else "#5a646e", 1), "calibrated": ("#4c9be8" if dark else "#0b6bb8", 3),
            "beside": ("#3fb8af" if dark else "#11756d", 1),
            "hold": ("#58b368" if dark else "#2b8a3e", 1), "A": ("#d9b44a" if dark else "#8a6d00", 2),
            "B": ("#c678dd" if dark else "#8e3fb0", 2),
        },
    )  # fmt: skip


def shade(colour: str, alpha: int) -> QColor:
    """The colour, alpha 0 to 255."""
    out = QColor(colour)
    out.setAlpha(alpha)
    return out


def letters(widget: QWidget, factor: float, *, bold: bool = False) -> QFont:
    """The widget's font, larger."""
    font = QFont(widget.font())
    font.setPixelSize(round(factor * widget.fontInfo().pixelSize()))
    font.setBold(bold)
    return font
