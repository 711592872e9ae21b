"""The file of a turntable's positions: what is read, and one clear line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from calib.result import LearnResult
from hil.core.calibration import unknown_sigma
from hil.core.errors import ConfigError, NotIdentifiable
from hil.core.gauge import Gauge
from hil.core.impairments import ideal
from hil.learning.batch import require_good
from hil.learning.settings import LearnSettings, read_rotations

GOOD = "t0_s,t1_s,angle_deg\n0.5,0.9,10\n0.0,0.4,-5.5\n# a remark\n1.0,1.4,20\n"
FOUND = ((-5.5, 0.0, 0.4), (10.0, 0.5, 0.9), (20.0, 1.0, 1.4))


def read(folder: Path, text: str, name: str = "table.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_rotations(path)


def test_csv_and_toml_say_the_same_in_the_order_of_time(tmp_path: Path) -> None:
    assert read_rotations(None) == ()
    assert read(tmp_path, GOOD) == FOUND
    assert read(tmp_path, "\ufeff" + GOOD.replace(",", ", ").replace("\n", "\r\n")) == FOUND
    assert read(tmp_path, "angle_deg,note,t0_s,t1_s\n1,x,0,1\n2,y,1,2\n") == (
        (1.0, 0.0, 1.0),
        (2.0, 1.0, 2.0),
    )
    toml = "".join(f"[[position]]\nt0_s = {a}\nt1_s = {b}\nangle_deg = {d}\n" for d, a, b in FOUND)
    assert read(tmp_path, toml, "table.toml") == FOUND


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "t0_s,angle_deg\n0,1\n", "t1_s is missing"),
        ("a.csv", "0,1,10\n1,2,20\n", "t0_s is missing"),
        ("a.csv", "t0_s,t1_s,angle_deg\n0,1\n", "angle_deg is missing"),
        ("a.csv", "t0_s,t1_s,angle_deg\n0,1,x\n", "'x' is not a number"),
        ("a.csv", "t0_s,t1_s,angle_deg\n0,1,nan\n1,2,3\n", "out of range"),
        ("a.csv", "t0_s,t1_s,angle_deg\n1,1,0\n1,2,3\n", "is not after"),
        ("a.csv", "t0_s,t1_s,angle_deg\n0,1.5,0\n1,2,3\n", "overlap in time at 1 s"),
        ("a.csv", "t0_s,t1_s,angle_deg\n0,1,0\n", "at least 2"),
        ("a.csv", "t0_s,t1_s,angle_deg\n0,1,7\n1,2,7\n", "1 different angles"),
        ("a.csv", "t0_s,t1_s,angle_deg\n0,1,7\n1,2,99999\n", "ten turns"),
        ("a.csv", "", "at least 2"),
        ("a.toml", "position = 3\n", "list of tables"),
        ("a.toml", "[[position]\n", "not valid TOML"),
        ("a.toml", "[[position]]\nt0_s = 0\nt1_s = 1\nangle_deg = true_north\n", "not valid TOML"),
        ("a.toml", "[[position]]\nt0_s = 0\nt1_s = [1]\nangle_deg = 1\n", "is not a number"),
        ("a.csv", "t0_s,t1_s,angle_deg\n0,0,05,10\n1,1,05,20\n", "more values than columns"),
        ("a.toml", "[[position]]\nt0_s = false\nt1_s = true\nangle_deg = 1\n", "is not a number"),
        ("a.toml", f"[[position]]\nt0_s = 0\nt1_s = 1\nangle_deg = {'9' * 400}\n", "is not a number"),
        ("a.toml", f"[[position]]\nt0_s = 0\nt1_s = 1\nangle_deg = {'9' * 5000}\n", "not valid TOML"),
        ("a.csv", "x" * ((16 << 20) + 1), "more than 16 MB"),
    ],
)
def test_one_line_says_what_is_wrong_and_where(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, text, name)
    assert words in str(refusal.value)
    assert "--rotations" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ConfigError, match="cannot read"):
            read_rotations(path)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_rotations(tmp_path / "b.csv")


def test_settings_carry_the_turns_into_hash_and_file() -> None:
    plain, turned = LearnSettings(), LearnSettings(rotations=FOUND)
    assert plain.hash() != turned.hash()
    assert turned.as_dict()["rotations"] == [list(r) for r in FOUND]
    assert turned.gauge_kind(line=True) == turned.gauge_kind(line=False) == "rotation"
    both = LearnSettings(rotations=FOUND, anchors_deg=((20.0, None, None),), support_deg=(-60, 60))
    assert both.gauge_kind(line=True) == "rotation"
    assert both.gauge_kind(line=False) == "anchor"
    assert LearnSettings(rotations=FOUND, support_deg=(-60, 60)).gauge_kind(line=False) == "support"


def result_with(gauge: Gauge, notes: list[str] | None = None) -> LearnResult:
    return LearnResult(ideal(4), unknown_sigma(4), gauge, True, notes=notes or [])


def test_what_the_oracle_gives_is_never_good_enough_to_use() -> None:
    with pytest.raises(NotIdentifiable, match="diagnosis only"):
        require_good(result_with(Gauge("oracle")), LearnSettings())
    require_good(result_with(Gauge("rotation", angle_sigma_deg=0.1)), LearnSettings())


def test_turns_that_do_not_suffice_say_how_far_to_turn() -> None:
    wide = result_with(
        Gauge("rotation", "x", angle_sigma_deg=2.0), ["turn by at least 40 degrees in all (it was 12)"]
    )
    with pytest.raises(NotIdentifiable) as refusal:
        require_good(wide, LearnSettings(rotations=FOUND))
    assert refusal.value.hint.startswith("turn by at least 40")
    with pytest.raises(NotIdentifiable) as refusal:
        require_good(result_with(Gauge("prior", angle_sigma_deg=2.0)), LearnSettings())
    assert "--rotations" in refusal.value.hint
