"""The status strip: ten lamps, always visible, readable at 3 m; a click says cause, value against limit, and remedy."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from gui.lamps import Lamp, Level

#: Background and text; told apart without colour by shape and word, too.
COLOURS = {
    Level.GOOD: ("#1a7f37", "white"), Level.WARN: ("#9a5b00", "white"), Level.BAD: ("#c0281c", "white"),
    Level.IDLE: ("#57606a", "white"),
}  # fmt: skip
_HEIGHT_PX = 60
_WIDTH_PX = 84


class LampButton(QPushButton):
    """One lamp."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.lamp = Lamp(name, Level.IDLE, "-", "Not known yet.")
        self.setObjectName(f"lamp-{name}")
        self.setMinimumSize(_WIDTH_PX, _HEIGHT_PX)
        self.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed
        )  # all alike, whatever they say
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._shown: Lamp | None = None
        self.show_lamp(self.lamp)

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
            f"QPushButton{{background:{back};color:{text};font-size:16px;font-weight:600;border:0;border-radius:5px;"
            "padding:3px 6px}QPushButton:focus{border:2px solid white}"
        )


class Explanation(QFrame):
    """What a click on a lamp opens; goes away with the next click elsewhere."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setMinimumWidth(420)
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.words.setStyleSheet("font-size:16px;padding:8px")
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
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for button in self.buttons.values():
            row.addWidget(button)
            button.clicked.connect(lambda _=False, b=button: self.explain(b))

    def show_lamps(self, lamps: tuple[Lamp, ...]) -> None:
        """Some times a second."""
        for lamp in lamps:
            self.buttons[lamp.name].show_lamp(lamp)

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
