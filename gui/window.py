"""The window: status strip, controls, panels in docks, menus, first steps. A client of `gui.station`; nothing here waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QMainWindow, QMessageBox, QToolBar

from gui.controls import Controls
from gui.facts import Facts
from gui.first_steps import FirstSteps, Step
from gui.garbage import GarbageOfThisThread
from gui.kept_fields import keep_fields, recall_fields
from gui.lamps import lamps
from gui.layout import Docks, Placed
from gui.menus import add_menu, keys_in_words
from gui.panels.angle_delay import AngleDelayPanel
from gui.panels.answer import AnswerPanel
from gui.panels.array_drawing import ArrayDrawingPanel
from gui.panels.calibrations import CalibrationsPanel
from gui.panels.chamber import ChamberPanel
from gui.panels.directions import DirectionsPanel
from gui.panels.doa_history import DoaHistoryPanel
from gui.panels.learning import LearningPanel
from gui.panels.log import LogPanel
from gui.panels.panel import Panel
from gui.panels.phases import PhasesPanel
from gui.panels.recording import RecordingPanel
from gui.panels.replay import ReplayPanel
from gui.panels.spectrum import SpectrumPanel
from gui.panels.sweep import SweepPanel
from gui.panels.transmit import TransmitPanel
from gui.panels.waterfall import WaterfallPanel
from gui.remembered import Remembered
from gui.station import Station
from gui.strip import Strip
from gui.theme import Theme, apply_theme, colour_plots
from hil.core.device import RxConfig

_LARGE_SCREEN_PX = 1900
_PERIOD_MS = 12  # a look whether there is a new picture
_STATUS_S = 0.2
_TEXT_STEP_PERCENT = 25
_SIMULATED = ("sim:", "ula:8:0.5")
#: It is simulated in this process, beside everything else.
_SIMULATED_HZ = 1e6


def _first_size(screen: QSize) -> QSize:
    """1366 x 740; four fifths of a screen that is larger than usual."""
    if screen.width() < _LARGE_SCREEN_PX:
        return QSize(1366, 740)
    return QSize(screen.width() * 4 // 5, max(740, screen.height() * 4 // 5))


class StationWindow(QMainWindow):
    """Shows a station; one timer polls it. guided : open the row of first steps."""

    def __init__(
        self,
        station: Station,
        uri: str = "sim:",
        array: str | None = None,
        support: str = "-60:60",
        *,
        guided: bool = False,
    ) -> None:
        super().__init__()
        self.station, self.remembered = station, Remembered()
        self.setWindowTitle("coherent-array-hil")
        self.strip = Strip(tuple(lamp.name for lamp in lamps(Facts())))
        self.log = LogPanel()
        self.controls = Controls(station, uri, array, self.tell, self._record)
        self.directions, self.answer = DirectionsPanel(), AnswerPanel()
        self.angle_delay, self.transmit = AngleDelayPanel(station), TransmitPanel(station)
        self.spectrum, self.waterfall = SpectrumPanel(), WaterfallPanel()
        self.learning, self.calibrations = LearningPanel(station), CalibrationsPanel(station)
        self.array_drawing, self.chamber = ArrayDrawingPanel(station), ChamberPanel(station)
        self.recording, self.replay = RecordingPanel(station), ReplayPanel(station)
        self.sweep = SweepPanel(station)
        self.phases, self.doa_history = PhasesPanel(station), DoaHistoryPanel(station)
        self.waterfall.plot.setXLink(self.spectrum.plot)
        self.learning.form.support.setText(support)
        self._next_status = 0.0
        self._bars()
        self.docks = Docks(self, self._placed())
        self.panels: tuple[Panel, ...] = tuple(p.panel for p in self._placed())
        self._escape = self.chamber.stop_shortcut(self)
        self._escape.activated.connect(self.strip.explanation.hide)
        self._menus()
        self._recall()
        self.controls.connected = self._connected
        self.steps.setVisible(guided and not self.remembered.steps_done)
        self._garbage = GarbageOfThisThread(self, lambda: station.facts().link == "streaming")
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.refresh)
        self._timer.start(_PERIOD_MS)
        self.refresh()

    # ---- what is where --------------------------------------------------------------------------------

    def _placed(self) -> tuple[Placed, ...]:
        return (
            Placed(self.controls, "left", scrolls=True),
            Placed(self.recording, "left", scrolls=True),
            Placed(self.sweep, "left", scrolls=True),
            Placed(self.directions, "top"),
            Placed(self.answer, "top"),
            Placed(self.angle_delay, "middle"),
            Placed(self.spectrum, "middle right"),
            Placed(self.waterfall, "middle right"),
            Placed(self.learning, "right"),
            Placed(self.calibrations, "right", scrolls=True),
            Placed(self.array_drawing, "middle right"),
            Placed(self.transmit, "right", scrolls=True),
            Placed(self.chamber, "right", scrolls=True),
            Placed(self.log, "bottom"),
            Placed(self.replay, "bottom"),
            Placed(self.phases, "middle"),
            Placed(self.doa_history, "middle"),
        )

    def _bars(self) -> None:
        """Bars that are no docks: the lamps are always visible."""
        for name, widget in (("Status", self.strip), ("First steps", self._first_steps())):
            bar = QToolBar(name)
            bar.setObjectName(f"bar-{name}")
            bar.setMovable(False)
            bar.toggleViewAction().setEnabled(False)
            bar.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
            bar.addWidget(widget)
            self.addToolBar(bar)
            self.addToolBarBreak()
            if name == "First steps":
                self.steps = bar

    def _first_steps(self) -> FirstSteps:
        station = self.station
        steps = (
            Step("Connect", self._connect_simulated,
                 lambda f: f.link in ("ready", "streaming"), "Opens the simulated array of eight elements"),
            Step("Start", station.start, lambda f: f.link == "streaming", "Samples flow; directions appear"),
            Step("Learn", self.learning.start_or_stop, lambda f: f.learning != "off" or f.calibration is not None,
                 "The array is learned from what it hears; the emitters' directions are not told to it"),
            Step("Accept", station.accept, lambda f: f.calibration is not None,
                 "Use what was learned, as soon as the learner offers it"),
            Step("Export", self.export, lambda f: self._exported, "Write the calibration for other programs"),
        )  # fmt: skip
        self._exported = False
        row = FirstSteps(steps)
        row.finished.connect(self._steps_over)
        self._row = row
        return row

    def _menus(self) -> None:
        station = self.station
        add_menu(self, "&File", [
            ("&Open recording...", "Ctrl+O", self._open_recording),
            ("Open &scene...", "", self._open_scene),
            ("&Export calibration...", "Ctrl+E", self.export),
            None,
            ("&Quit", "Ctrl+Q", self.close),
        ])  # fmt: skip
        add_menu(self, "&Run", [
            ("&Connect", "Ctrl+K", self.controls.connect_button.click),
            ("&Start or stop", "Ctrl+D", self.controls.start_or_stop),
            ("&Record or stop recording", "Ctrl+I", self.recording.record_or_stop),
            ("Save the &last seconds", "Ctrl+Shift+I", self.recording.save_last),
            ("&Mark this moment", "Space|Ctrl+M", station.mark),
            None,
            ("&Frequency", "F", self.controls.requests["fc_hz"].setFocus),
            ("&Gain up 1 dB", "+", lambda: self.controls.change_gain(1.0)),
            ("Gain &down 1 dB", "-", lambda: self.controls.change_gain(-1.0)),
        ])  # fmt: skip
        add_menu(self, "&Calibration", [
            ("&Learn or stop learning", "Ctrl+L", self.learning.start_or_stop),
            ("&Accept what is offered", "Ctrl+Return", station.accept),
            None,
            ("&Undo", "Ctrl+Z", lambda: station.step_use(-1)),
            ("&Redo", "Ctrl+Shift+Z", lambda: station.step_use(1)),
            None,
            ("Load &network...", "", self._open_network),
        ])  # fmt: skip
        view = add_menu(self, "&View", [
            ("&Dark", "", lambda: self._use_theme("dark")),
            ("&Light", "", lambda: self._use_theme("light")),
            ("Larger &text", "Ctrl++|Ctrl+=", lambda: self._use_text(_TEXT_STEP_PERCENT)),
            ("&Smaller text", "Ctrl+-", lambda: self._use_text(-_TEXT_STEP_PERCENT)),
            ("&Full screen", "F11", self._full_screen),
            ("&Default layout", "", self.docks.reset),
            None,
        ])  # fmt: skip
        for dock in self.docks.docks.values():
            view.addAction(dock.toggleViewAction())
        add_menu(self, "&Help", [
            ("&First steps", "", lambda: self.steps.setVisible(True)),
            ("&Keys", "F1", self._show_keys),
        ])  # fmt: skip

    def _recall(self) -> None:
        kept = self.remembered.layout()
        if kept is None or not (self.restoreGeometry(kept[0]) and self.restoreState(kept[1])):
            self.resize(_first_size(self.screen().availableSize()))
        recall_fields(self, self.remembered)
        self._offer_sources()

    # ---- what happens ---------------------------------------------------------------------------------

    def tell(self, text: str, script: str = "") -> None:
        """A line in the log."""
        self.log.tell(text, script)

    def refresh(self) -> None:
        """Show the newest picture, and some times a second what else is new."""
        picture = self.station.picture()
        now = time.monotonic()
        due = now >= self._next_status
        if picture is None and not due:
            return
        shown = [panel for panel in self.panels if panel.always or self.docks.visible(panel)]
        if picture is not None:
            for panel in shown:
                panel.show_picture(picture)
        if due:
            self._next_status = now + _STATUS_S
            self._show_status(shown)

    def _show_status(self, shown: list[Panel]) -> None:
        station = self.station
        station.poll()
        for done in station.done():
            if done.error is not None:
                hint = f" {done.error.hint}." if done.error.hint else ""
                self.tell(f"{done.name}: {done.error}.{hint}", done.script)
            elif done.words or done.script:
                self.tell(f"{done.name}: {done.words}" if done.words else done.name, done.script)
            if done.name == "Find":
                self._offer_sources()
            self._exported |= done.name == "Export" and done.error is None
        for line in station.health():
            self.tell(line)
        facts = station.facts()
        self.strip.show_lamps(lamps(facts))
        for panel in shown:
            panel.show_facts(facts)
        if self.steps.isVisible():
            self._row.show_facts(facts)

    def export(self) -> None:
        """Export the calibration in use."""
        if not self.calibrations.export_in_use():
            self.tell(
                "Export: no calibration is in use. Learn one and accept it, or choose one in Calibrations."
            )

    def _record(self) -> None:
        self.recording.record_or_stop()

    def _connect_simulated(self) -> None:
        self.controls.connect_to(*_SIMULATED)
        self.station.configure(RxConfig(fs_hz=_SIMULATED_HZ))

    def _connected(self, uri: str, array: str) -> None:
        self.remembered.add_recent(uri, array)
        self._offer_sources()

    def _offer_sources(self) -> None:
        recent = self.remembered.recent()
        known = {uri for uri, _ in recent}
        new = [(uri, "") for uri in self.station.found if uri not in known]
        simulated = [] if "sim:" in known else [_SIMULATED]
        self.controls.offer_sources([*recent, *new, *simulated])

    def _open_recording(self) -> None:
        kinds = "Recordings (*.sigmf-meta *.sigmf-collection)"
        self._ask("Open recording", kinds, lambda path: self.controls.connect_to(f"replay:{path}", ""))

    def _open_scene(self) -> None:
        self._ask("Open scene", "Scenes (*.toml)", lambda path: self.controls.connect_to(f"sim:{path}", ""))

    def _open_network(self) -> None:
        kinds = "Trained networks (*.safetensors)"
        self._ask("Load network", kinds, lambda path: self.load_network(Path(path)))

    def load_network(self, path: Path) -> None:
        """Use a file of hil train for the method that it belongs to."""
        self.station.errands.send("Load network", lambda: self.station.networks.load(path))

    def _ask(self, title: str, kinds: str, take: Callable[[str], None]) -> None:
        dialog = QFileDialog(self, title, str(Path.cwd()), kinds)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(take)
        dialog.open()

    def _steps_over(self) -> None:
        self.remembered.steps_done = True
        self.steps.setVisible(False)

    def _use_theme(self, theme: Theme) -> None:
        self.remembered.theme = theme
        self._restyle()

    def _use_text(self, by_percent: int) -> None:
        self.remembered.text_percent = min(max(self.remembered.text_percent + by_percent, 75), 250)
        self._restyle()

    def _restyle(self) -> None:
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        apply_theme(application, self.remembered.theme, self.remembered.text_percent)
        colour_plots(self, self.remembered.theme)

    def _full_screen(self) -> None:
        if self.isFullScreen():
            self.showNormal()
        else:
            self.showFullScreen()

    def _show_keys(self) -> None:
        box = QMessageBox(QMessageBox.Icon.NoIcon, "Keys", f"<pre>{keys_in_words(self)}</pre>", parent=self)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.open()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Stop the timer, the device and the learner."""
        self._timer.stop()
        self.docks.end()
        self.remembered.keep_layout(self.saveGeometry(), self.saveState())
        keep_fields(self)
        self.station.close()
        self._garbage.end()
        event.accept()
