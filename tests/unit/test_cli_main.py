"""The outside of every command: help, exit codes, one JSON object, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hil.cli.main import COMMANDS, call, load_command


def _hil(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "hil.cli", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: hil" in text
    command = load_command(name)
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        assert "Example" in text, f"hil {name} --help shows no example"


@pytest.mark.parametrize(
    "args",
    [
        ["nope"], ["capture", "sim:"], ["capture", "sim:", "x.wav", "--seconds", "1"], ["capture", "nope:", "x.sigmf-meta", "--seconds", "1"],
        ["capture", "sim:", "x.sigmf-meta"], ["capture", "sim:", "x.sigmf-meta", "--seconds", "-1"],
        ["learn", "missing.sigmf-meta", "--out", "x.h5"], ["learn", "sim:", "--out", "x.h5"],
        ["learn", "sim:", "--out", "x.h5", "--array", "ula:4:0.5", "--support", "5:1"],
        ["spectrum", "missing.sigmf-meta"], ["spectrum", "sim:"], ["info", "missing.h5"], ["calib", "show", "missing.h5"],
        ["scene", "check", "missing.toml"], ["demo", "--scene", "missing.toml"], ["report", "missing.h5", "--out", "x.html"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_user_mistakes_exit_2_with_one_line_and_json(
    args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = call([*args, "--json", "-"] if args[0] != "nope" else args)
    out = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in out.err
    assert "unexpected" not in out.err
    if args[0] != "nope":
        found = json.loads(out.out)
        assert found["exit_code"] == 2
        assert found["status"] == "failed"
        assert found["reason"]


def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    done = _hil(
        "capture",
        "sim:?free",
        "r.sigmf-meta",
        "--samples",
        "20k",
        "--array",
        "ula:8:0.5",
        "--json",
        "-",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["samples"], found["lost"], found["lost_exact"], found["gaps"]) == (20_000, 0, True, 0)
    edge = found["edges"]["reader -> recorder"]
    assert (
        edge["produced"]
        == edge["delivered"] + edge["dropped"] + edge["superseded"] + edge["in_flight"]
        == 20_000
    )


def test_an_existing_recording_is_not_overwritten(tmp_path: Path) -> None:
    args = ("capture", "sim:?free", "r.sigmf-meta", "--samples", "2k", "--array", "ula:8:0.5")
    assert _hil(*args, cwd=tmp_path).returncode == 0
    again = _hil(*args, cwd=tmp_path)
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert _hil(*args, "--overwrite", cwd=tmp_path).returncode == 0


def test_unexpected_errors_name_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HIL_HOME", str(tmp_path))
    monkeypatch.setitem(COMMANDS, "devices", ("hil.cli.main", "no_such_thing", ""))
    assert call(["devices"]) == 3
    assert "hil-errors.log" in capsys.readouterr().err
    assert "no_such_thing" in (tmp_path / "hil-errors.log").read_text()
