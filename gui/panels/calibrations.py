"""The calibrations: which there are, whether they fit what streams now, use, undo, notes, comparison, import, export."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QBrush, QColor, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QSizePolicy,
    QSplitter,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from gui.calibrations import COLUMNS, PAGE, Listing, Outcome, Row, calib_script, in_words, now_utc
from gui.export_wizard import ExportWizard
from gui.facts import Facts
from gui.panels.ask import Ask
from gui.panels.difference_table import DifferenceTable
from gui.panels.panel import Panel
from gui.panels.parts import HEIGHT_PX, button
from gui.station import Station
from gui.strip import COLOURS
from hil.core.calibration import Calibration

_FRAME_PX = 26
_COLUMNS = ("fits?", *COLUMNS)
_Index = QModelIndex | QPersistentModelIndex
_LETTERS = 4  # a reason is a word at least


class _KeepsColour(QStyledItemDelegate):
    """Of a selected row, too."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: _Index) -> None:  # noqa: N802
        """Qt's name."""
        super().initStyleOption(option, index)
        option.state &= ~QStyle.StateFlag.State_Selected  # type: ignore[attr-defined]


class CalibrationsPanel(Panel):
    """A page of the store, newest first; what does not fit is red, says why, and needs a reason to be used."""

    title = "Calibrations"
    #: A file was written: its name and size.
    exported = Signal(str)

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station = station
        self._listing: Listing | None = None
        self._gist: tuple[object, ...] = ()
        self._waiting: list[Outcome] = []
        self.wizard: ExportWizard | None = None
        self.search = QLineEdit()
        self.search.setPlaceholderText("search: id, device, method, date, note")
        self.search.setMinimumHeight(HEIGHT_PX)
        self.search.textChanged.connect(self._search)
        self.newer, self.older = button("Newer", self._newer), button("Older", self._older)
        self.page = QLabel("-")
        self.table = self._table()
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.ask = Ask()
        self.changes = DifferenceTable()
        self.use = button("Use", self._use, "Correct with the selected calibration")
        self.use_none = button("Use none", lambda: station.use(None), "Show the nominal array")
        self.undo = button("Undo", lambda: station.step_use(-1), "What was in use before (Ctrl+Z)")
        self.redo = button("Redo", lambda: station.step_use(+1), "Take Undo back (Ctrl+Shift+Z)")
        self.keep = button("Keep", self._keep, "Put the calibration in use into the store")
        self.note = button("Note…", self._note, "Write a line to the selected calibration")
        self.compare = button(
            "Compare", self._compare, "The two selected, or the selected and the one in use"
        )
        self.import_ = button("Import…", self._import, "Put a file (h5, npz, json) into the store")
        self.export = button("Export…", self._export, "Write a file for MATLAB, NumPy, a table ...")
        self.script = button("Copy as script", None, "The command that does the same")
        self.scripts = QMenu(self.script)
        self.scripts.aboutToShow.connect(self._list_scripts)
        self.script.setMenu(self.scripts)
        self._lay_out()
        self._show_selected()

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.search, stretch=1)
        for widget in (self.newer, self.page, self.older):
            top.addWidget(widget)
        self._buttons, self._grid = (
            self.use, self.use_none, self.undo, self.redo, self.keep,
            self.note, self.compare, self.import_, self.export, self.script,
        ), QGridLayout()  # fmt: skip
        upper = QWidget()
        column = QVBoxLayout(upper)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        column.addWidget(self.table, stretch=1)
        column.addWidget(self.words)
        column.addWidget(self.ask)
        column.addLayout(self._grid)
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(upper)
        split.addWidget(self.changes)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 2)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(split)

    def _table(self) -> QTableWidget:
        table = QTableWidget(0, len(_COLUMNS))
        table.setHorizontalHeaderLabels(_COLUMNS)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(32)
        table.horizontalHeader().setStretchLastSection(True)
        table.setWordWrap(False)
        table.setItemDelegateForColumn(0, _KeepsColour(table))
        table.itemSelectionChanged.connect(self._show_selected)
        return table

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """As many buttons in a row as can be read."""
        widest_px = self.fontMetrics().horizontalAdvance(self.script.text()) + _FRAME_PX
        n = max(self.width() // widest_px, 2)
        for i, made in enumerate(self._buttons):
            made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            self._grid.addWidget(made, i // n, i % n)
        super().resizeEvent(event)

    # ---- what is shown --------------------------------------------------------------------------------

    def show_facts(self, facts: Facts) -> None:
        """Some times a second; only what has changed is drawn."""
        station = self._station
        session = station.session
        stream = None if session is None else session.stream
        listing = station.calibrations.shelf.look(stream, station.calibration)
        if listing is not self._listing:
            self._fill(listing)
        uses = station.calibrations.uses
        self.undo.setEnabled(uses.neighbour(-1) is not None)
        self.redo.setEnabled(uses.neighbour(+1) is not None)
        self.use_none.setEnabled(station.calibration is not None)
        self.keep.setEnabled(any(not row.kept for row in listing.rows))
        self._told()

    def _fill(self, listing: Listing) -> None:
        chosen = {row.id for row in self._selected()}
        self._listing = listing
        rows, table, in_use, now = listing.rows, self.table, self._station.calibration, now_utc()
        table.blockSignals(True)
        table.setRowCount(len(rows))
        for i, row in enumerate(rows):
            used = in_use is not None and row.id == in_use.id
            v = row.verdict
            first = f"{v.level.value} {v.word}" + (" · IN USE" if used else "")
            tip = f"{v.reason}\n{v.remedy}".strip()
            for k, text in enumerate(row.cells(now), 1):
                self._set(i, k, text, tip, used)
            back, ink = COLOURS[v.level]
            item = self._set(i, 0, first, tip, True)
            item.setBackground(QBrush(QColor(back)))
            item.setForeground(QBrush(QColor(ink)))
        table.clearSelection()
        mode = table.selectionMode()
        table.setSelectionMode(QAbstractItemView.SelectionMode.MultiSelection)
        for i, row in enumerate(rows):
            if row.id in chosen:
                table.selectRow(i)
        table.setSelectionMode(mode)
        table.blockSignals(False)
        last = min(listing.first + PAGE, listing.total)
        self.page.setText(f"{listing.first + 1}–{last} of {listing.total}" if listing.total else "none")
        self.newer.setEnabled(listing.first > 0)
        self.older.setEnabled(last < listing.total)
        gist = (in_use is not None and in_use.id, _gist(listing))
        if gist != self._gist:
            self._gist = gist
            table.resizeColumnsToContents()
            self._show_selected()

    def _set(self, i: int, k: int, text: str, tip: str, bold: bool) -> QTableWidgetItem:
        item = self.table.item(i, k)
        if item is None:
            item = QTableWidgetItem()
            self.table.setItem(i, k, item)
        item.setText(text)
        item.setToolTip(tip)
        font = item.font()
        font.setBold(bold)
        item.setFont(font)
        return item

    def _selected(self) -> list[Row]:
        """In the order of the list: newest first."""
        rows = () if self._listing is None else self._listing.rows
        where = sorted({index.row() for index in self.table.selectedIndexes()})
        return [rows[i] for i in where if i < len(rows)]

    def _show_selected(self) -> None:
        chosen, listing = self._selected(), self._listing
        one = chosen[0] if len(chosen) == 1 else None
        readable = one is not None and one.calibration is not None
        self.use.setEnabled(readable)
        self.note.setEnabled(one is not None and one.kept)
        self.export.setEnabled(readable)
        self.compare.setEnabled(len(self._pair()) == 2)
        if listing is not None and listing.problem:
            self.words.setText(f"■ {listing.problem}")
        elif one is not None:
            v = one.verdict
            self.words.setText(
                f"{v.level.value} {v.word}: {v.reason}" + (f" What to do: {v.remedy}." if v.remedy else "")
            )
        elif listing is not None and not listing.total and not self.search.text():
            self.words.setText("The store is empty: learn, or import a file.")
        else:
            self.words.setText("Select a calibration; two of them (Ctrl) can be compared.")

    def _told(self) -> None:
        """What the errands that this panel sent have come to."""
        for outcome in [o for o in self._waiting if o.finished]:
            self._waiting.remove(outcome)
            if outcome.error is not None:
                self.words.setText(f"■ {in_words(outcome.error)}")
            elif outcome.value is not None:
                self.changes.show_difference(outcome.value)
            else:
                self.words.setText(outcome.words)

    # ---- what is done ---------------------------------------------------------------------------------

    def _use(self) -> None:
        (row,) = self._selected()
        v, calibration = row.verdict, row.calibration
        if calibration is None:
            return
        if v.usable:
            self._station.use(calibration)
        elif not v.excusable:
            self.words.setText(f"■ {v.word}: {v.reason} This cannot be overridden.")
        else:
            self.ask.ask(
                f"■ {row.id[:12]} {v.word}: {v.reason}\nTo use it all the same, type the reason; it is shown while it is in use.",
                "Use all the same", lambda reason: self._station.use(calibration, forced=reason), least=_LETTERS,
            )  # fmt: skip

    def _keep(self) -> None:
        calibration = self._station.calibration
        if calibration is not None:
            self._waiting.append(self._station.calibrations.shelf.keep(calibration))

    def _note(self) -> None:
        (row,) = self._selected()
        self.ask.ask(
            f"Note to {row.id[:12]}:", "Write",
            lambda text: self._waiting.append(self._station.calibrations.shelf.note(row.id, text)), text=row.note,
        )  # fmt: skip

    def _pair(self) -> list[Row]:
        """What Compare compares, older first."""
        chosen, in_use = self._selected(), self._station.calibration
        if len(chosen) == 1 and in_use is not None and chosen[0].id != in_use.id:
            used = Row(in_use.id, chosen[0].verdict, in_use)
            chosen = [used, *chosen]
        return [row for row in reversed(chosen) if row.calibration is not None]

    def _compare(self) -> None:
        first, second = (row.calibration for row in self._pair())
        if first is not None and second is not None:
            self._waiting.append(self._station.calibrations.shelf.compare(first, second))

    def _import(self) -> None:
        self.ask.ask(
            "File to import (h5, npz, json):", "Import",
            lambda text: self._waiting.append(self._station.calibrations.shelf.take_in(Path(text).expanduser())),
            least=1, file=True,
        )  # fmt: skip

    def _export(self) -> None:
        (chosen,) = self._selected()
        if chosen.calibration is not None:
            self.open_wizard(chosen.calibration)

    def export_in_use(self) -> bool:
        """Open the export of the calibration in use; False if there is none. The panel need not be visible."""
        calibration = self._station.calibration
        if calibration is not None:
            self.open_wizard(calibration)
        return calibration is not None

    def open_wizard(self, chosen: Calibration) -> None:
        """The export, beside the window; it waits for nothing."""
        rows = () if self._listing is None else self._listing.rows
        others = [row.calibration for row in rows if row.calibration is not None and row.id != chosen.id]
        if self.wizard is not None:
            self.wizard.close()
        self.wizard = wizard = ExportWizard(
            self._station.calibrations.shelf, [chosen, *others], chosen, self.window()
        )
        wizard.written.connect(self.exported)
        wizard.finished.connect(self._wizard_closed)
        wizard.show()

    def _wizard_closed(self) -> None:
        wizard, self.wizard = self.wizard, None
        if wizard is not None:
            wizard.deleteLater()

    def _list_scripts(self) -> None:
        self.scripts.clear()
        pair = self._pair()
        commands = [("List", calib_script("history"))]
        for row in self._selected()[:1]:
            if row.kept:
                commands += [("Use", calib_script("restore", row.id)), ("Show", calib_script("show", row.id))]
                commands += [("Check", calib_script("check", row.id, self._station.facts().uri or "INPUT"))]
                commands += [("Export", calib_script("export", row.id, f"calibration-{row.id[:8]}.mat"))]
        if len(pair) == 2 and all(row.kept for row in pair):
            commands.append(("Compare", calib_script("diff", *(row.id for row in pair))))
        for name, command in commands:
            self.scripts.addAction(f"{name}:  {command}").triggered.connect(
                lambda _=False, text=command: self._copy(text)
            )

    def _copy(self, text: str) -> None:
        QApplication.clipboard().setText(text)
        self.words.setText(f"copied: {text}")

    def _search(self, text: str) -> None:
        self._station.calibrations.shelf.search(text)

    def _newer(self) -> None:
        self._station.calibrations.shelf.turn(-1)

    def _older(self) -> None:
        self._station.calibrations.shelf.turn(+1)


def _gist(listing: Listing) -> tuple[object, ...]:
    """What decides on widths, buttons and words; ages do not."""
    return (
        listing.problem,
        listing.first,
        *((row.id, row.verdict, row.note, row.kept) for row in listing.rows),
    )
