"""The window on a simulated array: it learns, shows it, says why a lamp is red, records, and leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from drivers.sigmf_files import open_recording
from gui.lamps import Level
from gui.station import Station
from gui.window import StationWindow
from hil.learning.settings import LearnSettings

SETTINGS = LearnSettings(support_deg=(-60.0, 60.0))


@pytest.fixture
def window(qtbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StationWindow]:
    monkeypatch.chdir(tmp_path)
    made = StationWindow(Station(), "sim:", "ula:8:0.5")
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-")]


def _word(window: StationWindow, name: str) -> str:
    return window.strip.buttons[name].text()


def _log(window: StationWindow) -> str:
    return window.log.text()


def _streaming(window: StationWindow, qtbot, uri: str = "sim:") -> None:
    window.controls.source.setCurrentText(uri)
    qtbot.mouseClick(window.controls.connect_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(window.controls.start_button.isEnabled, timeout=20_000)
    qtbot.mouseClick(window.controls.start_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "STREAMING" in _word(window, "LOCK"), timeout=20_000)


def test_a_new_user_clicks_from_nothing_to_a_calibration(
    window: StationWindow, qtbot, tmp_path: Path
) -> None:
    assert "NO DEVICE" in _word(window, "LOCK")
    _streaming(window, qtbot)
    assert "NONE" in _word(window, "CAL")
    window.docks.show("Large digits")
    qtbot.waitUntil(lambda: "not calibrated" in window.answer.words.text(), timeout=10_000)
    window.docks.show("Directions")
    qtbot.mouseClick(window.learning.start, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "±" in _word(window, "CAL"), timeout=60_000)
    assert window.strip.buttons["LEARN"].lamp.level is Level.GOOD
    window.docks.show("Large digits")
    qtbot.waitUntil(lambda: "not calibrated" not in window.answer.words.text(), timeout=10_000)
    qtbot.waitUntil(lambda: "±" in window.answer.words.text(), timeout=10_000)
    assert window.grab().save(str(tmp_path / "learned.png"))
    assert (tmp_path / "learned.png").stat().st_size > 20_000


def test_a_click_on_a_lamp_says_why_and_what_to_do(window: StationWindow, qtbot) -> None:
    qtbot.mouseClick(window.strip.buttons["LOCK"], Qt.MouseButton.LeftButton)
    words = window.strip.explanation.words.text()
    assert "What to do" in words
    assert "Connect" in words
    window.strip.explanation.hide()


def test_a_lost_device_turns_the_lamp_red_and_a_click_connects_again(window: StationWindow, qtbot) -> None:
    _streaming(window, qtbot, "faults:disconnect_after=400:sim:")
    qtbot.waitUntil(lambda: "LOST" in _word(window, "LOCK"), timeout=30_000)
    lamp = window.strip.buttons["LOCK"].lamp
    assert lamp.level is Level.BAD
    assert lamp.remedy
    qtbot.waitUntil(lambda: "connection to the device was closed" in _log(window), timeout=10_000)
    qtbot.waitUntil(lambda: window.controls.connect_button.text() == "Reconnect", timeout=10_000)
    _streaming(window, qtbot, "sim:")


def test_a_recording_begins_and_ends_while_it_streams(window: StationWindow, qtbot, tmp_path: Path) -> None:
    _streaming(window, qtbot)
    window.recording.folder.setText(str(tmp_path))
    qtbot.mouseClick(window.controls.record_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "GB" in _word(window, "REC"), timeout=10_000)
    assert ".sigmf-meta" in _log(window)

    def recorded_s() -> float:
        recording = window.station.facts().recording
        return recording.seconds if recording else 0.0

    qtbot.waitUntil(lambda: recorded_s() > 0.1, timeout=10_000)
    qtbot.mouseClick(window.controls.record_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "Stop recording:" in _log(window), timeout=10_000)
    (path,) = tmp_path.glob("*.sigmf-meta")
    with open_recording(path) as recording:
        assert recording.n_samples > 100_000


def test_requests_are_read_back_and_mistakes_are_one_line(window: StationWindow, qtbot) -> None:
    _streaming(window, qtbot)
    controls = window.controls
    frequency, gain = controls.requests["fc_hz"], controls.requests["gain_db"]
    frequency.setText("2,4 GHz")
    qtbot.keyClick(frequency, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: controls.read_backs["fc_hz"].text() == "2.400000 GHz", timeout=10_000)
    qtbot.waitUntil(lambda: "#1" in _word(window, "EPOCH"), timeout=10_000)
    gain.setText("loud")
    qtbot.keyClick(gain, Qt.Key.Key_Return)
    assert "cannot read 'loud'" in _log(window)


def test_actions_can_be_copied_as_scripts(window: StationWindow, qtbot) -> None:
    _streaming(window, qtbot)
    qtbot.waitUntil(lambda: "Start" in _log(window), timeout=5_000)
    qtbot.mouseClick(window.log.script_button, Qt.MouseButton.LeftButton)
    assert QApplication.clipboard().text().startswith("hil capture sim: ")


def test_it_closes_soon_while_learning(qtbot) -> None:
    station = Station()
    window = StationWindow(station, "sim:", "ula:8:0.5")
    qtbot.addWidget(window)
    window.show()
    station.connect("sim:", "ula:8:0.5")
    station.start()
    station.learn(SETTINGS)
    qtbot.waitUntil(lambda: station.facts().learning == "learning", timeout=30_000)
    began = time.monotonic()
    window.close()
    assert time.monotonic() - began < 20.0  # aim: 2 s
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-")]


def test_an_offer_of_the_device_before_cannot_be_accepted(window: StationWindow, qtbot) -> None:
    station = window.station
    station.accepting = "when asked"
    _streaming(window, qtbot)
    station.learn(SETTINGS)
    qtbot.waitUntil(lambda: station.desk.offered is not None, timeout=60_000)
    station.learn(SETTINGS)
    assert station.desk.offered is None
    qtbot.waitUntil(lambda: station.desk.offered is not None, timeout=60_000)
    station.connect("sim:", "ula:8:0.5")
    assert station.desk.offered is None
    station.accept()
    assert station.calibration is None
