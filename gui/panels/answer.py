"""The directions in digits as large as the panel allows: to be read across a room."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics, QResizeEvent
from PySide6.QtWidgets import QApplication, QLabel, QSizePolicy, QVBoxLayout

from gui.panels.panel import Panel
from gui.picture import Picture
from gui.text import enlarge

_MOST = 3
_LARGEST = 12.0


class AnswerPanel(Panel):
    """What is heard from where, a line each, with one standard deviation; says when no calibration is applied."""

    title = "Large digits"

    def __init__(self) -> None:
        super().__init__()
        self.words = QLabel("-")
        self._times = 0.0
        self.words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        QVBoxLayout(self).addWidget(self.words)

    def show_picture(self, picture: Picture) -> None:
        """The strongest three."""
        self.words.setText(_in_words(picture))
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """As large as fits."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        font = QApplication.font()
        font.setBold(True)
        size = QFontMetrics(font).size(0, self.words.text())
        times = min(self.words.width() / max(size.width(), 1), self.words.height() / max(size.height(), 1))
        times = round(min(max(0.9 * times, 1.0), _LARGEST), 1)
        if times != self._times:
            self._times = times
            enlarge(self.words, times, bold=True)


def _in_words(picture: Picture) -> str:
    if picture.angles_deg is None:
        return "array not known"
    if not len(picture.doa_deg):
        return "no signal"
    lines = [
        f"{d:+.2f}°" + (f" ± {s:.2g}°" if np.isfinite(s) else "")
        for d, s in zip(picture.doa_deg[:_MOST], picture.sigma_deg[:_MOST], strict=True)
    ]
    more = len(picture.doa_deg) - _MOST
    if more > 0:
        lines.append(f"and {more} more")
    if picture.calibration is None:
        lines.append("not calibrated")
    return "\n".join(lines)
