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
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from accuracy_page import insert_table  # noqa: E402

OUT = ROOT / "docs" / "reproduced" / "gui"
PAGE = ROOT / "docs" / "window.md"
FRAMES_HZ, GAP_99_MS, LATENCY_99_MS, MUSIC_HZ, GROWTH_MB, SESSION_MB = 25.0, 100.0, 100.0, 20.0, 30.0, 700.0
RATE_HZ = 1e6
STEADY_S = 10.0


def measure(minutes: float) -> dict[str, Any]:
    """Run the window and return the figures."""
    from PySide6.QtCore import QCoreApplication, QEvent, QObject
    from PySide6.QtWidgets import QApplication

    from gui.station import Station
    from gui.theme import apply_theme
    from gui.window import StationWindow
    from hil.core.device import RxConfig
    from hil.learning.settings import LearnSettings

    class Paints(QObject):
        """Times of paints of what it watches."""

        def __init__(self) -> None:
            super().__init__()
            self.times: list[float] = []

        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() == QEvent.Type.Paint:
                self.times.append(time.monotonic())
            return False

    class Clicks(QObject):
        """Delays of events posted from another thread."""

        def __init__(self) -> None:
            super().__init__()
            self.delays: list[float] = []
            self.sent: list[float] = []

        def event(self, event: QEvent) -> bool:
            if event.type() == QEvent.Type.User and self.sent:
                self.delays.append(time.monotonic() - self.sent.pop(0))
            return True

    began = time.monotonic()
    application = QApplication([])
    apply_theme(application)
    station = Station(accepting="at once")
    window = StationWindow(station, "sim:", "ula:8:0.5")
    window.resize(1366, 740)
    window.show()
    me = psutil.Process()

    def run(seconds: float, true: Callable[[], bool] = lambda: False) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not true():
            application.processEvents()
            time.sleep(0.001)

    run(0.1)
    visible_s = time.monotonic() - began
    paints, clicks, pictures = Paints(), Clicks(), [0]
    ended = threading.Event()

    def click() -> None:
        while not ended.wait(0.05):
            clicks.sent.append(time.monotonic())
            QCoreApplication.postEvent(clicks, QEvent(QEvent.Type.User))

    try:
        station.connect("sim:", "ula:8:0.5")
        station.configure(RxConfig(fs_hz=RATE_HZ))
        station.start()
        station.learn(LearnSettings(support_deg=(-60.0, 60.0)))
        run(60.0, lambda: station.calibration is not None)
        run(STEADY_S)
        take = station.picture

        def counted() -> Any:
            picture = take()
            pictures[0] += picture is not None
            return picture

        station.picture = counted  # type: ignore[method-assign]
        _shown_plot(window.directions).viewport().installEventFilter(paints)
        thread = threading.Thread(target=click, name="clicks", daemon=True)
        thread.start()
        cpu = me.cpu_times()
        memory, start = _memory_mb(me), time.monotonic()
        run(60.0 * minutes)
        seconds = time.monotonic() - start
        growth = _memory_mb(me)[0] - memory[0]
        used = me.cpu_times()
        ended.set()
        thread.join(2.0)
        facts, shown = station.facts(), station.picture()
        gaps = 1e3 * np.diff(paints.times)
        delays = 1e3 * np.array(clicks.delays)
        grid = None if shown is None or shown.angles_deg is None else float(np.diff(shown.angles_deg[:2])[0])
        return {
            "seconds": round(seconds, 1), "platform": application.platformName(), "size": [window.width(), window.height()],
            "frames_per_s": round(len(paints.times) / seconds, 1), "frame_gap_ms": _spread(gaps),
            "input_latency_ms": _spread(delays), "music_per_s": round(pictures[0] / seconds, 1), "music_grid_deg": grid,
            "window_visible_s": round(visible_s, 2), "cores_used": round((used.user + used.system - cpu.user - cpu.system) / seconds, 2),
            "app_mb": round(memory[0]), "all_processes_mb": round(sum(memory)), "growth_mb": round(growth, 1),
            "lost": facts.lost, "skipped": facts.skipped, "learning": facts.learning,
        }  # fmt: skip
    finally:
        ended.set()
        window.close()


def _shown_plot(panel: Any) -> Any:
    from pyqtgraph import GraphicsView

    return next(view for view in panel.findChildren(GraphicsView) if view.isVisible())


def _memory_mb(me: psutil.Process) -> tuple[float, float]:
    """(this process, its children); proportional shares are not counted apart."""
    return me.memory_info().rss / 1e6, sum(c.memory_info().rss for c in me.children(recursive=True)) / 1e6


def _spread(values: np.ndarray) -> dict[str, float]:
    names = {"median": 50, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(values, q)), 1) for name, q in names.items()}


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
        found = measure(asked.minutes)
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
