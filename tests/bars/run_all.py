"""All long tables, one after the other, into docs/accuracy.md. About an hour on two cores; run it alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from accuracy_page import insert_table

HERE = Path(__file__).parent


def main() -> int:
    """Run every script; returns the worst exit code."""
    worst = 0
    for script in ("main_job.py", "scene_table.py"):
        worst = max(worst, subprocess.run([sys.executable, str(HERE / script)], check=False).returncode)
    command = [sys.executable, "-m", "tests.physics.bars_cold_start"]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    table = "\n".join(row for row in done.stdout.splitlines() if row.startswith("|"))
    if table:
        insert_table("cold-start", table)
    return max(worst, done.returncode)


if __name__ == "__main__":
    sys.exit(main())
