"""A question in a panel, answered by a line and a button."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout

_HEIGHT_PX = 34


class Ask(QFrame):
    """One question, answered in the panel: nothing waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.line = QLineEdit()
        self.browse = QPushButton("Choose…")
        self.ok, self.cancel = QPushButton(), QPushButton("Cancel")
        row = QHBoxLayout()
        for button in (self.browse, self.ok, self.cancel):
            button.setMinimumHeight(_HEIGHT_PX)
            row.addWidget(button, stretch=1)
        self.line.setMinimumHeight(_HEIGHT_PX)
        column = QVBoxLayout(self)
        column.addWidget(self.words)
        column.addWidget(self.line)
        column.addLayout(row)
        self._then: Callable[[str], None] = lambda text: None
        self._least = 0
        self.line.textChanged.connect(self._changed)
        self.line.returnPressed.connect(self.ok.click)
        self.ok.clicked.connect(self._answer)
        self.cancel.clicked.connect(self.hide)
        self.browse.clicked.connect(self._choose)
        self.hide()

    def ask(
        self,
        words: str,
        ok: str,
        then: Callable[[str], None],
        *,
        text: str = "",
        least: int = 0,
        file: bool = False,
    ) -> None:
        """then : called with the answer, of `least` letters or more. file : it is the name of one."""
        self.words.setText(words)
        self.ok.setText(ok)
        self._then, self._least = then, least
        self.browse.setVisible(file)
        self.line.setText(text)
        self._changed()
        self.show()
        self.line.setFocus()

    def _changed(self) -> None:
        self.ok.setEnabled(len(self.line.text().strip()) >= self._least)

    def _answer(self) -> None:
        self.hide()
        self._then(self.line.text().strip())

    def _choose(self) -> None:
        dialog = QFileDialog(self, "Choose a file", self.line.text() or str(Path.cwd()))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setOption(QFileDialog.Option.DontUseNativeDialog)
        dialog.fileSelected.connect(self.line.setText)
        dialog.open()
