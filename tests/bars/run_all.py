"""All long tables, one after the other, into docs/accuracy.md. About an hour on two cores; run it alone."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

from accuracy_page import insert_table

HERE = Path(__file__).parent


def main() -> int:
    """Run every script; returns the worst exit code."""
    worst = 0
    for script in ("main_job.py", "scene_table.py"):
        worst = max(worst, subprocess.run([sys.executable, str(HERE / script)], check=False).returncode)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hil.cli.main", "reproduce", "cold-start", "--out", folder]
        done = subprocess.run(command, cwd=HERE.parents[1], check=False)
        page = Path(folder) / "cold-start.md"
        rows = page.read_text(encoding="utf-8").splitlines() if page.exists() else []
    if "## Arrays found" in rows:
        after = rows[rows.index("## Arrays found") + 2 :]
        insert_table("cold-start", "\n".join(itertools.takewhile(lambda row: row.startswith("|"), after)))
    return max(worst, done.returncode)


if __name__ == "__main__":
    sys.exit(main())
