"""The whole application under a real display, driven by real mouse and key events; a picture of every state.

    xvfb-run -s "-screen 0 1366x768x24" python tests/gui/walkthrough.py OUT

First a new user: from the first start on the simulated array to an exported calibration. Then a board behind the IIOD
emulator: connect, start, learn, accept, export, record, replay, a fault, reconnect, close. Writes OUT/NN-name.png and
OUT/walkthrough.json, {"steps": [{name, picture, seconds}], "new_user_s"}. Events are sent by xdotool, as from a hand.
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QApplication, QWidget

from gui.station import Station
from gui.theme import apply_theme
from gui.window import StationWindow
from hil.sim_server import serve

_EVENT_S = 10.0
_WAIT_S = 90.0


class Operator:
    """A hand and an eye: clicks, types, waits until something can be seen, takes pictures."""

    def __init__(self, application: QApplication, out: Path) -> None:
        self.application, self.out = application, out
        self.steps: list[dict[str, Any]] = []
        self._last = time.monotonic()

    def wait(self, what: str, true: Callable[[], object], seconds: float = _WAIT_S) -> None:
        """Let the application work until `true`."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                faulthandler.dump_traceback()
                self.application.primaryScreen().grabWindow(0).save(str(self.out / "failed.png"))
                raise TimeoutError(f"{what}: not within {seconds:g} s")
            self.application.processEvents()
            time.sleep(0.005)

    def pause(self, seconds: float) -> None:
        """Look."""
        end = time.monotonic() + seconds
        self.wait("pause", lambda: time.monotonic() > end)

    def click(self, widget: QWidget) -> None:
        """In its middle, with the left button, once it can be pressed."""
        self.wait(
            f"{widget.objectName() or type(widget).__name__} can be pressed",
            lambda: widget.isVisible() and widget.isEnabled(),
        )
        self.pause(0.1)
        spot = widget.mapToGlobal(QPoint(widget.width() // 2, widget.height() // 2))
        _xdotool("mousemove", str(spot.x()), str(spot.y()), "click", "1")
        self.pause(0.2)

    def type_into(self, widget: QWidget, text: str) -> None:
        """Replace what is there."""
        self.click(widget)
        self.press("ctrl+a")
        _xdotool("type", "--delay", "5", text)
        self.pause(0.3)

    def press(self, keys: str) -> None:
        """A key or several at once, e.g. ctrl+d."""
        _xdotool("key", keys)
        self.pause(0.2)

    def picture(self, name: str, window: QWidget) -> None:
        """Of the window as it is now."""
        now = time.monotonic()
        file = f"{len(self.steps):02d}-{name}.png"
        if not window.grab().save(str(self.out / file)):
            raise OSError(f"cannot write {self.out / file}")
        self.steps.append({"name": name, "picture": file, "seconds": round(now - self._last, 1)})
        self._last = now


def _xdotool(*words: str) -> None:
    subprocess.run(["xdotool", *words], check=True, timeout=_EVENT_S)


def new_user(hand: Operator, window: StationWindow) -> float:
    """The five first steps on the simulated array; seconds they took."""
    began = time.monotonic()
    buttons, station = window._row.buttons, window.station
    hand.picture("first-start", window)
    hand.click(buttons[0])
    hand.click(buttons[1])
    hand.wait("a picture", lambda: station.facts().n_sources)
    hand.pause(1.0)
    hand.picture("streams-not-calibrated", window)
    hand.click(buttons[2])
    hand.wait("an offer", lambda: station.desk.offered is not None)
    hand.pause(0.5)
    hand.picture("learned-offered", window)
    hand.click(buttons[3])
    hand.wait("CAL", lambda: station.applied is not None)
    hand.pause(2.0)
    hand.picture("accepted", window)
    hand.click(buttons[4])
    wizard = window.calibrations.wizard
    assert wizard is not None
    hand.type_into(wizard.path, str(hand.out / "first.h5"))
    hand.picture("export-wizard", wizard)
    hand.click(wizard.export)
    hand.wait("the file", lambda: (hand.out / "first.h5").exists())
    seconds = time.monotonic() - began
    hand.click(wizard.close_button)
    hand.wait("the row closes", lambda: not window.steps.isVisible())
    return seconds


def look_around(hand: Operator, window: StationWindow) -> None:
    """Every panel once, large digits, light theme."""
    for title, dock in window.docks.docks.items():
        window.docks.show(title)
        hand.wait(title, dock.isVisible)
        hand.pause(1.0)
        hand.picture("panel-" + title.lower().replace(" ", "-"), dock.widget())
    window._use_theme("light")
    window.docks.reset()
    hand.pause(1.0)
    hand.picture("light", window)
    window._use_theme("dark")
    hand.pause(0.5)


def board(hand: Operator, window: StationWindow) -> None:
    """A board behind the IIOD emulator, through a fault and back."""
    station, controls = window.station, window.controls
    with serve(hand.out / "server") as server:
        hand.type_into(controls.source, server.device_uris["iio"])
        hand.type_into(controls.array, "ula:8:0.5")
        hand.press("ctrl+k")
        hand.wait("ready", lambda: station.facts().link == "ready")
        hand.picture("board-connected", window)
        hand.press("ctrl+d")
        hand.wait("streaming", lambda: station.facts().link == "streaming")
        hand.click(window.learning.start)
        hand.wait("an offer", lambda: station.desk.offered is not None)
        hand.click(window.learning.accept)
        hand.wait("in use", lambda: station.applied is not None)
        window.docks.show("Recording")
        hand.type_into(window.recording.folder, str(hand.out))
        hand.press("ctrl+i")
        hand.wait("recording", lambda: (r := station.facts().recording) is not None and r.seconds > 0.5)
        hand.press("ctrl+m")
        hand.picture("board-recording", window)
        hand.press("ctrl+i")
        hand.wait("recorded", lambda: station.facts().recording is None)
        server.kill()
        hand.wait("LOST", lambda: station.facts().link == "lost")
        hand.pause(0.5)
        hand.click(window.strip.buttons["LOCK"])
        hand.pause(0.3)
        hand.picture("board-lost", window)
        hand.picture("board-lost-why", window.strip.explanation)
        hand.press("Escape")
    window.docks.show("Controls")
    with serve(hand.out / "server") as server:  # the board has been mended, and has new random phases
        hand.type_into(controls.source, server.device_uris["iio"])
        hand.click(controls.connect_button)
        hand.wait("ready again", lambda: station.facts().link == "ready")
        hand.click(controls.start_button)
        hand.wait("streaming again", lambda: station.facts().link == "streaming")
        hand.pause(1.5)
        hand.picture("board-reconnected-stale", window)
        hand.press("ctrl+d")
        hand.wait("stopped", lambda: station.facts().link == "ready")


def replay(hand: Operator, window: StationWindow) -> None:
    """What was recorded, with the time bar."""
    (recording,) = hand.out.glob("*.sigmf-meta")
    window.docks.show("Controls")
    hand.type_into(window.controls.source, f"replay:{recording}?realtime")
    hand.click(window.controls.connect_button)
    hand.wait("ready", lambda: window.station.facts().link == "ready")
    window.docks.show("Replay")
    hand.click(window.controls.start_button)
    hand.wait("a picture", lambda: window.station.facts().n_sources is not None)
    hand.pause(0.5)
    hand.picture("replay", window)


def main() -> int:
    """Walk."""
    out = Path(sys.argv[1]).resolve()
    (out / "server").mkdir(parents=True, exist_ok=True)
    os.environ["HIL_HOME"] = str(out / "home")
    application = QApplication(sys.argv[:1])
    apply_theme(application)
    hand = Operator(application, out)
    window = StationWindow(Station(keep=True, accepting="when asked"), guided=True)
    window.resize(1366, 740)
    window.move(0, 0)
    window.show()
    window.activateWindow()
    hand.pause(1.0)
    try:
        new_user_s = new_user(hand, window)
        if "quick" not in sys.argv:
            look_around(hand, window)
        board(hand, window)
        replay(hand, window)
    finally:
        (out / "log.txt").write_text(window.log.text(), encoding="utf-8")
        began = time.monotonic()
        window.close()
        closed_s = time.monotonic() - began
    told = {"steps": hand.steps, "new_user_s": round(new_user_s, 1), "closed_s": round(closed_s, 2)}
    (out / "walkthrough.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
