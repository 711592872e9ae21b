"""Menus and the keys: each entry is one method of the window or of a panel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

Work = Callable[[], object]
#: One entry: words, key ("" none), what it does. None: a line between groups.
Entry = tuple[str, str, Work] | None


def add_menu(window: QMainWindow, title: str, entries: list[Entry]) -> QMenu:
    """A menu; its keys work wherever the focus is in the window."""
    menu = window.menuBar().addMenu(title)
    menu.setToolTipsVisible(True)
    for entry in entries:
        if entry is None:
            menu.addSeparator()
            continue
        words, key, work = entry
        action = QAction(words, window)
        if key:
            action.setShortcuts([QKeySequence(k) for k in key.split("|")])
        action.triggered.connect(partial(_call, work))
        menu.addAction(action)
        window.addAction(action)  # keys work with the menu bar hidden, too
    return menu


def _call(work: Work, _checked: bool = False) -> None:
    work()


def keys_in_words(window: QMainWindow) -> str:
    """All keys, a line each."""
    lines = []
    for action in window.actions():
        keys = ", ".join(k.toString() for k in action.shortcuts())
        if keys:
            lines.append(f"{keys:18} {action.text().replace('&', '')}")
    return "\n".join(lines)
