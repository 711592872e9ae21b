"""`hil scene new, check, show`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from hil.cli.main import call
from sim_backend.scene import load_scene


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, dict]:
    """Exit code and the one JSON object on stdout."""
    code = call(["scene", *map(str, args), "--json", "-"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return code, json.loads(out)


def test_a_new_scene_is_the_default_scene(tmp_path, capsys):
    path = tmp_path / "s.toml"
    code, answer = run(capsys, "new", path)
    assert (code, answer["files"]["scene"]) == (0, str(path))
    written, default = load_scene(path), load_scene(None)
    for part in (
        "seed",
        "duration_s",
        "array",
        "receiver",
        "impairments",
        "support_deg",
        "sources",
        "faults",
    ):
        assert getattr(written, part) == getattr(default, part)
    assert written.emitters[0].hop == default.emitters[0].hop


def test_commented_keys_of_a_new_scene_are_real_keys(tmp_path, capsys):
    path = tmp_path / "s.toml"
    run(capsys, "new", path)
    lines = path.read_text().splitlines()
    tail = lines.index("# [[target]]")
    uncommented = [line.removeprefix("# ") for line in lines[tail:]]
    path.write_text("\n".join(lines[:tail] + uncommented))
    assert run(capsys, "check", path)[0] == 0


def test_show_and_check_name_the_faults_of_a_scene(tmp_path, capsys):
    path = tmp_path / "s.toml"
    path.write_text("[faults]\nflip_at_s = 1.0\nnetwork_mbit_s = 5.0\n")
    for command in ("show", "check"):
        code, answer = run(capsys, command, path)
        assert (code, answer["faults"], answer["fault_kinds"]) == (0, True, ["flip", "slow_network"])
    path.write_text("[faults]\nflip_at_s = 1.0\nflip_channel = 9\n")
    code, answer = run(capsys, "check", path)
    assert code == 2
    assert "faults.flip_channel" in answer["reason"]


def test_new_does_not_overwrite_unless_told(tmp_path, capsys):
    path = tmp_path / "s.toml"
    path.write_text("seed = 99\n")
    code, answer = run(capsys, "new", path)
    assert code == answer["exit_code"] == 2
    assert "--overwrite" in answer["hint"]
    assert path.read_text() == "seed = 99\n"
    assert run(capsys, "new", path, "--overwrite")[0] == 0


def test_check_describes_a_good_scene_and_names_what_is_wrong_in_a_bad_one(tmp_path, capsys):
    path = tmp_path / "s.toml"
    path.write_text("array = {kind = 'uca', n_elements = 6, ports = [5, 4, 3, 2, 1, 0]}\n")
    code, answer = run(capsys, "check", path)
    assert (code, answer["n_elements"], answer["n_boards"]) == (0, 6, 2)
    assert answer["support_deg"] == [-60.0, 60.0]
    assert np.shape(answer["positions_m"]) == (6, 3)
    path.write_text("array = {kinds = 'uca'}\n")
    code, answer = run(capsys, "check", path)
    assert (code, answer["status"], answer["hint"]) == (2, "failed", "did you mean 'kind'?")
    assert str(path) in answer["reason"]
    path.write_text("[[emitter]]\nfile = 'none.sigmf-meta'\n")
    code, answer = run(capsys, "check", path)
    assert code == 2
    assert "none.sigmf-meta" in answer["reason"]


@pytest.mark.parametrize(
    "text",
    ["", "emitter = []\narray = {n_elements = 1}", "array = {kind = 'uca', n_elements = 64}\n[[emitter]]\nangle_deg = 100.0\n"
     "paths = [{}]\n[[emitter]]\ntrack = {}\n"],
)  # fmt: skip
def test_show_draws_a_picture(tmp_path, capsys, text):
    path, picture = tmp_path / "s.toml", tmp_path / "s.png"
    path.write_text(text)
    code, answer = run(capsys, "show", path, "--plot", picture)
    assert (code, answer["files"]["plot"]) == (0, str(picture))
    pixels = image.imread(picture)
    assert pixels.shape[0] > 400
    assert pixels[..., :3].std() > 0.02


def test_a_picture_that_cannot_be_written_is_an_input_error(tmp_path, capsys):
    path = tmp_path / "s.toml"
    path.write_text("")
    assert run(capsys, "show", path, "--plot", tmp_path / "s.nonsense")[0] == 2
    assert run(capsys, "show", path, "--plot", tmp_path / "no" / "s.png")[0] == 2
