"""Capture over IIOD from the emulated board: our driver against pyadi-iio's `rx()`, both with real libiio.

The emulator runs in a process of its own and makes every sample; the client's own cost is its CPU time per
sample. The rate on the wall clock is that of emulator, network stack and client together. Each client is a fresh process, as a
capture script is: in one that has freed large arrays before, pyadi-iio's are got without new pages and take half the time.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hil.bench.iio_client import BLOCK
from hil.bench.measure import Row, StageReport, at_least
from hil.sim_server import free_address, serve

_CLIENT_S = 120.0
_SCENE = '[array]\nn_elements = 4\n[receiver]\nboard = "fmcomms5"\n'
_HINT = "pip install pyadi-iio==0.0.21 pylibiio==0.25, and libiio 0.24 to 0.26 (hil doctor)"


def run(quick: bool) -> StageReport:
    """4 channels, free-running emulator, clients in turn."""
    blocks, rounds = (8, 1) if quick else (128, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = folder / "scene.toml"
        scene.write_text(_SCENE, encoding="utf-8")
        address = free_address()
        with serve(folder, scene=scene, iio=address, free_running=True) as server:
            uri = server.iio[0]
            try:
                found: dict[str, list[tuple[float, float]]] = {"ours": [], "pyadi-iio rx()": []}
                for _ in range(rounds):
                    found["ours"].append(_client("ours", uri, blocks))
                    found["pyadi-iio rx()"].append(_client("pyadi", uri, blocks))
            except (RuntimeError, subprocess.TimeoutExpired) as err:
                return StageReport((), {"libiio and pyadi-iio": _HINT}, (str(err),))
    n = blocks * BLOCK
    case = f"4 channels, blocks of {BLOCK}"
    median = {who: [statistics.median(v) for v in zip(*runs, strict=True)] for who, runs in found.items()}
    rows = []
    for who, (cpu_s, wall_s) in median.items():
        note = f"{n / wall_s / 1e6:.1f} MS/s a channel on the wall clock, emulator included"
        ratio = None if who == "ours" else cpu_s / median["ours"][0]
        row = Row(case, who, n / cpu_s / 1e6, "MS/s a channel per client core", cpu_s, wall_s, ratio, note)
        rows.append(row if ratio is None else at_least(row, 15.0, ratio, "it takes 15 times as long"))
    return StageReport(tuple(rows), notes=("Each client in a fresh process, as a capture script is.",))


def _client(who: str, uri: str, blocks: int) -> tuple[float, float]:
    """Raises RuntimeError with the last words of a client that failed."""
    command = [sys.executable, "-P", "-m", "hil.bench.iio_client", who, uri, str(blocks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_CLIENT_S, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:] or f"exit code {done.returncode}")
    cpu_s, wall_s = json.loads(done.stdout.splitlines()[-1])
    return cpu_s, wall_s
