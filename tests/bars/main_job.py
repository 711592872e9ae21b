"""Table of the main job: `hil demo` over the IIO network for many seeds, one process each.

    python tests/bars/main_job.py --seeds 20

Writes the table into docs/accuracy.md. Real time: about 12 s a seed; run it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from accuracy_page import insert_table


def run_demo(seed: int, scene: Path | None, folder: Path) -> dict:
    """One demo in its own process; the JSON object that it prints."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "hil.cli",
        "demo",
        "--no-gui",
        "--json",
        "-",
        "--seed",
        str(seed),
        "--out",
        str(folder),
    ]
    command += ["--scene", str(scene)] if scene else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    return json.loads(done.stdout) | {"exit_code": done.returncode}


def main() -> None:
    """Run the seeds and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--name", default="main-job")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            found = run_demo(seed, args.scene, Path(folder))
            rows.append(found)
            after = found.get("after", {}).get("doa_rmspe_deg")
            print(
                seed,
                found["exit_code"],
                after,
                found.get("learn_seconds"),
                found.get("samples_lost"),
                found.get("reason", ""),
                flush=True,
            )
    insert_table(args.name, table(rows))


def table(rows: list[dict]) -> str:
    """Markdown of the runs that captured."""
    good = [r for r in rows if r.get("after")]
    before = np.array([r["before"]["doa_rmspe_deg"] for r in good])
    after = np.array([r["after"]["doa_rmspe_deg"] for r in good])
    known = np.array([r["known"]["doa_rmspe_deg"] for r in good])
    manifold = np.array([r["after"]["manifold_error"] for r in good])
    seconds = np.array([r["learn_seconds"] for r in good])
    silent = sum(r["converged"] and r["after"]["manifold_error"] > 1e-3 for r in good)
    lines = [
        "| quantity | value |",
        "|---|---|",
        f"| runs, converged, exit 0 | {len(rows)}, {sum(r.get('converged', False) for r in rows)}, {sum(r['exit_code'] == 0 for r in rows)} |",
        f"| samples lost, all runs | {sum(r.get('samples_lost') or 0 for r in rows)} |",
        f"| direction error with the nominal array, median (min to max) / deg | {np.median(before):.1f} ({before.min():.1f} to {before.max():.1f}) |",
        f"| with the learned array, median / deg | {np.median(after):.3f} |",
        f"| largest but one, largest / deg | {np.sort(after)[-2]:.3f}, {after.max():.3f} |",
        f"| with the true array, median / deg | {np.median(known):.4f} |",
        f"| learned / nominal, median | 1/{np.median(before / after):.0f} |",
        f"| manifold error after the gauge fit, largest | {manifold.max():.1e} |",
        f"| silent failures | {silent} |",
        f"| learned within, median (largest) / s | {np.median(seconds):.2f} ({seconds.max():.2f}) |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
