"""The window: status strip, controls, directions, spectrum, what was learned, log. A client of `gui.station`."""

from __future__ import annotations

import time

import numpy as np
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolBar,
    QVBoxLayout,
    QWidget,
)

from gui.controls import Controls
from gui.facts import Facts
from gui.lamps import lamps
from gui.panels.directions import DirectionsPanel
from gui.panels.elements import ElementsPanel
from gui.panels.spectrum import SpectrumPanel
from gui.station import Station
from gui.strip import Strip

_PERIOD_MS = 33
_STATUS_S = 0.2
_MOST_LINES = 500


class StationWindow(QMainWindow):
    """Shows a station; one timer polls it, nothing here waits."""

    def __init__(
        self, station: Station, uri: str = "sim:", array: str | None = None, support: str = "-60:60"
    ) -> None:
        super().__init__()
        self.station = station
        self.setWindowTitle("coherent-array-hil")
        self.resize(1366, 740)
        self.strip = Strip(tuple(lamp.name for lamp in lamps(Facts())))
        self.controls = Controls(station, uri, array, support, self.tell)
        self.directions, self.spectrum, self.elements = DirectionsPanel(), SpectrumPanel(), ElementsPanel()
        self.answer = QLabel("-")
        self.answer.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.answer.setStyleSheet("font-size:38px;font-weight:700")
        self.answer.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.words.setMinimumWidth(200)
        self.words.setStyleSheet("font-size:15px")
        self.log = QListWidget()
        self.script_button = QPushButton("Copy as script")
        self.script_button.setToolTip("The command that does the same as the selected line")
        self.script_button.clicked.connect(self._copy_script)
        self._last_calibration: str | None = None
        self._next_status = 0.0
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.refresh)
        self._timer.start(_PERIOD_MS)
        self.refresh()

    def _lay_out(self) -> None:
        bar = QToolBar("Status")
        bar.setObjectName("bar-status")
        bar.setMovable(False)
        bar.toggleViewAction().setEnabled(False)  # always visible
        bar.addWidget(self.strip)
        self.addToolBar(bar)
        centre, column = QWidget(), QVBoxLayout()
        column.addWidget(self.answer)
        column.addWidget(self.directions, stretch=3)
        column.addWidget(self.spectrum, stretch=2)
        centre.setLayout(column)
        self.setCentralWidget(centre)
        scroll = QScrollArea()
        scroll.setWidget(self.controls)
        scroll.setWidgetResizable(True)
        scroll.setMinimumWidth(250)
        left = self._dock("Controls", scroll, Qt.DockWidgetArea.LeftDockWidgetArea)
        learned, side = QWidget(), QVBoxLayout()
        side.addWidget(self.elements, stretch=1)
        reading = QScrollArea()
        reading.setWidget(self.words)
        reading.setWidgetResizable(True)
        reading.setFrameShape(QScrollArea.Shape.NoFrame)
        side.addWidget(reading, stretch=1)
        learned.setLayout(side)
        right = self._dock("Learned", learned, Qt.DockWidgetArea.RightDockWidgetArea)
        log, row = QWidget(), QHBoxLayout()
        row.addWidget(self.log)
        row.addWidget(self.script_button, alignment=Qt.AlignmentFlag.AlignTop)
        log.setLayout(row)
        bottom = self._dock("Log", log, Qt.DockWidgetArea.BottomDockWidgetArea)
        self.resizeDocks([left, right], [250, 320], Qt.Orientation.Horizontal)
        self.resizeDocks([bottom], [130], Qt.Orientation.Vertical)

    def _dock(self, title: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title, self)
        dock.setObjectName(f"dock-{title}")
        dock.setWidget(widget)
        self.addDockWidget(area, dock)
        return dock

    def tell(self, text: str, script: str = "") -> None:
        """A line in the log."""
        self.log.addItem(f"{time.strftime('%H:%M:%S')}  {text}")
        self.log.item(self.log.count() - 1).setData(Qt.ItemDataRole.UserRole, script)
        while self.log.count() > _MOST_LINES:
            self.log.takeItem(0)
        self.log.scrollToBottom()

    def refresh(self) -> None:
        """Take what is new and show it."""
        station = self.station
        station.poll()
        for done in station.done():
            if done.error is not None:
                hint = f" {done.error.hint}." if done.error.hint else ""
                self.tell(f"{done.name}: {done.error}.{hint}", done.script)
            elif done.words or done.script:
                self.tell(f"{done.name}: {done.words}" if done.words else done.name, done.script)
        for line in station.health():
            self.tell(line)
        picture = station.picture()
        if picture is not None:
            if self.directions.isVisible():
                self.directions.show_picture(picture)
            if self.spectrum.isVisible():
                self.spectrum.show_picture(picture)
            self._answer(picture.doa_deg, picture.sigma_deg)
        now = time.monotonic()
        if now >= self._next_status:
            self._next_status = now + _STATUS_S
            facts = station.facts()
            self.strip.show_lamps(lamps(facts))
            self.controls.show_state(facts)
            self._learned()

    def _answer(self, doa_deg: np.ndarray, sigma_deg: np.ndarray) -> None:
        if not len(doa_deg):
            self.answer.setText("no signal")
            return
        parts = [
            f"{d:+.2f}°" + (f" ± {s:.2g}°" if np.isfinite(s) else "")
            for d, s in zip(doa_deg[:3], sigma_deg[:3], strict=True)
        ]
        nominal = "" if self.station.calibration is not None else "   (not calibrated)"
        self.answer.setText("   ".join(parts) + nominal)

    def _learned(self) -> None:
        desk, calibration = self.station.desk, self.station.calibration
        lines = (
            [desk.words]
            if desk.words
            else ["Press Start, then Start learning: the array is learned from what it hears."]
        )
        if desk.remedy:
            lines.append(desk.remedy)
        if calibration is not None:
            lines.append(f"In use: the calibration {calibration.id[:12]} ({calibration.method}).")
            result = desk.update.result if desk.update is not None else None
            if result is not None and result.not_identifiable:
                lines.append("Cannot be known: " + "; ".join(result.not_identifiable) + ".")
            if calibration.id != self._last_calibration:
                self._last_calibration = calibration.id
                self.elements.show_gains(calibration.impairments.gain, calibration.sigma.phase_deg)
        self.words.setText("\n\n".join(lines))

    def _copy_script(self) -> None:
        item = self.log.currentItem() or self.log.item(self.log.count() - 1)
        script = item.data(Qt.ItemDataRole.UserRole) if item is not None else ""
        if script:
            QApplication.clipboard().setText(script)
            self.tell(f"copied: {script}")
        else:
            self.tell("this line has no command")

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Stop the timer, the device and the learner."""
        self._timer.stop()
        self.station.close()
        event.accept()
