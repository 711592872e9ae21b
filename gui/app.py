"""Start of the desktop application."""

from __future__ import annotations

import sys


def show(
    device: str | None = None, array: str | None = None, support: str = "-60:60", rate_hz: float | None = None
) -> int:
    """Open the window and run until it is closed. Returns the exit code.

    device : connected, streamed and learned from at once; None: the window opens on the first steps with the simulated
    array. array : as --array. support : directions that the emitters fill, as --support. rate_hz : of the samples; None: the
    device's own.
    """
    from PySide6.QtWidgets import QApplication

    from gui.remembered import Remembered
    from gui.station import Station
    from gui.theme import apply_theme
    from gui.window import StationWindow
    from hil.core.device import RxConfig

    application = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(application, QApplication)
    remembered = Remembered()
    apply_theme(application, remembered.theme, remembered.text_percent)
    station = Station(accepting="when asked", keep=True)
    try:
        window = StationWindow(station, device or "sim:", array, support, guided=True)
        window.show()
        if device is not None:
            window.controls.connect_to(device, array or "")
            if rate_hz is not None:
                station.configure(RxConfig(fs_hz=rate_hz))
            station.start()
            window.learning.start_or_stop()
        return int(application.exec())
    finally:
        station.close()
