"""Recording and the last seconds from the panel: what it says is what the files hold; errors leave the stream alive."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QApplication

from drivers.sigmf_files import open_recording
from gui.panels.recording import RecordingPanel, clock_words, file_name, size_words
from gui.station import Station

SCENE = """
seed = 3
[array]
n_elements = 4
[receiver]
fs_hz = 6.0e5
[[emitter]]
"""


class Shown:
    """A panel on a station that streams."""

    def __init__(self, station: Station, panel: RecordingPanel, qtbot) -> None:
        self.station, self.panel, self.qtbot = station, panel, qtbot
        self.told: list[str] = []

    def turn(self) -> None:
        self.station.poll()
        self.station.picture()
        for done in self.station.done():
            self.told.append(f"{done.name}: {done.words}{done.error or ''}")
        self.panel.show_facts(self.station.facts())

    def until(self, what: Callable[[], bool], timeout: int = 20_000) -> None:
        def done() -> bool:
            self.turn()
            return what()

        self.qtbot.waitUntil(done, timeout=timeout)

    def click(self, button: QAbstractButton) -> None:
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    @property
    def streams(self) -> bool:
        """More samples come."""
        session = self.station.session
        assert session is not None
        before = session.samples
        self.until(lambda: session.samples > before)
        return self.station.facts().link == "streaming"


@pytest.fixture
def shown(qtbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(SCENE)
    station = Station()
    panel = RecordingPanel(station)
    qtbot.addWidget(panel)
    panel.show()
    made = Shown(station, panel, qtbot)
    made.turn()
    assert not panel.record_button.isEnabled(), "nothing streams"
    assert not panel.save_button.isEnabled()
    station.connect(f"sim:{tmp_path / 's.toml'}", None)
    station.start()
    made.until(panel.record_button.isEnabled)
    yield made
    assert station.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("hil-")]


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    return folder


def test_a_recording_is_what_the_panel_said(shown: Shown, tmp_path: Path) -> None:
    panel = shown.panel
    panel.folder.setText(str(_folder(tmp_path)))
    panel.pattern.setText("run-{mhz}-{count}")
    panel.kind.setCurrentText("a file per channel")
    shown.click(panel.record_button)
    shown.until(lambda: panel.record_button.text() == "Stop recording" and panel.length.text() > "0:00.2")
    assert panel.lost.text() == "● no sample lost"
    assert "MB/s" in panel.amount.text()
    assert "GB left, room for" in panel.disk.text()
    assert panel.preview.text() == "run-2450MHz-001.sigmf-collection"
    shown.click(panel.record_button)
    shown.until(lambda: panel.record_button.text() == "Record")
    path = tmp_path / "recordings" / "run-2450MHz-001.sigmf-collection"
    with open_recording(path) as recording:
        assert recording.complete
        assert f"{recording.n_samples:,} samples per channel, no sample lost" in panel.last.text()
    assert shown.streams
    assert panel.next_path.stem == "run-2450MHz-002"


def test_the_last_seconds_are_saved_after_the_event_while_the_stream_goes_on(
    shown: Shown, tmp_path: Path
) -> None:
    panel = shown.panel
    panel.folder.setText(str(_folder(tmp_path)))
    shown.until(lambda: shown.station.records.flight.state.seconds > 1.0)
    assert "Holds 1" in panel.flight_words.text()
    shown.click(panel.save_button)
    shown.until(lambda: "samples per channel" in panel.last.text())
    (path,) = (tmp_path / "recordings").glob("*-last.sigmf-meta")
    with open_recording(path) as recording:
        assert recording.complete
        assert recording.duration_s > 0.9
    assert shown.streams
    shown.click(panel.flight_on)
    shown.turn()
    assert panel.flight_words.text() == "Nothing is kept."
    assert not panel.save_button.isEnabled()
    shown.click(panel.flight_on)
    shown.until(panel.save_button.isEnabled)


@pytest.mark.parametrize("what", ["missing", "exists", "a file"])
def test_a_place_that_cannot_be_written_is_told_and_the_stream_goes_on(
    shown: Shown, tmp_path: Path, what: str
) -> None:
    panel = shown.panel
    folder = _folder(tmp_path)
    panel.pattern.setText("same")
    if what == "missing":
        panel.folder.setText(str(tmp_path / "none"))
    elif what == "a file":
        panel.folder.setText(str(tmp_path / "s.toml"))
    else:
        (folder / "same.sigmf-meta").write_text("{}")
        panel.folder.setText(str(folder))
    shown.click(panel.record_button)
    shown.until(lambda: shown.station.records.failed)
    shown.turn()
    assert "same" in panel.last.text()
    assert "#" in panel.last.styleSheet()
    assert panel.record_button.text() == "Record"
    assert shown.streams


def test_a_full_disk_ends_the_recording_and_nothing_else(shown: Shown, tmp_path: Path) -> None:
    panel = shown.panel
    panel.folder.setText(str(_folder(tmp_path)))
    panel.pattern.setText("full")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, old[1]))
    try:
        panel.flight_on.setChecked(False)
        shown.click(panel.record_button)
        shown.until(lambda: shown.station.records.failed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    shown.until(lambda: panel.record_button.text() == "Record")
    assert "disk full" in panel.last.text()
    assert any("disk full" in line for line in shown.told)
    with open_recording(tmp_path / "recordings" / "full.sigmf-meta") as recording:
        assert 0 < recording.n_samples <= 3_000_000 // 16
        assert f"{recording.n_samples} samples kept" in panel.last.text()
    assert shown.streams
    panel.pattern.setText("again")
    shown.click(panel.record_button)
    shown.until(lambda: panel.record_button.text() == "Stop recording")


def test_gaps_are_counted_while_it_records(shown: Shown, tmp_path: Path) -> None:
    panel = shown.panel
    panel.folder.setText(str(_folder(tmp_path)))
    shown.station.connect(f"faults:drop_every=5:sim:{tmp_path / 's.toml'}", None)
    shown.station.start()
    shown.until(
        lambda: shown.station.facts().uri.startswith("faults") and shown.station.facts().link == "streaming"
    )
    shown.click(panel.record_button)
    shown.until(lambda: panel.lost.text().startswith("■"))
    assert "gap" in panel.lost.text()
    shown.station.stop()  # the recording ends with the stream, and says so
    shown.until(lambda: "ended with the stream" in panel.last.text())


def test_the_script_records_the_same(shown: Shown) -> None:
    shown.click(shown.panel.script_button)
    words = QApplication.clipboard().text()
    assert words.startswith("hil capture sim:")
    assert ".sigmf-meta" in words


def test_closing_while_it_saves_leaves_a_valid_file(shown: Shown, tmp_path: Path) -> None:
    shown.until(lambda: shown.station.records.flight.state.seconds > 0.5)
    shown.station.save_last(tmp_path / "x.sigmf-meta")
    shown.until(lambda: (tmp_path / "x.sigmf-data").exists())
    assert shown.station.close()
    with open_recording(tmp_path / "x.sigmf-meta") as recording:
        assert recording.complete


def test_names_are_filled_in_and_cleaned() -> None:
    when = datetime(2026, 11, 22, 16, 15, 2, tzinfo=UTC)
    assert file_name("a-{date}-{time}-{mhz}-{count}", when, 2.45e9, 7) == "a-20261122-161502-2450MHz-007"
    assert file_name("../x/{unknown}", when, 0, 1) == "x{unknown}"
    assert file_name("  ", when, 0, 1) == "recording"


def test_numbers_are_short() -> None:
    assert [clock_words(s) for s in (0.04, 59.96, 3600.0)] == ["0:00.0", "1:00.0", "1:00:00.0"]
    assert [size_words(n) for n in (1e3, 3.2e7, 1.2e9, 5e12)] == ["1 kB", "32 MB", "1.2 GB", "5 TB"]
