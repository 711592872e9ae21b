"""Health log: what was done and what went wrong, a line each, with the command that does the same."""

from __future__ import annotations

import time

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
)

from gui.panels.panel import Panel

_MOST_LINES = 500
_HEIGHT_PX = 32


class LogPanel(Panel):
    """Bounded list of lines, newest last; a line that came from an action carries its script."""

    title = "Log"

    def __init__(self) -> None:
        super().__init__()
        self.lines = QListWidget()
        self.lines.setWordWrap(True)
        self.lines.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.script_button = QPushButton("Copy as script")
        self.script_button.setToolTip(
            "The command that does the same as the selected line (else the last one)"
        )
        self.script_button.clicked.connect(self.copy_script)
        self.text_button = QPushButton("Copy log")
        self.text_button.setToolTip("All lines, as text")
        self.text_button.clicked.connect(self._copy_text)
        column = QVBoxLayout()
        for button in (self.script_button, self.text_button):
            button.setMinimumHeight(_HEIGHT_PX)
            column.addWidget(button)
        column.addStretch()
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 4, 4, 4)
        row.addWidget(self.lines, stretch=1)
        row.addLayout(column)

    def tell(self, text: str, script: str = "") -> None:
        """A new line."""
        item = QListWidgetItem(f"{time.strftime('%H:%M:%S')}  {text}")
        item.setData(Qt.ItemDataRole.UserRole, script)
        if script:
            item.setToolTip(f"As a script: {script}")
        below = self.lines.verticalScrollBar()
        at_end = below.value() >= below.maximum() - QFontMetrics(self.lines.font()).height()
        self.lines.addItem(item)
        while self.lines.count() > _MOST_LINES:
            self.lines.takeItem(0)
        if at_end:  # who reads an old line is not torn away
            self.lines.scrollToBottom()

    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines.item(i).text() for i in range(self.lines.count()))

    def copy_script(self) -> None:
        """The script of the selected line, else the last script, into the clipboard."""
        chosen = self.lines.selectedItems()
        items = chosen or [self.lines.item(i) for i in reversed(range(self.lines.count()))]
        scripts = (str(item.data(Qt.ItemDataRole.UserRole) or "") for item in items)
        script = next((s for s in scripts if s), "")
        if script:
            QApplication.clipboard().setText(script)
            self.tell(f"copied: {script}")
        else:
            self.tell("this line has no command" if chosen else "no action so far has a command")

    def _copy_text(self) -> None:
        QApplication.clipboard().setText(self.text())
