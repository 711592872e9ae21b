"""The transmit panel: nobody can overlook that something is sent, and it always ends."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from drivers.conformance_tx_cases import sent_so_far
from drivers.sigmf_files import open_recording
from gui.panels.transmit import TransmitPanel
from gui.station import Station
from hil.cli.main import call
from hil.core.waveform import load_waveform
from hil.sim_server import SimServer, free_address, serve
from tests.gui.echo_scene import check_paths, complete, scene, streaming, write_scene


@pytest.fixture
def panel(qtbot) -> Iterator[TransmitPanel]:
    station = Station()
    made = TransmitPanel(station)
    qtbot.addWidget(made)
    made.resize(360, 480)
    made.show()
    yield made
    assert station.close()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[SimServer]:
    (tmp_path / "board.toml").write_text(scene(), encoding="utf-8")
    with serve(tmp_path, scene=tmp_path / "board.toml", iio=free_address()) as server:
        yield server


def _wait(panel: TransmitPanel, qtbot, true: Callable[[], object]) -> None:
    def look() -> bool:
        panel._station.poll()
        panel.show_facts(panel._station.facts())
        return bool(true())

    qtbot.waitUntil(look, timeout=30_000)


def _click(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def _on(panel: TransmitPanel, qtbot, attenuation: str = "30") -> None:
    panel.attenuation.setText(attenuation)
    _wait(panel, qtbot, panel.start_button.isEnabled)
    _click(qtbot, panel.start_button)
    _wait(panel, qtbot, lambda: panel.state.text().startswith("TX ON"))


def test_a_click_sends_and_a_click_ends_it(
    panel: TransmitPanel, qtbot, board: SimServer, tmp_path: Path
) -> None:
    station = panel._station
    assert panel.state.text() == "TX off. Nothing is connected."
    assert not panel.start_button.isEnabled()
    streaming(station, board.device_uris["iio"], "ula:4:0.5")
    _wait(panel, qtbot, lambda: panel.state.text() == "TX off")
    assert "range bin 74.9 m" in panel.about.text()
    assert not sent_so_far(board.truth)[0], "connecting sends nothing"
    _on(panel, qtbot, "25,25")  # a decimal comma
    assert panel.state.text() == "TX ON, attenuation 25.25 dB, channel 0, 2.45 GHz, OFDM 256"
    assert "#c0281c" in panel.state.styleSheet()
    assert sent_so_far(board.truth)[0]
    assert panel.grab().save(str(tmp_path / "on.png"))
    check_paths(complete(station).paths)  # what is sent is what the map looks for
    panel.attenuation.setText("40")
    qtbot.keyClick(panel.attenuation, Qt.Key.Key_Return)
    _wait(panel, qtbot, lambda: "attenuation 40 dB" in panel.state.text())
    _click(qtbot, panel.stop_button)
    _wait(panel, qtbot, lambda: panel.state.text() == "TX off")
    assert not sent_so_far(board.truth)[0]
    assert not panel.stop_button.isEnabled()


@pytest.mark.parametrize("end", ["stop", "close", "connect", "close before the start"])
def test_every_end_silences_it(
    panel: TransmitPanel, qtbot, board: SimServer, tmp_path: Path, end: str
) -> None:
    station = panel._station
    station.connect(board.device_uris["iio"], "ula:4:0.5")
    if end != "close before the start":
        station.start()
    _on(panel, qtbot)
    if end == "stop":
        station.stop()
        _wait(panel, qtbot, lambda: panel.state.text() == "TX off")
    elif end.startswith("close"):
        assert station.close()
    else:
        station.connect(write_scene(tmp_path, scene(2)), "ula:2:0.5")
        _wait(panel, qtbot, lambda: station.facts().link == "ready")
        _wait(panel, qtbot, lambda: panel.state.text() == "TX off")
    assert not sent_so_far(board.truth)[0]


def test_without_a_number_the_greatest_attenuation_is_taken(
    panel: TransmitPanel, qtbot, tmp_path: Path
) -> None:
    streaming(panel._station, write_scene(tmp_path, scene(2)), "ula:2:0.5")
    _on(panel, qtbot, "")
    assert "attenuation 89.75 dB" in panel.state.text()


def test_what_the_device_refuses_sends_nothing(panel: TransmitPanel, qtbot, tmp_path: Path) -> None:
    station = panel._station
    streaming(station, write_scene(tmp_path, scene(2)), "ula:2:0.5")
    _on(panel, qtbot)
    panel.attenuation.setText("-3")
    _click(qtbot, panel.start_button)
    told = []
    _wait(panel, qtbot, lambda: told.extend(d for d in station.done() if d.error) or told)
    assert "the device allows 0 to 89.75" in str(told[0].error)
    _wait(panel, qtbot, lambda: panel.state.text() == "TX off")  # silent after any error
    for line, text, words in (
        (panel.attenuation, "loud", "cannot read 'loud'"), (panel.channels, "left", "cannot read 'left'"),
    ):  # fmt: skip
        line.setText(text)
        _click(qtbot, panel.start_button)
        assert words in panel.problem.text()
        line.setText("")
    panel.waveform.setCurrentText("a file…")
    _click(qtbot, panel.start_button)
    assert "which file" in panel.problem.text()


def test_a_board_that_dies_while_it_sends_is_not_said_to_be_silent(
    panel: TransmitPanel, qtbot, board: SimServer, tmp_path: Path
) -> None:
    streaming(panel._station, board.device_uris["iio"], "ula:4:0.5")
    _on(panel, qtbot)
    board.kill()
    _wait(panel, qtbot, lambda: "MAY STILL BE ON" in panel.state.text())
    assert "#c0281c" in panel.state.styleSheet()
    # another device does not make it forgotten, the user does
    panel._station.connect(write_scene(tmp_path, scene(2)), "ula:2:0.5")
    _wait(panel, qtbot, lambda: panel._station.facts().link == "ready")
    assert f"MAY STILL BE ON at {board.device_uris['iio']}" in panel.state.text()
    _click(qtbot, panel.stop_button)
    _wait(panel, qtbot, lambda: panel.state.text() == "TX off")


def test_a_device_that_only_receives_is_named(panel: TransmitPanel, qtbot, tmp_path: Path) -> None:
    station = panel._station
    uri = write_scene(tmp_path, scene(2))
    assert (
        call(["capture", uri, str(tmp_path / "r.sigmf-meta"), "--samples", "100000", "--array", "ula:2:0.5"])
        == 0
    )
    streaming(station, f"replay:{tmp_path}/r.sigmf-meta", "ula:2:0.5")
    _wait(panel, qtbot, panel.start_button.isEnabled)
    _click(qtbot, panel.start_button)
    _wait(panel, qtbot, lambda: "No transmitter" in panel.state.text())
    assert "a recording cannot transmit" in panel.state.text()
    assert not panel.start_button.isEnabled()


def test_a_waveform_is_saved_sent_from_its_file_and_the_command_does_the_same(
    panel: TransmitPanel, qtbot, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    streaming(panel._station, write_scene(tmp_path, scene(2)), "ula:2:0.5")
    _wait(panel, qtbot, panel.start_button.isEnabled)
    panel.waveform.setCurrentText("SRS made here")
    panel.n_fft.setCurrentText("128")
    make, _ = panel.script().split(" && ")
    assert call(shlex.split(make)[1:]) == 0
    panel.save(tmp_path / "saved.toml")
    assert load_waveform("w.toml").settings == load_waveform("saved.toml").settings
    assert panel.waveform.currentText() == "a file…"
    _on(panel, qtbot)
    assert panel.state.text().endswith("saved.toml")
    script = panel.script()
    assert panel._station.close()
    assert call(shlex.split(script)[1:]) == 0
    with open_recording(tmp_path / "echoes.sigmf-meta") as recording:
        assert recording.segments[-1].keys["hil:transmitted"]["attenuation_db"] == [30.0]


def test_the_waveform_of_a_scene_is_offered(panel: TransmitPanel, qtbot, tmp_path: Path) -> None:
    text = (
        scene(2).replace("[impairments]", "fs_hz = 3.84e6\n[impairments]")
        + "[ofdm]\nn_subcarriers = 200\ncp_samples = 64\n"
    )
    streaming(panel._station, write_scene(tmp_path, text), "ula:2:0.5")
    _wait(panel, qtbot, lambda: panel.waveform.findText("the scene's own") >= 0)
    panel.waveform.setCurrentText("the scene's own")
    assert panel.script().startswith("hil waveform from-scene ")
    _on(panel, qtbot)
    assert panel.state.text().endswith("the scene's own")
