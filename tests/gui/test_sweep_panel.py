"""A sweep from the window: on its stream and its table, steered by its buttons, ended by STOP."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from gui.panels.point_map import PointMap
from gui.station import Station
from gui.window import StationWindow
from hil.campaign.folder import open_campaign
from hil.campaign.plan import parse_angles
from hil.cli.main import run as _run  # noqa: F401 - the command that the script names exists

TABLE = "sim:?speed=300&acceleration=3000"
SCENE = "[array]\nn_elements = 4\n[receiver]\nfs_hz = 1e6\n[[emitter]]\nangle_deg = 0.0\n"


@pytest.fixture
def window(qtbot, tmp_path: Path) -> Iterator[StationWindow]:
    scene = tmp_path / "scene.toml"
    scene.write_text(SCENE, encoding="utf-8")
    made = StationWindow(Station(accepting="when asked"), f"sim:{scene}", "ula:4:0.5")
    qtbot.addWidget(made)
    made.show()
    made.docks.docks["Sweep"].raise_()
    panel = made.sweep
    panel.angles.setText("-4:4:2")
    panel.samples.setText("20k")
    panel.settle.setText("0.05")
    panel.emitters.setText("0")
    panel.folder.setText(str(tmp_path / "night"))
    yield made
    made.close()


def _ready(window: StationWindow, qtbot) -> None:
    """A stream and a table."""
    station = window.station
    station.connect(window.controls.source.currentText(), "ula:4:0.5")
    qtbot.waitUntil(lambda: station.facts().link == "ready", timeout=30_000)
    station.start()
    qtbot.waitUntil(lambda: station.facts().link == "streaming", timeout=30_000)
    station.table.connect(TABLE)
    qtbot.waitUntil(lambda: station.table.view.link == "ready", timeout=30_000)


def _click(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_it_says_what_is_missing(window: StationWindow, qtbot) -> None:
    panel = window.sweep
    _click(qtbot, panel.begin_button)
    assert "press Start" in panel.problem.text()
    assert not Path(panel.folder.text()).exists()
    panel.angles.setText("x")
    assert "Angles" in panel.estimate.text()
    panel.angles.setText("-60:60:1")
    panel.samples.setText("81920")
    assert "121 points" in panel.estimate.text()
    assert len(panel.map.cells) == 121


def test_a_sweep_runs_beside_the_plots_and_leaves_a_campaign(window: StationWindow, qtbot) -> None:
    _ready(window, qtbot)
    panel, station = window.sweep, window.station
    epoch = station.session and station.session.stream.epoch.id
    _click(qtbot, panel.begin_button)
    qtbot.waitUntil(lambda: station.sweeps.view.running, timeout=10_000)
    qtbot.waitUntil(lambda: "/5" in (lambda t: t.sweep if t else "")(station.facts().table), timeout=30_000)
    qtbot.waitUntil(lambda: station.sweeps.view.state == "complete", timeout=90_000)
    qtbot.waitUntil(lambda: panel.stage.text().startswith("Complete: 5 of 5"), timeout=5_000)
    assert {state for _, state in panel.map.cells} == {"done"}
    campaign = open_campaign(panel.folder.text())
    assert [p.set_deg for p in campaign.points] == [-4, -2, 0, 2, 4]
    assert {p.epoch for p in campaign.points} == {epoch}, "the window's stream goes on"
    assert station.facts().link == "streaming"
    assert (campaign.file.positioner, campaign.file.array) == (TABLE, "ula:4:0.5")
    assert panel.begin_button.text() == "Resume sweep"


def test_pause_stop_and_resume(window: StationWindow, qtbot) -> None:
    _ready(window, qtbot)
    panel, station = window.sweep, window.station
    panel.angles.setText("-8:8:1")
    _click(qtbot, panel.begin_button)
    qtbot.waitUntil(lambda: panel.pause_button.isEnabled(), timeout=10_000)
    _click(qtbot, panel.pause_button)
    qtbot.waitUntil(lambda: station.sweeps.view.state == "paused", timeout=30_000)
    qtbot.waitUntil(lambda: panel.pause_button.text() == "Go on", timeout=5_000)
    before = len(open_campaign(panel.folder.text()).points)
    _click(qtbot, panel.pause_button)
    qtbot.waitUntil(lambda: len(open_campaign(panel.folder.text()).points) > before, timeout=30_000)
    window.chamber.stop()  # the button, and Esc
    qtbot.waitUntil(lambda: station.sweeps.view.state == "ended", timeout=10_000)
    qtbot.waitUntil(lambda: "it can be resumed" in panel.stage.text(), timeout=5_000)
    kept = open_campaign(panel.folder.text())
    assert 0 < len(kept.points) < 17
    qtbot.waitUntil(lambda: panel.begin_button.text() == "Resume sweep", timeout=5_000)
    _click(qtbot, panel.begin_button)
    qtbot.waitUntil(lambda: station.sweeps.view.state == "complete", timeout=120_000)
    done = open_campaign(panel.folder.text())
    assert done.complete
    assert done.runs == 2
    assert [p for p in done.points if p.index in {q.index for q in kept.points}] == list(kept.points)


def test_the_window_closes_while_a_sweep_runs(window: StationWindow, qtbot) -> None:
    _ready(window, qtbot)
    panel, station = window.sweep, window.station
    _click(qtbot, panel.begin_button)
    qtbot.waitUntil(lambda: station.sweeps.view.progress is not None, timeout=30_000)
    assert window.close()
    assert not station.sweeps.view.running
    open_campaign(panel.folder.text())


def test_a_lost_table_ends_the_point_not_the_window(window: StationWindow, qtbot) -> None:
    _ready(window, qtbot)
    station = window.station
    station.table.connect(TABLE + "&lost_after=40")
    qtbot.waitUntil(lambda: station.table.view.link == "ready", timeout=30_000)
    _click(qtbot, window.sweep.begin_button)
    qtbot.waitUntil(lambda: station.table.view.link == "lost", timeout=60_000)
    qtbot.waitUntil(lambda: bool(station.sweeps.view.words or station.sweeps.view.problem), timeout=60_000)
    assert station.facts().link == "streaming"
    window.sweep.end_button.click()
    qtbot.waitUntil(lambda: not station.sweeps.view.running, timeout=60_000)


def test_the_script_is_the_command(window: StationWindow, qtbot) -> None:
    from gui.scripts import sweep_script

    _ready(window, qtbot)
    file = window.sweep._file()
    words = shlex.split(sweep_script(file, Path("night")))
    assert words[:2] == ["hil", "sweep"]
    assert f"--angles={','.join(f'{a:g}' for a in file.plan.angles_deg)}" in words
    assert (
        parse_angles(words[[w.startswith("--angles") for w in words].index(True)].partition("=")[2])
        == file.plan.angles_deg
    )
    assert words[-2:] == ["--out", "night"]


def test_the_map_tells_states_by_sign_and_colour(qtbot) -> None:
    made = PointMap()
    qtbot.addWidget(made)
    made.resize(300, 60)
    made.show_points((10.0, -10.0, 0.0), ("bad", "done", "now"))
    assert made.cells == [(-10.0, "done"), (0.0, "now"), (10.0, "bad")]
    made.show()
    image = made.grab().toImage()
    scale = image.devicePixelRatio()
    colours = {image.pixelColor(int((50 + 100 * k) * scale), int(3 * scale)).name() for k in range(3)}
    assert len(colours) == 3
