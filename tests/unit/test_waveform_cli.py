"""`hil waveform new, show, from-scene`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from matplotlib import image

from hil.cli.main import call, load_command
from hil.cli.waveform import _OPTION
from hil.core.waveform import load_waveform, ofdm, srs
from hil.core.waveform_settings import SETTINGS


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
        (["new", "ofdm", "w.toml", "--spacing", "0"], "--spacing: 0.0 must be between 1 and 1e+08"),
        (["new", "ofdm", "w.toml", "--spacing", "wide"], "cannot read"),
        (["new", "ofdm", "w.toml", "--subcarriers", "many"], "subcarriers"),
        (["new", "srs", "w.toml", "--subcarriers", "48"], "length 24"),
        (["new", "cw", "w.toml", "--fs", "1M", "--offset", "2M"], "--offset: "),
        (["new", "ofdm", "w.toml", "--cp", "100000"], "--cp: 100000 must be between 0 and 65536"),
        (["new", "ofdm", "w.toml", "--cp", "129"], "--cp: a prefix of 129 samples is longer than the symbol of 128"),
        (["new", "srs", "w.toml", "--cp", "300", "--fs", "3.84M"], "--cp: a prefix of 300 samples is longer than the symbol of 256"),
        (["new", "ofdm", "w.toml", "--symbols", "4096", "--fs", "983.04M"], "--symbols: a period of"),
        (["new", "ofdm", "w.toml", "--modulation", "64qam"], "--modulation: '64qam' is not one of qpsk, 16qam"),
        (["new", "ofdm", "w.toml", "--pilots", "few"], "--pilots: 'few' is not one of all, comb"),
        (["new", "ofdm", "w.toml", "--pilots", "comb", "--pilot-spacing", "256"], "--pilot-spacing: none of 64"),
        (["new", "ofdm", "w.toml", "--backoff", "-1"], "--backoff: -1.0 must be between 0 and 80"),
        (["new", "ofdm", "w.toml", "--fs", "150k"], "--fs: subcarriers -32..32 do not fit the 10 bins"),
        (["new", "ofdm", "w.toml", "--fs", "1e12"], "--fs: 1e+12 is not a whole multiple (1 to 65536)"),
        (["new", "ofdm", "w.toml", "--fs", "1M", "--spacing", "-5"], "--spacing: must be positive"),
        (["new", "srs", "w.toml", "--comb", "3"], "--comb: 3 is not one of 2, 4, 8"),
        (["new", "srs", "w.toml", "--comb-offset", "2"], "--comb-offset: 2: comb 2 has the offsets 0..1"),
        (["new", "srs", "w.toml", "--cyclic-shift", "20"], "--cyclic-shift: 20: comb 2 has the shifts 0..7"),
        (["new", "srs", "w.toml", "--cyclic-shift", "-1", "--comb", "4"], "--cyclic-shift: -1: comb 4 has the shifts 0..11"),
        (["new", "srs", "w.toml", "--port", "1"], "--port: 1: one port is number 0"),
        (["new", "srs", "w.toml", "--port", "4", "--ports", "4"], "--port: 4: 4 ports are numbered 0..3"),
        (["new", "srs", "w.toml", "--sequence", "golay"], "--sequence: 'golay' is not one of"),
        (["new", "srs", "w.toml", "--symbols", "3"], "--symbols: 3 is not one of 1, 2, 4, 8, 12"),
        (["new", "chirp", "w.toml", "--fs", "1M", "--bandwidth", "2M"], "--bandwidth: 2e+06 Hz is more than the rate"),
        (["new", "cw", "w.toml"], "--fs"),
        (["new", "morse", "w.toml"], "morse"),
        (["show", "nothing.toml"], "cannot read"),
        (["show", "w.wav"], "not the name"),
        (["from-scene", "nothing.toml", "w.toml"], "nothing.toml"),
        (["new", "ofdm", "w.toml", "--plot", "w.nothing"], "picture"),
        (["new", "ofdm", "nowhere/w.toml"], "cannot write"),
    ],
)  # fmt: skip
def test_mistakes_are_one_clear_line(args, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = run(capsys, *args)
    assert code == said["exit_code"] == 2
    assert words in said["reason"]
    assert "\n" not in said["reason"]


def test_files_are_kept_unless_told(tmp_path, capsys):
    assert run(capsys, "new", "ofdm", tmp_path / "w.toml")[0] == 0
    before = (tmp_path / "w.toml").read_bytes()
    code, said = run(capsys, "new", "ofdm", tmp_path / "w.toml", "--seed", "1")
    assert code == 2
    assert "--overwrite" in said["hint"]
    assert (tmp_path / "w.toml").read_bytes() == before
    assert run(capsys, "new", "ofdm", tmp_path / "w.toml", "--seed", "1", "--overwrite")[0] == 0
    assert load_waveform(tmp_path / "w.toml").settings["seed"] == 1


NEEDED = {"cw": ["--fs", "1M"], "chirp": ["--fs", "1M", "--bandwidth", "500k"]}


def _options(kind: str) -> dict[str, str]:
    """Option -> help of `hil waveform new KIND`, those that take a value for the waveform."""
    command: Any = load_command("waveform").get_command(None, "new").get_command(None, kind)  # type: ignore[arg-type]
    return {
        p.opts[0]: p.get_help_record(typer.Context(command))[1]
        for p in command.params
        if p.param_type_name == "option" and not p.is_flag and p.opts[0] not in ("--plot", "--json", "--help")
    }


@pytest.mark.parametrize("kind", SETTINGS)
def test_help_states_every_default(kind):
    keys = {option: key for key, option in _OPTION.items() if key in SETTINGS[kind] and key != "n_fft"}
    for option, text in _options(kind).items():
        default = SETTINGS[kind][keys[option]].default if option in keys else None
        if option == "--spacing":
            assert text.endswith("default 15 kHz.")
        elif isinstance(default, int | float | str):
            shown = default if isinstance(default, str) else f"{default:g}"
            assert f"default {shown}." in text or f"[default: {shown}]" in text, (option, text)
        else:  # worked out from others, or to be given
            assert "default: " in text or "[required]" in text, (option, text)


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("value", ["-1", "0", "1e30", str(10**30), "nan", "inf", "many", ""])
def test_a_hostile_value_names_its_option_or_makes_a_waveform(kind, value, tmp_path, capsys):
    for option in _options(kind):
        needed = [] if option in NEEDED.get(kind, []) else NEEDED.get(kind, [])
        more = needed if option != "--bandwidth" else ["--fs", "1M"]
        if option == "--fs" and kind == "chirp":
            more = ["--bandwidth", "500k"]
        out = tmp_path / f"{option[2:]}.toml"
        code, said = run(capsys, "new", kind, out, *more, f"{option}={value}")
        if code == 0:
            load_waveform(out)
            continue
        assert code == said["exit_code"] == 2, (option, said)
        assert option in said["reason"], (option, said)
        assert "\n" not in said["reason"]
        assert not out.exists()
