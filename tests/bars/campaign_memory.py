"""Large campaigns in bounded memory: the same work on growing campaigns, workers limited to 300 MB. Needs 5 GB of disk.

Run: python tests/bars/campaign_memory.py [--write]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from hil.core.waveform_files import save_waveform  # noqa: E402
from hil.core.waveform_ofdm import ofdm  # noqa: E402
from tests.campaign_folders import FS_HZ, make_campaign  # noqa: E402

PAGE = ROOT / "docs" / "reproduced" / "campaigns" / "campaigns.md"
LIMIT = "300M"
WORKERS = 2
PIECE_SAMPLES = 64_000  # whole periods of the waveform
#: (points, bytes of a point)
SIZES = ((16, 16 << 20), (16, 64 << 20), (64, 32 << 20), (4, 512 << 20))
WORK = (
    ("covariances", ["process", "--what", "covariances"]),
    ("snapshots", ["process", "--what", "snapshots"]),
    ("report-data", ["process", "--what", "report-data"]),
    ("csi", ["process", "--what", "csi", "--waveform", "w.toml"]),
    ("training set", ["dataset", "--what", "covariances"]),
)


@dataclass
class Peak:
    """Resident memory in bytes: of the command, of its largest worker, of all together."""

    command: int = 0
    worker: int = 0
    together: int = 0


def measure(command: list[str], folder: Path) -> tuple[dict[str, object], float, Peak]:
    """Run it; (its JSON, CPU seconds, peaks of resident memory)."""
    peak, cpu = Peak(), {}
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    end = threading.Event()

    def watch() -> None:
        parent = psutil.Process(process.pid)
        while not end.wait(0.02):
            try:
                sizes = {p.pid: p.memory_info().rss for p in (parent, *parent.children(recursive=True))}
                for p in (parent, *parent.children(recursive=True)):
                    cpu[p.pid] = sum(p.cpu_times()[:2])
            except psutil.Error:
                continue
            own = sizes.pop(parent.pid)
            peak.command = max(peak.command, own)
            peak.worker = max(peak.worker, *sizes.values(), 0)
            peak.together = max(peak.together, own + sum(sizes.values()))

    thread = threading.Thread(target=watch)
    thread.start()
    out, _ = process.communicate()
    end.set()
    thread.join()
    return json.loads(out), sum(cpu.values()), peak


def main() -> int:
    """Print the table; exit 1 if a worker was ended for its memory, or memory grows with the campaign."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--quick", action="store_true", help="the two small campaigns only")
    options = parser.parse_args()
    lines = [
        "| campaign | points | work | bad | largest worker MB | command MB | all MB | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    worst, bad = 0, 0
    for points, n_bytes in SIZES[:2] if options.quick else SIZES:
        with tempfile.TemporaryDirectory(prefix="hil-campaign-") as scratch:
            base = Path(scratch)
            wave = base / "w.toml"
            save_waveform(ofdm(48, FS_HZ / 64, 16, n_fft=64), wave)
            repeat = n_bytes // 16 // PIECE_SAMPLES
            make_campaign(base / "c", range(points), samples=PIECE_SAMPLES, repeat=repeat, wave=wave)
            for name, (verb, *rest) in WORK:
                out = base / ("set.h5" if verb == "dataset" else "out")
                command = [sys.executable, "-P", "-m", "hil.cli", "campaign", verb, str(base / "c"), "--out", str(out),
                           *rest, "--workers", str(WORKERS), "--memory", LIMIT, "--json", "-"]  # fmt: skip
                found, cpu_s, peak = measure(command, base)
                n_bad = len(found["bad"])  # pyright: ignore
                worst, bad = max(worst, peak.worker), bad + n_bad
                row = [f"{points * n_bytes / 1e9:.2f} GB", points, name, n_bad, round(peak.worker / 1e6),
                       round(peak.command / 1e6), round(peak.together / 1e6), f"{cpu_s:.0f}"]  # fmt: skip
                lines.append("| " + " | ".join(map(str, row)) + " |")
                print(lines[-1], flush=True)
                if out.is_dir():
                    shutil.rmtree(out)
    if options.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(HEAD + "\n".join(lines) + "\n" + TAIL, encoding="utf-8")
    return int(bad > 0)


HEAD = f"""# Memory of large campaigns

Campaigns of growing size, worked through by {WORKERS} processes that are ended where they exceed {LIMIT}B. Four channels, 12-bit samples; peaks of
resident memory, sampled every 20 ms. Made by `tests/bars/campaign_memory.py --write`.

"""
TAIL = """
A worker holds one piece of one point (65536 samples a channel) and what it computes of it; neither the number of points nor their length changes that.
The command itself holds the list of points and, for a training set, the places of the rows of one point: a few MB more for large ones. A campaign of 50 GB is
therefore the same work for longer: with two workers it needs what the column "all" says, with sixteen about 3 GB.
"""


if __name__ == "__main__":
    sys.exit(main())
