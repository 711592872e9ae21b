"""Ctrl-C, a closed terminal and a polite kill end the window as a click on its cross does."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from gui.app import INTERRUPTED, show
from gui.window import StationWindow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_the_window_and_all_that_runs(qapp: QApplication, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    seen: list[str] = []
    give_up = time.monotonic() + 60

    def look() -> None:
        windows = [w for w in qapp.topLevelWidgets() if isinstance(w, StationWindow) and w.isVisible()]
        streams = bool(windows) and windows[0].station.facts().link == "streaming"
        if streams or time.monotonic() > give_up:
            timer.stop()
            seen.append("streaming" if streams else "late")
            os.kill(os.getpid(), number)

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(50)
    # the default handlers, as on the command line
    if before is signal.SIG_DFL:
        signal.signal(number, signal.default_int_handler)
    try:
        assert show("sim:", "ula:4:0.5", rate_hz=1e6) == INTERRUPTED
    finally:
        signal.signal(number, before)
    assert seen == ["streaming"]
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-")]
