"""The scripts of examples/ do what they say: against simulated devices, shortened by their own arguments."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from drivers.sigmf_files import open_recording
from hil import store
from hil.campaign.folder import open_campaign

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
SCRIPTS = sorted(p.name for p in FOLDER.glob("*.py"))
SCENE = """
[array]
n_elements = 4
[receiver]
fs_hz = 1.0e6
[[emitter]]
hop = { period_s = 0.002, min_deg = -60.0, max_deg = 60.0 }
"""


@pytest.fixture
def device(tmp_path: Path) -> list[str]:
    """A device whose emitter shows five hundred directions a second, and how its array is told."""
    (tmp_path / "scene.toml").write_text(SCENE, encoding="utf-8")
    return [f"sim:{tmp_path / 'scene.toml'}", "--array", "ula:4:0.5"]


def run(name: str, *arguments: object, code: int = 0) -> str:
    """Output of a script, run as its first lines say; it ends within two minutes."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, f"examples/{name}.py", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_is_short_is_shown_in_the_docs_and_explains_itself(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert text.count("\n") < 60
    assert f'--8<-- "examples/{name}"' in (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    assert f"python examples/{name}" in text.split('"""')[1]
    assert "usage" in run(name.removesuffix(".py"), "--help")


def test_capture_on_schedule(tmp_path: Path, device: list[str]) -> None:
    uri, *array = device
    folder = tmp_path / "captures"
    said = run("capture_on_schedule", uri, folder, *array, "--every", 0.5, "--seconds", 0.1, "--count", 2)
    files = sorted(folder.glob("*.sigmf-meta"))
    assert len(files) == 2
    assert said.count("100000 samples") == 2
    with open_recording(files[0]) as recording:
        assert (recording.n_samples, recording.n_channels, recording.complete) == (100_000, 4, True)
    again = run(
        "capture_on_schedule", f"sim:{tmp_path / 'none.toml'}", folder, *array, "--count", 2, "--every", 0.1
    )
    assert again.count("cannot read scene") == 2  # a device that is away ends nothing


def test_calibrate_after_retune(tmp_path: Path, device: list[str]) -> None:
    uri, *array = device
    run("calibrate_after_retune", uri, tmp_path / "cal", *array, "--fc", 2.4e9, 2.5e9, "--seconds", 1.2)
    found = [store.load(tmp_path / "cal" / f"{mhz}.0MHz.h5") for mhz in (2400, 2500)]
    assert [c.fc_hz for c in found] == [2.4e9, 2.5e9]
    assert all(c.converged for c in found)
    assert found[0].epoch != found[1].epoch
    assert max(c.gauge.angle_sigma_deg for c in found) < 0.5


def test_watch_drift(tmp_path: Path, device: list[str]) -> None:
    uri, *array = device
    run("watch_drift", uri, tmp_path / "d.csv", *array, "--seconds", 1.2, "--every", 0, "--count", 2)
    with (tmp_path / "d.csv").open(encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    assert names == ["utc", "rms_deg", *(f"phase_{m}_deg" for m in range(4))]
    assert [float(v) for v in rows[0][1:]] == [0.0] * 5
    assert float(rows[1][1]) < 3.0  # this array stands still


def test_export_to_matlab(tmp_path: Path, device: list[str]) -> None:
    uri, *array = device
    said = run("export_to_matlab", uri, tmp_path / "m", *array, "--seconds", 1.2)
    assert "load" in said
    blocks = loadmat(tmp_path / "m" / "blocks.mat")
    assert blocks["R"].shape[:2] == (4, 4)
    # a few blocks of 256 snapshots hold a hop and have no direction
    assert np.nanmean(np.abs(blocks["doa_deg"]) < 62) > 0.95
    assert (tmp_path / "m" / "calibration.mat").stat().st_size > 1000


def test_a_campaign_from_its_toml_file_and_its_processing(tmp_path: Path) -> None:
    night = tmp_path / "night"
    run("sweep_from_toml", "examples/campaign.toml", night)
    assert open_campaign(night).complete
    assert "9 points" in run("sweep_from_toml", "examples/campaign.toml", night)  # nothing is left to do
    said = run("process_campaign", night, tmp_path / "out", "--workers", 0)
    rows = np.array([line.split(",") for line in said.splitlines() if line[:1] in "-0123456789" and "," in line and "bad" not in line], float)  # fmt: skip
    assert rows.shape == (9, 5)
    assert np.allclose(rows[:, 1], -rows[:, 0], atol=0.1)
    error = rows[:, 2] - rows[:, 1]
    assert np.abs(error).max() < 6  # the scene's array has phase errors of 10 degrees
    assert np.ptp(error) < 3
