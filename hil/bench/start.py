"""How long a person waits for the program: import, help, window; each in fresh processes, wall clock."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from hil.bench.measure import Row, StageReport, at_most

_TIMEOUT_S = 60.0
_IMPORT_S, _WINDOW_S = 0.3, 2.5
_PYTHON = (sys.executable, "-P")


def run(quick: bool) -> StageReport:
    """Medians of rounds in turn; the first round fills the file caches and is not counted."""
    rounds = 1 if quick else 7
    cases: dict[str, tuple[Callable[[], float], float | None]] = {
        "python, nothing": (lambda: _whole([*_PYTHON, "-c", "pass"]), None),
        "import hil": (lambda: _whole([*_PYTHON, "-c", "import hil"]), _IMPORT_S),
        "hil --help": (lambda: _whole([*_PYTHON, "-m", "hil.cli", "--help"]), _IMPORT_S),
        "hil gui, window visible": (_window, _WINDOW_S),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    missing: dict[str, str] = {}
    for _ in range(rounds + 1):
        for name, (measure, _) in cases.items():
            if name in missing:
                continue
            try:
                seconds[name].append(measure())
            except (OSError, RuntimeError, subprocess.TimeoutExpired) as err:
                missing[name] = str(err)
    rows: list[Row] = []
    bare_s = float("nan")
    for name, (_, most) in cases.items():
        if name in missing:
            continue
        value = statistics.median(seconds[name][1:])
        if most is None:
            bare_s = value
            continue
        rows.append(at_most(Row(name, "ours", value, "s", wall_s=value), most))
        rows.append(Row(name, "python, nothing", bare_s, "s", wall_s=bare_s, ratio=bare_s / value))
    notes = ("Wall clock of whole processes; the window is drawn offscreen, by software.",)
    return StageReport(tuple(rows), missing, notes)


def _environment() -> dict[str, str]:
    return os.environ | {"QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _whole(command: Sequence[str]) -> float:
    begin = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=_environment(), check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:] or f"exit code {done.returncode}")
    return time.monotonic() - begin


def _window() -> float:
    """Until the window says that it was painted."""
    command = [*_PYTHON, "-m", "hil.cli", "gui", "--until-visible"]
    begin = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.monotonic() - begin
            _, words = process.communicate(timeout=_TIMEOUT_S)
        except BaseException:
            process.kill()
            raise
    if line.strip() != "visible":
        raise RuntimeError(words.strip()[-300:] or f"no window, exit code {process.returncode}")
    return seconds
