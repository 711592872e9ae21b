"""One toggle a channel, in the channel's colour: which channels a plot shows."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QPushButton, QSizePolicy, QWidget

from gui.theme import CHANNEL_COLOURS

_SIZE_PX = 32
_STEP_PX = _SIZE_PX + 2
_LEAST = 4


def channel_colour(channel: int) -> str:
    """As in every plot."""
    return CHANNEL_COLOURS[channel % len(CHANNEL_COLOURS)]


class ChannelButtons(QWidget):
    """The legend of a plot of channels; a click shows or hides one. As many rows as the width needs."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.buttons: list[QPushButton] = []
        self._n = 0
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def set_count(self, n: int) -> None:
        """So many channels there are."""
        while len(self.buttons) < n:
            self.buttons.append(self._button(len(self.buttons)))
        self._n = n
        for m, button in enumerate(self.buttons):
            button.setVisible(m < n)
        self._arrange()
        self.updateGeometry()

    def shown(self, channel: int) -> bool:
        """It is to be drawn."""
        return self.buttons[channel].isChecked()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """All in one row."""
        return QSize(max(self._n, 1) * _STEP_PX, _STEP_PX)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Four in a row."""
        return QSize(_LEAST * _STEP_PX, _STEP_PX)

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Of the rows that this width needs."""
        return max(-(-self._n // self._per_row(width)), 1) * _STEP_PX

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Into rows."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        per_row = self._per_row(self.width())
        for m, button in enumerate(self.buttons):
            button.move(m % per_row * _STEP_PX, m // per_row * _STEP_PX)

    @staticmethod
    def _per_row(width: int) -> int:
        return max(width // _STEP_PX, _LEAST)

    def _button(self, m: int) -> QPushButton:
        button = QPushButton(str(m), self)
        button.setCheckable(True)
        button.setChecked(True)
        button.setFixedSize(_SIZE_PX, _SIZE_PX)
        button.setToolTip(f"Channel {m}: show or hide")
        colour = channel_colour(m)
        button.setStyleSheet(
            f"QPushButton{{border:2px solid {colour};border-radius:3px;font-weight:700}}"
            f"QPushButton:checked{{background:{colour};color:#15191e}}"
        )
        button.toggled.connect(lambda _checked: self.changed.emit())
        return button
