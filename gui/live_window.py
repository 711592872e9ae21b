"""The live window: status strip, MUSIC with nominal and learned array, learned elements."""

from __future__ import annotations

import time

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMainWindow, QVBoxLayout, QWidget

from gui.live_model import LiveModel

_GOOD, _WARN, _BAD, _IDLE = "#1a7f37", "#b35900", "#b42318", "#57606a"
_PERIOD_MS = 33


class Lamp(QLabel):
    """One lamp of the status strip: shape, word and colour, readable at 3 m; the tool tip says why and what to do."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setMinimumHeight(56)
        self.show_state("?", _IDLE, "not known yet")

    def show_state(self, word: str, colour: str, why: str) -> None:
        """Set word, colour and explanation."""
        shape = {_GOOD: "●", _WARN: "▲", _BAD: "■"}.get(colour, "○")
        self.setText(f"{shape} {self._name}\n{word}")
        self.setToolTip(why)
        self.setStyleSheet(
            f"background:{colour};color:white;font-size:18px;font-weight:600;padding:4px;border-radius:4px"
        )


class LiveWindow(QMainWindow):
    """Shows a LiveModel; polls it with one timer and never blocks."""

    def __init__(self, model: LiveModel) -> None:
        super().__init__()
        self._model = model
        self.setWindowTitle("coherent-array-hil")
        self.resize(1200, 760)
        self.lamps = {
            name: Lamp(name) for name in ("LOCK", "EPOCH", "DROPS", "OVERLOAD", "LEARN", "CAL", "LAG")
        }
        strip = QHBoxLayout()
        for lamp in self.lamps.values():
            strip.addWidget(lamp)
        self._spectrum = pg.PlotWidget(background="w")
        self._spectrum.setLabel("bottom", "direction / degrees (positive towards +x)")
        self._spectrum.setLabel("left", "MUSIC / dB")
        self._spectrum.setYRange(0, 60)
        self._spectrum.addLegend(offset=(-10, 10))
        self._nominal = self._spectrum.plot(pen=pg.mkPen("#7f7f7f", width=1), name="nominal array")
        self._calibrated = self._spectrum.plot(pen=pg.mkPen("#0b6bb8", width=1), name="learned array")
        self._marker = pg.InfiniteLine(angle=90, pen=pg.mkPen("#d1641b", width=1))
        self._spectrum.addItem(self._marker)
        self._direction = QLabel("-")
        self._direction.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._direction.setStyleSheet("font-size:40px;font-weight:700")
        self._phase = pg.PlotWidget(background="w")
        self._phase.setLabel("bottom", "element")
        self._phase.setLabel("left", "learned phase / °")
        self._phase.setYRange(-180, 180)
        self._bars = pg.BarGraphItem(x=[], height=[], width=0.6, brush="#0b6bb8")
        self._phase.addItem(self._bars)
        self._words = QLabel()
        self._words.setWordWrap(True)
        self._words.setStyleSheet("font-size:16px")
        layout = QVBoxLayout()
        layout.addLayout(strip)
        layout.addWidget(self._direction)
        layout.addWidget(self._spectrum, stretch=3)
        layout.addWidget(self._phase, stretch=1)
        layout.addWidget(self._words)
        centre = QWidget()
        centre.setLayout(layout)
        self.setCentralWidget(centre)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.refresh)
        self._timer.start(_PERIOD_MS)

    def refresh(self) -> None:
        """Take what is new and show it."""
        model = self._model
        model.poll()
        self._show_status()
        shot = model.snapshot()
        if shot is None:
            return
        self._nominal.setData(shot.angles_deg, shot.nominal_db)
        if shot.calibrated_db is not None:
            self._calibrated.setData(shot.angles_deg, shot.calibrated_db)
        if len(shot.peaks_deg):
            self._marker.setValue(float(shot.peaks_deg[0]))
            self._direction.setText(
                f"{shot.peaks_deg[0]:+.2f}°" + ("" if model.calibration else "  (not calibrated)")
            )
        lag_ms = (time.monotonic_ns() - shot.t_mono_ns) / 1e6
        self.lamps["LAG"].show_state(
            f"{lag_ms:.0f} ms", _GOOD if lag_ms < 200 else _WARN, "age of the samples on screen"
        )
        clipped = [i + 1 for i, n in enumerate(shot.overload) if n]
        if clipped:
            self.lamps["OVERLOAD"].show_state(
                f"ch {clipped[0]}", _BAD, f"channels {clipped} reach full scale: lower the gain"
            )
        else:
            self.lamps["OVERLOAD"].show_state("none", _GOOD, "no channel reaches full scale")

    def _show_status(self) -> None:
        model = self._model
        session = model.session
        if model.error is not None:
            self.lamps["LOCK"].show_state("LOST", _BAD, f"{model.error} {model.error.hint}")
            self._words.setText(f"{model.error}\n{model.error.hint}")
            self._timer.stop()
            return
        if session is None:
            return
        self.lamps["LOCK"].show_state("streaming", _GOOD, f"{session.samples} samples received")
        self.lamps["EPOCH"].show_state(f"#{session.stream.epoch.counter}", _GOOD, session.stream.epoch.id)
        lost, exact = session.losses
        self.lamps["DROPS"].show_state(
            f"{lost}" if exact else f"≥{lost}", _GOOD if lost == 0 and exact else _BAD,
            "samples lost before the reader; lower the rate or the number of channels if this grows",
        )  # fmt: skip
        cal = model.calibration
        self.lamps["LEARN"].show_state(
            "converged" if model.converged else "learning",
            _GOOD if model.converged else _WARN,
            model.learner_words,
        )
        if cal is None:
            self.lamps["CAL"].show_state(
                "none", _WARN, "directions are those of the nominal array: wait for the learner"
            )
        else:
            sigma_deg = cal.gauge.angle_sigma_deg
            colour = _GOOD if sigma_deg <= 0.5 else _WARN
            why = f"{cal.gauge.assumes}; more directions narrow it (limit 0.5 degrees)"
            self.lamps["CAL"].show_state(f"±{sigma_deg:.2g}°", colour, why)
            phase = np.degrees(np.angle(cal.impairments.gain))
            self._bars.setOpts(x=np.arange(1, len(phase) + 1), height=phase)
        self._words.setText(model.learner_words)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Stop the timer, the device and the learner."""
        self._timer.stop()
        self._model.stop()
        event.accept()
