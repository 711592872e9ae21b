"""A turntable campaign: its plan, how long it takes, its points, pause and end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
)

from gui.facts import Facts
from gui.panels.panel import Panel
from gui.panels.parts import HEIGHT_PX, button, field
from gui.panels.point_map import PointMap
from gui.panels.recording import first_folder
from gui.scripts import array_words, sweep_script
from gui.station import Station
from gui.sweep_desk import SweepView
from hil.campaign.folder import is_campaign
from hil.campaign.plan import APPROACHES, ORDERS, Plan, parse_angles
from hil.campaign.plan_file import CampaignFile
from hil.core.errors import ConfigError, HilError
from hil.core.units import parse_quantity
from hil.sweep.preview import preview

_BAD, _GOOD = "#d64a42", "#2f8f4e"
_STAGES = {
    "opening": "begins", "moving": "the table moves", "settling": "settles", "recording": "records", "paused": "PAUSED",
    "waiting": "waits for a device", "done": "done",
}  # fmt: skip
_ORDER_TIP = "up, down, or random: then drift of the phases does not look like an angle"
_APPROACH_TIP = "Reach each angle turning this way, because of backlash; any: the short way"


class SweepPanel(Panel):
    """Plans, runs and resumes a sweep on the stream and the table that are connected."""

    title = "Sweep"

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station, self._desk = station, station.sweeps
        self._shown: SweepView | None = None
        self._there = False
        self.angles = field("-60:60:5", "Table angles in degrees, first:last:step, or a list: -30,0,30")
        self.order, self.approach = _choice(ORDERS, _ORDER_TIP), _choice(APPROACHES, _APPROACH_TIP)
        self.samples = field("80k", "Samples per channel at each angle, e.g. 80k")
        self.settle = field("0.3", "Seconds between arrival and the first sample")
        self.emitters = field(
            "",
            "Azimuth of the emitters in the room in degrees, e.g. 0 or -20,15. Empty: not known",
            "not known",
        )
        self.reference = field("0", "What the table reads when the array looks at azimuth 0 of the room")
        self.note = field("", "Kept with the campaign", "who, what, door closed?")
        self.folder = field(
            str(first_folder() / f"sweep-{datetime.now():%Y%m%d-%H%M%S}"),
            "Folder of the campaign: a new one, or one to go on with",
        )
        self.estimate, self.stage, self.problem = _words(), _words(), _words()
        self.map = PointMap()
        self.begin_button = button(
            "Start sweep", self.begin, "Turn the table through the plan and record every angle"
        )
        self.pause_button = button("Pause", self.pause, "After the present point; the stream goes on")
        self.end_button = button(
            "End sweep", self._desk.abort, "What is finished stays; it can be resumed. Esc does it too"
        )
        self.script_button = button("Copy as script", self.copy_script, "The command that does the same")
        for changed in (self.angles, self.samples, self.settle, self.folder, self.emitters, self.reference):
            changed.textChanged.connect(self._changed)
        for chosen in (self.order, self.approach):
            chosen.currentTextChanged.connect(self._changed)
        self._lay_out()
        self._changed()
        self.show_facts(Facts())

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        browse = button("...", self._browse, "Choose a campaign to go on with")
        browse.setMaximumWidth(44)
        folder = QHBoxLayout()
        folder.addWidget(self.folder)
        folder.addWidget(browse)
        for name, widget in (
            ("Angles / °", self.angles), ("Order", self.order), ("From", self.approach), ("Samples", self.samples),
            ("Settle / s", self.settle), ("Emitters / °", self.emitters), ("Reference / °", self.reference),
            ("Note", self.note), ("Folder", folder),
        ):  # fmt: skip
            form.addRow(name, widget)
        buttons = QHBoxLayout()
        for made in (self.pause_button, self.end_button):
            buttons.addWidget(made)
        self.begin_button.setMinimumHeight(HEIGHT_PX + 12)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.addWidget(self.map)
        column.addWidget(self.stage)
        column.addWidget(self.begin_button)
        column.addLayout(buttons)
        column.addWidget(self.problem)
        column.addLayout(form)
        column.addWidget(self.estimate)
        column.addWidget(self.script_button)
        column.addStretch()

    def plan(self) -> Plan:
        """As it is typed in. Raises ConfigError that names the field."""
        samples = parse_quantity(self.samples.text(), where="Samples")
        if samples < 1 or samples != int(samples):
            raise ConfigError("must be a whole number", where="Samples", hint="for example 80k")
        return Plan(
            parse_angles(self.angles.text(), "Angles"), order=self.order.currentText(), approach=self.approach.currentText(),  # pyright: ignore[reportArgumentType]
            samples=int(samples), settle_s=parse_quantity(self.settle.text(), where="Settle", unit="s"),
            emitters_deg=_degrees(self.emitters.text()),
            reference_deg=parse_quantity(self.reference.text(), where="Reference", unit="degrees"), note=self.note.text(),
        )  # fmt: skip

    def begin(self) -> None:
        """A new campaign, or go on with the one in the folder."""
        folder = Path(self.folder.text()).expanduser()
        try:
            resume = is_campaign(folder)
            self._desk.begin(folder, None if resume else self._file(), resume=resume, bad_again=resume)
        except HilError as err:
            self._refuse(err)
            return
        self.problem.setText("")
        self.show_facts(Facts())

    def pause(self) -> None:
        """Or go on."""
        self._desk.pause(self._desk.view.state != "paused")

    def copy_script(self) -> None:
        """To the clipboard."""
        folder = Path(self.folder.text()).expanduser()
        try:
            words = sweep_script(None if is_campaign(folder) else self._file(), folder)
        except HilError as err:
            self._refuse(err)
            return
        QApplication.clipboard().setText(words)

    def show_facts(self, facts: Facts) -> None:
        """Where it is."""
        del facts
        view = self._desk.view
        if self._shown is None or view.state != self._shown.state:
            self._look()
        self.begin_button.setText("Resume sweep" if self._there else "Start sweep")
        self.begin_button.setEnabled(not view.running)
        self.pause_button.setEnabled(view.state in ("runs", "paused"))
        self.pause_button.setText("Go on" if view.state == "paused" else "Pause")
        self.end_button.setEnabled(view.state in ("runs", "paused"))
        if view == self._shown:
            return
        self._shown = view
        if view.plan is not None:
            self.map.show_points(view.plan.angles_deg, view.points)
        self.stage.setText(_stage_words(view))
        if view.problem:
            self.problem.setText(view.problem)
            self.problem.setStyleSheet(f"color:{_BAD}")
        elif view.running or view.state == "complete":
            self.problem.setText(view.words)
            self.problem.setStyleSheet("")

    def _file(self) -> CampaignFile:
        """What the window uses: devices included, so that the folder can be resumed from the command line."""
        session, table = self._station.session, self._station.table.view
        if session is None:
            raise ConfigError(
                "nothing is connected", where="Source", hint="connect a receiver and press Start"
            )
        stream, (uri, array) = session.stream, self._station.source
        return CampaignFile(
            self.plan(), device=uri, positioner=table.uri or None, array=array or array_words(stream),
            fc_hz=stream.fc_hz, fs_hz=stream.fs_hz, gain_db=stream.gains_db,
        )  # fmt: skip

    def _look(self) -> None:
        """Whether the folder holds a campaign: not asked of the disk with every picture."""
        self._there = is_campaign(Path(self.folder.text()).expanduser())

    def _changed(self) -> None:
        """The estimate follows what is typed."""
        view = self._desk.view
        self._look()
        try:
            plan = self.plan()
        except HilError as err:
            self.estimate.setText(f"{err}. {err.hint}." if err.hint else f"{err}.")
            self.estimate.setStyleSheet(f"color:{_BAD}")
            return
        session = self._station.session
        fs_hz, m = (2.5e6, 1) if session is None else (session.stream.fs_hz, session.stream.n_channels)
        found = preview(plan, fs_hz=fs_hz, n_channels=m)
        size = f", {found.bytes / 1e6:.0f} MB" if session is not None else ""
        minutes, seconds = divmod(round(found.seconds), 60)
        self.estimate.setText(
            f"{found.points} points, about {minutes} min {seconds:02d} s at {found.speed_deg_per_s:g}°/s{size}"
        )
        self.estimate.setStyleSheet("")
        if not view.running:
            self.map.show_points(plan.angles_deg, ("open",) * found.points)

    def _refuse(self, err: HilError) -> None:
        self.problem.setText(f"{err}. {err.hint}." if err.hint else f"{err}.")
        self.problem.setStyleSheet(f"color:{_BAD}")

    def _browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Campaign to go on with", str(Path(self.folder.text()).parent)
        )
        if chosen:
            self.folder.setText(chosen)


def _stage_words(view: SweepView) -> str:
    progress = view.progress
    if view.state == "none":
        return ""
    if progress is None:
        return "begins"
    bad = f", {progress.bad} bad" if progress.bad else ""
    count = f"{progress.done} of {progress.total} points{bad}"
    if not view.running:
        return {"complete": f"Complete: {count}.", "ended": f"Ended: {count}; it can be resumed."}.get(
            view.state, f"Failed: {count} are kept."
        )
    if view.state == "ending":
        return f"{count}: ends"
    at = "" if progress.set_deg is None else f" {progress.set_deg:g}°"
    again = f", try {progress.attempt + 1}" if progress.attempt else ""
    left = "" if not progress.remaining_s else f"; {round(progress.remaining_s)} s left"
    return f"{count}:{at} {_STAGES[progress.stage]}{again}{left}"


def _degrees(text: str) -> tuple[float, ...]:
    return parse_angles(text, "Emitters") if text.strip() else ()


def _choice(words: tuple[str, ...], tip: str) -> QComboBox:
    made = QComboBox()
    made.addItems(list(words))
    made.setMinimumHeight(HEIGHT_PX)
    made.setToolTip(tip)
    return made


def _words() -> QLabel:
    made = QLabel("")
    made.setWordWrap(True)
    return made
