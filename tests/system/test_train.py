"""`hil train` and `hil evaluate`: from campaigns to networks, judged on rows that were held out; refusals in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from calib.trained.dual_path_vae import TrainedVae
from calib.trained.load import load_network
from calib.trained.mod_dnn import TrainedModDnn
from hil import store
from hil.campaign.folder import open_campaign
from hil.cli.main import call
from hil.core.calibration import Calibration, Gauge, Validity, unknown_sigma
from hil.core.geometry import parse_array
from hil.core.impairments import ideal
from hil.core.waveform_files import save_waveform
from hil.core.waveform_ofdm import ofdm
from hil.jobs import train_scene
from hil.processing.dataset_write import make_dataset
from hil.processing.settings import ProcessSettings
from hil.processing.split import SplitSettings
from tests.campaign_folders import FC_HZ, FS_HZ, make_campaign

ERRORS = np.array([1.0, 0.8 * np.exp(1.0j), 1.2 * np.exp(-2.0j), np.exp(0.5j)])
PAIR = """seed = 3
[array]
n_elements = 4
[impairments]
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
[[emitter]]
angle_deg = -10.0
[[emitter]]
angle_deg = 20.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """set.h5, raw data of an array with errors in one coherence epoch; two.h5, the same of two; array.h5, its calibration."""
    out = tmp_path_factory.mktemp("train")
    save_waveform(ofdm(48, FS_HZ / 64, 8, n_fft=64), out / "w.toml")
    kinds = [ProcessSettings("csi", rows=12), ProcessSettings("covariances", rows=12)]
    for name, runs in (("set", 1), ("two", 2)):
        campaign = make_campaign(
            out / name, range(-60, 61, 4), samples=8192, runs=runs, errors=ERRORS, wave=out / "w.toml"
        )
        make_dataset(
            [open_campaign(campaign)], out / f"{name}.h5", kinds if runs == 1 else kinds[1:], SplitSettings(),
            waveform=out / "w.toml",
        )  # fmt: skip
    found = Calibration(
        parse_array("ula:4:0.5", FC_HZ), replace(ideal(4), gain=ERRORS), unknown_sigma(4), Gauge(), FC_HZ,
        Validity(1e9, 3e9), "test", converged=True,
    )  # fmt: skip
    store.save(found, out / "array.h5")
    store.save(replace(found, impairments=ideal(4)), out / "wrong.h5")
    (out / "pair.toml").write_text(PAIR)
    return out


def _said(folder: Path, *words: object) -> tuple[int, dict[str, Any]]:
    said = folder / "said.json"
    code = call([*map(str, words), "--json", str(said)])
    return code, json.loads(said.read_text())


def test_mod_dnn_from_calibrated_rows(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "dnn.safetensors"
    code, found = _said(
        folder, "train", "mod-dnn", folder / "set.h5", "--calibration", folder / "array.h5", "--out", out, "--steps", 60
    )  # fmt: skip
    assert code == 0, found
    per_angle = found["rows"]["train"] // found["angles"]["train"]
    assert found["angles"] == {"train": 22, "val": 3, "test": 6}
    assert found["rows"] == {"train": 22 * per_angle, "val": 3 * per_angle, "test": 6 * per_angle}
    table = {row["name"]: row for row in found["test"]}
    assert list(table) == ["MoD-DNN", "MUSIC", "bias table", "response table"]
    assert max(row["rms_deg"] for row in table.values()) < 0.5
    assert min(table.values(), key=lambda row: row["rms_deg"])["name"] in found["best"]
    assert not list(tmp_path.glob("*.part"))
    network = load_network(out)
    assert isinstance(network, TrainedModDnn)
    assert network.belongs.calibrated
    assert network.sigma_deg == table["MoD-DNN"]["rms_deg"]
    judge = ("evaluate", "mod-dnn", folder / "set.h5", "--network", out)
    code, again = _said(folder, *judge, "--calibration", folder / "array.h5", "--csv", tmp_path / "e.csv")
    assert code == 0, again
    assert again["table"][0]["rms_deg"] == pytest.approx(table["MoD-DNN"]["rms_deg"], rel=1e-6)
    assert again["held_out_rows"] == again["rows"] == 6 * per_angle
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 7
    code, whole = _said(folder, *judge, "--calibration", folder / "array.h5", "--part", "all")
    assert whole["held_out_rows"] == 9 * per_angle
    code, refused = _said(folder, *judge)
    assert (code, refused["reason"]) == (4, "the network was trained on calibrated data, these are not")


def test_mod_dnn_without_a_calibration_fits_the_gains(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "dnn.safetensors"
    code, found = _said(
        folder, "train", "mod-dnn", folder / "set.h5", "--out", out, "--steps", 20, "--tones", 8
    )
    assert code == 0, found
    table = {row["name"]: row["rms_deg"] for row in found["test"]}
    assert table["MUSIC"] > 10 > 0.5 > table["MUSIC, gains fitted"]
    network = load_network(out)
    assert isinstance(network, TrainedModDnn)
    assert network.gain / network.gain[0] == pytest.approx(ERRORS, rel=0.02)
    assert len(network.belongs.epochs) == 1
    assert "coherence epoch" in found["notes"][0]


def test_the_vae_learns_without_directions(folder: Path, tmp_path: Path) -> None:
    base = ("train", "dual-path-vae", folder / "set.h5", "--calibration", folder / "array.h5", "--epochs", 2)
    code, found = _said(folder, *base, "--out", tmp_path / "a")
    assert code == 0, found
    table = {row["name"]: row["rms_deg"] for row in found["test"]}
    assert list(table) == ["dual-path VAE", "MUSIC", "likelihood alone"]
    assert max(table.values()) < 0.5
    network = load_network(tmp_path / "a")
    assert isinstance(network, TrainedVae)
    with h5py.File(folder / "set.h5") as file:
        one: Any = file["covariances/data"][:3]  # pyright: ignore[reportIndexIssue]
        true: Any = file["points/angle_deg"][0]  # pyright: ignore[reportIndexIssue]
    assert network.estimate(one, 256, store.load(folder / "array.h5"))[:, 0] == pytest.approx(
        true[0], abs=0.7
    )
    assert call([*map(str, base), "--out", str(tmp_path / "b"), "--supervised"]) == 0
    code, alone = _said(
        folder, "evaluate", "dual-path-vae", folder / "set.h5", "--calibration", folder / "array.h5"
    )
    assert alone["table"][0]["name"] == "likelihood alone"
    code, music = _said(folder, "evaluate", "music", folder / "set.h5", "--calibration", folder / "array.h5")
    assert music["table"][0]["rms_deg"] == pytest.approx(table["MUSIC"])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("train mod-dnn two.h5 --out n", 2, "holds covariances"),
        ("train dual-path-vae two.h5 --out n", 2, "coherence epochs without a calibration"),
        ("train dual-path-vae set.h5 --calibration wrong.h5 --out n", 4, "refuted"),
        ("train dual-path-vae set.h5 --calibration set.h5 --out n", 2, "set.h5"),
        ("train mod-dnn set.h5 --tones 99 --out n", 2, "99 tones"),
        ("train mod-dnn set.h5 --tones 1 --out n", 2, "--tones"),
        ("train mod-dnn set.h5 --sector -89:80 --out n", 2, "reach beyond"),
        ("train mod-dnn set.h5 --sector -2:2 --out n", 2, "angles to train on"),
        ("train mod-dnn set.h5 --sector 9 --out n", 2, "no sector"),
        ("train mod-dnn set.h5 --array ula:3:0.5 --out n", 2, "3 elements"),
        ("train mod-dnn set.h5 --array uca:4:0.5 --out n", 2, "lines of elements"),
        ("train mod-dnn set.h5 --out no/n", 2, "is not there"),
        ("train mod-dnn set.h5 --out array.h5", 2, "is there"),
        ("train mod-dnn set.h5 --resume --out n", 2, "no training to go on with"),
        ("train mod-dnn set.h5 --device tpu --out n", 2, "--device"),
        ("train mod-dnn set.h5 --supervised --out n", 2, "belongs to dual-path-vae"),
        ("train dual-path-vae set.h5 --labels x --out n", 2, "--labels"),
        ("train dual-path-vae set.h5 --mode paper --out n", 2, "ResNet-18"),
        ("train mod-dnn set.h5 --time-limit 0 --out n", 2, "--time-limit"),
        ("train mod-dnn none.h5 --out n", 2, "no such file"),
        ("train mod-dnn set.h5 pair.toml --out n", 2, "scene is trained on alone"),
        ("train mod-dnn w.toml --out n", 2, "w.toml"),
        ("train mod-dnn set.h5 set.h5 --out n", 2, "twice"),
        ("train esprit set.h5 --out n", 2, "METHOD"),
        ("evaluate mod-dnn set.h5", 2, "needs a network"),
        ("evaluate mod-dnn set.h5 --network array.h5", 2, "array.h5"),
        ("evaluate music set.h5 --network array.h5", 2, "no network"),
        ("evaluate music set.h5 --part all.", 2, "--part"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: str, code: int, says: str
) -> None:
    monkeypatch.chdir(folder)
    found, said = _said(folder, *words.split())
    assert (found, said["exit_code"]) == (code, code)
    assert says in said["reason"]
    assert "\n" not in said["reason"]
    assert said["hint"]
    assert not (folder / "n").exists()


def test_several_emitters_are_not_for_mod_dnn(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "set.h5", tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        angle: Any = file["points/angle_deg"][()]  # pyright: ignore[reportIndexIssue]
        del file["points/angle_deg"]
        file["points/angle_deg"] = np.concatenate([angle, angle + 5], axis=1)
    code, said = _said(folder, "train", "mod-dnn", tmp_path / "s.h5", "--out", tmp_path / "n")
    assert (code, "2 emitters" in said["reason"]) == (2, True)


def test_a_killed_training_goes_on_to_the_same_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_scene, "_RECORDINGS", 1500)
    base = ["train", "dual-path-vae", str(folder / "pair.toml"), "--epochs", "5"]
    assert call([*base, "--out", str(tmp_path / "whole")]) == 0
    part = tmp_path / "n.part"
    code = (
        "import os, signal, sys, hil.jobs.train_unfinished as u, hil.jobs.train_scene as s\n"
        "u._EVERY_S = 0.0; s._RECORDINGS = 1500; write, times = u.Unfinished.write, []\n"
        "def once(self):\n"
        "    write(self); times.append(1)\n"
        "    len(times) == 2 and os.kill(os.getpid(), signal.SIGINT)\n"
        "u.Unfinished.write = once\n"
        "from hil.cli.main import run; run(sys.argv[1:])\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, *base, "--out", str(tmp_path / "n")], stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 130, errors
    assert b"--resume goes on" in errors
    said = tmp_path / "said.json"
    assert call([*base, "--out", str(tmp_path / "n"), "--json", str(said)]) == 2
    assert "was interrupted" in json.loads(said.read_text())["reason"]
    assert call([*base, "--out", str(tmp_path / "n"), "--resume", "--seed", "1"]) == 2
    assert call([*base, "--out", str(tmp_path / "n"), "--resume"]) == 0
    one, other = load_network(tmp_path / "whole"), load_network(tmp_path / "n")
    assert isinstance(one, TrainedVae)
    assert isinstance(other, TrainedVae)
    for name, value in one.path.state_dict().items():
        assert np.array_equal(value.numpy(), other.path.state_dict()[name].numpy()), name
    assert not part.exists()


def test_an_end_while_it_is_judged_loses_no_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    jobs = {
        "mod-dnn": ("hil.jobs.train_mod_dnn.mod_dnn_scores", ("--steps", 20, "--tones", 8)),
        "dual-path-vae": ("hil.jobs.train_vae.vae_scores", ("--epochs", 1)),
    }
    for method, (judged, options) in jobs.items():
        out = tmp_path / method
        base = ("train", method, folder / "set.h5", *options, "--out", out)
        with monkeypatch.context() as patch:
            patch.setattr(judged, ended)
            assert call([*map(str, base)]) == 130
        assert out.with_name(f"{method}.part").exists()
        code, found = _said(folder, *base, "--resume")
        assert code == 0, found
        assert found["finished"]


def test_covariances_cannot_be_corrected_for_delays(folder: Path, tmp_path: Path) -> None:
    known = store.load(folder / "array.h5")
    delays = replace(known.impairments, delay_s=np.array([0.0, 3e-8, -2e-8, 5e-8]))
    store.save(replace(known, impairments=delays), tmp_path / "delays.h5")
    base = ("train", "dual-path-vae", "--calibration", tmp_path / "delays.h5", "--stale-ok", "test")
    code, said = _said(folder, *base, folder / "two.h5", "--out", tmp_path / "n")
    assert (code, "covariances do not show" in said["reason"]) == (2, True), said
    # the other set has channel responses, too: they are taken, fewer than are needed
    code, said = _said(folder, *base, folder / "set.h5", "--out", tmp_path / "n")
    assert (code, "rows to train on" in said["reason"]) == (2, True), said


def test_a_time_limit_leaves_a_network_and_the_way_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_scene, "_RECORDINGS", 600)
    base = ("train", "dual-path-vae", folder / "pair.toml", "--epochs", 3, "--out", tmp_path / "n")
    code, found = _said(folder, *base, "--time-limit", "0.001")
    assert (code, found["finished"]) == (0, False)
    assert (tmp_path / "n.part").exists()
    code, found = _said(folder, *base, "--resume")
    assert (code, found["finished"]) == (0, True)


CHAMBER = """seed = 5
[array]
n_elements = 4
[receiver]
fs_hz = 2.5e6
[impairments]
angle_dependent_phase_deg = 30.0
[ofdm]
n_subcarriers = 96
spacing_hz = 19531.25
[[emitter]]
angle_deg = 0.0
waveform = "srs"
offset_hz = 0.0
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_the_turntable_to_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chamber.toml").write_text(CHAMBER)
    for command in (
        "waveform from-scene chamber.toml w.toml",
        "sweep sim:chamber.toml --positioner sim:?speed=400 --angles -62:62:1 --samples 20000 --settle 0 --emitter 0 "
        "--array ula:4:0.5 --out night",
        "campaign dataset night --out set.h5 --what csi --waveform w.toml --rows 40 --workers 0",
        "train mod-dnn set.h5 --out dnn.safetensors",
        "evaluate mod-dnn set.h5 --network dnn.safetensors --json said.json",
    ):
        assert call(command.split()) == 0, command
    table = {row["name"]: row for row in json.loads(Path("said.json").read_text())["table"]}
    music = table["MUSIC, gains fitted"]["p80_deg"]
    assert table["MoD-DNN"]["p80_deg"] < 0.1 * music
    assert table["MoD-DNN"]["rms_deg"] < 1.5 * table["response table"]["rms_deg"]
