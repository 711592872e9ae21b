"""The whole application on a display of its own, driven by real mouse and key events, through every state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.sigmf_files import open_recording
from hil.store.files import load

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STATES = [
    "first-start", "streams-not-calibrated", "learned-offered", "accepted", "export-wizard", "board-connected",
    "board-recording", "board-lost", "board-lost-why", "board-reconnected-stale", "replay",
]  # fmt: skip


@pytest.mark.timeout(600)
def test_from_the_first_start_to_a_board_that_fails_and_comes_back(tmp_path: Path) -> None:
    environment = os.environ | {"QT_QPA_PLATFORM": "xcb", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(HERE / "walkthrough.py"), str(tmp_path), "quick"]
    done = subprocess.run(
        ["xvfb-run", "--auto-servernum", "--server-args", "-screen 0 1366x768x24", *command],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    log = tmp_path / "log.txt"
    assert done.returncode == 0, done.stderr[-3000:] + (log.read_text() if log.exists() else "")
    told = json.loads((tmp_path / "walkthrough.json").read_text(encoding="utf-8"))
    assert [step["name"] for step in told["steps"]] == STATES
    assert all((tmp_path / step["picture"]).stat().st_size > 3_000 for step in told["steps"])
    assert load(tmp_path / "first.h5").converged
    (recorded,) = tmp_path.glob("*.sigmf-meta")
    with open_recording(recorded) as recording:
        assert recording.n_samples > 100_000
        assert any("mark" in str(a) for a in recording.annotations)
