"""The whole program live: window, spectra and learning on an emulated array whose samples are a loop.

The window runs in a process of its own (`gui.speed`), drawn offscreen; the emulator in another, its processor time apart: on a
bench it is the receiver's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from hil.bench.measure import Row, StageReport, at_least, at_most
from hil.bench.processes import cpu_s
from hil.sim_server import free_address, serve

_RATE_HZ = 2.5e6
_LOOP_S = 1.0
_FRAMES_HZ, _MEDIAN_MS, _99_MS, _SESSION_MB = 25.0, 60.0, 120.0, 700.0
_SCENE = """
[array]
n_elements = {m}
[receiver]
board = "fmcomms5"
fs_hz = {fs_hz}
[[emitter]]
hop = {{ period_s = 0.01, min_deg = -60.0, max_deg = 60.0 }}
"""
_HINT = "libiio 0.24 to 0.26, PySide6 and pyqtgraph (hil doctor)"


def run(quick: bool) -> StageReport:
    """16 channels x 2.5 MS/s, and 8 channels in blocks of 1 ms."""
    seconds, steady_s = (4.0, 2.0) if quick else (60.0, 10.0)
    notes = [
        f"Emulated boards on a loop of {_LOOP_S:g} s over the loopback, paced by the clock; learning on."
    ]
    try:
        wide, emulator = _window(16, None, seconds, steady_s)
        near, other = _window(8, round(1e-3 * _RATE_HZ), seconds, steady_s)
    except (OSError, RuntimeError, ValueError, subprocess.TimeoutExpired) as err:
        return StageReport((), {"the window on an emulated array": _HINT}, (str(err),))
    return StageReport((*_wide_rows(wide, emulator), *_near_rows(near, other)), notes=tuple(notes))


def _wide_rows(found: dict[str, Any], emulator: float) -> list[Row]:
    case = "16 channels x 2.5 MS/s"
    cores = (
        f"window and processing {found['cores_used']:g} cores, learner {found['learner_cores']:g}, "
        f"emulator {emulator:.2f}"
    )
    dropped = found["lost_steady"] + found["skipped_steady"]
    state = f"learning: {found['learning']}; {found['lost']} lost while it started"
    rows = [
        at_most(Row(f"{case}: lost or not processed", "ours", dropped, "samples a channel", note=state), 0),
        at_least(Row(f"{case}: window", "ours", found["frames_per_s"], "frames/s", note=cores), _FRAMES_HZ),
    ]
    if not found["learned"]:
        rows[0] = replace(rows[0], reached=False, note="nothing was learned")
    return rows


def _near_rows(found: dict[str, Any], emulator: float) -> list[Row]:
    case = "8 channels x 2.5 MS/s, blocks of 1 ms"
    delay = found["antenna_to_screen_ms"]
    note = "from the newest sample to the end of the paint that shows its directions"
    if found["lost_steady"]:
        note += f"; {found['lost_steady']} samples and more were lost meanwhile, the boards aligned anew"
    return [
        at_most(Row(f"{case}: latency, median", "ours", delay["median"], "ms", note=note), _MEDIAN_MS),
        at_most(Row(f"{case}: latency, 99 %", "ours", delay["p99"], "ms"), _99_MS),
        at_most(
            Row(f"{case}: memory of window and learner", "ours", found["all_processes_mb"], "MB",
                note=f"grew by {found['growth_mb']:g} MB; without the samples of the last 30 s that the flight recorder keeps, at most 1 GiB; emulator {emulator:.2f} cores"), _SESSION_MB,
        ),
    ]  # fmt: skip


def _window(m: int, block: int | None, seconds: float, steady_s: float) -> tuple[dict[str, Any], float]:
    """What the window found out, and the emulator's cores over its whole run."""
    with tempfile.TemporaryDirectory(prefix="hil-bench-") as name:
        folder = Path(name)
        scene = folder / "scene.toml"
        scene.write_text(_SCENE.format(m=m, fs_hz=_RATE_HZ), encoding="utf-8")
        with serve(folder, scene=scene, iio=free_address(), loop_s=_LOOP_S) as server:
            emulator = psutil.Process(server.process.pid)
            command = [sys.executable, "-P", "-m", "gui.speed", "--uri", "iio:" + ",".join(server.iio)]
            command += ["--array", f"ula:{m}:0.5", "--rate", str(_RATE_HZ), "--seconds", str(seconds)]
            command += ["--steady", str(steady_s)] + ([] if block is None else ["--block", str(block)])
            environment = os.environ | {
                "QT_QPA_PLATFORM": "offscreen",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            }
            before = cpu_s(emulator)
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=seconds + steady_s + 150,
                env=environment,
                check=False,
            )
            used = cpu_s(emulator) - before
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(done.stderr.strip()[-500:] or f"exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found, used / max(found["run_s"], 1e-9)
