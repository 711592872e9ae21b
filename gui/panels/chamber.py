"""The turntable: a large angle, a target, steps, and STOP."""

from __future__ import annotations

import math

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from gui.facts import Facts
from gui.lamps import Level
from gui.panels.dial import Dial
from gui.panels.panel import Panel
from gui.panels.parts import button, field
from gui.picture import Picture
from gui.positions import TableView
from gui.station import Station
from gui.strip import COLOURS
from gui.text import LargeText, enlarge
from hil.core.errors import HilError
from hil.core.units import parse_quantity

_STOP_PX = 76
STEPS_DEG = (-10.0, -1.0, 1.0, 10.0)
_WORDS = {
    "": "○ no table", "standing": "● stands", "moving": "▲ MOVES", "arrived": "● ARRIVED", "stopping": "▲ STOPS",
    "stopped": "■ STOPPED", "stalled": "■ STALLED",
}  # fmt: skip
_LEVELS = {
    "standing": Level.GOOD, "moving": Level.WARN, "stopping": Level.WARN, "arrived": Level.GOOD, "stalled": Level.BAD,
    "stopped": Level.IDLE,
}  # fmt: skip
_PROBLEM = "color:#d64a42"
_STOP_STYLE = (
    "QPushButton{background:#c0281c;color:white;border:3px solid #7d130b;border-radius:8px}"
    "QPushButton:pressed{background:#7d130b}"
)


class ChamberPanel(Panel):
    """Moves a turntable; what is shown is what it reads back."""

    title = "Chamber"

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._desk, self._sweeps = station.table, station.sweeps
        self._script = ""
        self._shown: TableView | None = None
        self.angle = LargeText("-", 5.0, bold=True)
        self.angle.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.angle.setToolTip("Azimuth as the table reads it back, clockwise seen from above")
        self.word = LargeText(_WORDS[""], 2.0, bold=True)
        self.word.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.stop_button = QPushButton("STOP")
        self.stop_button.setObjectName("table-stop")
        self.stop_button.setStyleSheet(_STOP_STYLE)
        self.stop_button.setMinimumHeight(_STOP_PX)
        self.stop_button.setToolTip("Stop the table at once (Esc)")
        self.stop_button.pressed.connect(self.stop)  # not when the button comes up again
        enlarge(self.stop_button, 2.4, bold=True)
        self.dial = Dial()
        self.target = field("", "Target in degrees, e.g. 30 or -12,5; Enter moves there")
        self.target.setPlaceholderText("target / °")
        self.target.returnPressed.connect(self.go)
        self.go_button = button("Go", self.go, "Move to the target")
        self.steps = [self._step_button(step) for step in STEPS_DEG]
        self.uri = field("sim:", "Turntable, e.g. rotctld:127.0.0.1:4533, or sim:?speed=6&low=-90&high=90")
        self.uri.returnPressed.connect(self.connect_table)
        self.connect_button = button("Connect table", self.connect_table, "Open this turntable")
        self.problem = QLabel("")
        self.problem.setWordWrap(True)
        self.script_button = button(
            "Copy as script", self.copy_script, "Python that does the last move again"
        )
        self._lay_out()
        self._show(self._desk.view)

    def _lay_out(self) -> None:
        source, target, jog, large = QHBoxLayout(), QHBoxLayout(), QGridLayout(), QVBoxLayout()
        source.addWidget(self.uri, stretch=1)
        source.addWidget(self.connect_button)
        target.addWidget(self.target, stretch=1)
        target.addWidget(self.go_button)
        for k, step in enumerate(self.steps):
            jog.addWidget(step, 0, k)
        for widget in (self.angle, self.word, self.stop_button):
            large.addWidget(widget)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.addLayout(large)
        column.addWidget(self.dial, stretch=1)
        for row in (target, jog):
            column.addLayout(row)
        column.addWidget(self.problem)
        column.addLayout(source)
        column.addWidget(self.script_button)

    def stop_shortcut(self, window: QWidget) -> QShortcut:
        """Esc stops the table from anywhere in the application, also while this panel is closed."""
        shortcut = QShortcut(QKeySequence(Qt.Key.Key_Escape), window)
        shortcut.setContext(Qt.ShortcutContext.ApplicationShortcut)
        shortcut.activated.connect(self.stop)
        shortcut.activatedAmbiguously.connect(self.stop)  # another use of Esc must not take this one away
        return shortcut

    def stop(self) -> None:
        """STOP; a sweep ends, too, and can be resumed."""
        self._desk.stop()
        self._sweeps.abort()
        self._show(self._desk.view)

    def go(self) -> None:
        """To the target that is typed in."""
        try:
            azimuth_deg = parse_quantity(
                self.target.text().strip().rstrip("°"), where="target", unit="degrees"
            )
            self._desk.move_to(azimuth_deg)
        except HilError as err:
            self._refuse(err)
            return
        self._noted(azimuth_deg)

    def jog(self, step_deg: float) -> None:
        """A step."""
        try:
            target = self._desk.jog(step_deg)
        except HilError as err:
            self._refuse(err)
            return
        self._noted(target)

    def connect_table(self) -> None:
        """Open the turntable that is named."""
        self._desk.connect(self.uri.text().strip())
        self._show(self._desk.view)

    def copy_script(self) -> None:
        """To the clipboard."""
        if self._script:
            QApplication.clipboard().setText(self._script)

    def show_picture(self, picture: Picture) -> None:
        """The angle follows."""
        self._show(self._desk.view)

    def show_facts(self, facts: Facts) -> None:
        """As it is now, also without a stream."""
        self._show(self._desk.view)

    def _noted(self, azimuth_deg: float) -> None:
        uri = self._desk.view.uri
        self._script = (
            "from drivers.positioner.arrival import drive_to\n"
            "from drivers.positioner.registry import open_positioner\n\n"
            f"with open_positioner({uri!r}) as table:\n    print(drive_to(table, {azimuth_deg:g}))\n"
        )
        self._show(self._desk.view)

    def _refuse(self, err: HilError) -> None:
        self.problem.setText(f"{err}. {err.hint}." if err.hint else f"{err}.")
        self.problem.setStyleSheet(_PROBLEM)

    def _show(self, view: TableView) -> None:
        if repr(view) == repr(self._shown):  # NaN is not equal to itself
            return
        before, self._shown = self._shown, view
        self.angle.setText("-" if math.isnan(view.azimuth_deg) else f"{view.azimuth_deg:+.1f}°")
        word = {"connecting": "○ connecting", "lost": "■ LOST"}.get(view.link, _WORDS[view.word])
        self.word.setText(word)
        level = Level.BAD if view.link == "lost" else _LEVELS.get(view.word, Level.IDLE)
        back, ink = COLOURS[level]
        self.word.setStyleSheet(f"background:{back};color:{ink};border-radius:6px;padding:2px")
        self.dial.show_angles(view.azimuth_deg, view.target_deg if view.moving else None, view.limits_deg)
        there = view.link == "ready"
        for widget in (self.target, self.go_button, *self.steps):
            widget.setEnabled(there)
        self.script_button.setEnabled(bool(self._script))
        self.connect_button.setText("Reconnect" if view.link == "lost" else "Connect table")
        if before is None or (view.problem, view.link, view.limits_deg, view.target_deg) != (
            before.problem, before.link, before.limits_deg, before.target_deg
        ):  # fmt: skip
            limits = view.limits_deg
            quiet = f"Limits {limits.minimum:g}° to {limits.maximum:g}°." if limits is not None else ""
            self.problem.setText(view.problem or quiet)
            self.problem.setStyleSheet(_PROBLEM if view.problem else "")

    def _step_button(self, step: float) -> QPushButton:
        made = button(f"{step:+g}°".replace("-", "−"), lambda: self.jog(step), "Hold it to go on")
        made.setAutoRepeat(True)
        made.setAutoRepeatDelay(400)
        made.setAutoRepeatInterval(200)
        return made
