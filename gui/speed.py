"""What a window reaches with a source: frames a second, latency from the antenna to the screen, losses, memory.

    python -m gui.speed --uri sim: --array ula:8:0.5 --rate 1e6 --seconds 60

The whole application with every panel of the default layout visible, learning on, software rendering; one JSON object on
stdout. A frame counts when the direction plot was painted after a new picture. Latency is counted from the newest sample of a
picture to the end of the paint that shows it; when the samples of a paced source were converted is known to the
fastest block of the last second, so that only the least way to this process is left out. Input latency is the time from an event
being posted to the window's thread until it is handled there. What the window keeps lies in a folder of its own.
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
from typing import Any

import numpy as np
import psutil

_STEADY_S = 10.0
_LEARN_S = 60.0
_SUPPORT_DEG = (-60.0, 60.0)
_SECOND_PICTURES = 30


def measure(
    uri: str,
    array: str,
    rate_hz: float | None,
    seconds: float,
    *,
    block_samples: int | None = None,
    steady_s: float = _STEADY_S,
) -> dict[str, Any]:
    """Run the window and return the figures. rate_hz, block_samples : asked of the source, None: its own."""
    from PySide6.QtCore import QCoreApplication, QEvent, QObject, QTimer
    from PySide6.QtWidgets import QApplication

    from gui.station import Station
    from gui.theme import apply_theme
    from gui.window import StationWindow
    from hil.core import compiled
    from hil.core.device import RxConfig
    from hil.learning.settings import LearnSettings

    shown: list[tuple[int, int, float]] = []  # (t_mono_ns, first_sample, sample rate) of pictures taken
    latencies: list[tuple[int, int, float, float]] = []

    class Paints(QObject):
        """Times of paints of what it watches, and when they were done."""

        def __init__(self) -> None:
            super().__init__()
            self.times: list[float] = []

        def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
            if event.type() == QEvent.Type.Paint:
                self.times.append(time.monotonic())
                if shown:
                    QTimer.singleShot(0, self.done)
            return False

        def done(self) -> None:
            if shown:
                latencies.append((*shown.pop(), time.monotonic()))
                shown.clear()

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
    window = StationWindow(station, uri, array)
    window.resize(1366, 740)
    window.show()
    compiled.prepare()  # as `hil gui` does
    me = psutil.Process()

    def run(length_s: float, true: Callable[[], bool] = lambda: False) -> None:
        end = time.monotonic() + length_s
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
        station.connect(uri, array)
        station.configure(RxConfig(fs_hz=rate_hz, block_samples=block_samples))
        station.start()
        station.learn(LearnSettings(support_deg=_SUPPORT_DEG))
        run(_LEARN_S, lambda: station.calibration is not None)
        run(steady_s)
        take = station.picture

        def counted() -> Any:
            picture = take()
            pictures[0] += picture is not None
            if picture is not None:
                shown[:] = [(picture.t_mono_ns, picture.first_sample, picture.stream.fs_hz)]
            return picture

        station.picture = counted  # type: ignore[method-assign]
        _shown_plot(window.directions).viewport().installEventFilter(paints)
        thread = threading.Thread(target=click, name="clicks", daemon=True)
        thread.start()
        cpu, children_cpu, before = me.cpu_times(), _children_cpu_s(me), station.facts()
        memory, start = _memory_mb(me), time.monotonic()
        run(seconds)
        length_s = time.monotonic() - start
        growth = _memory_mb(me)[0] - memory[0]
        used, learner_s = me.cpu_times(), _children_cpu_s(me) - children_cpu
        ended.set()
        thread.join(2.0)
        facts, last = station.facts(), station.picture()
        gaps = 1e3 * np.diff(paints.times)
        delays = 1e3 * np.array(clicks.delays)
        grid = None if last is None or last.angles_deg is None else float(np.diff(last.angles_deg[:2])[0])
        return {
            "seconds": round(length_s, 1), "run_s": round(time.monotonic() - began, 1), "platform": application.platformName(), "size": [window.width(), window.height()],
            "frames_per_s": round(len(paints.times) / length_s, 1), "frame_gap_ms": _spread(gaps),
            "input_latency_ms": _spread(delays), "antenna_to_screen_ms": _spread(_latencies_ms(latencies)),
            "music_per_s": round(pictures[0] / length_s, 1), "music_grid_deg": grid,
            "window_visible_s": round(visible_s, 2), "cores_used": round((used.user + used.system - cpu.user - cpu.system) / length_s, 2),
            "learner_cores": round(learner_s / length_s, 2), "app_mb": round(memory[0]), "all_processes_mb": round(sum(memory)),
            "growth_mb": round(growth, 1), "lost": facts.lost, "lost_steady": facts.lost - before.lost,
            "skipped": facts.skipped, "skipped_steady": facts.skipped - before.skipped,
            "learning": facts.learning, "learned": station.calibration is not None,
        }  # fmt: skip
    finally:
        ended.set()
        window.close()


def _latencies_ms(seen: list[tuple[int, int, float, float]]) -> np.ndarray:
    """From (t_mono_ns of arrival, first sample, rate, time of the paint): counted from the newest sample, by the source's clock."""
    if not seen:
        return np.zeros(0)
    arrived, first, rate_hz, painted = (np.array(v, float) for v in zip(*seen, strict=True))
    converted = first / rate_hz
    begin = arrived / 1e9 - converted
    # samples that are lost in an unknown number move the beginning: only the last second is asked
    start = np.array([begin[max(0, k - _SECOND_PICTURES) : k + 1].min() for k in range(len(begin))])
    return 1e3 * (painted - start - converted)


def _shown_plot(panel: Any) -> Any:
    from pyqtgraph import GraphicsView

    return next(view for view in panel.findChildren(GraphicsView) if view.isVisible())


def _memory_mb(me: psutil.Process) -> tuple[float, float]:
    """(this process, its children): what is shared is divided among those who share it, where the system tells (Linux)."""
    return _held_mb(me), sum(_held_mb(c) for c in me.children(recursive=True))


def _held_mb(process: psutil.Process) -> float:
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return 0.0
    return getattr(full, "pss", full.rss) / 1e6


def _children_cpu_s(me: psutil.Process) -> float:
    times = [c.cpu_times() for c in me.children(recursive=True)]
    return sum(t.user + t.system for t in times)


def _spread(values: np.ndarray) -> dict[str, float]:
    names = {"median": 50, "p99": 99, "max": 100}
    return {
        name: round(float(np.percentile(values, q)), 1) if len(values) else float("nan")
        for name, q in names.items()
    }


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--uri", default="sim:")
    parser.add_argument("--array", default="ula:8:0.5")
    parser.add_argument("--rate", type=float, default=None, help="samples per second and channel")
    parser.add_argument("--block", type=int, default=None, help="samples of a block")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--steady", type=float, default=_STEADY_S, help="seconds after learning that are not measured"
    )
    asked = parser.parse_args(argv)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory() as home:  # a layout that somebody left would be measured
        os.environ["HIL_HOME"] = home
        found = measure(
            asked.uri,
            asked.array,
            asked.rate,
            asked.seconds,
            block_samples=asked.block,
            steady_s=asked.steady,
        )
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
