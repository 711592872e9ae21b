"""Recording to files, and saving the last seconds after something has happened."""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime
from pathlib import Path

from PySide6.QtCore import QStandardPaths, Qt
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
)

from gui.facts import Facts
from gui.lamps import age_words
from gui.panels.panel import Panel
from gui.panels.parts import HEIGHT_PX, button, field
from gui.scripts import array_words, capture_script
from gui.station import Station
from hil.recorder.flight import FlightState

_APART_PX = 10
_FREE_S = 2.0
_BAD, _GOOD = "#d64a42", "#2f8f4e"
_PATTERN_TIP = (
    "{date} 20261122, {time} 161502, {mhz} carrier, {count} counts up; the end says what kind of file it is"
)
_KINDS = {"one file": ".sigmf-meta", "a file per channel": ".sigmf-collection"}


def file_name(pattern: str, when: datetime, fc_hz: float, count: int) -> str:
    """A name without its end: {date}, {time}, {mhz}, {count} are filled in, what no file name can hold is left out."""
    words = {
        "date": f"{when:%Y%m%d}", "time": f"{when:%H%M%S}", "mhz": f"{fc_hz / 1e6:.0f}MHz", "count": f"{count:03d}",
    }  # fmt: skip
    name = pattern
    for key, word in words.items():
        name = name.replace("{" + key + "}", word)
    name = "".join(c for c in name if c not in '/\\:*?"<>|' and c.isprintable()).strip(" .")
    return name or "recording"


class RecordingPanel(Panel):
    """Where to, start and stop, how much, what was lost; the last seconds."""

    title = "Recording"

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station, self._count = station, 1
        self._next_free, self._free = 0.0, 0
        self.folder = field(str(first_folder()), "Folder of the recordings")
        self.folder.textChanged.connect(self._look_again)
        self.pattern = field("hil-{date}-{time}", _PATTERN_TIP)
        self.kind = QComboBox()
        self.kind.addItems(list(_KINDS))
        self.preview = _words()
        self.record_button = button("Record", self.record_or_stop, "Record all channels from now on, or stop")
        self.record_button.setMinimumHeight(HEIGHT_PX + 12)
        self.length, self.amount, self.disk, self.lost = QLabel("-"), QLabel("-"), QLabel("-"), _words()
        self.flight_on = QCheckBox("Keep the last seconds")
        self.flight_on.setMinimumHeight(HEIGHT_PX)
        self.flight_on.setChecked(True)
        self.flight_on.setToolTip(
            "Samples go round in memory or in a file; nothing is left of them at the end"
        )
        self.flight_on.toggled.connect(station.records.flight.switch)
        self.flight_words = _words()
        self.save_button = button(
            "Save the last 30 s", self.save_last, "Save what has been kept, after the event"
        )
        self.last = _words()
        self.script_button = button("Copy as script", self.copy_script, "The command that records the same")
        self._lay_out()

    def _lay_out(self) -> None:
        self.kind.setMinimumHeight(HEIGHT_PX)
        browse = button("...", self._browse, "Choose a folder")
        browse.setMaximumWidth(44)
        row = QHBoxLayout()
        row.addWidget(self.folder)
        row.addWidget(browse)
        form = QFormLayout()
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.addRow("Folder", row)
        form.addRow("Name", self.pattern)
        form.addRow("As", self.kind)
        form.addRow("", self.preview)
        facts = QFormLayout()
        for name, label in (
            ("Length", self.length),
            ("Size", self.amount),
            ("Disk", self.disk),
            ("Lost", self.lost),
        ):
            facts.addRow(name, label)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.addLayout(form)
        column.addWidget(self.record_button)
        column.addLayout(facts)
        column.addSpacing(_APART_PX)
        for widget in (self.flight_on, self.flight_words, self.save_button):
            column.addWidget(widget)
        column.addSpacing(_APART_PX)
        column.addWidget(self.last)
        column.addWidget(self.script_button)
        column.addStretch()

    @property
    def next_path(self) -> Path:
        """Of a recording that would begin now."""
        return self._path(
            file_name(self.pattern.text(), datetime.now().astimezone(), self._fc_hz(), self._count)
        )

    def record_or_stop(self) -> None:
        """The big button, and its key."""
        if self._station.facts().recording is not None:
            self._station.stop_recording()
            return
        self._station.record(self.next_path)
        self._count += 1

    def save_last(self) -> None:
        """What the flight recorder holds, beside the recordings."""
        path = self.next_path
        self._station.save_last(path.with_name(f"{path.stem}-last{path.suffix}"))
        self._count += 1

    def copy_script(self) -> None:
        """To the clipboard."""
        session = self._station.session
        array = None if session is None else array_words(session.stream)
        uri = self._station.facts().uri or "sim:"
        QApplication.clipboard().setText(capture_script(uri, array, self.next_path))

    def show_facts(self, facts: Facts) -> None:
        """As it is now."""
        r = facts.recording
        self.record_button.setText("Stop recording" if r is not None else "Record")
        self.record_button.setEnabled(facts.link == "streaming" or r is not None)
        per_s, free = self._rate_and_space()
        if r is None:
            self.preview.setText(self.next_path.name)
            self.length.setText("-")
            self.amount.setText(f"{per_s / 1e6:.3g} MB/s when it records" if per_s else "-")
            self.lost.setText("-")
            self.lost.setStyleSheet("")
        else:
            self.preview.setText(r.name)
            self.length.setText(clock_words(r.seconds))
            self.amount.setText(f"{size_words(r.bytes)}, {r.bytes_per_s / 1e6:.3g} MB/s")
            self.lost.setText(("■ " if r.gaps else "● ") + r.losses)
            self.lost.setStyleSheet(f"color:{_BAD if r.gaps else _GOOD}")
            per_s, free = r.bytes_per_s, r.free_bytes
        left = f", room for {age_words(free / per_s)}" if per_s else ""
        self.disk.setText(f"{size_words(free)} left{left}" if free else "this folder does not exist")
        records = self._station.records
        self.last.setText(records.last)
        self.last.setStyleSheet(f"color:{_BAD}" if records.failed else "")
        self._show_flight(records.flight.state)

    def _show_flight(self, flight: FlightState) -> None:
        held = min(flight.seconds, flight.wanted_s)
        self.save_button.setText(
            "Saving ..."
            if flight.saving
            else f"Save the last {held:.0f} s"
            if held
            else "Save the last seconds"
        )
        self.save_button.setEnabled(flight.seconds > 0 and not flight.saving)
        self.flight_on.blockSignals(True)
        self.flight_on.setChecked(flight.on)
        self.flight_on.blockSignals(False)
        self.flight_words.setText(flight_words(flight))

    def _rate_and_space(self) -> tuple[float, int]:
        now = time.monotonic()
        if now >= self._next_free:
            self._next_free = now + _FREE_S
            try:
                self._free = shutil.disk_usage(self.folder.text().strip()).free
            except OSError:
                self._free = 0
        session = self._station.session
        if session is None:
            return 0.0, self._free
        stream = session.stream
        return stream.fs_hz * stream.n_channels * 2 * stream.device.wire.dtype.itemsize, self._free

    def _look_again(self) -> None:
        self._next_free = 0.0

    def _fc_hz(self) -> float:
        session = self._station.session
        return session.stream.fc_hz if session is not None else 0.0

    def _path(self, name: str) -> Path:
        return Path(self.folder.text().strip()).expanduser() / (name + _KINDS[self.kind.currentText()])

    def _browse(self) -> None:
        dialog = QFileDialog(self, "Folder of the recordings", self.folder.text().strip())
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.folder.setText)
        dialog.open()


def flight_words(flight: FlightState) -> str:
    """What is kept, in a line."""
    if flight.problem:
        return f"Nothing is kept: {flight.problem}."
    if not flight.on:
        return "Nothing is kept."
    if not flight.bytes:
        return f"Keeps the last {flight.wanted_s:g} s as soon as a stream runs."
    where = "in memory" if flight.place == "memory" else "on disk"
    words = (
        f"Holds {flight.seconds:.1f} s of {flight.wanted_s:g} s, at most {size_words(flight.bytes)} {where}."
    )
    if flight.missed:
        words += f" {flight.missed:,} samples came while saving and were not kept."
    return words


def clock_words(seconds: float) -> str:
    """1:02:03.4, 2:03.4, 0:03.4"""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02d}.{rest % 10}"


def size_words(n_bytes: float) -> str:
    """Three digits."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"


def first_folder() -> Path:
    """Where the program was started, or the user's documents where that cannot be written."""
    here = Path.cwd()
    documents = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
    return here if os.access(here, os.W_OK) else Path(documents or Path.home())


def _words() -> QLabel:
    label = QLabel("")
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
