"""The simulated chamber through IIOD and rotctld: a night with two kills, then what is made of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hil.campaign.folder import open_campaign
from hil.campaign.journal import read_events
from hil.export import FORMATS
from hil.sim_server import serve

SCENE = """
seed = 11
[array]
n_elements = 8
[receiver]
fs_hz = 1e6
[chamber]
positioner = "rotctld"
speed_deg_per_s = 90.0
acceleration_deg_per_s2 = 400.0
[[emitter]]
angle_deg = 0.0
"""
N_POINTS = 25


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scene, campaign `night` and everything that the tests make of it."""
    folder = tmp_path_factory.mktemp("chamber")
    (folder / "scene.toml").write_text(SCENE, encoding="utf-8")
    return folder


def _hil(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "hil.cli", *words]


def _done(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a command; its JSON object."""
    done = subprocess.run(
        _hil(*words, "--json", "-"), cwd=folder, capture_output=True, text=True, check=False, timeout=240,
        env=os.environ | {"HIL_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def _finished(folder: Path) -> list[int]:
    return [int(e["index"]) for e in read_events(folder / "night") if e["event"] == "point"]


def test_a_sweep_killed_twice_is_resumed_without_losing_or_repeating_a_point(night: Path) -> None:
    with serve(night, scene=night / "scene.toml", rotator="free") as server:
        command = _hil(
            "sweep", f"iio:{','.join(server.iio)}", "--positioner", str(server.rotator), "--angles", "-60:60:5",
            "--emitter", "0", "--array", "ula:8:0.5", "--out", "night", "--samples", "30k", "--settle", "0.1",
            "--approach", "cw", "--order", "random",
        )  # fmt: skip
        environment = os.environ | {"HIL_HOME": str(night / "home"), "OMP_NUM_THREADS": "1"}
        for enough in (4, 12):
            process = subprocess.Popen(command, cwd=night, stderr=subprocess.PIPE, env=environment)
            give_up = time.monotonic() + 180
            while not (night / "night").is_dir() or len(_finished(night)) < enough:
                assert time.monotonic() < give_up
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            command = _hil("sweep", "--out", "night", "--resume")
        told = _done(night, "sweep", "--out", "night", "--resume")
    assert (told["done"], told["left"], told["bad"], told["runs"]) == (N_POINTS, 0, [], 3)
    assert sorted(_finished(night)) == list(range(N_POINTS))
    assert all(abs(p.table_deg - p.set_deg) < 0.1 for p in open_campaign(night / "night").points)


def _held_out(told: dict[str, Any]) -> tuple[float, float, float]:
    """(rms of the nominal array, of the learned one, bound) in degrees at angles that nothing was learned from."""
    found = told["held_out"]
    return found["errors"]["nominal"]["rms_deg"], found["errors"]["learned"]["rms_deg"], found["crb_rms_deg"]


@pytest.mark.parametrize(
    ("name", "options"),
    [("pilot", ["--method", "pilot"]), ("turns", ["--method", "cold-start", "--labels", "rotation"])],
)
def test_calibrations_from_it_reach_the_bound_at_held_out_angles(
    night: Path, name: str, options: list[str]
) -> None:
    told = _done(night, "learn", "night", *options, "--out", f"{name}.h5")
    before, after, bound = _held_out(told)
    assert before > 5.0
    assert after < 3.0 * bound + told["gauge"]["angle_sigma_deg"]
    assert told["converged"]


def test_with_the_truth_hidden_it_says_how_far_the_angles_are_open(night: Path) -> None:
    """The same recordings: what is left is the support, whose edges 20 angles hardly show."""
    told = _done(
        night, "learn", "night", "--method", "cold-start", "--support", "-60:60", "--out", "blind.h5", code=4
    )
    _, after, _ = _held_out(told)
    assert after < 2.0 * told["gauge"]["angle_sigma_deg"]


def test_every_format_is_written_and_a_report_can_be_handed_over(night: Path) -> None:
    for name, found in FORMATS.items():
        out = night / f"export-{name}{found.suffix}"
        _done(night, "calib", "export", "pilot.h5", out.name, "--format", name)
        assert out.stat().st_size > 100
    _done(
        night, "report", "night", "--calibration", "pilot.h5", "--calibration", "turns.h5", "--out", "night.html",
        "--out", "night.pdf",
    )  # fmt: skip
    assert (night / "night.pdf").read_bytes()[:5] == b"%PDF-"
    page = (night / "night.html").read_text(encoding="utf-8")
    assert "held out" in page
    assert not re.findall(r"https?://", page.replace("http://www.w3.org", ""))
