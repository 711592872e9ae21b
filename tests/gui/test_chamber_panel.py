"""The turntable's panel: what it shows is read back, and STOP is always there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLineEdit, QMainWindow, QPushButton

from gui.facts import Facts
from gui.lamps import Level, lamps
from gui.panels.chamber import ChamberPanel
from gui.station import Station


class Shown:
    """A panel on a station without a receiver."""

    def __init__(self, station: Station, panel: ChamberPanel, qtbot) -> None:
        self.station, self.panel, self.qtbot = station, panel, qtbot

    def until(self, what: Callable[[], bool]) -> None:
        def done() -> bool:
            self.station.poll()
            self.panel.show_facts(self.station.facts())
            return what()

        self.qtbot.waitUntil(done, timeout=20_000)

    def click(self, button: QPushButton) -> None:
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def word(self, text: str) -> None:
        self.until(lambda: text in self.panel.word.text())

    def connect(self, options: str = "speed=60&acceleration=600") -> None:
        self.panel.uri.setText(f"sim:?{options}")
        self.click(self.panel.connect_button)
        self.word("stands")

    @property
    def lamp(self):
        """TABLE."""
        return next(lamp for lamp in lamps(self.station.facts()) if lamp.name == "TABLE")


@pytest.fixture
def shown(qtbot) -> Iterator[Shown]:
    station = Station()
    panel = ChamberPanel(station)
    qtbot.addWidget(panel)
    panel.show()
    yield Shown(station, panel, qtbot)
    assert station.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-")]


def test_without_a_table_only_stop_and_connect_can_be_pressed(shown: Shown) -> None:
    panel = shown.panel
    panel.show_facts(Facts())
    assert panel.stop_button.isEnabled()
    assert panel.connect_button.isEnabled()
    assert not panel.go_button.isEnabled()
    assert not any(button.isEnabled() for button in panel.steps)
    shown.click(panel.stop_button)
    assert shown.lamp.level is Level.IDLE


def test_it_goes_where_it_is_sent_and_shows_what_is_read_back(shown: Shown) -> None:
    panel = shown.panel
    shown.connect()
    assert shown.lamp.word == "0.0°"
    panel.target.setText("-12,5 °")
    shown.qtbot.keyClick(panel.target, Qt.Key.Key_Return)
    assert "MOVES" in panel.word.text()
    assert "→" in shown.lamp.word
    shown.word("ARRIVED")
    assert panel.angle.text() == "-12.5°"
    assert shown.lamp.level is Level.GOOD
    for button, text in zip(panel.steps, ("-22.5°", "-23.5°", "-22.5°", "-12.5°"), strict=True):
        shown.click(button)
        shown.until(lambda text=text: "ARRIVED" in panel.word.text() and panel.angle.text() == text)
    shown.click(panel.script_button)
    assert "drive_to(table, -12.5)" in QApplication.clipboard().text()
    compile(QApplication.clipboard().text(), "script", "exec")


def test_a_step_that_is_held_goes_on(shown: Shown) -> None:
    shown.connect()
    button = shown.panel.steps[-1]
    shown.qtbot.mousePress(button, Qt.MouseButton.LeftButton)
    shown.until(lambda: (shown.station.table.view.target_deg or 0.0) >= 30.0)
    shown.qtbot.mouseRelease(button, Qt.MouseButton.LeftButton)
    shown.word("ARRIVED")


@pytest.mark.parametrize("how", ["button", "key", "key in a field", "panel closed"])
def test_stop_stops(shown: Shown, how: str, qtbot) -> None:
    panel = shown.panel
    window = QMainWindow()
    qtbot.addWidget(window)
    field = QLineEdit(window)
    window.setCentralWidget(field)
    shortcut = panel.stop_shortcut(window)
    assert shortcut.context() is Qt.ShortcutContext.ApplicationShortcut
    window.show()
    qtbot.waitExposed(window)
    window.activateWindow()
    shown.connect("speed=5")
    panel.target.setText("90")
    shown.click(panel.go_button)
    shown.until(lambda: shown.station.table.view.azimuth_deg > 0.5)
    if how == "button":
        qtbot.mousePress(panel.stop_button, Qt.MouseButton.LeftButton)
    else:
        if how == "key in a field":
            field.setFocus()
        if how == "panel closed":
            panel.hide()
        qtbot.keyClick(field if how == "key in a field" else window, Qt.Key.Key_Escape)
    shown.word("STOPPED")
    assert shown.station.table.view.azimuth_deg < 20.0


def test_stop_does_not_wait_for_an_errand(shown: Shown) -> None:
    shown.connect("speed=5")
    panel, held = shown.panel, threading.Event()
    shown.station.errands.send("Long", lambda: str(held.wait(30.0)))
    panel.target.setText("90")
    shown.click(panel.go_button)
    shown.until(lambda: shown.station.table.view.azimuth_deg > 0.5)
    assert shown.station.errands.busy == "Long"
    shown.click(panel.stop_button)
    shown.word("STOPPED")
    assert shown.station.errands.busy == "Long"
    held.set()


def test_limits_stall_and_a_lost_line_are_said(shown: Shown) -> None:
    panel = shown.panel
    shown.connect("speed=100&acceleration=1000&low=-30&high=45&stall_at=20")
    assert panel.problem.text() == "Limits -30° to 45°."
    for wrong in ("46", "-30.5", "far", ""):
        panel.target.setText(wrong)
        shown.click(panel.go_button)
        assert "#" in panel.problem.styleSheet(), wrong
        assert shown.station.table.view.word == "standing"
    panel.target.setText("40")
    shown.click(panel.go_button)
    shown.word("STALLED")
    assert "stands at" in panel.problem.text()
    assert shown.lamp.level is Level.BAD
    panel.uri.setText("sim:?lost_after=3")
    shown.click(panel.connect_button)
    shown.word("LOST")
    assert "connection was closed" in panel.problem.text()
    assert panel.connect_button.text() == "Reconnect"
    assert shown.lamp.level is Level.BAD
    assert panel.stop_button.isEnabled()
