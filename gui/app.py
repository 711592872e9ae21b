"""Start of the desktop application."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from PySide6.QtCore import QObject
    from PySide6.QtWidgets import QWidget

INTERRUPTED = 130


def show(
    device: str | None = None,
    array: str | None = None,
    support: str = "-60:60",
    rate_hz: float | None = None,
    networks: Sequence[Path] = (),
    *,
    until_visible: bool = False,
) -> int:
    """Open the window and run until it is closed, by hand or by SIGINT, SIGTERM or SIGHUP. Returns the exit code.

    device : connected, streamed and learned from at once; None: the window opens on the first steps with the simulated
    array. array : as --array. support : directions that the emitters fill, as --support. rate_hz : of the samples; None: the
    device's own. networks : files of hil train, loaded. until_visible : say "visible" on stdout once the window has been
    painted, and end.
    """
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    from gui.remembered import Remembered
    from gui.station import Station
    from gui.theme import apply_theme
    from gui.window import StationWindow
    from hil.core import compiled
    from hil.core.device import RxConfig

    application = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(application, QApplication)
    remembered = Remembered()
    apply_theme(application, remembered.theme, remembered.text_percent)
    station = Station(accepting="when asked", keep=True)
    try:
        window = StationWindow(station, device or "sim:", array, support, guided=True)
        watch = _first_paint(window, sys.stdout) if until_visible else None
        window.show()
        # after the first picture: a window that is there soon matters more than fast directions in it
        QTimer.singleShot(0, compiled.prepare)
        for path in networks:
            window.load_network(path)
        if device is not None:
            window.controls.connect_to(device, array or "")
            if rate_hz is not None:
                station.configure(RxConfig(fs_hz=rate_hz))
            station.start()
            window.learning.start_or_stop()
        with _signals_close(window.close) as received:
            code = int(application.exec())
        del watch
        return INTERRUPTED if received else code
    finally:
        station.close()


def _first_paint(window: QWidget, out: TextIO) -> QObject:
    """Says that the window was painted, and closes it; lives as long as the object returned."""
    from PySide6.QtCore import QEvent, QObject, QTimer

    class FirstPaint(QObject):
        def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
            if event.type() == QEvent.Type.Paint:
                window.removeEventFilter(self)
                QTimer.singleShot(0, self.end)
            return False

        def end(self) -> None:
            out.write("visible\n")
            out.flush()
            window.close()

    watch = FirstPaint()
    window.installEventFilter(watch)
    return watch


@contextlib.contextmanager
def _signals_close(close: Callable[[], object]) -> Iterator[list[int]]:
    """Ctrl-C or a closed terminal ends the window as a click does, transmitter silent and files valid; yields those
    that came. An exception raised in a slot would be printed and forgotten."""
    from PySide6.QtCore import QTimer

    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        QTimer.singleShot(0, close)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [signal.Signals[name] for name in names]
    taken = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]  # ignored: nohup
    before = {number: signal.signal(number, on_signal) for number in taken}
    try:
        yield received
    finally:
        for number, old in before.items():
            signal.signal(number, old)
