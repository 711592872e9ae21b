"""What holds the panels: first steps, keys, layout, theme, text size, what is remembered, and quiet when closed."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from gui.remembered import Remembered
from gui.station import Station
from gui.theme import apply_theme
from gui.window import StationWindow


@pytest.fixture
def make(qtbot) -> Iterator[Callable[..., StationWindow]]:
    made: list[StationWindow] = []

    def window(guided: bool = False) -> StationWindow:
        new = StationWindow(Station(keep=True, accepting="when asked"), guided=guided)
        qtbot.addWidget(new)
        new.show()
        made.append(new)
        return new

    yield window
    for one in made:
        one.close()
    apply_theme(_application())


def _application() -> QApplication:
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    return application


def test_five_clicks_from_nothing_to_an_exported_calibration(make, qtbot, tmp_path) -> None:
    window = make(guided=True)
    row = window._row

    def click_when_ready(k: int) -> None:
        qtbot.waitUntil(row.buttons[k].isEnabled, timeout=60_000)
        qtbot.mouseClick(row.buttons[k], Qt.MouseButton.LeftButton)

    for k in range(3):
        click_when_ready(k)
    qtbot.waitUntil(lambda: window.station.desk.offered is not None, timeout=60_000)
    click_when_ready(3)
    click_when_ready(4)
    wizard = window.calibrations.wizard
    assert wizard is not None
    wizard.path.setText(str(tmp_path / "array.h5"))
    qtbot.mouseClick(wizard.export, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: (tmp_path / "array.h5").exists(), timeout=20_000)
    qtbot.waitUntil(lambda: not window.steps.isVisible(), timeout=10_000)
    assert Remembered().steps_done
    wizard.close()


def test_keys_work_wherever_the_focus_is(make, qtbot) -> None:
    window = make()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=5_000)
    window.controls.array.setText("ula:8:0.5")
    QTest.keyClick(window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(window.controls.start_button.isEnabled, timeout=30_000)
    QTest.keyClick(window, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: window.station.facts().link == "streaming", timeout=30_000)
    session = window.station.session
    assert session is not None
    before = session.stream.gains_db[0]
    QTest.keyClick(window, Qt.Key.Key_Minus)
    qtbot.waitUntil(lambda: session.stream.gains_db[0] == before - 1, timeout=20_000)
    QTest.keyClick(window, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: "mark at sample" in window.log.text(), timeout=10_000)


@pytest.mark.slow
def test_nothing_in_the_window_goes_on_resizing(make, qtbot) -> None:
    """Panels that ask for a size that depends on the size they got never come to rest."""

    class Resizes(QObject):
        def __init__(self) -> None:
            super().__init__()
            self.counts: Counter[str] = Counter()

        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() == QEvent.Type.Resize:
                self.counts[f"{type(watched).__name__} in {type(watched.parent()).__name__}"] += 1
            return False

    window = make()
    station = window.station
    window.controls.connect_to("sim:", "ula:8:0.5")
    station.start()
    qtbot.waitUntil(lambda: station.facts().link == "streaming", timeout=30_000)
    window.learning.start_or_stop()
    qtbot.waitUntil(lambda: station.desk.offered is not None, timeout=60_000)
    station.accept()
    resizes = Resizes()
    for title in window.docks.docks:
        window.docks.show(title)
        qtbot.wait(100)
        _application().installEventFilter(resizes)
        qtbot.wait(400)
        _application().removeEventFilter(resizes)
        restless = {name: n for name, n in resizes.counts.items() if n > 40}
        assert not restless, f"{title}: {restless}"
        resizes.counts.clear()


def test_theme_and_text_size_change_everything_at_once_and_are_remembered(make, qtbot) -> None:
    window = make()
    lamp = window.strip.buttons["LOCK"]
    window._use_theme("light")
    window._use_text(50)
    qtbot.waitUntil(lambda: window.palette().window().color() == QColor("#f1f3f5"), timeout=5_000)
    assert window.spectrum.plot.backgroundBrush().color() == QColor("#ffffff")
    qtbot.waitUntil(lambda: window.controls.source.font().pointSizeF() == 15.0, timeout=5_000)
    assert lamp.height() >= 60
    assert (Remembered().theme, Remembered().text_percent) == ("light", 150)


def test_layout_is_remembered_and_can_be_reset(make, qtbot) -> None:
    window = make()
    window.docks.docks["Log"].hide()
    window.docks.show("Waterfall")
    window.close()
    again = make()
    assert not again.docks.docks["Log"].isVisible()
    qtbot.waitUntil(lambda: again.docks.visible(again.waterfall), timeout=5_000)
    again.docks.reset()
    assert again.docks.docks["Log"].isVisible()
    qtbot.waitUntil(lambda: again.docks.visible(again.spectrum), timeout=5_000)


def test_it_fits_a_small_screen(make) -> None:
    window = make(guided=True)
    assert window.minimumSizeHint().width() <= 1366
    assert window.minimumSizeHint().height() <= 740
    assert (window.width(), window.height()) == (1366, 740)


def test_a_larger_window_gives_its_height_to_the_plots(make, qtbot) -> None:
    window = make()
    log, plots = window.docks.docks["Log"], window.docks.docks["Directions"]
    qtbot.waitUntil(lambda: 0 < log.height() < 160, timeout=5_000)
    small = plots.height()
    window.resize(1900, 1100)
    qtbot.waitUntil(lambda: plots.height() > small + 80 and log.height() < 200, timeout=5_000)
    log.setFloating(True)
    qtbot.waitUntil(lambda: log.maximumHeight() > 1000, timeout=5_000)
    log.resize(500, 700)
    qtbot.waitUntil(lambda: log.height() == 700, timeout=5_000)
    log.setFloating(False)
    qtbot.waitUntil(lambda: log.height() < 200, timeout=5_000)


def test_recent_sources_come_back_with_their_array(make, qtbot) -> None:
    window = make()
    window.controls.connect_to("sim:", "uca:8:0.5")
    again = make()
    again.controls.source.setCurrentIndex(again.controls.source.findText("sim:"))
    again.controls.source.textActivated.emit("sim:")
    assert again.controls.array.text() == "uca:8:0.5"


def test_fields_and_the_view_are_as_they_were(make, qtbot, tmp_path) -> None:
    first = make()
    first.recording.folder.setText(str(tmp_path))
    first.sweep.angles.setText("-7:7:1")
    first.sweep.order.setCurrentText("random")
    first.directions.show_view("compass")
    first.directions.heading.setValue(12.5)
    first.close()
    again = make()
    assert again.recording.folder.text() == str(tmp_path)
    assert (again.sweep.angles.text(), again.sweep.order.currentText()) == ("-7:7:1", "random")
    assert (again.directions.view, again.directions.heading.value()) == ("compass", 12.5)
    assert again.directions.compass.heading_deg == 12.5
    again.recording.folder.setText(str(tmp_path / "taken away"))
    again.close()
    assert make().recording.folder.text() != str(tmp_path / "taken away")


def test_a_damaged_memory_means_the_defaults(make, tmp_path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "window.ini").write_text(
        "[General]\ntheme=\x00\ntext_percent=many\nrecent=@Invalid(\n[layout]\nversion=2\ndocks=1\n"
    )
    remembered = Remembered()
    assert (remembered.theme, remembered.text_percent, remembered.layout()) == ("dark", 100, None)
    make()


def test_closing_leaves_no_timer_and_gives_the_collector_back(make) -> None:
    window = make()
    assert not gc.isenabled()
    window.close()
    assert gc.isenabled()
    assert [t for t in window.findChildren(QTimer) if t.isActive()] == []
