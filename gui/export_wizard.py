"""The export of a calibration: which, in which format, where to; what the file will hold; how it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)

from gui.calibration_use import judge
from gui.calibrations import AlreadyThereError, Outcome, Row, Shelf, export_script, in_words, now_utc
from hil.core.calibration import Calibration
from hil.export import guide, ready_formats

_HEIGHT_PX = 34
_PERIOD_MS = 100


class ExportWizard(QDialog):
    """One page, filled from the top; the window works on meanwhile. Formats come from `hil.export`, each with its words."""

    #: A file was written: its name and size.
    written = Signal(str)

    def __init__(
        self, shelf: Shelf, known: Sequence[Calibration], chosen: Calibration, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export a calibration")
        self.setModal(False)
        self._shelf, self._known = shelf, list(known)
        self._outcome: Outcome | None = None
        self.which = self._combo([_title(c) for c in self._known])
        self.which.setCurrentIndex([c.id for c in self._known].index(chosen.id))
        self.formats = ready_formats()
        self.format = self._combo([f"{key}: {f.about}" for key, f in self.formats.items()])
        self.path = QLineEdit()
        self.path.setMinimumHeight(_HEIGHT_PX)
        self.browse = self._button("Choose…", self._browse)
        self.holds, self.lacks, self.sign, self.told = (self._words() for _ in range(4))
        self.command = QLineEdit()
        self.command.setReadOnly(True)
        self.command.setMinimumHeight(_HEIGHT_PX)
        self.copy_command = self._button("Copy as script", lambda: self._copy(self.command.text()))
        self.program = self._combo([])
        self.snippet = QPlainTextEdit()
        self.snippet.setReadOnly(True)
        self.snippet.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.snippet.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.copy_snippet = self._button("Copy", lambda: self._copy(self.snippet.toPlainText()))
        self.export = self._button("Export", lambda: self._export(False))
        self.replace = self._button("Replace", lambda: self._export(True))
        self.replace.hide()
        self.close_button = self._button("Close", self.close)
        self.export.setDefault(True)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        self.finished.connect(self._timer.stop)
        self._lay_out()
        self.path.setText(str(Path.cwd() / f"calibration-{chosen.id[:8]}{self._suffix()}"))
        self.which.currentIndexChanged.connect(self._show)
        self.format.currentIndexChanged.connect(self._format_changed)
        self.path.textChanged.connect(self._show)
        self.program.currentIndexChanged.connect(self._show_snippet)
        self._show()

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.addRow("Calibration", self.which)
        form.addRow("Format", self.format)
        form.addRow("File", _row(self.path, self.browse))
        form.addRow("It holds", self.holds)
        form.addRow("It lacks", self.lacks)
        form.addRow("Sign", self.sign)
        form.addRow("Command", _row(self.command, self.copy_command))
        form.addRow("Load it in", _row(self.program, self.copy_snippet))
        form.addRow("", self.snippet)
        form.addRow("", self.told)
        form.addRow("", _row(self.export, self.replace, self.close_button))
        self.resize(760, 640)

    # ---- what is asked for ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Of the format."""
        return list(self.formats)[self.format.currentIndex()]

    @property
    def calibration(self) -> Calibration:
        """The one to be exported."""
        return self._known[self.which.currentIndex()]

    @property
    def file(self) -> Path:
        """Where to."""
        return Path(self.path.text().strip()).expanduser()

    def _suffix(self) -> str:
        return self.formats[self.name].suffix

    def _format_changed(self) -> None:
        """The ending follows the format, unless it is one of the user's own."""
        if self.file.suffix in {f.suffix for f in self.formats.values()} and self.file.name:
            self.path.setText(str(self.file.with_suffix(self._suffix())))
        self._show()

    def _show(self) -> None:
        found = guide(self.name, self.file)
        self.holds.setText(found.holds or self.formats[self.name].about)
        self.lacks.setText(found.lacks or "-")
        self.sign.setText(found.sign)
        self.command.setText(export_script(self.calibration, self.file, self.name))
        self.command.setCursorPosition(0)
        kept = self.program.currentText()
        self.program.blockSignals(True)
        self.program.clear()
        self.program.addItems([program for program, _ in found.snippets])
        self.program.setCurrentIndex(max(self.program.findText(kept), 0))
        self.program.blockSignals(False)
        self._snippets = dict(found.snippets)
        self._show_snippet()
        self.replace.hide()
        busy = self._outcome is not None and not self._outcome.finished
        self.export.setEnabled(bool(self.path.text().strip()) and not busy)

    def _show_snippet(self) -> None:
        text = self._snippets.get(self.program.currentText(), "")
        self.snippet.setPlainText(text)
        for widget in (self.program, self.snippet, self.copy_snippet):
            widget.setEnabled(bool(text))

    # ---- what is done ---------------------------------------------------------------------------------

    def _export(self, replacing: bool) -> None:
        self._outcome = self._shelf.export(self.calibration, self.file, self.name, replacing=replacing)
        self.replace.hide()
        self.export.setEnabled(False)
        self.told.setText("Writing …")
        self._timer.start(_PERIOD_MS)

    def _look(self) -> None:
        outcome = self._outcome
        if outcome is None or not outcome.finished:
            return
        self._timer.stop()
        self.export.setEnabled(True)
        error = outcome.error
        if error is None:
            self.told.setText(f"● Written: {outcome.words}")
            self.written.emit(outcome.words)
            return
        self.told.setText(f"■ {in_words(error)}")
        self.replace.setVisible(isinstance(error, AlreadyThereError))

    def _browse(self) -> None:
        dialog = QFileDialog(self, "Export to", str(self.file))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setOptions(QFileDialog.Option.DontUseNativeDialog | QFileDialog.Option.DontConfirmOverwrite)
        dialog.fileSelected.connect(self.path.setText)
        dialog.open()

    def _copy(self, text: str) -> None:
        QApplication.clipboard().setText(text)
        self.told.setText("Copied.")

    def _combo(self, texts: list[str]) -> QComboBox:
        combo = QComboBox()
        combo.addItems(texts)
        combo.setMinimumHeight(_HEIGHT_PX)
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        return combo

    def _button(self, text: str, work: Callable[[], object]) -> QPushButton:
        button = QPushButton(text)
        button.setMinimumHeight(_HEIGHT_PX)
        button.setAutoDefault(False)
        button.clicked.connect(lambda: work())
        return button

    def _words(self) -> QLabel:
        label = QLabel()
        label.setWordWrap(True)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        return label


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for i, widget in enumerate(widgets):
        row.addWidget(widget, stretch=1 if i == 0 else 0)
    return row


def _title(c: Calibration) -> str:
    _, _, name, carrier, _, array, method, made, _ = Row(c.id, judge(c, None), c).cells(now_utc())
    return f"{name}  {made}  {method}  {array}  {carrier}"
