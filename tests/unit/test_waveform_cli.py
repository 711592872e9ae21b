"""`hil waveform new, show, from-scene`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from hil.cli.main import call
from hil.core.waveform import load_waveform, ofdm, srs


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, dict]:
    """Exit code and the one JSON object on stdout."""
    code = call(["waveform", *map(str, args), "--json", "-"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return code, json.loads(out)


def test_new_ofdm(tmp_path, capsys):
    out = tmp_path / "w.toml"
    code, said = run(
        capsys, "new", "ofdm", out, "--subcarriers", "600", "--spacing", "30 kHz", "--fs", "30.72M", "--cp", "72",
        "--symbols", "4", "--modulation", "16qam", "--seed", "5", "--plot", tmp_path / "w.png",
    )  # fmt: skip
    want = ofdm(600, 30e3, 72, n_fft=1024, n_symbols=4, modulation="16qam", seed=5)
    assert code == 0
    assert np.array_equal(load_waveform(out).samples, want.samples)
    assert (said["fs_hz"], said["samples"], said["kind"]) == (30.72e6, 4 * 1096, "ofdm")
    assert said["crest_factor_db"] == pytest.approx(want.crest_factor_db)
    assert said["layout"]["columns"] == 601
    assert said["layout"]["unambiguous_delay_s"] == pytest.approx(1 / 30e3)
    assert image.imread(tmp_path / "w.png").shape[0] > 400


def test_new_srs_cw_chirp_and_show(tmp_path, capsys):
    assert (
        run(
            capsys,
            "new",
            "srs",
            tmp_path / "s.sigmf-meta",
            "--comb",
            "4",
            "--subcarriers",
            "144",
            "--n-id",
            "9",
        )[0]
        == 0
    )
    assert np.array_equal(load_waveform(tmp_path / "s.sigmf-meta").samples, srs(144, comb=4, n_id=9).samples)
    assert run(capsys, "new", "cw", tmp_path / "t.toml", "--fs", "2.5M", "--offset", "-100k")[0] == 0
    assert run(capsys, "new", "chirp", tmp_path / "c.toml", "--fs", "2.5M", "--bandwidth", "1M")[0] == 0
    for name in ("s.sigmf-meta", "t.toml", "c.toml"):
        code, said = run(capsys, "show", tmp_path / name, "--plot", tmp_path / "p.png")
        assert code == 0
        assert (said["layout"] is None) == (name != "s.sigmf-meta")
        assert image.imread(tmp_path / "p.png").shape[0] > 400


def test_from_scene(tmp_path, capsys):
    scene = tmp_path / "scene.toml"
    scene.write_text(
        "seed = 3\n[receiver]\nfs_hz = 1.92e6\n[ofdm]\nn_subcarriers = 48\ncp_samples = 10\n"
        '[[emitter]]\n[[emitter]]\nwaveform = "srs"\n[[emitter]]\nwaveform = "ofdm"\n'
    )
    code, said = run(capsys, "from-scene", scene, tmp_path / "a.toml")
    assert (code, said["kind"], said["emitter"], said["layout"]["cp_samples"]) == (0, "srs", 1, 10)
    code, said = run(capsys, "from-scene", scene, tmp_path / "b.toml", "--emitter", "2")
    assert (code, said["kind"], said["fs_hz"], said["layout"]["n_subcarriers"]) == (0, "ofdm", 1.92e6, 48)
    code, said = run(capsys, "from-scene", scene, tmp_path / "c.toml", "--emitter", "0")
    assert (code, said["exit_code"]) == (2, 2)
    assert "emitter 0" in said["reason"]
    scene.write_text("[receiver]\nfs_hz = 3.84e6\n[[target]]\n")  # nothing that sends it: to be transmitted
    code, said = run(capsys, "from-scene", scene, tmp_path / "d.toml")
    assert (code, said["kind"], said["emitter"]) == (0, "ofdm", None)
    scene.write_text("[[emitter]]\nwaveform = 'ofdm'\n")
    code, said = run(capsys, "from-scene", scene, tmp_path / "e.toml")
    assert code == 2
    assert "2.5e+06" in said["reason"]
    assert "1.92e+06" in said["hint"]
    assert not (tmp_path / "e.toml").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["new", "ofdm", "w.txt"], "not the name"),
        (["new", "ofdm", "w.toml", "--fs", "1M"], "whole multiple"),
        (["new", "ofdm", "w.toml", "--fs", "-1M"], "multiple"),
        (["new", "ofdm", "w.toml", "--spacing", "0"], "spacing_hz"),
        (["new", "ofdm", "w.toml", "--spacing", "wide"], "cannot read"),
        (["new", "ofdm", "w.toml", "--subcarriers", "many"], "subcarriers"),
        (["new", "srs", "w.toml", "--subcarriers", "48"], "length 24"),
        (["new", "cw", "w.toml", "--fs", "1M", "--offset", "2M"], "offset_hz"),
        (["new", "cw", "w.toml"], "--fs"),
        (["new", "morse", "w.toml"], "morse"),
        (["show", "nothing.toml"], "cannot read"),
        (["show", "w.wav"], "not the name"),
        (["from-scene", "nothing.toml", "w.toml"], "nothing.toml"),
        (["new", "ofdm", "w.toml", "--plot", "w.nothing"], "picture"),
        (["new", "ofdm", "nowhere/w.toml"], "cannot write"),
    ],
)
def test_mistakes_are_one_clear_line(args, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = run(capsys, *args)
    assert code == said["exit_code"] == 2
    assert words in said["reason"]
    assert "\n" not in said["reason"]


def test_files_are_kept_unless_forced(tmp_path, capsys):
    assert run(capsys, "new", "ofdm", tmp_path / "w.toml")[0] == 0
    before = (tmp_path / "w.toml").read_bytes()
    code, said = run(capsys, "new", "ofdm", tmp_path / "w.toml", "--seed", "1")
    assert code == 2
    assert "--force" in said["hint"]
    assert (tmp_path / "w.toml").read_bytes() == before
    assert run(capsys, "new", "ofdm", tmp_path / "w.toml", "--seed", "1", "--force")[0] == 0
    assert load_waveform(tmp_path / "w.toml").settings["seed"] == 1
