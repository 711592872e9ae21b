"""Angle-delay map of the echoes of a known waveform, its paths, and what can be done with them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from gui.echo_map import EchoMap
from gui.facts import Facts
from gui.panels.ask import Ask
from gui.panels.echo_plot import EchoPlot
from gui.panels.panel import Panel
from gui.panels.path_table import PathTable
from gui.panels.waterfall import COLOUR_MAPS
from gui.picture import Picture
from gui.scripts import angle_delay_script
from gui.station import Station
from hil.core.errors import ConfigError, HilError
from hil.core.units import SPEED_OF_LIGHT_M_S, parse_quantity
from hil.core.waveform import load_waveform

_HEIGHT_PX = 34
#: Width of the table beside the map, and its height below.
_TABLE_PX = (400, 110)
#: Where there is less height the map has all of it.
_ROOMY_PX = 360
#: Unit -> its name on the axis, and how much of it is a second of delay.
UNITS = {"m": ("range / m", SPEED_OF_LIGHT_M_S / 2), "ns": ("delay / ns", 1e9)}
_LEVELS_DB = (20, 30, 40, 50, 60)
#: Paths older than this are told to be old.
_OLD_S = 1.0


class AngleDelayPanel(Panel):
    """What the station's echoes hold. While there is no map it says why, and what to do."""

    title = "Angle and delay"

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station = station
        self._shown: EchoMap | None = None
        self._streaming = False
        self.plot, self.table = EchoPlot(), PathTable()
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        self.reason.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.readout, self.words = QLabel(), QLabel()
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.ask = Ask()
        self.unit = QComboBox()
        self.unit.addItems(list(UNITS))
        self.unit.setToolTip("Range (c delay / 2) or delay")
        self.unit.setMinimumHeight(_HEIGHT_PX)
        self.waveform_button = QPushButton("Waveform…")
        self.waveform_button.setToolTip("File of what is transmitted: .toml or .sigmf-meta")
        self.waveform_button.setMinimumHeight(_HEIGHT_PX)
        self.view_menu, self.export_menu = QMenu(self), QMenu(self)
        row = QHBoxLayout()
        for widget in (self.unit, self.waveform_button, self._opens("View", self.view_menu)):
            row.addWidget(widget)
        row.addWidget(self._opens("Export", self.export_menu))
        row.addWidget(self.readout, stretch=1)
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.addWidget(self.plot)
        self.splitter.addWidget(self.table)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setCollapsible(0, False)
        self.pages = QStackedWidget()
        self.pages.addWidget(self.reason)
        self.pages.addWidget(self.splitter)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 2)
        column.setSpacing(3)
        column.addLayout(row)
        column.addWidget(self.ask)
        column.addWidget(self.pages, stretch=1)
        column.addWidget(self.words)
        self._fill_menus()
        self.unit.currentTextChanged.connect(self._again)
        self.waveform_button.clicked.connect(self._ask_waveform)
        self.plot.pointed.connect(self.readout.setText)
        self._refresh()

    # ---- shown -----------------------------------------------------------------------------------------

    def show_picture(self, picture: Picture) -> None:
        """Look for a new map."""
        self._refresh()

    def show_facts(self, facts: Facts) -> None:
        """Whether anything streams, and the waveform's name."""
        self._streaming = facts.link == "streaming"
        name = self._station.echoes.name if self._station.echoes.waveform is not None else ""
        short = Path(name).name
        self.waveform_button.setText(f"{short}…" if short else "Waveform…")
        self._refresh()

    def _refresh(self) -> None:
        made = self._station.echoes.latest()
        if made is None:
            self._explain()
            return
        if made is self._shown:
            return
        new_paths = self._shown is None or made.paths is not self._shown.paths
        self._shown = made
        name, scale = UNITS[self.unit.currentText()]
        self.plot.show_map(made, scale, f"{name} after the {made.reference}")
        if new_paths:
            self.plot.show_paths(made, scale)
            self.table.show_paths(made.paths, self.unit.currentText())
            self.words.setText(_words(made))
            self.words.setToolTip(self.words.text())
        if self.pages.currentIndex() != 1:
            self.pages.setCurrentIndex(1)
            self.words.show()

    def _explain(self) -> None:
        self._shown = None
        reason = self._station.echoes.reason
        words, remedy = reason.words, reason.remedy
        if not self._streaming and self._station.echoes.waveform is not None:
            words, remedy = "Nothing streams.", "press Start"
        text = f"No map. {words[:1].upper()}{words[1:]}"
        text += f"\n\nWhat to do: {remedy}." if remedy else ""
        if self.reason.text() != text:
            self.reason.setText(text)
        if self.pages.currentIndex() != 0:
            self.pages.setCurrentIndex(0)
            self.words.hide()

    def _again(self) -> None:
        """Draw what is there in another way."""
        self._shown = None
        self._refresh()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """The table stands where there is room, the words take one line where there is little."""
        roomy = self.height() >= _ROOMY_PX
        self.words.setWordWrap(roomy)
        wide = self.width() > max(1.6 * self.height(), 2 * _TABLE_PX[0])
        now = Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical
        if now != self.splitter.orientation():
            self.splitter.setOrientation(now)
            table = _TABLE_PX[0] if wide else _TABLE_PX[1]
            self.splitter.setSizes([(self.width() if wide else self.height()) - table, table])
        self.table.setVisible(wide or roomy)
        super().resizeEvent(event)

    # ---- asked for -------------------------------------------------------------------------------------

    def use_file(self, path: Path) -> None:
        """Look for the waveform of a file."""

        def load() -> str:
            self._station.echoes.use(load_waveform(path), str(path))
            return str(path)

        self._station.errands.send("Waveform", load)

    def set_range(self, text: str) -> None:
        """Farthest range that is searched and drawn, e.g. "600 m"; empty: as far as the cyclic prefix reaches."""
        try:
            value = parse_quantity(text, where="range", unit="m") if text else None
            if value is not None and not value > 0:
                raise ConfigError("a range must be positive", hint="for example 600 m")
        except HilError as err:
            self.readout.setText(f"{err}. {err.hint}")
            return
        self._view(max_range_m=value)

    def script(self) -> str:
        """The command that does the same, "" while nothing is connected or no waveform is known."""
        station, sent = self._station, self._station.transmit_desk.facts
        session, waveform = station.session, station.echoes.waveform
        if session is None or waveform is None:
            return ""
        sending = sent if sent is not None and sent.state == "on" else None
        calibrated = station.echoes.view.calibrated and station.painter.calibration is not None
        return angle_delay_script(
            station.facts().uri, session.stream, waveform, station.echoes.name, station.echoes.view, sending,
            calibrated=calibrated,
        )  # fmt: skip

    def export_picture(self, path: Path) -> None:
        """Map, paths and words as a picture. Written in the errands' thread."""
        image = self.grab().toImage()

        def write() -> str:
            _refuse_overwriting(path)
            if not image.save(str(path)):
                raise ConfigError("cannot write a picture", where=str(path), hint="end the name in .png")
            return str(path)

        self._station.errands.send("Export", write)

    def export_csv(self, path: Path) -> None:
        """Paths in this file, the map beside it in NAME-map.csv. Written in the errands' thread."""
        made = self._shown
        if made is None:
            self.readout.setText("There is no map to export.")
            return
        self._station.errands.send("Export", lambda: write_csv(made, path))

    def copy_script(self) -> None:
        """Into the clipboard."""
        script = self.script()
        if script:
            QApplication.clipboard().setText(script)
        self.readout.setText(
            "The command is in the clipboard." if script else "Connect, and choose a waveform first."
        )

    def _ask_waveform(self) -> None:
        self.ask.ask(
            "What is transmitted: a waveform's file (.toml or .sigmf-meta).", "Use",
            lambda text: self.use_file(Path(text)), least=1, file=True,
        )  # fmt: skip

    def _ask_range(self) -> None:
        self.ask.ask(
            "Farthest range, for example 600 m; empty: as far as the cyclic prefix reaches.",
            "Set",
            self.set_range,
        )

    def _ask_export(self, ending: str, work: Callable[[Path], None]) -> None:
        name = datetime.now().astimezone().strftime(f"angle-delay-%Y%m%d-%H%M%S.{ending}")
        self.ask.ask(
            "Write to", "Export", lambda text: work(Path(text)), text=str(Path.cwd() / name), least=1
        )

    def _view(self, **change: Any) -> None:
        echoes = self._station.echoes
        echoes.show(replace(echoes.view, **change))

    def _fill_menus(self) -> None:
        view = self._station.echoes.view
        self._choices(
            "Array",
            {"calibrated": True, "nominal": False},
            view.calibrated,
            lambda v: self._view(calibrated=v),
        )
        zero = {"found by itself": "auto", "direct path": "direct", "strongest path": "strongest"}
        self._choices("Delay zero", zero, view.reference, lambda v: self._view(reference=v))
        self._choices("Colours", {name: name for name in COLOUR_MAPS}, "viridis", self.plot.use_colours)
        self._choices("Level range", {f"{v} dB": float(v) for v in _LEVELS_DB}, 40.0, self.plot.use_span)
        self.view_menu.addAction("Farthest range…", self._ask_range)
        self.view_menu.addAction("Whole map", self.plot.whole)
        self.export_menu.addAction("Picture…", lambda: self._ask_export("png", self.export_picture))
        self.export_menu.addAction("CSV…", lambda: self._ask_export("csv", self.export_csv))
        self.export_menu.addAction("Copy as script", self.copy_script)

    def _choices(self, name: str, values: dict[str, Any], chosen: Any, work: Callable[[Any], None]) -> None:
        menu = self.view_menu.addMenu(name)
        group = QActionGroup(menu)
        for words, value in values.items():
            action = QAction(words, group, checkable=True)
            action.setChecked(value == chosen)
            action.triggered.connect(partial(_chosen, work, value))
            menu.addAction(action)

    def _opens(self, text: str, menu: QMenu) -> QWidget:
        button = QToolButton()
        button.setText(text)
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setMinimumSize(2 * _HEIGHT_PX, _HEIGHT_PX)
        return button


def write_csv(made: EchoMap, path: Path) -> str:
    """Paths in `path`; the map in NAME-map.csv: first row delays in seconds, first column angles in degrees, dB inside.

    Returns both names. Raises ConfigError if one is there already or cannot be written.
    """
    beside = path.with_name(f"{path.stem}-map.csv")
    for file in (path, beside):
        _refuse_overwriting(file)
    names = (
        "angle_deg", "angle_sigma_deg", "delay_s", "delay_sigma_s", "range_m", "range_sigma_m", "power_db", "snr_db",
        "doppler_hz", "range_rate_m_s",
    )  # fmt: skip
    rows = [",".join(f"{getattr(p, name):.9g}" for name in names) for p in made.paths]
    table = np.zeros((len(made.angles_deg) + 1, len(made.delays_s) + 1))
    table[0, 0] = math.nan
    table[0, 1:], table[1:, 0], table[1:, 1:] = made.delays_s, made.angles_deg, made.level_db
    try:
        path.write_text("\n".join([",".join(names), *rows]) + "\n", encoding="utf-8")
        np.savetxt(beside, table, "%.7g", ",")
    except OSError as err:
        raise ConfigError(
            f"cannot write: {err.strerror or err}", where=str(path), hint="choose another name"
        ) from err
    return f"{path} and {beside.name}"


def _refuse_overwriting(path: Path) -> None:
    if path.exists():
        raise ConfigError("is there already", where=str(path), hint="choose another name")


def _chosen(work: Callable[[Any], None], value: Any, _checked: bool) -> None:
    work(value)


def _words(made: EchoMap) -> str:
    """What the numbers count from and how far they can be told apart."""
    parts = [f"Zero: the {made.reference}", f"range bin {made.range_bin_m:.4g} m", *made.notes]
    if math.isfinite(made.speed_span_m_s):
        parts.append(f"speeds within ±{made.speed_span_m_s:.3g} m/s, {made.speed_step_m_s:.2g} m/s apart")
    age_s = (time.monotonic_ns() - made.paths_t_mono_ns) / 1e9
    if age_s > _OLD_S:
        parts.append(f"paths {age_s:.0f} s old")
    if made.calibration_id:
        parts.append(f"calibration {made.calibration_id[:12]}")
    return "  ·  ".join(parts)
