"""Learning: what is asked, how it goes, what was found, what cannot be found."""

from __future__ import annotations

import math

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QFrame,
    QGridLayout,
    QLabel,
    QScrollArea,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
)

from gui.facts import Facts
from gui.learn_compare import Compared
from gui.panels.elements import ElementsPanel
from gui.panels.learn_form import LearnForm
from gui.panels.learned_table import ComparedTable, ElementTable
from gui.panels.panel import Panel
from gui.panels.parts import HEIGHT_PX, button
from gui.panels.score_plot import ScorePlot
from gui.station import Station
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError

_IDLE = ("off", "dead", "refused")
_START = "Press Start learning: the array is learned from what it hears, nothing is told to it."


class LearningPanel(Panel):
    """Buttons for the learner, circles of the elements, score, before and after, numbers, and what cannot be known."""

    title = "Learning"

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station = station
        self.start = button("Start learning", self.start_or_stop, "Learn from what streams, or end it")
        self.race = button(
            "Race", self.start_race, "Try all methods on the same data; the best one is offered, not used"
        )
        self.pause = button(
            "Pause", self._pause, "Offer nothing to the learner for a while; what it knows stays"
        )
        self.accept = button("Accept", station.accept, "Use the calibration that is offered")
        self.discard = button("Discard", station.discard, "Forget the calibration that is offered")
        self.accepting = QComboBox()
        self.accepting.addItems(["at once", "when asked"])
        self.accepting.setMinimumHeight(HEIGHT_PX)
        self.accepting.setToolTip("A calibration that has converged is used at once, or waits for Accept")
        self.accepting.textActivated.connect(self._choose_accepting)
        self.state = QLabel(_START)
        self.state.setWordWrap(True)
        self.form = LearnForm()
        self.form.copy.clicked.connect(self._copy)
        self.elements, self.score = ElementsPanel(), ScorePlot()
        self.compared, self.numbers = ComparedTable(), ElementTable()
        self.unknown = QLabel("")
        self.unknown.setWordWrap(True)
        self.unknown.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.unknown.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.tabs = QTabWidget()
        self._lay_out()
        self._shown: object = None
        self._attempts: tuple[int, float] = (0, 0.0)
        self._last_compared: Compared | None = None

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(3)
        for i, widget in enumerate(
            (self.start, self.race, self.pause, self.accept, self.discard, self.accepting)
        ):
            grid.addWidget(widget, i // 3, i % 3)
        learned = QSplitter(Qt.Orientation.Vertical)
        for widget, stretch in ((self.elements, 3), (self.compared, 2)):
            learned.addWidget(widget)
            learned.setStretchFactor(learned.count() - 1, stretch)
        learned.setSizes([200, 150])
        reading = QScrollArea()
        reading.setWidget(self.unknown)
        reading.setWidgetResizable(True)
        reading.setFrameShape(QFrame.Shape.NoFrame)
        for name, widget in (
            ("Learned", learned),
            ("Numbers", self.numbers),
            ("Loss", self.score),
            ("Limits", reading),
            ("Settings", self.form),
        ):
            self.tabs.addTab(widget, name)
        self.tabs.setCurrentWidget(self.form)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addLayout(grid)
        column.addWidget(self.state)
        column.addWidget(self.tabs, stretch=1)

    def start_or_stop(self) -> None:
        """Start with what the form says, or end."""
        if self._station.facts().learning in _IDLE:
            self._begin(None)
        else:
            self._station.stop_learning()

    def start_race(self) -> None:
        """Start a race with what the form says."""
        self._begin("race")

    def show_facts(self, facts: Facts) -> None:
        """Buttons, words, and what is new."""
        desk = self._station.desk
        idle, streaming = facts.learning in _IDLE, facts.link == "streaming"
        self.start.setText("Start learning" if idle else "Stop learning")
        self.start.setEnabled(streaming or not idle)
        self.race.setEnabled(streaming and idle)
        self.pause.setText("Resume" if desk.paused and not idle else "Pause")
        self.pause.setEnabled(not idle)
        for made in (self.accept, self.discard):
            made.setEnabled(desk.offered is not None)
        if self.accepting.currentText() != self._station.accepting:
            self.accepting.setCurrentText(self._station.accepting)
        if facts.learning != "off" or desk.update is not None:
            self._say(facts)
        attempts = (len(desk.attempts), desk.attempts[-1].time_s if desk.attempts else 0.0)
        if attempts != self._attempts:
            self._attempts = attempts
            self.score.show_attempts(list(desk.attempts))
        if desk.compared is not self._last_compared and desk.compared is not None:
            self._last_compared = desk.compared
            self.compared.show_compared(desk.compared)
        self._show(desk.offered or self._station.calibration)

    def _show(self, calibration: Calibration | None) -> None:
        if calibration is None or calibration.id == self._shown:
            return
        if self._shown is None:
            self.tabs.setCurrentIndex(0)
        self._shown = calibration.id
        self.elements.show_calibration(calibration)
        self.numbers.show_calibration(calibration)

    def _say(self, facts: Facts) -> None:
        desk, used = self._station.desk, self._station.calibration
        parts = [facts.learning_words]
        if desk.offered is not None:
            parts = [f"Offered: {facts.learning_words}", "Accept or discard it; what is drawn is the offer"]
        elif used is not None:
            parts.append(f"In use: {used.id[:8]}, {used.method}")
        parts.append(facts.learning_remedy)
        words = " ".join(_sentence(part) for part in parts if part)
        self.state.setText(words)
        self.unknown.setText("\n\n".join(self._unknown_lines()))

    def _unknown_lines(self) -> list[str]:
        desk = self._station.desk
        update = desk.update
        if update is None:
            return ["Nothing is learned yet."]
        lines, result = [], update.result
        if result is None:
            lines.append(" ".join(_sentence(part) for part in (update.problem, update.hint) if part))
            if update.parameters:
                lines.append("Not known: " + ", ".join(update.parameters) + ".")
        else:
            if not result.converged:
                lines.append(f"Not usable yet: {result.reason}.")
            gauge = result.gauge
            lines.append(
                f"Angles are right within {gauge.angle_sigma_deg:.2g}° (offset {gauge.offset_sigma_deg:.2g}°, scale "
                f"{100 * gauge.scale_sigma:.2g} %) if this is true: {gauge.assumes or 'nothing is assumed'}."
            )
            lines.append(
                "Cannot be known from these data: the phase and level that all elements share, where the array's middle is"
                + "".join(f"; {words}" for words in result.not_identifiable)
                + "."
            )
            if result.lit_deg is not None:
                low, high = result.lit_deg
                holes = "".join(f", not {a:.0f}° to {b:.0f}°" for a, b in result.holes_deg)
                lines.append(f"Signals came from {low:.0f}° to {high:.0f}°{holes}.")
            lines += [f"Note: {note}." for note in result.notes]
        if desk.compared is not None and desk.compared.problem:
            lines.append(f"Truth file: {desk.compared.problem}.")
        return [*lines, *_race_lines(desk.race)]

    def _begin(self, method: str | None) -> None:
        try:
            settings = self.form.settings(method)
        except ConfigError as err:
            self.state.setText(f"{_sentence(str(err))} {_sentence(err.hint)}")
            self.tabs.setCurrentWidget(self.form)
            return
        self._station.desk.truth = self.form.truth_file()
        self._station.learn(settings)

    def _pause(self) -> None:
        self._station.pause_learning(not self._station.desk.paused)

    def _choose_accepting(self, text: str) -> None:
        self._station.accepting = "at once" if text == "at once" else "when asked"

    def _copy(self) -> None:
        try:
            settings = self.form.settings()
        except ConfigError as err:
            self.state.setText(f"{_sentence(str(err))} {_sentence(err.hint)}")
            return
        script = self._station.learn_command(settings)
        QApplication.clipboard().setText(script)
        self.state.setText(f"Copied: {script}")


def _sentence(words: str) -> str:
    """With a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def _race_lines(race: tuple[dict[str, object], ...]) -> list[str]:
    """A line for each method, best first."""
    if not race:
        return []
    lines = ["Race, judged on blocks that none of them saw:"]
    for row in race:
        excess, sigma, seconds = (
            float(str(row[key])) for key in ("held_out_excess", "angle_sigma_deg", "seconds")
        )
        found = "converged" if row["converged"] else f"not converged: {row['reason']}"
        if math.isfinite(excess) and row["converged"]:
            found += f"; excess {excess:+.2f}, angles within {sigma:.2g}°"
        lines.append(f"{'★ ' if row['winner'] else ''}{row['method']}: {found} ({seconds:.1f} s)")
    return lines
