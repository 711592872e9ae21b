"""The angle-delay panel: its numbers against the truth, its words, its files and its command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPointF
from PySide6.QtWidgets import QApplication

from gui.echo_map import EchoMap
from gui.panels.angle_delay import AngleDelayPanel
from gui.station import Station
from hil.cli.main import call
from hil.core.waveform import save_waveform
from hil.sim_server import free_address, serve
from tests.gui.echo_scene import (
    TARGETS,
    check_paths,
    scene,
    sending,
    streaming,
    waveform_for,
    write_scene,
)


@pytest.fixture
def panel(qtbot) -> Iterator[AngleDelayPanel]:
    station = Station()
    made = AngleDelayPanel(station)
    qtbot.addWidget(made)
    made.resize(640, 480)
    made.show()
    yield made
    assert station.close()


def _look(panel: AngleDelayPanel) -> None:
    station = panel._station
    station.poll()
    picture = station.picture()
    if picture is not None:
        panel.show_picture(picture)
    panel.show_facts(station.facts())


def _shown(panel: AngleDelayPanel, qtbot, paths: int = len(TARGETS)) -> EchoMap:
    def there() -> bool:
        _look(panel)
        return panel._shown is not None and len(panel._shown.paths) == paths

    qtbot.waitUntil(there, timeout=60_000)
    assert panel._shown is not None
    return panel._shown


def _numbers(panel: AngleDelayPanel, column: int) -> list[float]:
    return [float(_cell(panel, row, column).split(" ")[0]) for row in range(panel.table.rowCount())]


def _cell(panel: AngleDelayPanel, row: int, column: int) -> str:
    item = panel.table.item(row, column)
    assert item is not None
    return item.text()


def _axis(panel: AngleDelayPanel, name: str) -> str:
    plot: Any = panel.plot.getPlotItem()
    return plot.getAxis(name).labelText


def test_what_it_shows_of_a_board_behind_iiod_is_true(panel: AngleDelayPanel, qtbot, tmp_path: Path) -> None:
    (tmp_path / "echo.toml").write_text(scene(), encoding="utf-8")
    with serve(tmp_path, scene=tmp_path / "echo.toml", iio=free_address()) as server:
        sending(panel._station, server.device_uris["iio"], "ula:4:0.5")
        made = _shown(panel, qtbot)
        check_paths(made.paths)
        np.testing.assert_allclose(_numbers(panel, 0), [t[0] for t in TARGETS], atol=0.5)
        np.testing.assert_allclose(_numbers(panel, 1), [t[1] for t in TARGETS], atol=37.0)
        assert all("±" in _cell(panel, row, 0) for row in range(3))
        assert "Zero: the direct path" in panel.words.text()
        assert "range bin 74.87 m" in panel.words.text()
        assert "speeds within ±" in panel.words.text()
        assert "not calibrated" in panel.words.text()
        assert panel._station.close()


def test_units_read_out_colours_and_ranges(panel: AngleDelayPanel, qtbot, tmp_path: Path) -> None:
    sending(panel._station, write_scene(tmp_path, scene()), "ula:4:0.5")
    made = _shown(panel, qtbot)
    rings = panel.plot.rings.getData()
    np.testing.assert_allclose(sorted(rings[1]), sorted(p.range_m for p in made.paths))
    panel.unit.setCurrentText("ns")
    made = _shown(panel, qtbot)
    rings = panel.plot.rings.getData()
    np.testing.assert_allclose(sorted(rings[1]), sorted(p.delay_s * 1e9 for p in made.paths))
    assert _axis(panel, "left") == "delay / ns after the direct path"
    assert "broadside" in _axis(panel, "bottom")
    np.testing.assert_allclose(_numbers(panel, 1), [p.delay_s * 1e9 for p in made.paths], atol=0.6)
    # the read-out under the mouse is the map's own value there
    path = made.paths[0]
    at = panel.plot.getViewBox().mapViewToScene(QPointF(path.angle_deg, path.delay_s * 1e9))
    panel.plot._moved((at,))
    words = panel.readout.text().split()
    assert float(words[0].rstrip("°")) == pytest.approx(path.angle_deg, abs=0.2)
    assert float(words[1]) == pytest.approx(path.range_m, abs=1.0)
    assert float(words[5]) == pytest.approx(path.power_db, abs=2.0)
    # colours: the strongest cell has the last one, 20 dB less the first of a 20 dB span
    panel.plot.use_span(20.0)
    image: Any = panel.plot.image.image
    assert image.shape == made.level_db.T.shape
    low, high = panel.plot.levels_db
    assert high - low == 20.0
    assert (image == 0).sum() == pytest.approx((low + 20 / 255 > made.level_db.T).sum(), abs=2)
    panel.plot.use_colours("inferno")
    panel.set_range("500")
    made = _shown(panel, qtbot, 2)
    assert made.range_m[-1] == pytest.approx(500.0)
    panel.set_range("far")
    assert "cannot read 'far'" in panel.readout.text()
    assert panel.grab().save(str(tmp_path / "map.png"))
    assert (tmp_path / "map.png").stat().st_size > 20_000


def test_the_copied_command_finds_the_same(
    panel: AngleDelayPanel, qtbot, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sending(panel._station, write_scene(tmp_path, scene(moving=False)), "ula:4:0.5")
    _shown(panel, qtbot)
    panel.copy_script()
    text = QApplication.clipboard().text()
    make, look = text.split(" && ")
    look = look.replace("echo.toml", "echo.toml?free")  # a busy computer would lose samples in real time
    assert panel._station.close()
    assert call(shlex.split(make)[1:]) == 0
    assert call([*shlex.split(look)[1:], "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["paths"]
    assert len(found) == len(TARGETS)
    for angle_deg, range_m, *_ in TARGETS:
        near = min(found, key=lambda p: abs(p["range_m"] - range_m))
        assert abs(near["angle_deg"] - angle_deg) < 0.5


def test_pictures_and_tables_are_written_and_never_overwritten(
    panel: AngleDelayPanel, qtbot, tmp_path: Path
) -> None:
    station = panel._station
    panel.export_csv(tmp_path / "none.csv")
    assert "no map" in panel.readout.text()
    sending(station, write_scene(tmp_path, scene()), "ula:4:0.5")
    made = _shown(panel, qtbot)
    panel.export_csv(tmp_path / "a.csv")
    panel.export_picture(tmp_path / "a.png")
    panel.export_csv(tmp_path / "a.csv")
    done = []
    qtbot.waitUntil(
        lambda: done.extend(d for d in station.done() if d.name == "Export") or len(done) == 3, timeout=20_000
    )
    assert [d.error is None for d in done] == [True, True, False]
    assert "is there already" in str(done[2].error)
    assert (tmp_path / "a.png").stat().st_size > 20_000
    lines = (tmp_path / "a.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), map(float, line.split(",")), strict=True)) for line in lines[1:]]
    assert [row["angle_deg"] for row in rows] == pytest.approx([p.angle_deg for p in made.paths])
    assert [row["angle_sigma_deg"] for row in rows] == pytest.approx([p.angle_sigma_deg for p in made.paths])
    table = np.loadtxt(tmp_path / "a-map.csv", delimiter=",")
    np.testing.assert_allclose(table[1:, 1:], made.level_db, rtol=1e-5)
    np.testing.assert_allclose(table[0, 1:], made.delays_s, rtol=1e-5, atol=1e-15)


def test_without_a_map_it_says_why_and_what_to_do(panel: AngleDelayPanel, qtbot, tmp_path: Path) -> None:
    station = panel._station
    assert "not known" in panel.reason.text()
    assert "What to do: choose" in panel.reason.text()
    panel.use_file(tmp_path / "none.toml")
    done = []
    qtbot.waitUntil(lambda: done.extend(station.done()) or bool(done), timeout=10_000)
    assert "none.toml" in str(done[0].error)
    stream = streaming(station, write_scene(tmp_path, scene(2)), "ula:2:0.5")
    save_waveform(waveform_for(stream), tmp_path / "w.toml")
    panel.use_file(tmp_path / "w.toml")

    def silent() -> bool:
        _look(panel)
        return "not in these" in panel.reason.text()

    qtbot.waitUntil(silent, timeout=30_000)
    assert "press Transmit" in panel.reason.text()
    assert panel.waveform_button.text() == "w.toml…"
    assert panel.script().startswith(f"hil angle-delay sim:{tmp_path}/echo.toml --array ula:2:0.5 ")
    assert panel.script().endswith(f"--waveform {tmp_path}/w.toml --plot map.png")
    station.stop()

    def stopped() -> bool:
        _look(panel)
        return "Nothing streams" in panel.reason.text()

    qtbot.waitUntil(stopped, timeout=10_000)


def test_an_old_map_is_not_shown_as_if_it_were_live(panel: AngleDelayPanel, qtbot, tmp_path: Path) -> None:
    sending(panel._station, write_scene(tmp_path, scene()), "ula:4:0.5")
    _shown(panel, qtbot)
    panel._station.stop()

    def gone() -> bool:
        _look(panel)
        return panel.pages.currentIndex() == 0 and "Nothing streams" in panel.reason.text()

    qtbot.waitUntil(gone, timeout=20_000)
