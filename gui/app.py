"""Start of the desktop application."""

from __future__ import annotations

import sys


def show(device: str = "sim:", array: str | None = "ula:8:0.5", support: str = "-60:60") -> int:
    """Open the window on a device, stream, learn, and run until it is closed. Returns the exit code."""
    from PySide6.QtWidgets import QApplication

    from gui.station import Station
    from gui.theme import apply_theme
    from gui.window import StationWindow
    from hil.learning.settings import LearnSettings, parse_support

    settings = LearnSettings(support_deg=parse_support(support))
    application = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(application, QApplication)
    apply_theme(application)
    station = Station()
    try:
        window = StationWindow(station, device, array, support)
        window.show()
        station.connect(device, array)
        station.start()
        station.learn(settings)
        return int(application.exec())
    finally:
        station.close()
