"""A recording played: time bar, play and pause, speed, loop, and what is marked in it."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
)

from drivers.replay_clock import PlayState
from gui.facts import Facts
from gui.panels.panel import Panel
from gui.panels.parts import HEIGHT_PX, button
from gui.panels.recording import clock_words
from gui.panels.time_bar import COLOURS, TimeBar
from gui.picture import Picture
from gui.playing import Mark, marks, recording_of
from gui.station import Station
from gui.text import LargeText
from hil.core.device import RxDevice

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, math.inf)
_FILTER = "Recordings (*.sigmf-collection *.sigmf-meta *.sigmf-data)"


class ReplayPanel(Panel):
    """Plays `replay:FILE` through the same session as a receiver."""

    title = "Replay"

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station = station
        self._device: RxDevice | None = None
        self._marks: tuple[Mark, ...] = ()
        self.name = QLabel("No recording is open.")
        self.name.setWordWrap(True)
        self.bar = TimeBar(self.seek)
        self.word = LargeText("-", 1.4, bold=True)
        self.time = LargeText("-", 1.4)
        self.note = QLabel("")
        self.note.setWordWrap(True)
        self.open_button = button("Open ...", self._browse, "Play a recording instead of a receiver")
        self.play_button = button("Play", self.play_or_pause, "Play or pause; at the end: from the beginning")
        self.play_button.setMinimumWidth(96)
        self.before = button("◂ mark", lambda: self._to_mark(-1), "To the mark before")
        self.after = button("mark ▸", lambda: self._to_mark(1), "To the next mark")
        self.speed = QComboBox()
        self.speed.addItems([speed_words(s) for s in SPEEDS])
        self.speed.setCurrentIndex(SPEEDS.index(1.0))
        self.speed.setMinimumHeight(HEIGHT_PX)
        self.speed.setToolTip("Against the speed of the recording")
        self.speed.activated.connect(self._choose_speed)
        self.loop = QCheckBox("Loop")
        self.loop.setMinimumHeight(HEIGHT_PX)
        self.loop.toggled.connect(self._choose_loop)
        self.script_button = button("Copy as script", self.copy_script, "The command that plays the same")
        self._lay_out()
        self._show(None)

    def _lay_out(self) -> None:
        legend = "   ".join(
            f"<span style='color:{COLOURS[kind]}'>{sign}</span> {word}"  # type: ignore[index]
            for kind, sign, word in (("gap", "■", "gap"), ("epoch", "◆", "epoch"), ("event", "▼", "noticed"))
        )
        signs = QLabel(legend)
        head, times, row = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        head.addWidget(self.name, stretch=1)
        head.addWidget(self.open_button)
        times.addWidget(self.word)
        times.addStretch()
        times.addWidget(signs)
        times.addStretch()
        times.addWidget(self.time)
        for widget in (self.play_button, self.before, self.after, self.speed, self.loop):
            row.addWidget(widget)
        row.addStretch()
        row.addWidget(self.script_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.addLayout(head)
        column.addWidget(self.bar)
        column.addLayout(times)
        column.addLayout(row)
        column.addWidget(self.note)
        column.addStretch()

    def open(self, path: Path) -> None:
        """Play it."""
        self._station.connect(f"replay:{path}", None)
        self._station.start()

    def play_or_pause(self) -> None:
        """The big button, and its key."""
        playback = self._station.playback
        if playback is None:
            return
        if self._station.facts().link == "ready":
            playback.pause(False)
            self._station.start()
            return
        state = playback.state
        if state.ended:
            playback.seek(0.0)
            playback.pause(False)
        else:
            playback.pause(not state.paused)
        self._show(playback.state)

    def seek(self, position_s: float) -> None:
        """Go on there; while it is paused the new place is shown."""
        playback = self._station.playback
        if playback is not None:
            playback.seek(position_s)

    def copy_script(self) -> None:
        """To the clipboard."""
        uri = self._station.facts().uri
        if uri.startswith("replay:"):
            QApplication.clipboard().setText(f"hil gui {shlex.quote(uri)}")

    def show_picture(self, picture: Picture) -> None:
        """The time goes on."""
        playback = self._station.playback
        if playback is not None and self._device is not None:
            state = playback.state
            self.bar.show_position(state.position_s)
            self.time.setText(time_words(state))

    def show_facts(self, facts: Facts) -> None:
        """As it is now."""
        session, playback = self._station.session, self._station.playback
        device = None if session is None or playback is None else session.device
        if device is not self._device:
            self._device = device
            self._take(device)
        self._show(None if playback is None else playback.state, streaming=facts.link == "streaming")

    def _take(self, device: RxDevice | None) -> None:
        """Another recording, or none."""
        recording = None if device is None else recording_of(device)
        self._marks = () if recording is None else marks(recording)
        self.bar.show_marks(0.0 if recording is None else recording.duration_s, self._marks)
        playback = self._station.playback
        if recording is None or playback is None:
            self.name.setText("No recording is open.")
            self.note.setText("")
            return
        stream = recording.stream
        cut = "" if recording.complete else "; it was cut off while it was made"
        self.name.setText(
            f"{recording.path.name}: {recording.n_channels} channels, {stream.fs_hz / 1e6:g} MS/s "
            f"at {stream.fc_hz / 1e6:g} MHz{cut}"
        )
        self.name.setToolTip(str(recording.path))
        playback.loop = self.loop.isChecked()
        speed = playback.state.speed
        if speed in SPEEDS:
            self.speed.setCurrentIndex(SPEEDS.index(speed))

    def _show(self, state: PlayState | None, *, streaming: bool = True) -> None:
        for widget in (self.play_button, self.before, self.after, self.speed, self.script_button):
            widget.setEnabled(state is not None)
        if state is None:
            self.word.setText("-")
            self.time.setText("-")
            self.play_button.setText("Play")
            return
        playing = streaming and not state.paused and not state.ended
        word = (
            "STOPPED" if not streaming else "END" if state.ended else "PAUSED" if state.paused else "PLAYING"
        )
        self.word.setText({"PLAYING": "▶ ", "PAUSED": "❚❚ ", "END": "■ ", "STOPPED": "■ "}[word] + word)
        self.play_button.setText("Pause" if playing else "Play again" if state.ended else "Play")
        self.time.setText(time_words(state))
        self.bar.show_position(state.position_s)
        self.note.setText(self._what_is_here(state))

    def _what_is_here(self, state: PlayState) -> str:
        """The newest mark before the position, so that its words can be read without a pointer."""
        if state.ended:
            return "This is the end of the recording: nothing more comes."
        times = [m.at_s for m in self._marks if m.at_s <= state.position_s]
        if not times:
            return ""
        words = [m.words for m in self._marks if m.at_s == times[-1]]
        return f"since {clock_words(times[-1])}: {'; '.join(words)}"

    def _to_mark(self, by: int) -> None:
        playback = self._station.playback
        if playback is None:
            return
        here = playback.state.position_s
        places = [m.at_s for m in self._marks]
        found = [t for t in places if t > here + 1e-3] if by > 0 else [t for t in places if t < here - 0.5]
        if found:
            playback.seek(found[0] if by > 0 else found[-1])

    def _choose_speed(self, index: int) -> None:
        playback = self._station.playback
        if playback is not None:
            playback.set_speed(SPEEDS[index])

    def _choose_loop(self, on: bool) -> None:
        playback = self._station.playback
        if playback is not None:
            playback.loop = on
            playback.wake()

    def _browse(self) -> None:
        dialog = QFileDialog(self, "Play a recording", str(Path.cwd()), _FILTER)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda name: self.open(Path(name)))
        dialog.open()


def speed_words(speed: float) -> str:
    """0.25 ×, as fast as possible"""
    return "as fast as possible" if speed == math.inf else f"{speed:g} ×"


def time_words(state: PlayState) -> str:
    """position / length"""
    return f"{clock_words(state.position_s)} / {clock_words(state.length_s)}"
