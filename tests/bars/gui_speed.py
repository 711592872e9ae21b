"""What the window reaches: frames a second, gaps between them, input latency, MUSIC rate, memory; into docs/window.md.

    python tests/bars/gui_speed.py [--minutes 2] [--platform offscreen|xcb] [--write]

The whole application on the simulated array (8 channels x 1 MS/s, simulated in the same process, which costs it a tenth
of a core more than a receiver would), learning on, every panel of the default layout visible, software rendering. A frame
counts when the direction plot was painted after a new picture. Input latency is the time from an event being posted to
the window's thread until it is handled there. Exit code 1 if a bar is missed. Run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from accuracy_page import insert_table  # noqa: E402

from gui.speed import measure  # noqa: E402

OUT = ROOT / "docs" / "reproduced" / "gui"
PAGE = ROOT / "docs" / "window.md"
FRAMES_HZ, GAP_99_MS, LATENCY_99_MS, MUSIC_HZ, GROWTH_MB, SESSION_MB = 25.0, 100.0, 100.0, 20.0, 30.0, 700.0
RATE_HZ = 1e6


def judged(found: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    """(what, value, bar in words, whether it is reached)."""
    most = (
        ("99th percentile of the gap between frames, ms", found["frame_gap_ms"]["p99"], GAP_99_MS),
        ("99th percentile of the input latency, ms", found["input_latency_ms"]["p99"], LATENCY_99_MS),
        (f"growth of memory in {found['seconds'] / 60:.0f} min, MB", found["growth_mb"], GROWTH_MB),
        ("memory of all processes, MB", found["all_processes_mb"], SESSION_MB),
    )
    least = (
        ("frames shown a second", found["frames_per_s"], FRAMES_HZ),
        ("MUSIC spectra a second", found["music_per_s"], MUSIC_HZ),
    )
    return [(name, v, f"at least {bar:g}", v >= bar) for name, v, bar in least] + [
        (name, v, f"at most {bar:g}", v <= bar) for name, v, bar in most
    ]


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [f"| {found['platform']}, software rendering | reached | bar |", "|---|---|---|"]
    lines += [f"| {name} | {value:g} | {bar} |" for name, value, bar, _ in judged(found)]
    lines.append(
        f"| processor cores used by window, processing and simulated receiver | {found['cores_used']:g} | |"
    )
    lines.append(f"| window visible after, s (modules loaded) | {found['window_visible_s']:g} | |")
    lines.append(f"| samples lost, samples not shown | {found['lost']}, {found['skipped']} | |")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--platform", default="offscreen", choices=("offscreen", "xcb"))
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/reproduced/gui")
    asked = parser.parse_args()
    os.environ["QT_QPA_PLATFORM"] = asked.platform
    with tempfile.TemporaryDirectory() as home:  # a layout that somebody left would be measured
        os.environ["HIL_HOME"] = home
        found = measure("sim:", "ula:8:0.5", RATE_HZ, 60.0 * asked.minutes)
    print(json.dumps(found, indent=2))
    if asked.write:
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / f"speed-{asked.platform}.json").write_text(
            json.dumps(found, indent=2) + "\n", encoding="utf-8"
        )
        insert_table(f"speed-{asked.platform}", table(found), PAGE)
    missed = [f"{name}: {value:g}, {bar}" for name, value, bar, reached in judged(found) if not reached]
    for line in missed:
        print("missed:", line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
