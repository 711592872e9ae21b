"""The export wizard, typed into: words, snippets and commands of each format; files of others are never touched."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QFileDialog

from gui.calibrations import Shelf
from gui.export_wizard import ExportWizard
from gui.panels.calibrations import CalibrationsPanel
from gui.station import Station
from hil.core.calibration import Calibration
from hil.export import read, ready_formats
from hil.store import Store
from tests.gui.calibration_shelf import make_calibration, make_stream


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def calibration() -> Calibration:
    return make_calibration(make_stream())


@pytest.fixture
def wizard(qtbot, calibration: Calibration) -> Iterator[ExportWizard]:
    shelf = Shelf()
    other = make_calibration(make_stream(), 1)
    made = ExportWizard(shelf, [other, calibration], calibration)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close()
    assert not made._timer.isActive()
    assert shelf.close(20.0)


def _type(qtbot, wizard: ExportWizard, path: Path | str) -> None:
    wizard.path.clear()
    qtbot.keyClicks(wizard.path, str(path))


def _says(qtbot, wizard: ExportWizard, words: str) -> None:
    qtbot.waitUntil(lambda: words in wizard.told.text(), timeout=20_000)


def test_from_the_name_in_the_line_to_a_file(
    wizard: ExportWizard, qtbot, tmp_path: Path, calibration: Calibration
) -> None:
    assert wizard.calibration is calibration
    _type(qtbot, wizard, tmp_path / "c.h5")
    qtbot.mouseClick(wizard.export, Qt.MouseButton.LeftButton)
    _says(qtbot, wizard, "● Written: ")
    assert read(tmp_path / "c.h5").id == calibration.id
    assert wizard.export.isEnabled()
    wizard.which.setCurrentIndex(0)
    _type(qtbot, wizard, tmp_path / "other.h5")
    qtbot.mouseClick(wizard.export, Qt.MouseButton.LeftButton)
    _says(qtbot, wizard, "other.h5")
    assert read(tmp_path / "other.h5").id == wizard.calibration.id


def test_every_format_says_what_it_holds_its_sign_its_command_and_how_to_load_it(
    wizard: ExportWizard, qtbot, tmp_path: Path, calibration: Calibration
) -> None:
    for i, (name, form) in enumerate(ready_formats().items()):
        wizard.format.setCurrentIndex(i)
        assert wizard.file.suffix == form.suffix, "the ending follows the format"
        assert wizard.command.text().endswith(f"--format {name}")
        assert str(wizard.file) in wizard.command.text()
        assert str(wizard.file) in wizard.snippet.toPlainText()
        assert len(wizard.holds.text()) > 20
        assert "divide" in wizard.sign.text()
    wizard.format.setCurrentIndex(list(ready_formats()).index("mat"))
    assert "can be imported again" in wizard.holds.text()
    wizard.program.setCurrentText("MATLAB")
    assert "load('" in wizard.snippet.toPlainText()
    qtbot.mouseClick(wizard.copy_snippet, Qt.MouseButton.LeftButton)
    assert QApplication.clipboard().text() == wizard.snippet.toPlainText()
    qtbot.mouseClick(wizard.copy_command, Qt.MouseButton.LeftButton)
    assert QApplication.clipboard().text() == wizard.command.text()
    _type(qtbot, wizard, tmp_path / "my.own")
    wizard.format.setCurrentIndex(0)
    assert wizard.file.name == "my.own", "an ending of the user's own stays"


def test_a_file_is_replaced_only_after_a_second_click(
    wizard: ExportWizard, qtbot, tmp_path: Path, calibration: Calibration
) -> None:
    (tmp_path / "c.h5").write_text("mine")
    _type(qtbot, wizard, tmp_path / "c.h5")
    qtbot.mouseClick(wizard.export, Qt.MouseButton.LeftButton)
    _says(qtbot, wizard, "exists")
    assert wizard.replace.isVisible()
    assert (tmp_path / "c.h5").read_text() == "mine"
    qtbot.keyClicks(wizard.path, "x")
    assert not wizard.replace.isVisible(), "another name is another question"
    qtbot.keyClick(wizard.path, Qt.Key.Key_Backspace)
    qtbot.mouseClick(wizard.export, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(wizard.replace.isVisible, timeout=20_000)
    qtbot.mouseClick(wizard.replace, Qt.MouseButton.LeftButton)
    _says(qtbot, wizard, "● Written: ")
    assert read(tmp_path / "c.h5").id == calibration.id


def test_a_full_disk_is_one_line_and_the_next_try_works(wizard: ExportWizard, qtbot, tmp_path: Path) -> None:
    _type(qtbot, wizard, tmp_path / "c.h5")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        qtbot.mouseClick(wizard.export, Qt.MouseButton.LeftButton)
        _says(qtbot, wizard, "■")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot write" in wizard.told.text()
    assert "free space" in wizard.told.text()
    assert "\n" not in wizard.told.text()
    assert not list(tmp_path.glob("*c.h5*"))
    qtbot.mouseClick(wizard.export, Qt.MouseButton.LeftButton)
    _says(qtbot, wizard, "● Written: ")


def test_choose_opens_a_dialog_and_the_window_goes_on(wizard: ExportWizard, qtbot, tmp_path: Path) -> None:
    qtbot.mouseClick(wizard.browse, Qt.MouseButton.LeftButton)
    (dialog,) = wizard.findChildren(QFileDialog)
    dialog.fileSelected.emit(str(tmp_path / "chosen.h5"))
    assert wizard.file == tmp_path / "chosen.h5"
    dialog.close()
    _type(qtbot, wizard, " ")
    assert not wizard.export.isEnabled()


def test_the_panel_opens_it_for_the_selected_row_and_lets_it_go(qtbot, calibration: Calibration) -> None:
    Store().add(calibration)
    station = Station()
    try:
        panel = CalibrationsPanel(station)
        qtbot.addWidget(panel)
        panel.show()
        qtbot.waitUntil(
            lambda: (panel.show_facts(station.facts()), panel.table.rowCount() == 1)[1], timeout=20_000
        )
        panel.table.selectRow(0)
        qtbot.mouseClick(panel.export, Qt.MouseButton.LeftButton)
        assert panel.wizard is not None
        assert panel.wizard.calibration.id == calibration.id
        assert not panel.wizard.isModal()
        panel.wizard.close()
        assert panel.wizard is None
        assert not panel.export_in_use(), "nothing is in use"
        station.use(calibration)
        panel.hide()
        assert panel.export_in_use(), "also while another dock is in front"
        assert panel.wizard is not None
        with qtbot.waitSignal(panel.exported, timeout=20_000) as told:
            qtbot.mouseClick(panel.wizard.export, Qt.MouseButton.LeftButton)
        assert str(panel.wizard.file) in told.args[0]
        assert read(panel.wizard.file).id == calibration.id
        panel.wizard.close()
    finally:
        station.close()
