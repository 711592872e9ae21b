"""`hil angle-delay` and `hil learn --waveform` from recordings, channel responses and a device that transmits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from calib.csi import ChannelResponses
from hil import store
from hil.cli.main import call
from hil.core.geometry import ula
from hil.core.waveform import ofdm, save_waveform
from tests.physics.angle_delay_scenes import FC, C, echoes, record

GEOMETRY = ula(8, C / FC / 2)
#: 15 dB summed over 8 elements and 52 subcarriers of one symbol.
LEVEL = 15.0 - 10 * np.log10(8 * 64)
TARGETS = ((12.3, 300.0, LEVEL), (-31.0, 480.0, LEVEL), (25.0, 650.0, LEVEL - 3))
LEARN = "--method gain-phase-isac --out"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with a waveform, a capture of three targets and one of an emitter that hops, and the true gains."""
    folder = tmp_path_factory.mktemp("echoes")
    wave = ofdm(n_subcarriers=52, spacing_hz=2.5e6 / 64, n_fft=64, cp_samples=16, n_symbols=4, seed=1)
    save_waveform(wave, folder / "w.toml")
    rng = np.random.default_rng(8)
    gain = (1 + 0.3 * rng.standard_normal(8)) * np.exp(2j * np.pi * rng.random(8))
    record(
        folder / "r.sigmf-meta",
        wave,
        GEOMETRY,
        TARGETS,
        direct_db=LEVEL + 20,
        n_samples=250_000,
        seed=1,
        gain=gain,
    )
    record(
        folder / "hop.sigmf-meta", wave, GEOMETRY, ((0.0, 0.0, LEVEL + 10),), direct_db=None, n_samples=800_000,
        seed=2, gain=gain, hop=(10_000, -60.0, 60.0),
    )  # fmt: skip
    return folder, gain


def run(capsys, text, want=0):
    """The JSON object of a command."""
    capsys.readouterr()
    assert call([*text.split(), "--json", "-"]) == want, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def match(paths, angle_deg=0.5, range_m=36.0, targets=TARGETS):
    """Every target once, in half a degree and half a range bin."""
    assert len(paths) == len(targets), paths
    for angle, distance, _ in targets:
        near = min(paths, key=lambda p: abs(p["range_m"] - distance))
        assert abs(near["angle_deg"] - angle) < angle_deg, (near, angle)
        assert abs(near["range_m"] - distance) < range_m


def test_learned_from_one_anchor_then_three_targets_are_found(made, capsys):
    folder, gain = made
    learned = run(
        capsys, f"learn {folder}/r.sigmf-meta --waveform {folder}/w.toml --anchor 12.3 --anchor-range 300 "
        f"{LEARN} {folder}/c.h5",
    )  # fmt: skip
    assert learned["converged"]
    assert any("direct path" in note for note in learned["notes"])
    have = store.load(folder / "c.h5").impairments.gain
    assert abs(np.vdot(have, gain)) / np.linalg.norm(have) / np.linalg.norm(gain) > 0.9995
    found = run(
        capsys, f"angle-delay {folder}/r.sigmf-meta --waveform {folder}/w.toml --calibration {folder}/c.h5 "
        f"--plot {folder}/m.png",
    )  # fmt: skip
    match(found["paths"])
    assert found["delay_reference"] == "direct path"
    assert found["calibration_status"] == "valid"
    assert found["range_bin_m"] == pytest.approx(C / (2 * 2.5e6 * 53 / 64), rel=0.05)
    assert found["n_blocks"] > 10
    assert found["epoch"]
    assert set(found["paths"][0]) >= {
        "angle_deg", "delay_s", "range_m", "power_db", "angle_sigma_deg", "range_sigma_m",
    }  # fmt: skip
    assert (folder / "m.png").stat().st_size > 20_000


def test_without_an_anchor_the_command_exits_4_and_names_the_assumption(made, capsys):
    folder, _ = made
    text = f"learn {folder}/r.sigmf-meta --waveform {folder}/w.toml {LEARN} {folder}/x.h5"
    failed = run(capsys, text, 4)
    assert "absolute angles are open" in failed["reason"]
    failed = run(capsys, f"{text} --support -60:60", 4)
    assert "absolute angles are open" in failed["reason"]
    failed = run(capsys, f"{text} --anchor 12 --anchor-range 900", 2)
    assert "no target at 900 m" in failed["reason"]
    failed = run(capsys, f"{text} --anchor 12 --anchor -31", 2)
    assert "anchors" in failed["reason"]


def test_hopping_emitter_with_a_known_waveform_teaches_by_its_support(made, capsys):
    folder, gain = made
    learned = run(
        capsys,
        f"learn {folder}/hop.sigmf-meta --waveform {folder}/w.toml --anchor 0 {LEARN} {folder}/h.h5",
        4,
    )
    assert "does not stand still" in learned["reason"]
    learned = run(
        capsys, f"learn {folder}/hop.sigmf-meta --waveform {folder}/w.toml --support -60:60 {LEARN} {folder}/h.h5",
        4,
    )  # fmt: skip
    # 32 angles leave the offset open by more than half a degree: said, and the shape of the array is right
    assert "absolute angles are open" in learned["reason"]
    have, x = store.load(folder / "h.h5").impairments.gain, np.arange(8)
    ramps = np.exp(1j * np.outer(np.linspace(-1, 1, 2001), x))
    assert np.max(np.abs(ramps @ (have * gain.conj()))) / np.linalg.norm(have) / np.linalg.norm(gain) > 0.999


def test_a_calibration_of_another_epoch_is_confirmed_or_refuted(made, capsys, tmp_path):
    folder, gain = made
    wave = ofdm(n_subcarriers=52, spacing_hz=2.5e6 / 64, n_fft=64, cp_samples=16, n_symbols=4, seed=1)
    run(
        capsys, f"learn {folder}/r.sigmf-meta --waveform {folder}/w.toml --anchor 12.3 --anchor-range 300 "
        f"{LEARN} {tmp_path}/c.h5",
    )  # fmt: skip
    options = {"direct_db": LEVEL + 20, "n_samples": 250_000}
    record(tmp_path / "same.sigmf-meta", wave, GEOMETRY, TARGETS, seed=5, gain=gain, **options)
    other = gain * np.exp(1j * np.random.default_rng(1).normal(0, 1.0, 8))
    record(tmp_path / "other.sigmf-meta", wave, GEOMETRY, TARGETS, seed=6, gain=other, **options)
    command = f"--waveform {folder}/w.toml --calibration {tmp_path}/c.h5"
    found = run(capsys, f"angle-delay {tmp_path}/same.sigmf-meta {command}")
    assert found["calibration_status"] == "verified"
    match(found["paths"])
    failed = run(capsys, f"angle-delay {tmp_path}/other.sigmf-meta {command}", 4)
    assert "refuted" in failed["reason"]
    stale = run(capsys, f"angle-delay {tmp_path}/other.sigmf-meta {command} --stale-ok trial")
    assert (stale["calibration_status"], stale["stale_reason"]) == ("stale", "trial")


def test_channel_responses_of_a_file(capsys, tmp_path):
    scene = echoes(3, ((20.0, 8.0, 35.0), (-40.0, 15.0, 35.0)), blocks=4, direct_db=50.0)
    ChannelResponses(scene.csi, 2.5e6 / 64, scene.time_s).save(tmp_path / "a.npz")
    found = run(capsys, f"angle-delay {tmp_path}/a.npz --array ula:8:0.5 --fc 2.45G")
    assert sorted(round(p["angle_deg"] / 5) for p in found["paths"]) == [-8, 4]
    assert sorted(round(p["range_m"] / (scene.bin_s * C / 2)) for p in found["paths"]) == [8, 15]
    assert found["calibration_status"] == "none"
    # blocks of any phase and no times are one pattern
    turned = scene.csi * np.exp(2j * np.pi * np.random.default_rng(1).random(4))[:, None, None]
    ChannelResponses(turned, 2.5e6 / 64).save(tmp_path / "b.npz")
    found = run(capsys, f"angle-delay {tmp_path}/b.npz --array ula:8:0.5 --fc 2.45G")
    assert len(found["paths"]) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("", "not known"),
        ("--waveform {f}/none.toml", "none.toml"),
        ("--waveform {f}/w.toml --array ula:4:0.5", "4 elements"),
        ("--waveform {f}/w.toml --grid 1:2", "grid"),
        ("--waveform {f}/w.toml --max-range 0", "positive"),
        ("--waveform {f}/w.toml --false-alarm 2", "0..0.5"),
        ("--waveform {f}/w.toml --reference up", "up"),
        ("--waveform {f}/w.toml --at 99", "outside"),
        ("--waveform {f}/w.toml --transmit {f}/w.toml", "only devices"),
        ("--waveform {f}/fast.toml", "S/s"),
        ("--waveform {f}/other.toml", "not in these"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(made, capsys, change, text):
    folder, _ = made
    save_waveform(ofdm(64, 30e3, n_fft=128), folder / "fast.toml")
    save_waveform(ofdm(52, 2.5e6 / 64, 16, n_fft=64, n_symbols=4, seed=99), folder / "other.toml")
    failed = run(capsys, f"angle-delay {folder}/r.sigmf-meta " + change.format(f=folder), 2)
    assert text in failed["reason"]
    assert failed["hint"] or "none.toml" in text


def test_learning_options_without_a_waveform(made, capsys):
    folder, _ = made
    text = f"learn {folder}/r.sigmf-meta --out {folder}/y.h5"
    assert "only with --waveform" in run(capsys, f"{text} --anchor-range 3", 2)["reason"]
    assert "channel responses" in run(capsys, f"{text} --method gain-phase-isac", 2)["reason"]


SCENE = """
seed = 11
[array]
n_elements = 8
[receiver]
board = "fmcomms5"
[impairments]
position_std_wavelengths = 0.0
relock_phase = false
[transmit]
leakage_db = 15.0
[[target]]
angle_deg = 17.0
range_m = 300.0
[[target]]
angle_deg = -33.0
range_m = 480.0
rcs_db = -3.0
[[target]]
angle_deg = 41.0
range_m = 650.0
rcs_db = -6.0
"""


def test_simulated_board_transmits_is_captured_learned_and_shows_its_targets(made, capsys, tmp_path):
    folder, _ = made
    scene = Path(tmp_path / "scene.toml")
    scene.write_text(SCENE, encoding="utf-8")
    capture = f"capture sim:{scene} {tmp_path}/s.sigmf-meta --samples 200000 --array ula:8:0.5 --gaps"
    run(capsys, f"{capture} --transmit {folder}/w.toml --tx-attenuation 25")
    learned = run(
        capsys, f"learn {tmp_path}/s.sigmf-meta --waveform {tmp_path}/s.waveform.toml --anchor 17 "
        f"--anchor-range 300 {LEARN} {tmp_path}/s.h5",
    )  # fmt: skip
    assert learned["converged"]
    found = run(capsys, f"angle-delay {tmp_path}/s.sigmf-meta --calibration {tmp_path}/s.h5 --paths 3")
    match(found["paths"], targets=((17.0, 300.0, 0), (-33.0, 480.0, 0), (41.0, 650.0, 0)))
    assert found["delay_reference"] == "direct path"


def test_a_transmitter_left_at_its_greatest_attenuation_is_said(made, capsys, tmp_path):
    folder, _ = made
    (tmp_path / "scene.toml").write_text(SCENE, encoding="utf-8")
    command = (
        f"angle-delay sim:{tmp_path}/scene.toml --array ula:8:0.5 --transmit {folder}/w.toml --seconds 0.02"
    )
    failed = run(capsys, command, 2)
    assert "greatest attenuation, 89.75 dB" in failed["hint"]
    assert "--tx-attenuation" in failed["hint"]
    found = run(capsys, f"{command} --tx-attenuation 25")
    assert len(found["paths"]) >= 3
    assert not any("--tx-attenuation DB" in note for note in found["notes"])
    assert found["unambiguous_speed_m_s"] == pytest.approx(C / (4 * FC * 80 / 2.5e6), rel=1e-3)
    assert all(p["range_rate_sigma_m_s"] > 0 for p in found["paths"])


def test_learning_says_what_moves_and_how_far_the_anchor_is_off(tmp_path, capsys):
    wave = ofdm(n_subcarriers=52, spacing_hz=2.5e6 / 64, n_fft=64, cp_samples=16, n_symbols=4, seed=1)
    save_waveform(wave, tmp_path / "w.toml")
    rng = np.random.default_rng(8)
    gain = (1 + 0.3 * rng.standard_normal(8)) * np.exp(2j * np.pi * rng.random(8))
    moving = tuple((*target, speed) for target, speed in zip(TARGETS, (25.0, 0.0, -10.0), strict=True))
    record(
        tmp_path / "r.sigmf-meta", wave, GEOMETRY, moving, direct_db=LEVEL + 20, n_samples=300_000, seed=1,
        gain=gain, own=True,
    )  # fmt: skip
    text = f"learn {tmp_path}/r.sigmf-meta --waveform {tmp_path}/w.toml --anchor 12.3 {LEARN} {tmp_path}"
    learned = run(capsys, f"{text}/c.h5 --anchor-range 341.5")
    notes = " ".join(learned["notes"])
    assert "stand still" not in notes
    speeds = re.search(r"2 of them move by (\S+), (\S+) m/s", notes)
    assert speeds
    assert sorted(map(float, speeds.groups())) == pytest.approx([-10.0, 25.0], abs=0.1)
    off = re.search(r"--anchor-range 341.5 is (\S+) m beyond that target \((\S+) range bins\)", notes)
    assert off
    assert float(off[1]) == pytest.approx(40.0, abs=1.5)
    assert 0.4 < float(off[2]) < 0.6
    have = store.load(tmp_path / "c.h5").impairments.gain
    assert abs(np.vdot(have, gain)) / np.linalg.norm(have) / np.linalg.norm(gain) > 0.9995
    near = run(capsys, f"{text}/d.h5 --anchor-range 310")
    assert "--anchor-range" not in " ".join(near["notes"])
