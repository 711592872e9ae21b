"""Plans of campaigns: angles, order, truth, their file; journals cut off anywhere; folders that lie."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.campaign.folder import open_campaign
from hil.campaign.journal import NAME as JOURNAL
from hil.campaign.journal import CampaignJournal, read_events
from hil.campaign.plan import Plan, parse_angles, wrapped_deg
from hil.campaign.plan_file import NAME as PLAN
from hil.campaign.plan_file import CampaignFile, parse_campaign
from hil.core.errors import ConfigError, HilError, RecordingError
from hil.sweep.prepare import prepare


@pytest.mark.parametrize(
    ("text", "angles"),
    [
        ("-60:60:30", (-60.0, -30.0, 0.0, 30.0, 60.0)), ("10:-10:-10", (10.0, 0.0, -10.0)), ("0:1:0.1", tuple(k / 10 for k in range(11))),
        ("0:10:4", (0.0, 4.0, 8.0)), ("5:5:1", (5.0,)), ("-30,0.5, 30", (-30.0, 0.5, 30.0)),
    ],
)  # fmt: skip
def test_angles_are_read(text: str, angles: tuple[float, ...]) -> None:
    assert parse_angles(text) == angles


@pytest.mark.parametrize(
    "text", ["", "a", "0:10", "0:10:0", "0:10:-1", "0:nan:1", "0:1e9:1e-3", "1,,2", "0:1:2:3", "inf:0:1"]
)
def test_angles_that_are_none_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_angles(text)
    assert "\n" not in str(caught.value)


def test_the_published_campaign_has_121_points() -> None:
    assert len(parse_angles("-60:60:1")) == 121


@pytest.mark.parametrize(
    ("emitter", "reference", "table", "direction"),
    [(0, 0, 30, -30), (0, 10, 10, 0), (20, 0, 0, 20), (0, 0, -170, 170), (170, 0, -30, -160), (0, 0, 180, 180), (-10, 5, 40, -45)],
)  # fmt: skip
def test_turning_clockwise_moves_a_fixed_emitter_the_other_way(
    emitter: float, reference: float, table: float, direction: float
) -> None:
    plan = Plan((0.0,), emitters_deg=(emitter,), reference_deg=reference)
    assert plan.truth_deg(table) == pytest.approx((direction,))
    assert wrapped_deg(direction + 720) == pytest.approx(direction)


def test_orders_visit_every_angle_once() -> None:
    angles = (3.0, -1.0, 2.0, 0.0)
    assert [angles[i] for i in Plan(angles).visits] == [-1, 0, 2, 3]
    assert [angles[i] for i in Plan(angles, order="down").visits] == [3, 2, 0, -1]
    shuffled = Plan(tuple(float(k) for k in range(50)), order="random", seed=3)
    assert sorted(shuffled.visits) == list(range(50))
    assert shuffled.visits == replace(shuffled).visits != replace(shuffled, seed=4).visits


_NUMBER = st.floats(-3600, 3600, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    angles=st.lists(_NUMBER, min_size=1, max_size=20, unique=True), note=st.text(max_size=40),
    emitters=st.lists(_NUMBER, max_size=3), gain=st.one_of(st.none(), _NUMBER, st.lists(_NUMBER, min_size=1, max_size=4)),
    device=st.one_of(st.none(), st.text(min_size=1, max_size=20)), seed=st.integers(0, 2**63 - 1),
)  # fmt: skip
def test_a_file_says_what_was_planned(angles, note, emitters, gain, device, seed) -> None:
    plan = Plan(
        tuple(angles), note=note, emitters_deg=tuple(emitters), seed=seed, order="random", min_snr_db=3.5
    )
    file = CampaignFile(
        plan, device=device, gain_db=tuple(gain) if isinstance(gain, list) else gain, fc_hz=2.45e9
    )
    assert parse_campaign(file.to_toml()) == file
    assert parse_campaign(file.to_toml()).plan.fingerprint == plan.fingerprint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "[plan]"), ("[plan]", "angles"), ('[plan]\nangles = "x"', "angles"), ('[plan]\nangles = [1, "a"]', "numbers"),
        ("[plan]\nangles = [1, 1]", "twice"), ("[plan]\nangles = [1]\nsample = 5", "samples?"), ("[plan]\nangles = [1]\nsamples = 0", "samples"),
        ("[plan]\nangles = [1]\nsamples = 1.5", "whole"), ('[plan]\nangles = [1]\norder = "left"', "up, down, random"),
        ("devise = 3\n[plan]\nangles = [1]", "device?"), ("device = 3\n[plan]\nangles = [1]", "text"), ("[plan]\nangles = [1]\nretries = true", "whole"),
        ("[plan]\nangles = [nan]", "within"), ("[plan", "TOML"), ("[plan]\nangles = [1]\nemitters = 3", "list"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_place_and_remedy(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_campaign(text, "x.toml")
    assert says in f"{caught.value} {caught.value.hint}"
    assert "x.toml" in str(caught.value)


def _point(index: int, /, **other: object) -> dict[str, object]:
    return {
        "index": index, "set_deg": float(index), "table_deg": index + 0.01, "table_error_deg": 0.01, "truth_deg": [-index],
        "recording": "run-001.sigmf-meta", "start": 100 * index, "n": 100, "epoch": "e/0", "attempt": 0, "snr_db": None,
    } | other  # fmt: skip


def _campaign(folder: Path, n: int = 4) -> Plan:
    plan = Plan(tuple(float(k) for k in range(n)))
    prepare(folder, CampaignFile(plan), resume=False)
    return plan


def test_a_journal_cut_off_at_any_byte_has_its_whole_lines(tmp_path: Path) -> None:
    plan = _campaign(tmp_path)
    with CampaignJournal(tmp_path) as journal:
        journal.append("run", run=1, fingerprint=plan.fingerprint)
        for k in range(3):
            journal.append("point", **_point(k))
    whole = (tmp_path / JOURNAL).read_bytes()
    for end in range(len(whole) + 1):
        (tmp_path / JOURNAL).write_bytes(whole[:end])
        expected = max(whole[:end].count(b"\n") - 1, 0)
        found = open_campaign(tmp_path)
        # the last line may be complete without its end
        assert len(found.points) in (expected, expected + (whole[end : end + 1] == b"\n"))
        with CampaignJournal(tmp_path) as journal:
            journal.append("point", **_point(3))
        assert [p.index for p in open_campaign(tmp_path).points][-1] == 3
        assert len(open_campaign(tmp_path).points) == len(found.points) + 1


def test_only_one_sweep_writes_to_a_folder(tmp_path: Path) -> None:
    with CampaignJournal(tmp_path), pytest.raises(ConfigError, match="another sweep"):
        CampaignJournal(tmp_path)
    CampaignJournal(tmp_path).close()


def test_bad_points_stay_bad_until_they_are_asked_for_again(tmp_path: Path) -> None:
    plan = _campaign(tmp_path)
    with CampaignJournal(tmp_path) as journal:
        journal.append("run", run=1, fingerprint=plan.fingerprint)
        journal.append("point", **_point(0))
        journal.append("bad", index=2, attempts=3, why="overload")
        found = open_campaign(tmp_path)
        assert [(b.index, b.why) for b in found.bad] == [(2, "overload")]
        assert found.open_indices == (1, 3)
        journal.append("again")
        assert open_campaign(tmp_path).open_indices == (1, 2, 3)
        journal.append("point", **_point(2))
    assert not open_campaign(tmp_path).bad


@pytest.mark.parametrize(
    "line",
    [
        _point(1, recording="../../etc/passwd"), _point(1, recording="/etc/passwd"), _point(1, recording=".."), _point(1, start=-5),
        _point(1, n=0), _point(99), _point(-1), _point(1, table_deg="x"), _point(1, truth_deg=3), {"index": 1}, _point(1, index=None),
        _point(1, n=1e400),
    ],
)  # fmt: skip
def test_lines_that_lie_belong_to_no_point(tmp_path: Path, line: dict[str, object]) -> None:
    _campaign(tmp_path)
    noise = [b"\xff\xfe\x00", b"[" * 100_000, b'"text"', b"{}", b'{"event": 3}', b"x" * 100_000]
    text = json.dumps({"event": "point", "t_utc_ns": 1} | line).encode()
    (tmp_path / JOURNAL).write_bytes(b"\n".join([*noise, text, b""]))
    assert not open_campaign(tmp_path).points
    assert read_events(tmp_path)[0]["event"] == "point"


def test_a_journal_of_another_plan_is_refused(tmp_path: Path) -> None:
    plan = _campaign(tmp_path)
    with CampaignJournal(tmp_path) as journal:
        journal.append("run", run=1, fingerprint=plan.fingerprint)
    (tmp_path / PLAN).write_text(CampaignFile(replace(plan, samples=5)).to_toml(), encoding="utf-8")
    with pytest.raises(RecordingError, match="another plan"):
        open_campaign(tmp_path)
    # a note is no other plan
    (tmp_path / PLAN).write_text(CampaignFile(replace(plan, note="door open")).to_toml(), encoding="utf-8")
    assert open_campaign(tmp_path).runs == 1


def test_a_folder_that_is_no_campaign_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no campaign\.toml"):
        open_campaign(tmp_path)
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(HilError, match="not empty"):
        prepare(tmp_path, CampaignFile(Plan((0.0,))), resume=False)
