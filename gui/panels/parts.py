"""Buttons and fields that are large enough to be hit."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QLineEdit, QPushButton

HEIGHT_PX = 34


def button(text: str, work: Callable[[], object] | None, tip: str = "") -> QPushButton:
    """Does `work` when it is clicked; None: whoever makes it connects it."""
    made = QPushButton(text)
    made.setMinimumHeight(HEIGHT_PX)
    made.setToolTip(tip)
    if work is not None:
        made.clicked.connect(lambda: work())
    return made


def field(text: str, tip: str, placeholder: str = "") -> QLineEdit:
    """One line to type in."""
    made = QLineEdit(text)
    made.setMinimumHeight(HEIGHT_PX)
    made.setToolTip(tip)
    made.setPlaceholderText(placeholder)
    return made
