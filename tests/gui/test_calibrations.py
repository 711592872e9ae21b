"""The store behind the window: pages, verdicts, uses, files; whatever the disk does, the window gets one line."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gui.calibrations
from gui.calibration_use import Use, Uses, judge, may_be_applied
from gui.calibrations import PAGE, Listing, Outcome, Shelf
from gui.lamps import Level
from hil.cli.main import call
from hil.core.calibration import Calibration
from hil.core.epoch import EpochEvent, EpochScope, new_epoch
from hil.core.frame import StreamInfo
from hil.core.gauge import Gauge
from hil.core.geometry import ula
from hil.store import Store, load, to_bytes
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


def _listed(
    shelf: Shelf, stream: StreamInfo | None = None, in_use: Calibration | None = None,
    good: Callable[[Listing], object] = lambda found: found.folder,
) -> Listing:  # fmt: skip
    found: list[Listing] = []

    def there() -> bool:
        found[:] = [shelf.look(stream, in_use)]
        return bool(good(found[0]))

    until(there)
    return found[0]


def _wait(outcome: Outcome) -> Outcome:
    until(lambda: outcome.finished)
    return outcome


# ---- uses -------------------------------------------------------------------------------------------------


def test_undo_goes_back_to_none_and_redo_forward() -> None:
    uses, stream = Uses(), make_stream()
    a, b = Use(make_calibration(stream, 0)), Use(make_calibration(stream, 1), "bench test")
    uses.add(a)
    uses.add(b)
    assert uses.step(+1) is None
    assert [uses.step(-1), uses.step(-1), uses.step(-1)] == [a, Use(), None]
    assert uses.present == Use()
    assert [uses.step(+1), uses.step(+1)] == [a, b]
    assert uses.present.forced == "bench test"
    uses.step(-1)
    uses.add(Use())
    assert uses.step(+1) is None, "what was undone before another use is forgotten"
    assert uses.step(-1) == a


def test_following_phases_does_not_fill_the_history_and_the_history_is_bounded() -> None:
    uses, stream = Uses(), make_stream()
    chosen = Use(make_calibration(stream))
    uses.add(chosen)
    uses.add(Use(make_calibration(stream), learned=True))
    for _ in range(50):
        uses.add(Use(make_calibration(stream), learned=True), instead=True)
    assert uses.step(-1) is chosen
    for k in range(300):
        uses.add(Use(None, str(k)))
    steps = 0
    while uses.step(-1):
        steps += 1
    assert steps == 99


# ---- verdicts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "level", "word", "reason"),
    [
        (lambda c, s: (c, s), Level.GOOD, "FITS", "fits"),
        (lambda c, s: (c, None), Level.IDLE, "NOT CHECKED", "Connect"),
        (lambda c, s: (c, _after(s, EpochEvent.LO)), Level.BAD, "STALE", "phases between boards may have changed: the carrier was set anew (epoch #0 when learned, #1 now)"),
        (lambda c, s: (c, _after(s, EpochEvent.RATE)), Level.BAD, "STALE", "sample rate was changed"),
        (lambda c, s: (c, _after(s, EpochEvent.POWER, EpochScope.EVERYTHING)), Level.BAD, "STALE", "Everything may have changed"),
        (lambda c, s: (c, replace(s, config=replace(s.config, fc_hz=5.8e9))), Level.BAD, "OTHER CARRIER", "5800.000000 MHz"),
        (lambda c, s: (c, replace(s, geometry=ula(4, 0.07))), Level.BAD, "OTHER ARRAY", "other nominal positions"),
        (lambda c, s: (make_calibration(make_stream(2)), s), Level.BAD, "OTHER ARRAY", "2 elements for 4 channels"),
        (lambda c, s: (replace(c, device_serial="S9"), s), Level.BAD, "OTHER DEVICE", "S9"),
        (lambda c, s: (replace(c, valid=replace(c.valid, expires_utc="2020-01-01")), s), Level.BAD, "EXPIRED", "2020-01-01"),
        (lambda c, s: (replace(c, converged=False), s), Level.BAD, "NOT CONVERGED", "not converged"),
        (lambda c, s: (replace(c, valid=replace(c.valid, gains_db=(1.0, 2.0, 3.0, 4.0))), s), Level.BAD, "OTHER GAINS", "gains"),
        (lambda c, s: (replace(c, epoch=new_epoch("S1")), s), Level.WARN, "UNPROVEN", "another"),
        (lambda c, s: (replace(c, created_utc="2026-01-01T00:00:00Z"), s), Level.WARN, "OLD", "drift"),
        (lambda c, s: (replace(c, gauge=Gauge("prior", angle_sigma_deg=2.0)), s), Level.WARN, "WIDE", "2 degrees"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_red_with_a_word_a_reason_and_a_remedy(change, level, word, reason) -> None:
    stream = make_stream()
    calibration, now = change(make_calibration(stream), stream)
    verdict = judge(calibration, now)
    assert (verdict.level, verdict.word) == (level, word)
    assert reason in verdict.reason
    assert verdict.usable == (level is not Level.BAD)
    if level is Level.BAD:
        assert verdict.remedy
        assert "--" not in verdict.remedy, "options of commands do not exist in the window"
    if now is not None:
        elements = calibration.geometry.n_elements == now.n_channels
        assert may_be_applied(Use(calibration), now) == verdict.usable
        assert may_be_applied(Use(calibration, "bench test"), now) == (verdict.usable or elements)


def _after(stream: StreamInfo, event: EpochEvent, scope: EpochScope = EpochScope.GROUP_PHASES) -> StreamInfo:
    return replace(stream, epoch=stream.epoch.after(event, scope))


# ---- the list ---------------------------------------------------------------------------------------------


def test_the_newest_comes_first_with_its_note_and_search_finds_words(shelf: Shelf) -> None:
    stream = make_stream()
    old, new = make_calibration(stream), make_calibration(stream, 1, method="cold-start")
    for calibration in (old, new):
        Store().add(calibration)
    assert call(["calib", "note", old.id[:10], "chamber 2,  cold start"]) == 0
    found = _listed(shelf, stream, good=lambda x: x.total == 2)
    assert [row.id for row in found.rows] == [new.id, old.id]
    assert found.rows[1].note == "chamber 2, cold start"
    assert {row.verdict.word for row in found.rows} == {"FITS"}
    assert np.array_equal(found.rows[0].calibration.impairments.gain, new.impairments.gain)
    shelf.search("chamber 2450")
    assert [row.id for row in _listed(shelf, stream, good=lambda x: x.total == 1).rows] == [old.id]
    shelf.search("nothing has this")
    assert _listed(shelf, stream, good=lambda x: x.total == 0).problem == ""


def test_a_calibration_of_another_program_run_appears_by_itself_and_verdicts_follow_the_stream(
    shelf: Shelf,
) -> None:
    stream = make_stream()
    calibration = make_calibration(stream)
    assert _listed(shelf, stream).total == 0
    Store().add(calibration)
    assert _listed(shelf, stream, good=lambda x: x.total).rows[0].verdict.word == "FITS"
    retuned = _after(stream, EpochEvent.LO)
    _listed(shelf, retuned, good=lambda x: x.rows[0].verdict.word == "STALE")
    _listed(shelf, stream, good=lambda x: x.rows[0].verdict.word == "FITS")


def test_what_is_in_use_and_not_in_the_store_is_listed_and_can_be_kept(shelf: Shelf) -> None:
    stream = make_stream()
    calibration = make_calibration(stream)
    (row,) = _listed(shelf, stream, calibration, good=lambda x: x.rows).rows
    assert (row.kept, row.id) == (False, calibration.id)
    assert not Store().history(), "looking keeps nothing"
    assert "is in the store" in _wait(shelf.keep(calibration)).words
    assert _listed(shelf, stream, calibration, good=lambda x: x.rows and x.rows[0].kept).total == 1


def test_damaged_missing_and_exchanged_files_are_rows_that_say_so(shelf: Shelf) -> None:
    stream, store = make_stream(), Store()
    bad, gone, swapped, good = (make_calibration(stream, k) for k in range(4))
    for calibration in (bad, gone, swapped, good):
        store.add(calibration)
    data = bytearray((store.folder / f"{bad.id}.h5").read_bytes())
    data[900] ^= 1
    (store.folder / f"{bad.id}.h5").write_bytes(data)
    (store.folder / f"{gone.id}.h5").unlink()
    (store.folder / f"{swapped.id}.h5").write_bytes(to_bytes(good))
    rows = {row.id: row for row in _listed(shelf, stream, good=lambda x: x.total == 4).rows}
    assert [rows[c.id].verdict.word for c in (bad, gone, swapped, good)] == ["DAMAGED"] * 3 + ["FITS"]
    assert "checksum" in rows[bad.id].problem
    assert "No such file" in rows[gone.id].problem
    assert "holds another calibration" in rows[swapped.id].problem
    assert not any(rows[c.id].verdict.usable or rows[c.id].verdict.excusable for c in (bad, gone, swapped))


def test_a_store_that_goes_away_is_told_and_comes_back(shelf: Shelf, home: Path) -> None:
    stream = make_stream()
    Store().add(make_calibration(stream))
    _listed(shelf, stream, good=lambda x: x.total == 1)
    (home / "calibrations").rename(home / "away")
    found = _listed(shelf, stream, good=lambda x: x.problem)
    assert "not there any more" in found.problem
    assert found.total == 1, "what was known stays in sight"
    (home / "away").rename(home / "calibrations")
    _listed(shelf, stream, good=lambda x: not x.problem)


def test_a_store_that_does_not_answer_never_makes_the_window_wait(
    shelf: Shelf, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gui.calibrations, "_PATIENCE_S", 0.05)
    Store().add(make_calibration(make_stream()))
    with (home / "calibrations" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another process that hangs
        assert "has not answered" in _listed(shelf, good=lambda x: x.problem).problem
    assert _listed(shelf, good=lambda x: x.total).total == 1


def test_of_two_thousand_only_the_page_in_sight_is_read(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, store = make_stream(), Store()
    store.add(make_calibration(stream))
    entry = json.loads((store.folder / "journal.jsonl").read_text())
    ids = [f"c{k:04d}" for k in range(2000)]
    with (store.folder / "journal.jsonl").open("a") as journal:
        journal.writelines(json.dumps(entry | {"id": name}) + "\n" for name in ids)
    for name in ids[-2 * PAGE :]:
        (store.folder / f"{name}.h5").write_bytes(to_bytes(make_calibration(stream, id=name)))
    read_files: list[Path] = []
    monkeypatch.setattr(gui.calibrations, "load", lambda path: (read_files.append(path), load(path))[1])
    first = _listed(shelf, stream, good=lambda x: x.total == 2001)
    assert [row.id for row in first.rows] == ids[: -PAGE - 1 : -1]
    shelf.turn(+1)
    second = _listed(shelf, stream, good=lambda x: x.first == PAGE)
    assert [row.id for row in second.rows] == ids[-PAGE - 1 : -2 * PAGE - 1 : -1]
    shelf.turn(-1)
    _listed(shelf, stream, good=lambda x: x.first == 0)
    assert len(read_files) == 2 * PAGE, "each file once"
    assert {row.verdict.word for row in (*first.rows, *second.rows)} == {"FITS"}
    shelf.turn(1000)
    last = _listed(shelf, stream, good=lambda x: x.first == 2000)
    assert len(last.rows) == 1
    shelf.turn(-1000)
    assert _listed(shelf, stream, good=lambda x: x.first == 0).total == 2001


# ---- what is noted ---------------------------------------------------------------------------------------


def test_the_store_follows_what_is_used(shelf: Shelf) -> None:
    stream = make_stream()
    a, b = make_calibration(stream), make_calibration(stream, 1)
    for calibration in (a, b):
        Store().add(calibration)
    assert Store().current_id() == b.id
    assert "although it does not fit: bench test" in _wait(shelf.note_use(Use(a, "bench test"))).words
    assert Store().current_id() == a.id
    before = Store().mark()
    _wait(shelf.note_use(Use(a)))
    _wait(shelf.note_use(Use(None)))
    assert "not in the store" in _wait(shelf.note_use(Use(make_calibration(stream, 2)))).words
    assert Store().mark() == before, "nothing that is so already is written again"


def test_a_note_does_not_change_what_undo_works_on() -> None:
    stream = make_stream()
    a, b = make_calibration(stream), make_calibration(stream, 1, device_serial="S2")
    for calibration in (a, b):
        Store().add(calibration)
    Store().note(a.id, "a note")
    Store().note(a.id, "")
    assert Store().undo() is None
    assert Store().current_id("S2") is None
    assert [e.note for e in Store().history()] == ["", ""]
    with pytest.raises(gui.calibrations.CalibrationError, match="501 letters"):
        Store().note(a.id, "x" * 501)
