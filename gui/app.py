"""Start of the desktop application."""

from __future__ import annotations

import sys


def show(device: str = "sim:", array: str | None = "ula:8:0.5", support: str = "-60:60") -> int:
    """Open the live window on a device and run until it is closed. Returns the exit code."""
    import pyqtgraph as pg
    from PySide6.QtWidgets import QApplication

    from gui.live_model import LiveModel
    from gui.live_window import LiveWindow

    pg.setConfigOptions(antialias=False, imageAxisOrder="row-major", useOpenGL=False)
    application = QApplication.instance() or QApplication(sys.argv[:1])
    model = LiveModel(device, array, support)
    try:
        model.start()
        window = LiveWindow(model)
        window.show()
        return int(application.exec())
    finally:
        model.stop()
