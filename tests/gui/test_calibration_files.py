"""Calibrations in and out of files: what was there stays, and whatever the disk does is one line."""

from __future__ import annotations

import errno
import json
import resource
import shlex
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gui.calibrations import AlreadyThereError, Outcome, Shelf, export_script
from hil.cli.main import call
from hil.export import FORMATS, Format, guide, read, ready_formats
from hil.store import Store, load
from tests.gui.calibration_shelf import make_calibration, make_stream, until


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    made = Shelf()
    yield made
    assert made.close(20.0)


def _wait(outcome: Outcome) -> Outcome:
    until(lambda: outcome.finished)
    return outcome


@pytest.mark.parametrize("name", ["h5", "npz", "json", "mat", "csv"])  # whole; the others: tests/system
def test_an_export_is_what_the_command_writes_and_its_snippet_loads_it(
    shelf: Shelf, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calibration = make_calibration(make_stream())
    path = tmp_path / f"it's {name}{FORMATS[name].suffix}"
    outcome = _wait(shelf.export(calibration, path, name))
    assert outcome.error is None
    assert str(path) in outcome.words
    values: dict[str, object] = {}
    found = guide(name, path)
    exec(dict(found.snippets)["Python"], values)
    assert np.allclose(np.ravel(values["gain"]), calibration.impairments.gain, rtol=0, atol=0)
    assert np.array_equal(np.array(values["coupling"]), calibration.impairments.coupling)
    assert np.array_equal(np.array(values["positions_m"]), calibration.positions_m)
    assert found.holds
    assert found.lacks
    assert "divide" in found.sign
    assert "exp(+j" in found.sign
    if FORMATS[name].reads:
        assert read(path, name).id == calibration.id
    (done,) = [d for d in shelf.done() if d.name == "Export"]
    mine = path.read_bytes()
    path.unlink()
    assert done.script == export_script(calibration, path, name)
    assert call(shlex.split(done.script)[1:]) == 0, "it is in the store, so the command finds it"
    if name in ("h5", "json", "csv"):  # the others hold the time of writing
        assert path.read_bytes() == mine


def test_an_export_never_replaces_a_file_unasked(shelf: Shelf, tmp_path: Path) -> None:
    calibration, path = make_calibration(make_stream()), tmp_path / "c.json"
    path.write_text("mine")
    outcome = _wait(shelf.export(calibration, path, "json"))
    assert isinstance(outcome.error, AlreadyThereError)
    assert path.read_text() == "mine"
    assert _wait(shelf.export(calibration, path, "json", replacing=True)).error is None
    assert read(path).id == calibration.id


@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_loses_nothing_and_is_one_line(shelf: Shelf, tmp_path: Path, existing: bool) -> None:
    calibration, folder = make_calibration(make_stream()), tmp_path / "disk"
    folder.mkdir()
    path = folder / "c.h5"
    if existing:
        path.write_text("mine")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the kernel refuses every byte beyond
    try:
        outcome = _wait(shelf.export(calibration, path, "h5", replacing=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot write: File too large" in str(outcome.error)
    assert "free space" in outcome.error.hint
    assert "\n" not in str(outcome.error)
    assert [p.name for p in folder.iterdir()] == (["c.h5"] if existing else [])
    assert not existing or path.read_text() == "mine"
    assert _wait(shelf.export(calibration, path, "h5", replacing=True)).error is None, "with room it goes"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("none/c.h5", "No such file"),
        (".", "not a plain file"),
        ("file/c.h5", "Not a directory"),
        ("a" * 300, "too long"),
    ],
)
def test_impossible_places_are_one_line(shelf: Shelf, tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "file").write_text("")
    outcome = _wait(shelf.export(make_calibration(make_stream()), tmp_path / place, "h5", replacing=True))
    assert words in str(outcome.error)
    assert outcome.error.hint


def test_no_permission_is_one_line(shelf: Shelf) -> None:
    outcome = _wait(shelf.export(make_calibration(make_stream()), Path("/sys/c.h5"), "h5"))
    assert any(word in str(outcome.error) for word in ("ermitted", "ermission", "Read-only"))


def test_a_store_that_cannot_be_written_does_not_hinder_an_export(
    shelf: Shelf, tmp_path: Path, home: Path
) -> None:
    home.write_text("not a folder")
    outcome = _wait(shelf.export(make_calibration(make_stream()), tmp_path / "c.h5", "h5"))
    assert outcome.error is None
    assert "not in the store" in outcome.words
    assert load(tmp_path / "c.h5")


def test_a_format_that_is_added_to_the_table_needs_no_change_here(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("hil.export.later")
    module.write = lambda calibration, path: path.write_text(calibration.id)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hil.export.later", module)
    monkeypatch.setitem(FORMATS, "later", Format("later", ".txt", "a later one"))
    assert "later" in ready_formats()
    assert guide("later", "x").snippets == ()
    calibration = make_calibration(make_stream())
    assert _wait(shelf.export(calibration, tmp_path / "c.txt", "later")).error is None
    assert (tmp_path / "c.txt").read_text() == calibration.id


def test_import_puts_a_file_into_the_store_and_refuses_damage(shelf: Shelf, tmp_path: Path) -> None:
    calibration = make_calibration(make_stream())
    _wait(shelf.export(calibration, tmp_path / "c.json", "json"))
    other = Store(tmp_path / "other")
    assert not other.history()
    assert calibration.id in _wait(shelf.take_in(tmp_path / "c.json")).words
    (tmp_path / "bad.json").write_text("{")
    for name, words in (("bad.json", "not valid JSON"), ("none.h5", "No such file")):
        outcome = _wait(shelf.take_in(tmp_path / name))
        assert words in str(outcome.error)
    assert [e.id for e in Store().history()] == [calibration.id]


def test_compare_is_what_hil_calib_diff_says(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    stream = make_stream()
    a = make_calibration(stream)
    turned = a.impairments.gain * np.exp(1j * np.deg2rad([0, 0, 10, 0])) * 3j
    b = replace(a, id="other", impairments=replace(a.impairments, gain=turned))
    for calibration in (a, b):
        Store().add(calibration)
    outcome = _wait(shelf.compare(a, b))
    assert outcome.value is not None
    assert outcome.value.phase_deg == pytest.approx([0, 0, 10, 0], abs=1e-9)
    assert outcome.value.gain_db == pytest.approx([0] * 4, abs=1e-9)
    assert outcome.value.sigma_phase_deg == pytest.approx([0.4 * 2**0.5] * 4)
    (done,) = [d for d in shelf.done() if d.name == "Compare"]
    assert call([*done.script.split()[1:], "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [e["phase_change_deg"] for e in said["elements"]] == list(outcome.value.phase_deg)
    assert said["manifold_correlation_min"] == outcome.value.correlation_min
    other = _wait(shelf.compare(a, make_calibration(make_stream(2))))
    assert "nothing to compare" in str(other.error)


def test_unexpected_faults_of_a_format_are_told(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "x")

    module = types.ModuleType("hil.export.later")
    module.write = fails  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hil.export.later", module)
    monkeypatch.setitem(FORMATS, "later", Format("later", ".txt", "a later one"))
    outcome = _wait(shelf.export(make_calibration(make_stream()), tmp_path / "c.txt", "later"))
    assert "Input/output error" in str(outcome.error)
