"""The panel of the calibrations, clicked and typed into, over a real store and a simulated array."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from gui.calibrations import PAGE
from gui.lamps import Lamp, Level, lamps
from gui.panels.calibrations import CalibrationsPanel
from gui.station import Station
from gui.strip import COLOURS
from hil.core.calibration import Calibration
from hil.core.epoch import Epoch, new_epoch
from hil.core.gauge import Gauge
from hil.store import Store, save
from tests.gui.calibration_shelf import make_calibration, make_stream, until


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    monkeypatch.setenv("HIL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    made = Station(keep=True)
    yield made
    assert made.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-")]


@pytest.fixture
def panel(station: Station, qtbot) -> CalibrationsPanel:
    made = CalibrationsPanel(station)
    qtbot.addWidget(made)
    made.resize(900, 600)
    made.show()
    return made


def _connect(station: Station, start: bool = False) -> None:
    station.connect("sim:", "ula:8:0.5")
    if start:
        station.start()
    until(lambda: station.facts().link == ("streaming" if start else "ready"))


def _calibration(station: Station, seed: int = 0, **more: object) -> Calibration:
    assert station.session is not None
    return make_calibration(station.session.stream, seed, **more)


def _shown(panel: CalibrationsPanel, qtbot, ids: list[str]) -> None:
    """Wait until the first rows are these."""

    def there() -> bool:
        panel.show_facts(panel._station.facts())
        return [panel.table.item(i, 3).text() for i in range(min(panel.table.rowCount(), len(ids)))] == [
            i[:12] for i in ids
        ]

    qtbot.waitUntil(there, timeout=20_000)


def _says(panel: CalibrationsPanel, qtbot, words: str) -> None:
    def there() -> bool:
        panel.show_facts(panel._station.facts())
        return words in panel.words.text()

    qtbot.waitUntil(there, timeout=20_000)


def _fits(panel: CalibrationsPanel, qtbot, row: int, words: str) -> None:
    def there() -> bool:
        panel.show_facts(panel._station.facts())
        return panel.table.item(row, 0) is not None and panel.table.item(row, 0).text() == words

    qtbot.waitUntil(there, timeout=20_000)


def _click(panel: CalibrationsPanel, qtbot, button) -> None:
    def ready() -> bool:
        panel.show_facts(panel._station.facts())
        return button.isEnabled()

    qtbot.waitUntil(ready, timeout=20_000)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def _cal(station: Station) -> Lamp:
    return next(lamp for lamp in lamps(station.facts()) if lamp.name == "CAL")


def test_use_undo_redo_and_none(panel: CalibrationsPanel, station: Station, qtbot) -> None:
    _connect(station)
    a, b = _calibration(station, 0), _calibration(station, 1)
    for calibration in (a, b):
        Store().add(calibration)
    _shown(panel, qtbot, [b.id, a.id])
    assert not panel.undo.isEnabled()
    panel.table.selectRow(1)
    _click(panel, qtbot, panel.use)
    assert station.calibration.id == a.id
    _fits(panel, qtbot, 1, "● FITS · IN USE")
    assert _cal(station).level is Level.GOOD
    panel.table.selectRow(0)
    _click(panel, qtbot, panel.use)
    _fits(panel, qtbot, 0, "● FITS · IN USE")
    _click(panel, qtbot, panel.undo)
    assert station.calibration.id == a.id
    _click(panel, qtbot, panel.undo)
    assert station.calibration is None
    panel.show_facts(station.facts())
    assert not panel.undo.isEnabled()
    assert not panel.use_none.isEnabled()
    _click(panel, qtbot, panel.redo)
    _click(panel, qtbot, panel.redo)
    assert station.calibration.id == b.id
    _click(panel, qtbot, panel.use_none)
    assert (station.calibration, station.applied) == (None, None)
    qtbot.waitUntil(lambda: Store().current_id() == b.id, timeout=20_000)


def test_what_does_not_fit_needs_a_typed_reason_and_the_lamp_stays_red(
    panel: CalibrationsPanel, station: Station, qtbot
) -> None:
    _connect(station)
    wrong = _calibration(station, device_serial="S9")
    Store().add(wrong)
    _shown(panel, qtbot, [wrong.id])
    item = panel.table.item(0, 0)
    assert item.text() == "■ OTHER DEVICE"
    assert item.background().color().name() == COLOURS[Level.BAD][0]
    panel.table.selectRow(0)
    assert "S9" in panel.words.text()
    assert "What to do" in panel.words.text()
    _click(panel, qtbot, panel.use)
    assert station.calibration is None, "one click is not enough"
    assert panel.ask.isVisible()
    assert not panel.ask.ok.isEnabled()
    qtbot.keyClicks(panel.ask.line, "   ")
    assert not panel.ask.ok.isEnabled(), "blanks are no reason"
    qtbot.keyClicks(panel.ask.line, "board swapped, same cables")
    _click(panel, qtbot, panel.ask.ok)
    assert station.applied is station.calibration
    assert station.calibration.id == wrong.id
    lamp = _cal(station)
    assert (lamp.level, lamp.word) == (Level.BAD, "MISMATCH")
    assert "board swapped, same cables" in lamp.explanation
    _click(panel, qtbot, panel.use_none)
    _click(panel, qtbot, panel.undo)
    assert station.applied is not None, "undo brings the reason back as well"


def test_another_number_of_elements_cannot_be_overridden(
    panel: CalibrationsPanel, station: Station, qtbot
) -> None:
    _connect(station)
    small = make_calibration(make_stream(4))
    Store().add(small)
    _shown(panel, qtbot, [small.id])
    panel.table.selectRow(0)
    _click(panel, qtbot, panel.use)
    assert not panel.ask.isVisible()
    assert "cannot be overridden" in panel.words.text()
    station.use(small, forced="from Python")
    assert station.applied is None


def test_a_retune_takes_the_calibration_away_until_there_is_a_reason(
    panel: CalibrationsPanel, station: Station, qtbot
) -> None:
    _connect(station, start=True)
    calibration = _calibration(station)
    Store().add(calibration)
    _shown(panel, qtbot, [calibration.id])
    panel.table.selectRow(0)
    _click(panel, qtbot, panel.use)
    assert station.applied is not None
    config = station.session.stream.config
    station.configure(replace(config, fc_hz=config.fc_hz + 1e3))
    qtbot.waitUntil(lambda: station.applied is None, timeout=20_000)
    _fits(panel, qtbot, 0, "■ STALE · IN USE")
    assert "carrier was set anew" in panel.words.text()
    lamp = _cal(station)
    assert (lamp.level, lamp.word) == (Level.BAD, "STALE")
    assert "not applied" in lamp.explanation
    assert "carrier was set anew" in lamp.explanation
    assert "Calibrations with a reason" in lamp.remedy
    _click(panel, qtbot, panel.use)
    qtbot.keyClicks(panel.ask.line, "cables measured")
    qtbot.keyClick(panel.ask.line, Qt.Key.Key_Return)
    assert station.applied is not None
    assert "cables measured" in _cal(station).explanation
    station.use(calibration)
    assert station.applied is None, "another use needs another reason"


def test_after_the_users_choice_the_learner_waits(station: Station) -> None:
    _connect(station)
    offered, chosen = _calibration(station, 0), _calibration(station, 1)
    station.desk.state, station.desk.offered = "converged", offered
    station.poll()
    assert station.calibration is offered
    until(lambda: [e.id for e in Store().history()] == [offered.id])
    station.desk.state = "following"
    for _ in range(3):
        station.desk.offered = followed = _calibration(station, 0)
        station.poll()
        assert station.calibration is followed
    station.step_use(-1)
    assert station.calibration is None, "the phases that were followed are one use"
    assert station.accepting == "when asked"
    station.desk.offered = later = _calibration(station, 2)
    station.poll()
    assert station.calibration is None
    station.accept()
    assert station.calibration is later
    station.use(chosen)
    assert [e.id for e in Store().history()] == [offered.id], "not a file for every phase that was followed"


def test_keep_note_and_compare(panel: CalibrationsPanel, station: Station, qtbot) -> None:
    _connect(station)
    kept, fresh = _calibration(station, 0), _calibration(station, 1)
    Store().add(kept)
    station.use(fresh)
    _shown(panel, qtbot, [fresh.id, kept.id])
    assert panel.table.item(0, 9).text() == "not in the store yet"
    _click(panel, qtbot, panel.keep)
    _says(panel, qtbot, "is in the store")
    assert [e.id for e in Store().history()] == [kept.id, fresh.id]
    panel.table.selectRow(0)
    _click(panel, qtbot, panel.note)
    qtbot.keyClicks(panel.ask.line, "cold start")
    _click(panel, qtbot, panel.ask.ok)
    qtbot.waitUntil(lambda: Store().history()[1].note == "cold start", timeout=20_000)
    panel.table.selectRow(1)
    _click(panel, qtbot, panel.compare)
    qtbot.waitUntil(lambda: (panel.show_facts(station.facts()), panel.changes.isVisible())[1], timeout=20_000)
    assert f"{kept.id[:12]} → {fresh.id[:12]}" in panel.changes.words.text()
    assert panel.changes.table.rowCount() == 8
    phase = fresh.impairments.gain / kept.impairments.gain
    assert panel.changes.table.item(3, 2).text() == f"{np.degrees(np.angle(phase[3])):+.2f} ± 0.57"
    assert panel.changes.table.item(0, 2).text() == "+0.00 ± 0.57"


def test_import_by_typing_a_name(panel: CalibrationsPanel, station: Station, qtbot, tmp_path: Path) -> None:
    calibration = make_calibration(make_stream())
    save(calibration, tmp_path / "c.h5")
    _click(panel, qtbot, panel.import_)
    qtbot.keyClicks(panel.ask.line, str(tmp_path / "none.h5"))
    _click(panel, qtbot, panel.ask.ok)
    _says(panel, qtbot, "No such file")
    assert "\n" not in panel.words.text()
    _click(panel, qtbot, panel.import_)
    qtbot.keyClicks(panel.ask.line, str(tmp_path / "c.h5"))
    qtbot.keyClick(panel.ask.line, Qt.Key.Key_Return)
    _shown(panel, qtbot, [calibration.id])
    assert panel.table.item(0, 0).text() == "○ NOT CHECKED"
    assert station.calibration is None, "to import is not to use"


def test_commands_can_be_copied(panel: CalibrationsPanel, station: Station, qtbot) -> None:
    a, b = make_calibration(make_stream()), make_calibration(make_stream(), 1)
    for calibration in (a, b):
        Store().add(calibration)
    _shown(panel, qtbot, [b.id, a.id])
    panel.table.selectAll()
    panel.scripts.aboutToShow.emit()
    for action in panel.scripts.actions():
        action.trigger()
        assert QApplication.clipboard().text().startswith("hil calib ")
    assert QApplication.clipboard().text() == f"hil calib diff {a.id} {b.id}"


def test_pages_search_and_a_selection_that_stays(panel: CalibrationsPanel, station: Station, qtbot) -> None:
    stream = make_stream()
    many = [make_calibration(stream, id=f"c{k:03d}") for k in range(PAGE + 3)]
    for calibration in many:
        Store().add(calibration)
    _shown(panel, qtbot, [c.id for c in reversed(many)][:PAGE])
    assert panel.page.text() == f"1–{PAGE} of {PAGE + 3}"
    panel.table.selectRow(5)
    Store().add(make_calibration(stream, id="new"))
    _shown(panel, qtbot, ["new", many[-1].id])
    assert [row.id for row in panel._selected()] == [many[-6].id], "the row moved, the choice did not"
    _click(panel, qtbot, panel.older)
    _shown(panel, qtbot, [c.id for c in reversed(many[:4])])
    assert not panel.older.isEnabled()
    assert panel.table.rowCount() == 4
    qtbot.keyClicks(panel.search, "C007")
    _shown(panel, qtbot, ["c007"])
    assert panel.page.text() == "1–1 of 1"


def test_a_damaged_file_and_a_lost_store_are_told_and_nothing_can_be_done_with_them(
    panel: CalibrationsPanel, station: Station, qtbot, tmp_path: Path
) -> None:
    calibration = make_calibration(make_stream())
    Store().add(calibration)
    (Store().folder / f"{calibration.id}.h5").write_bytes(b"HIL-CALIBRATION\nbytes 3\n")
    _shown(panel, qtbot, [calibration.id])
    assert panel.table.item(0, 0).text() == "■ DAMAGED"
    panel.table.selectRow(0)
    assert not panel.use.isEnabled()
    assert not panel.export.isEnabled()
    assert "not a calibration file" in panel.words.text()
    (tmp_path / "home").rename(tmp_path / "away")
    _says(panel, qtbot, "not there any more")


def test_an_empty_store_says_what_to_do(panel: CalibrationsPanel, qtbot) -> None:
    _says(panel, qtbot, "learn, or import a file")
    assert panel.page.text() == "none"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_it_can_be_looked_at(station: Station, qtbot, tmp_path: Path, theme: str) -> None:
    from gui.theme import apply_theme

    application = QApplication.instance()
    assert isinstance(application, QApplication)
    apply_theme(application, theme)  # type: ignore[arg-type]
    panel = CalibrationsPanel(station)
    qtbot.addWidget(panel)
    panel.resize(360, 620)
    panel.show()
    _connect(station)
    stream = station.session.stream
    epoch = Epoch(stream.epoch.serial, stream.epoch.session, stream.epoch.counter + 1)
    made = [
        _calibration(station, 0, epoch=new_epoch("S1")), _calibration(station, 1, epoch=epoch),
        _calibration(station, 2, gauge=Gauge("prior", angle_sigma_deg=1.5)), _calibration(station, 3),
    ]  # fmt: skip
    for calibration in made:
        Store().add(calibration)
    _shown(panel, qtbot, [c.id for c in reversed(made)])
    words = [panel.table.item(i, 0).text() for i in range(4)]
    assert words == ["● FITS", "▲ WIDE", "■ STALE", "▲ UNPROVEN"]
    assert panel.grab().save(str(tmp_path / "panel.png"))
    assert all(button.height() >= 32 for button in panel._buttons)
