"""Where the panels stand: docks that can be moved, closed, put into tabs; the default fits 1366 x 768."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QDockWidget, QMainWindow, QScrollArea, QTabBar, QTabWidget, QWidget

from gui.panels.panel import Panel

Place = Literal["left", "top", "middle", "middle right", "right", "bottom"]
#: Shares of the default layout.
_WIDTHS = {"left": 255, "top": 725, "right": 372}
_HEIGHTS = {"top": 300, "middle": 230, "bottom": 90}

_MOST_BOTTOM, _ANY_HEIGHT = 190, 16_777_215
_LEAST = (220, 90)
_SPLITS: tuple[Place, ...] = ("left", "top", "right", "middle", "middle right", "bottom")


@dataclass(frozen=True, slots=True)
class Placed:
    """A panel, and the place where its dock stands by default; the first of a place is the one on top of its tabs.

    scrolls : the dock may be smaller than the panel.
    """

    panel: Panel
    place: Place
    scrolls: bool = False


class Docks:
    """One dock a panel; `reset` puts them where they stand by default."""

    def __init__(self, window: QMainWindow, placed: tuple[Placed, ...]) -> None:
        self._window, self._placed = window, placed
        window.setDockNestingEnabled(True)
        window.setAnimated(False)  # nothing moves by itself, also over X forwarding
        window.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        for corner in (Qt.Corner.BottomLeftCorner, Qt.Corner.BottomRightCorner):
            window.setCorner(corner, Qt.DockWidgetArea.BottomDockWidgetArea)
        self._soon = QTimer(window)  # after the layout has come to rest
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._settle)
        self.docks: dict[str, QDockWidget] = {}
        for entry in placed:
            self.docks[entry.panel.title] = self._dock(entry)
        self.reset()

    def _dock(self, entry: Placed) -> QDockWidget:
        dock = QDockWidget(entry.panel.title, self._window)
        dock.setObjectName(f"dock-{entry.panel.title}")
        for changed in (dock.topLevelChanged, dock.visibilityChanged, dock.dockLocationChanged):
            changed.connect(self._soon.start)
        if entry.scrolls:
            dock.setWidget(_scrolled(entry.panel))
        else:
            entry.panel.setMinimumSize(*_LEAST)  # its own wish would make the window wider than a screen
            dock.setWidget(entry.panel)
        return dock

    def reset(self) -> None:
        """The default layout."""
        window = self._window
        first: dict[str, QDockWidget] = {}
        for dock in self.docks.values():
            dock.setFloating(False)
            window.removeDockWidget(dock)
        areas = {
            "left": Qt.DockWidgetArea.LeftDockWidgetArea,
            "bottom": Qt.DockWidgetArea.BottomDockWidgetArea,
        }
        beside = {
            "top": ("left", Qt.Orientation.Horizontal), "right": ("top", Qt.Orientation.Horizontal),
            "middle": ("top", Qt.Orientation.Vertical), "middle right": ("middle", Qt.Orientation.Horizontal),
        }  # fmt: skip
        # all splits before any tab: what is split beside a tab becomes a tab itself
        for place in _SPLITS:
            entry = next((e for e in self._placed if e.place == place), None)
            if entry is None:
                continue
            dock = first[place] = self.docks[entry.panel.title]
            if place in areas:
                window.addDockWidget(areas[place], dock)
            else:
                neighbour, way = beside[place]
                window.splitDockWidget(first[neighbour], dock, way)
            dock.show()
        for entry in self._placed:
            dock = self.docks[entry.panel.title]
            if dock is not first[entry.place]:
                window.tabifyDockWidget(first[entry.place], dock)
                dock.show()
        for dock in first.values():
            dock.raise_()
        for sizes, way in ((_WIDTHS, Qt.Orientation.Horizontal), (_HEIGHTS, Qt.Orientation.Vertical)):
            there = [(first[place], size) for place, size in sizes.items() if place in first]
            window.resizeDocks([dock for dock, _ in there], [size for _, size in there], way)

    def end(self) -> None:
        """No more changes: the window closes."""
        self._soon.stop()
        for dock in self.docks.values():
            dock.blockSignals(True)

    def _settle(self) -> None:
        """A dock among tabs needs no title: its tab has it; a double click on the tab makes it a window."""
        for dock in self.docks.values():
            at_bottom = self._window.dockWidgetArea(dock) == Qt.DockWidgetArea.BottomDockWidgetArea
            # a window that grows gives its height to the plots, not to the log
            dock.setMaximumHeight(_MOST_BOTTOM if at_bottom and not dock.isFloating() else _ANY_HEIGHT)
            tabbed = not dock.isFloating() and bool(self._window.tabifiedDockWidgets(dock))
            if tabbed != (dock.titleBarWidget() is not None):
                dock.setTitleBarWidget(QWidget() if tabbed else None)  # type: ignore[arg-type]
        for bar in self._window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
            if not bar.property("floats"):
                bar.setProperty("floats", True)
                bar.tabBarDoubleClicked.connect(lambda index, b=bar: self._float(b.tabText(index)))

    def _float(self, title: str) -> None:
        if title in self.docks:
            self.docks[title].setFloating(True)

    def show(self, title: str) -> None:
        """Bring a panel to the front."""
        self.docks[title].show()
        self.docks[title].raise_()

    def visible(self, panel: Panel) -> bool:
        """Whether anything of it can be seen (a hidden tab cannot)."""
        return panel.isVisible() and not panel.visibleRegion().isEmpty()


def _scrolled(panel: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidget(panel)
    area.setWidgetResizable(True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setMinimumWidth(_LEAST[0])
    return area
