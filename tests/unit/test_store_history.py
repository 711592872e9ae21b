"""The store only ever grows; undo, redo and restore move what is current; crashes and rivals do no harm."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.user_folder import user_folder
from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.errors import CalibrationError
from hil.core.gauge import Gauge
from hil.core.geometry import ula
from hil.core.impairments import ideal
from hil.store import Store

ROOT = Path(__file__).resolve().parents[2]


def make(serial="S1", **more):
    return Calibration(ula(2, 0.05), ideal(2), unknown_sigma(2), Gauge(), 1e9, Validity(1e9, 1e9), "m",
                       device_serial=serial, **more)  # fmt: skip


@pytest.fixture
def shop(tmp_path):
    return Store(tmp_path)


def test_an_empty_store_has_nothing_and_is_not_made_by_looking(tmp_path):
    shop = Store(tmp_path / "home")
    assert shop.history() == []
    assert shop.current() is None
    with pytest.raises(CalibrationError, match="nothing to undo"):
        Store(tmp_path / "home").undo()
    with pytest.raises(CalibrationError, match="no calibration"):
        shop.get("abc")


def test_undo_redo_and_restore_move_along_the_line_of_each_device(shop):
    a, b, c = (shop.add(make()) for _ in range(3))
    other = shop.add(make("S2"))
    assert shop.current_id("S1") == c
    assert shop.undo("S1") == b
    assert shop.undo("S1") == a
    assert shop.undo("S1") is None
    with pytest.raises(CalibrationError, match="nothing to undo"):
        shop.undo("S1")
    assert shop.redo("S1") == a
    assert shop.redo("S1") == b
    assert shop.restore(c[:10]) == c
    with pytest.raises(CalibrationError, match="nothing to redo"):
        shop.redo("S1")
    assert shop.undo("S1") == b
    d = shop.add(make())
    assert shop.undo("S1") == b
    assert shop.redo("S1") == d
    assert shop.current_id("S2") == other
    assert [e.id for e in shop.history("S1")] == [a, b, c, d], "what was undone is still there"
    assert [e.current for e in shop.history()] == [False, False, False, True, True]
    assert all(shop.get(e.id).id == e.id for e in shop.history())


def test_the_device_last_worked_on_is_the_default(shop):
    a = shop.add(make("S1"))
    b = shop.add(make("S2"))
    assert shop.current_id() == b
    shop.undo("S1")
    assert shop.current_id() is None
    assert shop.redo() == a


def test_the_same_id_with_other_content_is_refused(shop):
    calibration = make()
    shop.add(calibration)
    shop.add(calibration)
    assert len(shop.history()) == 1
    with pytest.raises(CalibrationError, match="another calibration with id"):
        shop.add(replace(calibration, method="other"))
    assert shop.get(calibration.id).method == "m"


def test_an_ambiguous_id_is_refused(shop):
    for k in range(2):
        shop.add(make(id=f"abc{k}"))
    with pytest.raises(CalibrationError, match="2 calibrations"):
        shop.get("abc")


def test_a_half_last_line_and_garbage_are_ignored_and_nothing_is_rewritten(shop):
    a, b = shop.add(make()), shop.add(make())
    journal = shop.folder / "journal.jsonl"
    whole = journal.read_bytes()
    for end in (b"\x00\xff\n[1]\n{}\n", whole.split(b"\n")[1][:40]):
        journal.write_bytes(whole + end)
        assert shop.current_id() == b
        c = shop.add(make())
        assert shop.current_id() == c
        assert shop.undo() == b
        assert journal.read_bytes().startswith(whole + end), "append-only"
    assert a in [e.id for e in shop.history()]


def test_cut_at_any_byte_the_journal_still_opens(shop):
    ids = [shop.add(make()) for _ in range(3)]
    shop.undo()
    journal = shop.folder / "journal.jsonl"
    whole = journal.read_bytes()
    lines = whole.count(b"\n")
    for cut in range(0, len(whole), 7):
        journal.write_bytes(whole[:cut])
        found = [e.id for e in shop.history()]
        assert found == ids[: len(found)]
        assert len(found) >= min(whole[:cut].count(b"\n"), 3), "whole lines count"
    assert lines == 4


def test_a_damaged_calibration_is_an_error_and_cannot_be_restored(shop):
    a, b = shop.add(make()), shop.add(make())
    file = shop.folder / f"{a}.h5"
    data = bytearray(file.read_bytes())
    data[700] ^= 1
    file.write_bytes(data)
    with pytest.raises(CalibrationError, match="damaged"):
        shop.get(a)
    with pytest.raises(CalibrationError, match="damaged"):
        shop.restore(a)
    assert shop.current_id() == b


ADDER = """
import sys
sys.path.insert(0, {root!r})
from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.gauge import Gauge
from hil.core.geometry import ula
from hil.core.impairments import ideal
from hil.store import Store
shop = Store(sys.argv[1])
for k in range(int(sys.argv[3])):
    shop.add(Calibration(ula(2, 0.05), ideal(2), unknown_sigma(2), Gauge(), 1e9, Validity(1e9, 1e9), "m",
                         device_serial=sys.argv[2], id=f"{{sys.argv[2]}}-{{k}}"))
    print(k, flush=True)
"""


def adder(home, name, n):
    return subprocess.Popen(
        [sys.executable, "-c", ADDER.format(root=str(ROOT)), str(home), name, str(n)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_concurrent_writers_lose_nothing(tmp_path):
    processes = [adder(tmp_path, f"P{k}", 12) for k in range(3)]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    shop = Store(tmp_path)
    assert sorted(e.id for e in shop.history()) == sorted(f"P{k}-{i}" for k in range(3) for i in range(12))
    assert all(json.loads(line) for line in (shop.folder / "journal.jsonl").read_text().splitlines())
    assert [shop.current_id(f"P{k}") for k in range(3)] == ["P0-11", "P1-11", "P2-11"]


def test_a_killed_writer_leaves_all_it_reported(tmp_path):
    process = adder(tmp_path, "K", 10**6)
    added = -1
    with process.stdout as lines:
        for line in lines:
            added = int(line)
            if added == 9:
                process.kill()
    process.wait(30)
    shop = Store(tmp_path)
    ids = [e.id for e in shop.history()]
    assert ids[: added + 1] == [f"K-{k}" for k in range(added + 1)]
    assert all(np.array_equal(shop.get(i).impairments.gain, [1, 1]) for i in ids)
    shop.add(make())


def test_hil_home_moves_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("HIL_HOME", str(tmp_path / "elsewhere"))
    assert user_folder() == tmp_path / "elsewhere"
    Store().add(make())
    assert list((tmp_path / "elsewhere" / "calibrations").glob("*.h5"))
    monkeypatch.delenv("HIL_HOME")
    assert user_folder().name == "hil"


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CalibrationError) as caught:
        Store(tmp_path / "file").add(make())
    assert "HIL_HOME" in caught.value.hint
