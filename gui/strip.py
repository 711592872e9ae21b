"""The status strip: ten lamps, always visible, readable at 3 m; a click says cause, value against limit, and remedy."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QFontMetrics, QResizeEvent
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gui.lamps import Lamp, Level
from gui.text import LargeText, enlarge

#: Background and text; told apart without colour by shape and word, too.
COLOURS = {
    Level.GOOD: ("#1a7f37", "white"), Level.WARN: ("#9a5b00", "white"), Level.BAD: ("#c0281c", "white"),
    Level.IDLE: ("#57606a", "white"),
}  # fmt: skip
_HEIGHT_PX = 60
_WIDTH_PX = 84
_TIMES = 1.2
_LARGEST = 2.5
_MARGIN_PX = 22


class LampButton(QPushButton):
    """One lamp."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.lamp = Lamp(name, Level.IDLE, "-", "Not known yet.")
        self.setObjectName(f"lamp-{name}")
        self.setMinimumWidth(_WIDTH_PX)
        self.setFixedHeight(_HEIGHT_PX)
        self.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed
        )  # all alike, whatever they say
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._shown: Lamp | None = None
        self.show_lamp(self.lamp)

    def largest(self, metrics: QFontMetrics) -> float:
        """How many times the text of these metrics could be enlarged so that both lines still fit."""
        wide = max(metrics.horizontalAdvance(line) for line in self.text().split("\n"))
        return min((self.width() - _MARGIN_PX) / max(wide, 1), (self.height() - 8) / (2 * metrics.height()))

    def show_lamp(self, lamp: Lamp) -> None:
        """Nothing is drawn anew if it looks the same."""
        self.lamp = lamp
        if lamp == self._shown:
            return
        self._shown = lamp
        self.setText(f"{lamp.level.value} {lamp.name}\n{lamp.word}")
        self.setToolTip(lamp.explanation)
        self.setAccessibleName(f"{lamp.name}: {lamp.word}")
        back, text = COLOURS[lamp.level]
        self.setStyleSheet(
            f"QPushButton{{background:{back};color:{text};border:0;border-radius:5px;"
            "padding:3px 6px}QPushButton:focus{border:2px solid white}"
        )


class Explanation(QFrame):
    """What a click on a lamp opens; goes away with the next click elsewhere."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.words = LargeText(times=_TIMES)
        self.words.setWordWrap(True)
        self.words.setMinimumWidth(420)
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.words.setMargin(8)
        QVBoxLayout(self).addWidget(self.words)


class Strip(QWidget):
    """All lamps in their order."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 4, 4, 4)
        row.setSpacing(4)
        self.buttons = {name: LampButton(name) for name in names}
        self.explanation = Explanation(self)
        self._times = 0.0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for button in self.buttons.values():
            row.addWidget(button)
            button.clicked.connect(lambda _=False, b=button: self.explain(b))

    def show_lamps(self, lamps: tuple[Lamp, ...]) -> None:
        """Some times a second."""
        before = [button.text() for button in self.buttons.values()]
        for lamp in lamps:
            self.buttons[lamp.name].show_lamp(lamp)
        if before != [button.text() for button in self.buttons.values()]:
            self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """As large as fits."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Grow with the text."""
        if event.type() == QEvent.Type.ApplicationFontChange:
            height = max(_HEIGHT_PX, round(3.2 * QApplication.fontMetrics().height()))
            for button in self.buttons.values():
                button.setFixedHeight(height)  # never by the text: that is fitted to the height
            self._fit()
        super().changeEvent(event)

    def _fit(self) -> None:
        """All lamps in one size, the largest that fits all words."""
        font = QApplication.font()
        font.setBold(True)
        metrics = QFontMetrics(font)
        times = min(max(min(b.largest(metrics) for b in self.buttons.values()), 1.0), _LARGEST)
        times = round(times, 1)
        if times != self._times:
            self._times = times
            for button in self.buttons.values():
                enlarge(button, times, bold=True)

    def explain(self, button: LampButton) -> None:
        """Open the explanation under the lamp."""
        lamp = button.lamp
        self.explanation.words.setText(f"{lamp.name}: {lamp.word}\n\n{lamp.explanation}")
        self.explanation.adjustSize()
        corner = button.mapToGlobal(QPoint(0, button.height()))
        screen = self.screen().availableGeometry()
        corner.setX(min(corner.x(), screen.right() - self.explanation.width()))
        self.explanation.move(corner)
        self.explanation.show()
