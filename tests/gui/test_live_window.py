"""The live window on a simulated array: it learns, shows it, says why a lamp is red, and leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gui.live_model import LiveModel
from gui.live_window import LiveWindow


@pytest.fixture
def window(qtbot) -> Iterator[LiveWindow]:
    model = LiveModel("sim:", "ula:8:0.5", "-60:60")
    model.start()
    window = LiveWindow(model)
    qtbot.addWidget(window)
    window.show()
    yield window
    window.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-")]


def _text(window: LiveWindow, lamp: str) -> str:
    return window.lamps[lamp].text()


def test_it_learns_while_it_shows(window: LiveWindow, qtbot, tmp_path: Path) -> None:
    assert "none" in _text(window, "CAL") or "?" in _text(window, "CAL")
    qtbot.waitUntil(lambda: "converged" in _text(window, "LEARN"), timeout=60_000)
    qtbot.waitUntil(lambda: "±" in _text(window, "CAL"), timeout=20_000)
    assert "streaming" in _text(window, "LOCK")
    assert window.grab().save(str(tmp_path / "live.png"))
    assert (tmp_path / "live.png").stat().st_size > 10_000


def test_a_lost_device_turns_the_lamp_red_and_says_why(qtbot) -> None:
    model = LiveModel("faults:disconnect_after=40:sim:", "ula:8:0.5", "-60:60")
    model.start()
    window = LiveWindow(model)
    qtbot.addWidget(window)
    window.show()
    try:
        qtbot.waitUntil(lambda: "LOST" in _text(window, "LOCK"), timeout=30_000)
        assert window.lamps["LOCK"].toolTip()
    finally:
        window.close()
