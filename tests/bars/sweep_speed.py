"""The published chamber campaign through `hil sweep`: 121 angles, 450 OFDM symbols each, against the simulated chamber.

    python tests/bars/sweep_speed.py [--write]

The receiver runs free and the table's clock twenty times faster than real time. Compared with what the same plan takes
with a table of 6 degrees a second in real time (`hil sweep --preview`). Exit code 1 if it is slower, or a point is bad.
Into docs/reproduced/sweep/speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "reproduced" / "sweep" / "speed.json"
SCENE = """
[array]
n_elements = 4
[receiver]
fs_hz = 1.92e6
peak_dbfs = -24.0
[ofdm]
n_subcarriers = 64
spacing_hz = 15e3
cp_samples = 16
[chamber]
positioner = "sim"
[[emitter]]
angle_deg = 0.0
waveform = "ofdm"
"""
SAMPLES = 450 * (64 + 16) * 2  # the rate is twice that of the waveform's own grid


def main() -> int:
    """Preview, then run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "chamber.toml").write_text(SCENE, encoding="utf-8")
        plan = ["--angles", "-60:60:1", "--samples", str(SAMPLES), "--array", "ula:4:0.5", "--json", "-"]
        usual = _hil(folder, "sweep", "--fs", "1.92M", "--preview", *plan)
        fast = _hil(
            folder, "sweep", "sim:chamber.toml?free", "--positioner", "sim:?hurry=20", "--settle", "0.02", "--emitter", "0",
            "--out", "night", *plan,
        )  # fmt: skip
    told = {
        "points": fast["points"], "bad": len(fast["bad"]), "seconds": round(fast["seconds"], 1),
        "real_time_s": round(usual["seconds"], 1), "times_faster": round(usual["seconds"] / fast["seconds"], 2),
    }  # fmt: skip
    print(json.dumps(told, indent=2))
    if given.write:
        OUT.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return int(told["bad"] > 0 or told["points"] != 121 or told["times_faster"] <= 1)


def _hil(folder: Path, *words: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hil.cli", *words], cwd=folder, stdout=subprocess.PIPE, text=True, check=True,
        env=os.environ | {"HIL_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
