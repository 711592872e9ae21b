"""All long tables, one after the other, into docs. About four hours on two cores; run it alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main() -> int:
    """Run every script and every published experiment; returns the worst exit code."""
    worst = 0
    for script in (
        "main_job.py", "scene_table.py", "fault_table.py", "channel_table.py", "ofdm_chain.py --write", "soapy_rate.py", "soak.py",
        "gui_speed.py --minutes 30 --write", "window_pictures.py", "campaign_memory.py --write", "report_pictures.py",
        "sweep_accuracy.py", "sweep_speed.py --write",
    ):  # fmt: skip
        name, *options = script.split()
        worst = max(
            worst, subprocess.run([sys.executable, str(HERE / name), *options], check=False).returncode
        )
    for name in ("cold-start", "diffmusic", "gain-phase-isac", "e2e-isac", "mod-dnn", "dual-path-vae"):
        command = [sys.executable, "-P", "-m", "hil.cli", "reproduce", name, "--strict"]
        done = subprocess.run([*command, "--out", f"docs/reproduced/{name}"], cwd=ROOT, check=False)
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
