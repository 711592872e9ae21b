"""What commands print for people: nothing is cut, however narrow the terminal; one way to replace a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from hil import store
from hil.cli import output
from hil.cli.info import print_fields
from hil.cli.learn import _set_aside
from hil.cli.main import COMMANDS, call, load_command
from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.gauge import Gauge
from hil.core.geometry import ula
from hil.core.impairments import ideal
from hil.core.waveform import ofdm, save_waveform

COLUMNS = ("start", "samples", "global_index", "cause", "a_rather_long_column_name", "comment", "epoch")
EPOCH = "SIM000000070000/63a2a3d1c295462d80b6bfc4e7dabea7/1"
COMMENT = "no samples came for two seconds: check cable and power of the board, and who else holds it"
ROW: dict[str, Any] = {
    "start": 0,
    "samples": 2_500_000,
    "global_index": 123_456_789_012,
    "cause": "retune",
    "a_rather_long_column_name": [40.0, 40.5, -3.25],
    "comment": COMMENT,
    "epoch": EPOCH,
}


def _words(text: str) -> str:
    """What stands in the cells, without frames and without where lines end."""
    return re.sub(r"[\s┏┓┗┛┡┩┳╇┻━┃│┼┴└┘─]+", "", text)


@pytest.fixture(params=[80, 60, 40])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(output.console, "width", request.param)
    return request.param


def test_nothing_is_cut_in_a_narrow_terminal(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"file": "f.sigmf-meta", "events": [ROW, ROW]})
    shown = capsys.readouterr().err
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    for name in COLUMNS:
        assert name in _words(shown)
    for value in (*COMMENT.split(), "2500000", "123456789012", "40.5", "-3.25", EPOCH):
        assert value in _words(shown)
    assert _words(shown).count("global_index") == 1


def test_rows_beyond_forty_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"segments": [{"start": k} for k in range(50)]})
    assert "... and 10 more segments: --json - gives them all" in capsys.readouterr().err


def test_info_shows_a_waveform_and_points_scenes_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_waveform(ofdm(64, n_fft=100), tmp_path / "w.toml")
    assert call(["info", str(tmp_path / "w.toml"), "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["kind"], said["waveform"], said["layout"]["n_fft"]) == ("waveform", "ofdm", 100)
    assert call(["info", str(tmp_path / "w.toml")]) == 0
    assert "n_fft 100" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "s.toml").write_text("seed = 1\n")
    assert call(["info", str(tmp_path / "s.toml"), "--json", "-"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert "not a waveform" in said["reason"]
    assert "hil scene show" in said["hint"]


def _calibration() -> Calibration:
    return Calibration(
        ula(4, 0.06), ideal(4), unknown_sigma(4), Gauge(), 2.45e9, Validity(2.4e9, 2.5e9), "test",
        device_serial="S1", converged=True,
    )  # fmt: skip


def test_a_calibration_that_is_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_HOME", str(tmp_path / "home"))
    first, second, out = _calibration(), _calibration(), tmp_path / "array.h5"
    store.save(first, out)
    said = _set_aside(first, out)  # not in the store: a file beside it
    aside = tmp_path / f"array.{first.id[:8]}.h5"
    assert str(aside) in said
    assert aside.read_bytes() == out.read_bytes()
    store.save(second, out)
    store.Store().add(second)
    assert second.id in _set_aside(second, out)  # in the store already
    assert sorted(p.name for p in tmp_path.glob("*.h5")) == sorted([aside.name, "array.h5"])


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for inner in command.list_commands(None):
        yield from _commands(command.get_command(None, inner), f"{name} {inner}")


ALL = [found for name in COMMANDS for found in _commands(load_command(name), name)]


def test_one_option_replaces_files() -> None:
    having = {name for name, c in ALL for p in c.params if "--overwrite" in p.opts}
    new = {f"waveform new {kind}" for kind in ("ofdm", "srs", "cw", "chirp")}
    assert having == {"capture", "calib apply", "scene new", "waveform from-scene", *new}
    assert not [name for name, c in ALL for p in c.params if "--force" in p.opts]


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_option_says_what_it_means(name: str, command: Any) -> None:
    for p in command.params:
        if p.param_type_name == "option" and not p.hidden:
            assert p.help, (name, p.opts)
            if not p.is_flag and "--help" not in p.opts:
                assert len(p.get_help_record(typer.Context(command))[1]) > 8, (name, p.opts)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--gain", "1e30"], "--gain 1e+30: the device allows -3 to 71"),
        (["--gain", "1 2 3"], "--gain 1 2 3: the device allows one value, or 8 for the channels"),
        (["--fc=1"], "--fc 1.0: the device allows 7e+07 to 6e+09"),
        (["--fs", "1e30"], "--fs 1e+30: the device allows"),
        (["--transmit", "w.toml", "--tx-attenuation", "1000"], "--tx-attenuation 1000.0: the device allows 0 to 89.75"),
        (["--transmit", "w.toml", "--tx-channel", "0,0"], "--tx-channel 0 0: the device allows each transmit channel"),
    ],
)  # fmt: skip
def test_what_a_device_cannot_do_is_named_by_its_option(
    args: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    save_waveform(ofdm(64, 2.5e6 / 128, n_fft=128), "w.toml")
    code = call(["capture", "sim:?free", "x.sigmf-meta", "--samples", "100", *args, "--json", "-"])
    said = json.loads(capsys.readouterr().out)
    assert (code, said["error"]) == (2, "UnsupportedSetting")
    assert said["reason"].startswith(reason)
    assert not Path("x.sigmf-meta").exists()


@pytest.mark.parametrize(
    ("unit", "words"), [("--gain", "20 or -3.5"), ("--fc", "2.45 GHz"), ("--seconds", "500 ms")]
)
def test_the_example_is_of_the_right_unit(unit: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    length = [] if unit == "--seconds" else ["--samples", "10"]
    assert call(["capture", "sim:?free", "x.sigmf-meta", *length, unit, "much", "--json", "-"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["reason"].startswith(f"{unit}: cannot read 'much'")
    assert words in said["hint"]
