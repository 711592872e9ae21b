"""`hil identify` for plans: words, JSON and refusals; recordings are in the physics tests."""

from __future__ import annotations

import json

import pytest

from hil.cli.main import call
from hil.core.errors import ConfigError
from hil.jobs.identify import parse_angles


def ask(capsys, *args: str) -> tuple[int, dict]:
    code = call(["identify", *args, "--json", "-"])
    return code, json.loads(capsys.readouterr().out)


def test_a_plan_for_a_line_says_what_stays_open(capsys) -> None:
    code, found = ask(capsys, "ula:8:0.5", "--angles", "-60:60:5", "--snr", "20")
    assert code == 0
    assert found["null_space"] == [
        "on this line a common offset and scale of sin(angle) cannot be known from these data: give two known angles, "
        "or three table positions"
    ]
    assert found["n_open"] == 2
    assert found["weak"] == []
    assert {len(found["sigma"][key]) for key in ("gain_db", "phase_deg", "position_m")} == {8}
    assert 0 < found["crb_doa_deg"]["known"] <= found["crb_doa_deg"]["learned"] < 0.05
    assert abs(found["next_angle_deg"]) == 60
    assert found["assumptions"]


def test_what_the_words_ask_for_settles_it(capsys) -> None:
    for extra in (["--anchor", "-40", "--anchor", "25"], ["--turntable"], ["--support", "-60:60"]):
        code, found = ask(capsys, "ula:8:0.5", "--angles", "-60:60:5", *extra)
        assert (code, found["n_open"]) == (0, 0)
    code, found = ask(capsys, "ula:8:0.5", "--anchor", "-40", "--position-std", "0")
    assert (code, found["n_open"]) == (0, 0)


def test_more_power_and_more_blocks_are_better(capsys) -> None:
    _, weak = ask(capsys, "ula:4:0.5", "--snr", "0")
    _, strong = ask(capsys, "ula:4:0.5", "--snr", "20")
    _, long = ask(capsys, "ula:4:0.5", "--snr", "20", "--blocks", "100")
    assert weak["sigma"]["gain_db"][0] > 5 * strong["sigma"]["gain_db"][0]
    assert strong["sigma"]["gain_db"][0] == pytest.approx(10 * long["sigma"]["gain_db"][0])


def test_a_plane_with_elevations_and_coupling(capsys) -> None:
    _, found = ask(capsys, "uca:8:0.6", "--elevations", "0:60:20")
    assert found["n_open"] == 6
    _, found = ask(capsys, "uca:8:0.6", "--coupling", "toeplitz:1")
    assert len(found["coupling_sigma"]) == 1


@pytest.mark.parametrize(
    ("args", "where"),
    [
        (["ula:8:0.5", "--coupling", "strong"], ""),
        (["ula:8:0.5", "--anchor", "33"], "--anchor"),
        (["ula:8:0.5", "--angles", "5:1:1"], "--angles"),
        (["ula:8:0.5", "--angles", "120"], "--angles"),
        (["ula:8:0.5", "--elevations", "0:10:5"], "--elevations"),
        (["ula:8:0.5", "--sources", "auto"], "--sources"),
        (["ula:8:0.5", "--sources", "8"], "--sources"),
        (["ula:8:0.5", "--array", "ula:4:0.5"], "--array"),
        (["sim:"], "sim:"),
        (["nothing.sigmf-meta", "--angles", "1,2"], "--angles"),
        (["nothing.sigmf-meta", "--blocks", "2"], "--blocks"),
        (["nothing.sigmf-meta", "--anchor", "5/10"], "--anchor"),
        (["sim:scene.toml"], "sim:scene.toml"),
        (["ula:8:0.5", "--angles", ","], "--angles"),
        (["ula:8:0.5", "--snr", "400"], "--snr"),
        (["ula:8:0.5", "--blocks", "100000000000000000000"], "--blocks"),
        (["uca:8:0.6", "--elevations", "95"], "--elevations"),
    ],
)
def test_wrong_use_is_one_line_with_exit_code_2(capsys, args, where) -> None:
    code, found = ask(capsys, *args)
    assert code == 2
    assert found["reason"]
    if where:
        assert where in (found["reason"] + str(found.get("where", "")))


def test_lists_and_ranges_of_angles() -> None:
    assert parse_angles("-10:10:5", "--angles") == [-10, -5, 0, 5, 10]
    assert parse_angles("3,-4.5", "--angles") == [3, -4.5]
    assert parse_angles(None, "--angles") is None
    with pytest.raises(ConfigError):
        parse_angles("0:90:0.001", "--angles")
