"""The controls in the order of the work: source, frequency, gain, rate, start, record, learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QComboBox, QFormLayout, QLabel, QLineEdit, QPushButton, QWidget

from gui.facts import Facts
from gui.station import Station
from hil.core.errors import HilError
from hil.core.frame import StreamInfo
from hil.core.units import parse_quantity
from hil.learning.settings import LearnSettings, parse_support

_HEIGHT_PX = 34


class Controls(QWidget):
    """What can be asked of a station; the read-back stands beside each request."""

    def __init__(
        self, station: Station, uri: str, array: str | None, support: str, tell: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._station, self._tell = station, tell
        form = QFormLayout(self)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        self.source = self._line(uri, "Device URI: sim:, iio:ip:192.168.2.1, soapy:driver=..., replay:FILE")
        self.array = self._line(array or "", "ula:8:0.5, uca:8:0.5 or a TOML file; empty: as the scene says")
        self.connect_button = self._button("Connect", self._connect, "Ctrl+K")
        self.frequency = self._line("", "Carrier, e.g. 2.45 GHz (or 2,45 GHz); Enter sends it")
        self.gain = self._line("", "Gain of all channels, dB; Enter sends it")
        self.rate = self._line("", "Sample rate, e.g. 2.5 MHz; Enter sends it")
        self.frequency_read, self.gain_read, self.rate_read = QLabel("-"), QLabel("-"), QLabel("-")
        self.start_button = self._button("Start", self._start_or_stop, "Ctrl+D")
        self.record_button = self._button("Record", self._record, "Ctrl+I")
        self.support = self._line(support, "Directions that the emitters fill, degrees: -60:60")
        self.learn_button = self._button("Start learning", self._learn, "Ctrl+L")
        self.method = QComboBox()
        self.method.addItems(["music", "capon", "bartlett"])
        self.method.setMinimumHeight(_HEIGHT_PX)
        self.method.currentTextChanged.connect(self._choose)
        for label, widget in (
            ("Source", self.source), ("Array", self.array), ("", self.connect_button),
            ("Frequency", self.frequency), ("read back", self.frequency_read), ("Gain / dB", self.gain),
            ("read back", self.gain_read), ("Rate", self.rate), ("read back", self.rate_read),
            ("", self.start_button), ("", self.record_button), ("Spectrum", self.method), ("Support / °", self.support),
            ("", self.learn_button),
        ):  # fmt: skip
            form.addRow(label, widget)
        self.frequency.returnPressed.connect(lambda: self._set("frequency", self.frequency))
        self.gain.returnPressed.connect(lambda: self._set("gain", self.gain))
        self.rate.returnPressed.connect(lambda: self._set("rate", self.rate))
        QShortcut(QKeySequence("F"), self).activated.connect(self.frequency.setFocus)

    def show_state(self, facts: Facts) -> None:
        """Buttons and read-backs as things are."""
        streaming = facts.link == "streaming"
        self.start_button.setText("Stop" if streaming else "Start")
        self.start_button.setEnabled(facts.link in ("ready", "streaming"))
        self.record_button.setText("Stop recording" if facts.recording else "Record")
        self.record_button.setEnabled(streaming)
        self.connect_button.setText("Connect again" if facts.link == "lost" else "Connect")
        self.connect_button.setEnabled(facts.link != "connecting")
        learning = facts.learning not in ("off", "dead", "refused")
        self.learn_button.setText("Stop learning" if learning else "Start learning")
        self.learn_button.setEnabled(streaming)
        session = self._station.session
        if session is not None:
            self._read_back(session.stream)

    def _read_back(self, stream: StreamInfo) -> None:
        gains = stream.gains_db
        self.frequency_read.setText(f"{stream.fc_hz / 1e9:.6f} GHz")
        self.rate_read.setText(f"{stream.fs_hz / 1e6:g} MS/s")
        same = len(set(gains)) == 1
        self.gain_read.setText(f"{gains[0]:g} dB" if same else ", ".join(f"{g:g}" for g in gains) + " dB")

    def _connect(self) -> None:
        self._station.connect(self.source.text().strip(), self.array.text().strip() or None)

    def _start_or_stop(self) -> None:
        if self._station.facts().link == "streaming":
            self._station.stop()
        else:
            self._station.start()

    def _record(self) -> None:
        if self._station.facts().recording is not None:
            self._station.stop_recording()
            return
        name = datetime.now().astimezone().strftime("hil-%Y%m%d-%H%M%S.sigmf-meta")
        self._station.record(Path.cwd() / name)

    def _learn(self) -> None:
        if self._station.facts().learning not in ("off", "dead", "refused"):
            self._station.stop_learning()
            return
        try:
            text = self.support.text().strip()
            settings = LearnSettings(support_deg=parse_support(text) if text else None)
        except HilError as err:
            self._tell(f"Learn: {err}. {err.hint}")
            return
        self._station.learn(settings)

    def _choose(self, method: str) -> None:
        painter = self._station.painter
        painter.use(replace(painter.view, method=method))  # type: ignore[arg-type]

    def _set(self, what: str, line: QLineEdit) -> None:
        session = self._station.session
        if session is None:
            self._tell("Set: nothing is connected. Press Connect first.")
            return
        config = session.stream.config
        try:
            value = parse_quantity(line.text().strip(), where=what)
        except HilError as err:
            self._tell(f"{what}: {err}. {err.hint}")
            return
        key = {"frequency": "fc_hz", "gain": "gain_db", "rate": "fs_hz"}[what]
        self._station.configure(replace(config, **{key: value}))

    def _line(self, text: str, tip: str) -> QLineEdit:
        line = QLineEdit(text)
        line.setMinimumHeight(_HEIGHT_PX)
        line.setToolTip(tip)
        line.setPlaceholderText(tip.split(":", 1)[0] if not text else "")
        return line

    def _button(self, text: str, work: Callable[[], None], key: str) -> QPushButton:
        button = QPushButton(text)
        button.setMinimumHeight(_HEIGHT_PX + 4)
        button.setToolTip(key)
        button.clicked.connect(work)
        QShortcut(QKeySequence(key), self).activated.connect(button.click)
        return button
