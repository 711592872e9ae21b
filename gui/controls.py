"""The controls in the order of the work: source, frequency, gain, rate, start, record; read-backs beside the requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QFormLayout, QGridLayout, QLabel, QLineEdit, QVBoxLayout

from gui.doa_sources import doa_sources
from gui.facts import Facts
from gui.panels.panel import Panel
from gui.panels.parts import HEIGHT_PX, button, field
from gui.station import Station
from hil.core.errors import HilError
from hil.core.units import parse_quantity

_MOST_SOURCES = 8
#: What can be set while a device is connected: name, field of RxConfig, tooltip.
_SETTINGS = (
    ("Frequency", "fc_hz", "Carrier, e.g. 2.45 GHz or 2,45 GHz. Enter sends it; the device's answer stands beside it"),
    ("Gain", "gain_db", "Gain of all channels in dB. Enter sends it; + and - change it by 1 dB"),
    ("Rate", "fs_hz", "Sample rate, e.g. 2.5 MHz. Enter sends it"),
)  # fmt: skip


class Controls(Panel):
    """What can be asked of the source. `connected` is called with (uri, array) when a connection is asked for."""

    title = "Controls"

    def __init__(
        self,
        station: Station,
        uri: str,
        array: str | None,
        tell: Callable[[str], None],
        record: Callable[[], None],
    ) -> None:
        super().__init__()
        self._station, self._tell = station, tell
        self.connected: Callable[[str, str], None] = lambda uri, array: None
        self._arrays: dict[str, str] = {}
        self.source = QComboBox()
        self.source.setEditable(True)
        self.source.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.source.setMinimumHeight(HEIGHT_PX)
        self.source.setMinimumContentsLength(12)
        self.source.setToolTip(
            "Device URI: sim: or sim:scene.toml, iio:ip:192.168.2.1, soapy:driver=..., replay:FILE.sigmf-meta"
        )
        self.source.setCurrentText(uri)
        self.source.textActivated.connect(self._recall_array)
        self.array = field("", "ula:8:0.5, uca:8:0.5 or a TOML file; empty: as the scene or recording says")
        self.array.setPlaceholderText("as the source says")
        self.array.setText(array or "")
        self.connect_button = button("Connect", self._connect, "Open the source (Ctrl+K)")
        self.find_button = button("Find", self._find, "Look for devices at this computer")
        self.requests: dict[str, QLineEdit] = {}
        self.read_backs: dict[str, QLabel] = {}
        self.start_button = button("Start", self.start_or_stop, "Start or stop streaming (Ctrl+D)")
        self.record_button = button("Record", record, "Record all channels (Ctrl+I)")
        self.method, self.count = QComboBox(), QComboBox()
        for source in doa_sources():
            self.method.addItem(source.label, source.name)
            self.method.setItemData(self.method.count() - 1, source.words, Qt.ItemDataRole.ToolTipRole)
        self.method.setToolTip("How directions are found from what is heard")
        self.count.addItem("counted", None)
        for n in range(1, _MOST_SOURCES + 1):
            self.count.addItem(f"{n} source" + ("s" if n > 1 else ""), n)
        self.count.setToolTip("Independent signals: counted from the data (MDL), or told")
        for box in (self.method, self.count):
            box.setMinimumHeight(HEIGHT_PX)
            box.currentIndexChanged.connect(self._choose)
        self._lay_out()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        form = QFormLayout()
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.addRow("Source", self.source)
        form.addRow("Array", self.array)
        column.addLayout(form)
        grid = QGridLayout()
        grid.addWidget(self.connect_button, 0, 0)
        grid.addWidget(self.find_button, 0, 1)
        for row, (name, key, tip) in enumerate(_SETTINGS):
            request, read_back = field("", tip), QLabel("-")
            request.setPlaceholderText(name)
            request.returnPressed.connect(lambda k=key, n=name: self._set(k, n))
            read_back.setToolTip(f"{name} as the device has it")
            read_back.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            grid.addWidget(request, row + 1, 0)
            grid.addWidget(read_back, row + 1, 1)
            self.requests[key], self.read_backs[key] = request, read_back
        grid.addWidget(self.start_button, len(_SETTINGS) + 1, 0)
        grid.addWidget(self.record_button, len(_SETTINGS) + 1, 1)
        column.addLayout(grid)
        finding = QFormLayout()
        finding.addRow("Method", self.method)
        finding.addRow("Sources", self.count)
        column.addLayout(finding)
        column.addStretch()

    def show_facts(self, facts: Facts) -> None:
        """Buttons and read-backs as things are."""
        streaming = facts.link == "streaming"
        self.start_button.setText("Stop" if streaming else "Start")
        self.start_button.setEnabled(facts.link in ("ready", "streaming"))
        self.record_button.setText("Stop rec." if facts.recording else "Record")
        self.record_button.setEnabled(streaming)
        self.connect_button.setText("Reconnect" if facts.link == "lost" else "Connect")
        self.connect_button.setEnabled(facts.link != "connecting")
        session = self._station.session
        if session is None:
            for label in self.read_backs.values():
                label.setText("-")
            return
        stream = session.stream
        gains = stream.gains_db
        self.read_backs["fc_hz"].setText(f"{stream.fc_hz / 1e9:.6f} GHz")
        self.read_backs["fs_hz"].setText(f"{stream.fs_hz / 1e6:g} MS/s")
        words = f"{gains[0]:g}" if len(set(gains)) == 1 else f"{min(gains):g} to {max(gains):g}"
        self.read_backs["gain_db"].setText(f"{words} dB")
        self.read_backs["gain_db"].setToolTip(
            "; ".join(f"channel {c}: {g:g} dB" for c, g in enumerate(gains))
        )

    def offer_sources(self, sources: list[tuple[str, str]]) -> None:
        """(URI, array or "") to choose from; what is typed stays."""
        typed = self.source.currentText()
        self._arrays = {uri: array for uri, array in sources if array}
        self.source.clear()
        self.source.addItems([uri for uri, _ in sources])
        self.source.setCurrentText(typed)

    def connect_to(self, uri: str, array: str) -> None:
        """As if it had been typed and Connect pressed."""
        self.source.setCurrentText(uri)
        self.array.setText(array)
        self._connect()

    def start_or_stop(self) -> None:
        """The big button."""
        if self._station.facts().link == "streaming":
            self._station.stop()
        else:
            self._station.start()

    def change_gain(self, by_db: float) -> None:
        """All channels, e.g. +1 dB."""
        session = self._station.session
        if session is None:
            self._tell("Gain: nothing is connected. Press Connect first.")
            return
        gains = tuple(g + by_db for g in session.stream.gains_db)
        self._station.configure(replace(session.stream.config, gain_db=gains))

    def _connect(self) -> None:
        uri, array = self.source.currentText().strip(), self.array.text().strip()
        self._station.connect(uri, array or None)
        self.connected(uri, array)

    def _choose(self) -> None:
        painter = self._station.painter
        painter.use(
            replace(painter.view, method=self.method.currentData(), n_sources=self.count.currentData())
        )

    def _find(self) -> None:
        self._station.find_devices(discover=False)

    def _recall_array(self, uri: str) -> None:
        if uri in self._arrays:
            self.array.setText(self._arrays[uri])

    def _set(self, key: str, name: str) -> None:
        session = self._station.session
        if session is None:
            self._tell(f"{name}: nothing is connected. Press Connect first.")
            return
        try:
            value = parse_quantity(self.requests[key].text().strip(), where=name)
        except HilError as err:
            self._tell(f"{err}. {err.hint}")
            return
        self._station.configure(replace(session.stream.config, **{key: value}))
