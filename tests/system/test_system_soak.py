"""Everything at once for a while: nothing unaccounted for. The hour is `tests/bars/soak.py` itself."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "bars" / "soak.py"
SECONDS = 25


@pytest.mark.timeout(400)
def test_capture_learning_spectra_and_recording(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--seconds", str(SECONDS), "--elements", "8", "--rate", "1e6"]
    done = subprocess.run(
        [*command, "--record", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    result = json.loads(done.stdout)
    # a busy machine makes the board lose samples, and its truth file says how many
    assert result["samples"] + max(result["lost"], result["server_lost"]) > 0.8 * SECONDS * 1e6
    with (tmp_path / "soak.csv").open(encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    # it keeps learning to the end, and nothing is left over
    assert rows[-1]["learned"] + rows[-1]["tracked"] > rows[0]["learned"] + rows[0]["tracked"] >= 1
    assert rows[-1]["threads"] == rows[0]["threads"]
    assert rows[-1]["descriptors"] == rows[0]["descriptors"]
