"""The transmitter: what is sent, how strongly, and whether it is on, in words that cannot be overlooked."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from gui.echoes import SCENE_WAVEFORM
from gui.facts import Facts, TransmitFacts
from gui.panels.panel import Panel
from gui.panels.parts import HEIGHT_PX, field
from gui.scripts import transmit_script
from gui.station import Station
from gui.text import LargeText
from hil.core.device import TxConfig
from hil.core.errors import ConfigError, HilError
from hil.core.frame import StreamInfo
from hil.core.units import SPEED_OF_LIGHT_M_S, parse_quantity
from hil.core.waveform import Waveform, load_waveform, make, save_waveform

_MADE = {"OFDM made here": "ofdm", "SRS made here": "srs"}
_FILE = "a file…"
_SIZES = (64, 128, 256, 512, 1024, 2048)
#: Part of the band that a waveform made here takes.
_FILLED = 0.8
_TIMES = 1.3
_COLOURS = {
    "on": "background:#c0281c;color:white", "unsure": "background:#c0281c;color:white;border:4px dashed white",
    "off": "background:#57606a;color:white", "none": "background:#57606a;color:white",
}  # fmt: skip


class TransmitPanel(Panel):
    """Chooses a waveform, starts and ends its transmission; red while the device sends or may send."""

    title = "Transmit"

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station = station
        self._stream: StreamInfo | None = None
        self._scene: Waveform | None = None
        self._shown: TransmitFacts | None = None
        self._source: tuple[object, ...] = ()
        self.state = LargeText("TX off", _TIMES, bold=True)
        self.state.setWordWrap(True)
        self.state.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.state.setMinimumHeight(2 * HEIGHT_PX)
        self.waveform = QComboBox()
        self.n_fft = QComboBox()
        self.n_fft.addItems([str(n) for n in _SIZES])
        self.n_fft.setCurrentText("256")
        self.n_fft.setToolTip("Subcarriers of the band: more reach farther, and take longer")
        self.file = field("", "Waveform: .toml or .sigmf-meta")
        self.browse = QPushButton("Choose…")
        self.attenuation = field(
            "", "dB below the greatest output; empty: the greatest", "greatest (weakest signal)"
        )
        self.channels = field("", "Transmit channels, counted from 0: 0 or 0,1", "0")
        self.about, self.problem = QLabel(), QLabel()
        for label in (self.about, self.problem):
            label.setWordWrap(True)
        self.start_button = QPushButton("Start transmitting")
        self.stop_button = QPushButton("STOP transmitting")
        self.save_button, self.script_button = QPushButton("Save waveform…"), QPushButton("Copy as script")
        for widget in (
            self.waveform, self.n_fft, self.browse, self.start_button, self.stop_button, self.save_button,
            self.script_button,
        ):  # fmt: skip
            widget.setMinimumHeight(HEIGHT_PX)
        self.stop_button.setStyleSheet("QPushButton:enabled{background:#c0281c;color:white;font-weight:700}")
        self._lay_out()
        self.browse.clicked.connect(self._choose)
        self.start_button.clicked.connect(self.start)
        self.stop_button.clicked.connect(station.stop_transmitting)
        self.save_button.clicked.connect(self._save)
        self.script_button.clicked.connect(self._copy)
        self.attenuation.returnPressed.connect(self._send_again)
        self.waveform.currentTextChanged.connect(self._describe)
        self.n_fft.currentTextChanged.connect(self._describe)
        self.show_facts(station.facts())

    # ---- shown -----------------------------------------------------------------------------------------

    def show_facts(self, facts: Facts) -> None:
        """State, and what can be asked for now."""
        session = self._station.session
        stream = None if session is None else session.stream
        self._stream, self._scene = stream, self._station.echoes.scene
        source = (facts.uri, None if stream is None else stream.fs_hz, id(self._scene))
        if source != self._source:
            self._source = source
            self._offer()
        now = facts.transmit or TransmitFacts("off", "")
        connected = stream is not None
        able = connected and now.state != "none"
        for widget in (self.waveform, self.n_fft, self.file, self.browse, self.attenuation, self.channels):
            widget.setEnabled(able)
        self.start_button.setEnabled(able)
        self.start_button.setText("Send again" if now.state == "on" else "Start transmitting")
        self.stop_button.setEnabled(now.state in ("on", "unsure"))
        self.script_button.setEnabled(able)
        self._shown = now
        words = now.sentence if connected or now.state == "unsure" else "TX off. Nothing is connected."
        if self.state.text() != words or not self.state.styleSheet():
            self.state.setText(words)
            self.state.setStyleSheet(f"QLabel{{{_COLOURS[now.state]};padding:6px;border-radius:5px}}")

    def _offer(self) -> None:
        """Waveforms that there are for this source."""
        chosen = self.waveform.currentText()
        names = [*_MADE, *([SCENE_WAVEFORM] if self._scene is not None else []), _FILE]
        self.waveform.blockSignals(True)
        self.waveform.clear()
        self.waveform.addItems(names)
        self.waveform.setCurrentText(chosen if chosen in names else names[0])
        self.waveform.blockSignals(False)
        self._describe()

    def _describe(self) -> None:
        """What the chosen waveform can tell apart, and how far it reaches."""
        made = self.waveform.currentText() in _MADE
        self._form.setRowVisible(self.n_fft, made)
        self._form.setRowVisible(self._file_row, self.waveform.currentText() == _FILE)
        self.save_button.setEnabled(self._stream is not None and self.waveform.currentText() != _FILE)
        if self._stream is None:
            self.about.setText("")
            return
        try:
            given = self._chosen()
        except HilError as err:
            self.about.setText(f"{err}: {err.hint}.")
            return
        self.about.setText(_words(given[0]) if isinstance(given[0], Waveform) else "")

    # ---- asked for -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Send what is chosen; mistakes are told in the panel."""
        try:
            (given, name), want, stream = self._chosen(), self._want(), self._connected()
            waveform = given if isinstance(given, Waveform) else None
            script = "" if waveform is None else self._script_of(waveform, name, want, stream)
        except HilError as err:
            self.problem.setText(f"{err}. {err.hint}")
            return
        self.problem.setText("")
        self._station.transmit(given, name, want, script)

    def script(self) -> str:
        """The command that does the same. Raises ConfigError for what cannot be sent."""
        given, name = self._chosen()
        waveform = load_waveform(given) if isinstance(given, Path) else given
        return self._script_of(waveform, name, self._want(), self._connected())

    def _script_of(self, waveform: Waveform, name: str, want: TxConfig, stream: StreamInfo) -> str:
        return transmit_script(self._station.facts().uri, stream, waveform, name, want)

    def _connected(self) -> StreamInfo:
        if self._stream is None:
            raise ConfigError("nothing is connected", hint="choose a source and press Connect")
        return self._stream

    def _chosen(self) -> tuple[Waveform | Path, str]:
        """(waveform, or the file that is read when it is sent; its name). Raises ConfigError."""
        kind = self.waveform.currentText()
        if kind == _FILE:
            text = self.file.text().strip()
            if not text:
                raise ConfigError("which file is to be sent", hint="choose a .toml or .sigmf-meta file")
            return Path(text), text
        if kind == SCENE_WAVEFORM and self._scene is not None:
            return self._scene, SCENE_WAVEFORM
        fs_hz, n_fft = self._connected().fs_hz, int(self.n_fft.currentText())
        settings: dict[str, object] = {
            "n_subcarriers": int(_FILLED * n_fft) // 2 * 2, "spacing_hz": fs_hz / n_fft, "n_fft": n_fft,
            "cp_samples": n_fft // 4,
        }  # fmt: skip
        more = {"n_symbols": 4, "seed": 1} if _MADE[kind] == "ofdm" else {"sequence": "zadoff-chu"}
        return make(_MADE[kind], settings | more), f"{_MADE[kind].upper()} {n_fft}"

    def _want(self) -> TxConfig:
        """Raises ConfigError."""
        text = self.attenuation.text().strip()
        level = parse_quantity(text, where="attenuation", unit="dB") if text else None
        try:
            channels = tuple(int(c) for c in self.channels.text().replace(",", " ").split()) or None
        except ValueError:
            raise ConfigError(
                f"cannot read {self.channels.text()!r}", where="channels", hint="numbers from 0: 0 or 0,1"
            ) from None
        return TxConfig(attenuation_db=level, channels=channels)

    def _send_again(self) -> None:
        """Enter in the line of the attenuation: only while something is sent anyway."""
        if self._shown is not None and self._shown.state == "on":
            self.start()

    def _copy(self) -> None:
        try:
            QApplication.clipboard().setText(self.script())
        except HilError as err:
            self.problem.setText(f"{err}. {err.hint}")
        else:
            self.problem.setText("The command is in the clipboard.")

    def _choose(self) -> None:
        self._dialog("Choose a waveform", QFileDialog.FileMode.ExistingFile).fileSelected.connect(
            self.file.setText
        )

    def _save(self) -> None:
        dialog = self._dialog("Save the waveform", QFileDialog.FileMode.AnyFile)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("toml")
        dialog.fileSelected.connect(lambda name: self.save(Path(name)))

    def _dialog(self, title: str, mode: QFileDialog.FileMode) -> QFileDialog:
        dialog = QFileDialog(self, title, str(Path.cwd()), "Waveforms (*.toml *.sigmf-meta)")
        dialog.setFileMode(mode)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setOption(QFileDialog.Option.DontUseNativeDialog)
        dialog.open()
        return dialog

    def save(self, path: Path) -> None:
        """The chosen waveform as a file, which is chosen from then on."""
        try:
            given, _ = self._chosen()
            if isinstance(given, Waveform):
                save_waveform(given, path)
        except HilError as err:
            self.problem.setText(f"{err}. {err.hint}")
            return
        self.file.setText(str(path))
        self.waveform.setCurrentText(_FILE)

    def _lay_out(self) -> None:
        self._form = form = QFormLayout()
        self._file_row = QWidget()
        row = QHBoxLayout(self._file_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.file, stretch=1)
        row.addWidget(self.browse)
        form.addRow("Waveform", self.waveform)
        form.addRow("Subcarriers", self.n_fft)
        form.addRow("File", self._file_row)
        form.addRow("", self.about)
        form.addRow("Attenuation / dB", self.attenuation)
        form.addRow("Channels", self.channels)
        column = QVBoxLayout(self)
        column.addWidget(self.state)
        column.addLayout(form)
        for pair in ((self.start_button, self.stop_button), (self.save_button, self.script_button)):
            line = QHBoxLayout()
            for button in pair:
                line.addWidget(button)
            column.addLayout(line)
        column.addWidget(self.problem)
        mind = QLabel("Cabled: mind the receiver's greatest input. On air: what you are licensed for.")
        mind.setWordWrap(True)
        column.addWidget(mind)
        column.addStretch(1)


def _words(waveform: Waveform) -> str:
    layout = waveform.layout
    if layout is None:
        return f"{waveform.kind}: no subcarriers, no map of angle and delay."
    bandwidth_hz = len(layout.columns) * layout.column_spacing_hz
    clean_s = 0.75 * layout.cp_samples / waveform.fs_hz
    return (
        f"{bandwidth_hz / 1e6:.3g} MHz wide: range bin {SPEED_OF_LIGHT_M_S / 2 / bandwidth_hz:.3g} m, "
        f"clean up to {clean_s * SPEED_OF_LIGHT_M_S / 2:.0f} m; {waveform.rms_dbfs:.1f} dBFS"
    )
