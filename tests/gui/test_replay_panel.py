"""A recording of the simulated array, played in the panel: time bar, pause, seek, speed, loop, marks, the end."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QAbstractButton, QApplication

from gui.panels.replay import SPEEDS, ReplayPanel
from gui.station import Station
from hil.core.device import RxConfig
from hil.recorder import Recorder
from hil.session import open_session

SCENE = """
seed = 3
[array]
n_elements = 4
[receiver]
fs_hz = 6.0e5
[[emitter]]
"""
_EVENT_S = 0.25


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 6 s, so that a busy machine does not miss all of it: an event noticed, and a retune early on."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "s.toml").write_text(SCENE)
    waited = threading.Event()
    with open_session(f"sim:{folder / 's.toml'}") as session:
        path = folder / "x.sigmf-meta"
        recorder = Recorder(path, session.stream, policy="gap")
        session.start(recorder=recorder)
        fs_hz = session.stream.fs_hz

        def until(seconds: float) -> None:
            while recorder.samples < seconds * fs_hz:
                session.wait(0.0)
                waited.wait(0.01)

        until(0.75)
        session.configure(RxConfig(fc_hz=2.40e9))
        until(6.0)
        at = round(_EVENT_S * fs_hz)
        recorder.annotate(at, at + 1000, "drift", "Phases drift. Learn again.")
        session.stop()
        session.raise_error()
    return path


class Shown:
    """A panel on a station."""

    def __init__(self, station: Station, panel: ReplayPanel, qtbot) -> None:
        self.station, self.panel, self.qtbot = station, panel, qtbot

    def turn(self) -> None:
        self.station.poll()
        picture = self.station.picture()
        if picture is not None:
            self.panel.show_picture(picture)
        for done in self.station.done():
            assert done.error is None, done
        self.panel.show_facts(self.station.facts())

    def until(self, what: Callable[[], bool]) -> None:
        def done() -> bool:
            self.turn()
            return what()

        self.qtbot.waitUntil(done, timeout=60_000)

    def click(self, button: QAbstractButton) -> None:
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def word(self, text: str) -> Callable[[], bool]:
        return lambda: self.panel.word.text().endswith(text)

    @property
    def state(self):
        """Of the playback."""
        playback = self.station.playback
        assert playback is not None
        return playback.state


@pytest.fixture
def shown(qtbot, recorded: Path) -> Iterator[Shown]:
    station = Station()
    panel = ReplayPanel(station)
    qtbot.addWidget(panel)
    panel.resize(700, 200)
    panel.show()
    made = Shown(station, panel, qtbot)
    try:
        made.turn()
        assert not panel.play_button.isEnabled()
        assert panel.name.text() == "No recording is open."
        panel.loop.setChecked(True)  # however late the first turn is
        panel.open(recorded)
        made.until(made.word("PLAYING"))
        made.until(lambda: made.state.position_s > 0)
        panel.loop.setChecked(False)
        seams = made.state.seams
        panel.seek(0.0)
        made.until(lambda: made.state.seams > seams)
        made.until(made.word("PLAYING"))
        yield made
    finally:
        assert station.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-")]


def test_it_plays_at_its_pace_pauses_and_ends_truthfully(shown: Shown) -> None:
    panel = shown.panel
    assert "x.sigmf-meta: 4 channels, 0.6 MS/s" in panel.name.text()
    shown.until(lambda: shown.state.position_s > 0.1)
    shown.click(panel.play_button)
    shown.until(shown.word("PAUSED"))
    shown.turn()
    at = shown.state.position_s
    for _ in range(5):
        shown.turn()
    facts = shown.station.facts()
    assert facts.link == "streaming"
    assert math.isnan(facts.lag_ms), "nothing is late while it is paused"
    # a machine slow to pause has heard of the retune in the middle, which is no fault
    assert [e.kind for e in facts.health if e.kind != "retune"] == []
    assert shown.state.position_s == pytest.approx(at, abs=0.1)
    shown.click(panel.play_button)
    panel.seek(shown.state.length_s - 0.5)
    shown.until(shown.word("END"))
    assert shown.state.position_s == shown.state.length_s
    assert "nothing more comes" in panel.note.text()
    assert panel.play_button.text() == "Play again"
    assert shown.station.facts().link == "streaming"
    shown.click(panel.play_button)
    shown.until(lambda: panel.word.text().endswith("PLAYING") and shown.state.position_s < 4.0)


def test_the_lag_is_that_of_this_computer_and_jumps_are_no_losses(shown: Shown) -> None:
    shown.until(lambda: math.isfinite(shown.station.facts().lag_ms))
    assert 0 <= shown.station.facts().lag_ms < 60_000, "not the age of the recording"
    for place in (1.0, 0.2):
        shown.panel.seek(place)
        seams = shown.state.seams
        shown.until(lambda seams=seams: shown.state.seams > seams)
    facts = shown.station.facts()
    assert (facts.lost, facts.lost_exact, facts.gaps) == (0, True, 0)


def test_dragging_the_bar_seeks_also_while_it_is_paused(shown: Shown) -> None:
    panel, bar = shown.panel, shown.panel.bar
    shown.click(panel.play_button)
    shown.until(shown.word("PAUSED"))
    y, seams = bar.height() // 2, shown.state.seams
    shown.qtbot.mousePress(bar, Qt.MouseButton.LeftButton, pos=QPoint(20, y))
    for share in (0.3, 0.5, 0.7):
        shown.qtbot.mouseMove(bar, QPoint(round(bar.width() * share), y))
    shown.qtbot.mouseRelease(bar, Qt.MouseButton.LeftButton, pos=QPoint(round(bar.width() * 0.7), y))
    want = shown.state.length_s * (0.7 * bar.width() - 10) / (bar.width() - 20)
    assert shown.state.position_s == pytest.approx(want, abs=0.02 * shown.state.length_s)
    shown.until(lambda: shown.state.seams > seams)  # a block of the new place was delivered
    assert shown.state.paused
    shown.qtbot.keyClick(bar, Qt.Key.Key_Home)
    assert shown.state.position_s == 0.0
    shown.qtbot.keyClick(bar, Qt.Key.Key_End)
    shown.until(shown.word("END"))


def test_marks_are_shown_and_led_to(shown: Shown) -> None:
    panel = shown.panel
    panel.speed.setCurrentIndex(SPEEDS.index(0.25))
    panel.speed.activated.emit(0)
    shown.click(panel.play_button)
    panel.seek(0.0)
    shown.until(lambda: shown.state.paused)
    shown.click(panel.after)
    assert shown.state.position_s == pytest.approx(_EVENT_S)
    shown.until(lambda: "drift: Phases drift" in panel.note.text())
    shown.click(panel.after)
    shown.until(lambda: "epoch 1 begins (lo), 2400 MHz" in panel.note.text())
    x = panel.bar._x(_EVENT_S)
    assert [m.kind for m in panel.bar.marks_near(x)] == ["event"]


def test_speed_and_loop(shown: Shown) -> None:
    panel = shown.panel
    shown.click(panel.loop)
    index = SPEEDS.index(math.inf)
    panel.speed.setCurrentIndex(index)
    panel.speed.activated.emit(index)
    seams = shown.state.seams
    shown.until(lambda: shown.state.seams > seams + 2)
    assert not shown.state.ended
    index = SPEEDS.index(0.5)
    panel.speed.setCurrentIndex(index)
    panel.speed.activated.emit(index)
    assert shown.state.speed == 0.5


def test_stopped_it_plays_again_from_the_beginning(shown: Shown) -> None:
    shown.station.stop()
    shown.until(shown.word("STOPPED"))
    shown.click(shown.panel.play_button)
    shown.until(shown.word("PLAYING"))


def test_the_script_plays_the_same_and_a_receiver_has_no_bar(shown: Shown, recorded: Path) -> None:
    shown.click(shown.panel.script_button)
    assert QApplication.clipboard().text() == f"hil gui replay:{recorded}"
    shown.station.connect(f"sim:{recorded.parent / 's.toml'}", None)
    shown.until(lambda: shown.panel.name.text() == "No recording is open.")
    assert not shown.panel.play_button.isEnabled()
