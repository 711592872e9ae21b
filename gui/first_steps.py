"""Guided first run: five steps from nothing to an exported calibration, each one click, each ticked when it is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from gui.facts import Facts
from gui.text import LargeText

_HEIGHT_PX = 36
_NOW = "QPushButton{background:#0b6bb8;color:white;font-weight:600;border-radius:5px;padding:4px 10px}"
_DONE = "QPushButton{color:#2ea043;border:0;padding:4px 6px}"
_LATER = "QPushButton{border:0;padding:4px 6px}"


@dataclass(frozen=True, slots=True)
class Step:
    """words : on the button. do : what a click does. done : whether facts show that it is done. tip : longer words."""

    words: str
    do: Callable[[], None]
    done: Callable[[Facts], bool]
    tip: str


class FirstSteps(QWidget):
    """A row of buttons; only the next step can be pressed. `finished` when the last is done or the row is closed."""

    finished = Signal()

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__()
        self._steps = steps
        self._at = -1
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 2, 6, 2)
        row.addWidget(LargeText("First steps", bold=True))
        self.buttons: list[QPushButton] = []
        for step in steps:
            button = QPushButton()
            button.setMinimumHeight(_HEIGHT_PX)
            button.setToolTip(step.tip)
            button.clicked.connect(step.do)
            row.addWidget(button)
            self.buttons.append(button)
        row.addStretch()
        self.close_button = QPushButton("Close")
        self.close_button.setMinimumHeight(_HEIGHT_PX)
        self.close_button.setToolTip("Help > First steps opens this row again")
        self.close_button.clicked.connect(self.finished)
        row.addWidget(self.close_button)
        self._mark(0)

    def show_facts(self, facts: Facts) -> None:
        """Tick what is done: a step counts only after those before it."""
        at = next((k for k, step in enumerate(self._steps) if not step.done(facts)), len(self._steps))
        self._mark(at)

    def _mark(self, at: int) -> None:
        if at == self._at:
            return
        self._at = at
        for k, (button, step) in enumerate(zip(self.buttons, self._steps, strict=True)):
            tick = "✓" if k < at else f"{k + 1}."
            button.setText(f"{tick} {step.words}")
            button.setEnabled(k == at)
            button.setStyleSheet(_NOW if k == at else _DONE if k < at else _LATER)
        if at == len(self._steps):
            self.finished.emit()
