"""Pictures of the window for the documentation.

QT_QPA_PLATFORM=offscreen python tests/bars/screenshots.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Learn the default scene and take a picture."""
    from PySide6.QtWidgets import QApplication

    from gui.station import Station
    from gui.theme import apply_theme
    from gui.window import StationWindow
    from hil.core.device import RxConfig
    from hil.learning.settings import LearnSettings

    application = QApplication([])
    apply_theme(application)
    station = Station()
    window = StationWindow(station, "sim:", "ula:8:0.5")
    window.show()

    def until(true: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not true():
            application.processEvents()
            time.sleep(0.005)

    try:
        station.connect("sim:", "ula:8:0.5")
        station.configure(RxConfig(fs_hz=1e6))  # simulated in this process, too
        station.start()
        station.learn(LearnSettings(support_deg=(-60.0, 60.0)))
        until(lambda: station.calibration is not None, 60.0)
        until(lambda: False, 8.0)
        return 0 if window.grab().save(str(ROOT / "docs" / "images" / "live.png")) else 1
    finally:
        window.close()


if __name__ == "__main__":
    sys.exit(main())
