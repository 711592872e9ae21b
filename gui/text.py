"""Words that are larger than the rest and grow with it."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication, QLabel, QWidget


class LargeText(QLabel):
    """A label whose text is `times` as large as the application's, whatever size is chosen."""

    def __init__(self, text: str = "", times: float = 1.0, *, bold: bool = False) -> None:
        super().__init__(text)
        self._times, self._bold = times, bold
        self._fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the application."""
        if event.type() == QEvent.Type.ApplicationFontChange:
            self._fit()
        super().changeEvent(event)

    def _fit(self) -> None:
        enlarge(self, self._times, bold=self._bold)


def enlarge(widget: QWidget, times: float, *, bold: bool = False) -> None:
    """Text of a widget `times` as large as the application's."""
    font = QApplication.font()
    font.setPointSizeF(font.pointSizeF() * times)
    font.setBold(bold)
    widget.setFont(font)
