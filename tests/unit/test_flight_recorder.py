"""The last seconds of a stream: what is kept, what is saved after the event, and that the stream never waits for it."""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.sigmf_files import open_recording
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import EpochEvent, EpochScope, new_epoch
from hil.core.errors import RecordingError
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.recorder import Recorder, flight
from hil.recorder.flight import FlightRecorder
from hil.session import open_session

N, M, FS = 1000, 4, 1e6
FRAME_BYTES = M * 4


def _stream(fs_hz: float = FS) -> StreamInfo:
    device = DeviceInfo("iio:ip:a", "iio", "fmcomms5", "S1", "1", ((0, 1), (2, 3)), WireFormat.CI16, 12)
    config = RxConfig(2.45e9, fs_hz, 8e5, (1.0,) * M, GainMode.MANUAL, tuple(range(M)), N)
    return StreamInfo(config, device, new_epoch("S1"))


def _retuned(stream: StreamInfo) -> StreamInfo:
    epoch = stream.epoch.after(EpochEvent.LO, EpochScope.GROUP_PHASES)
    return replace(stream, config=replace(stream.config, fc_hz=2.4e9), epoch=epoch)


def _samples(first: int, n: int = N) -> np.ndarray:
    """Each sample says its own index, so that a wrong one cannot pass."""
    index = np.arange(first, first + n)
    return np.stack([np.stack([index % 1999 + m, index // 1999], axis=1) for m in range(M)], axis=1).astype(
        "<i2"
    )


def _block(stream: StreamInfo, first: int, lost: int | None = 0, n: int = N) -> Block:
    return Block(_samples(first, n), first, 0, 10**18, 10**9, FrameFlag.NONE, stream, lost)


def _fill(recorder: FlightRecorder, stream: StreamInfo, n_blocks: int, first: int = 0) -> int:
    for k in range(n_blocks):
        recorder.write(_block(stream, first + k * N))
    return first + n_blocks * N


def _check(path: Path, first: int, n: int) -> None:
    with open_recording(path) as recording:
        assert recording.n_samples == n
        assert recording.segments[0].global_index == first
        for segment in recording.segments:
            np.testing.assert_array_equal(
                recording.read(segment.start, segment.n), _samples(segment.global_index, segment.n)
            )


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    left = 1 << 40 if request.param == "memory" else 0
    monkeypatch.setattr(flight, "memory_left", lambda: left)
    return request.param


@pytest.mark.parametrize("limit", [1 << 30, 10 * N * FRAME_BYTES, 7 * N * FRAME_BYTES + 333])
def test_it_holds_the_newest_samples_and_says_how_many_seconds(
    place: str, limit: int, tmp_path: Path
) -> None:
    recorder = FlightRecorder(seconds=0.02, limit_bytes=limit, folder=tmp_path / "cache")
    stream = _stream()
    assert recorder.state.seconds == 0
    end = _fill(recorder, stream, 47)
    state = recorder.state
    held = min(20, limit // FRAME_BYTES // N) * N
    assert state.seconds == held / FS
    assert (state.place, state.bytes) == (place, min(limit, 20 * N * FRAME_BYTES))
    for name in ("a.sigmf-meta", "b.sigmf-collection"):
        summary = recorder.save(tmp_path / name)
        assert (summary.samples, summary.gaps) == (held, 0)
        _check(tmp_path / name, end - held, held)
    recorder.close()
    assert recorder.state.bytes == 0


def test_gaps_epochs_and_events_are_saved_where_they_were(tmp_path: Path) -> None:
    recorder, stream = FlightRecorder(folder=tmp_path), _stream()
    later = _retuned(stream)
    first = 5000
    for own, lost in ((stream, 0), (stream, 25), (later, 0), (later, None)):
        first += lost or 0
        recorder.write(_block(own, first, lost))
        first += N
    seen = []

    def note(made: Recorder, begin: int, end: int) -> None:
        seen.append((begin, end))
        made.annotate(6100, 6200, "overflow", "seen", hil_fault="overflow")

    summary = recorder.save(tmp_path / "x.sigmf-meta", note)
    assert seen == [(5000, first)]
    assert (summary.gaps, summary.lost, summary.lost_unknown, summary.epochs) == (2, 26, 1, 2)
    with open_recording(tmp_path / "x.sigmf-meta") as recording:
        found = [(s.global_index, s.dropped_before, s.cause) for s in recording.segments]
        assert found == [(5000, 0, "start"), (6025, 25, "gap"), (7025, 0, "retune"), (8025, None, "gap")]
        assert recording.segments[2].stream.epoch == later.epoch
        (noted,) = recording.annotations
        assert (noted.start, noted.n, noted.label) == (1075, 100, "overflow")
    recorder.close()


def test_another_stream_begins_anew(tmp_path: Path) -> None:
    recorder, stream = FlightRecorder(folder=tmp_path), _stream()
    _fill(recorder, stream, 5)
    _fill(recorder, stream, 2)  # started again: indices begin at 0
    assert recorder.state.seconds == 2 * N / FS
    _fill(recorder, _stream(2e6), 1, first=2 * N)
    assert recorder.state.seconds == N / 2e6
    recorder.save(tmp_path / "x.sigmf-meta")
    _check(tmp_path / "x.sigmf-meta", 2 * N, N)
    recorder.close()


def test_what_is_being_saved_is_not_overwritten(tmp_path: Path) -> None:
    recorder = FlightRecorder(seconds=0.01, folder=tmp_path)
    stream = _stream()
    end = _fill(recorder, stream, 10)

    def meanwhile(made: Recorder, begin: int, last: int) -> None:
        assert recorder.state.saving
        with pytest.raises(RecordingError, match="already"):
            recorder.save(tmp_path / "y.sigmf-meta")

    original, written = Recorder.write, []

    class Slow(Recorder):
        """Ten blocks come for each one that is saved."""

        def write(self, block: Block) -> None:
            nonlocal end
            end = _fill(recorder, stream, 10, end)
            written.append(block.first_sample)
            original(self, block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flight, "Recorder", Slow)
        summary = recorder.save(tmp_path / "x.sigmf-meta", meanwhile)
    assert summary.samples == 10 * N
    assert written == list(range(0, 10 * N, N))
    _check(tmp_path / "x.sigmf-meta", 0, 10 * N)
    assert recorder.state.missed > 0
    recorder.save(tmp_path / "z.sigmf-meta")
    with open_recording(tmp_path / "z.sigmf-meta") as recording:
        assert any(s.dropped_before for s in recording.segments), "what was missed is a gap with its length"
        for segment in recording.segments:
            np.testing.assert_array_equal(
                recording.read(segment.start, segment.n), _samples(segment.global_index, segment.n)
            )
    recorder.close()


def test_switched_off_it_keeps_nothing_and_on_again_it_begins_anew(tmp_path: Path) -> None:
    recorder, stream = FlightRecorder(folder=tmp_path), _stream()
    end = _fill(recorder, stream, 3)
    recorder.switch(False)
    assert (recorder.state.seconds, recorder.state.bytes) == (0, 0)
    with pytest.raises(RecordingError, match="no samples") as caught:
        recorder.save(tmp_path / "x.sigmf-meta")
    assert caught.value.hint
    end = _fill(recorder, stream, 3, end)
    recorder.switch(True)
    _fill(recorder, stream, 1, end)
    recorder.save(tmp_path / "x.sigmf-meta")
    _check(tmp_path / "x.sigmf-meta", end, N)
    recorder.close()
    recorder.close()


def test_a_folder_that_cannot_be_written_switches_it_off_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight, "memory_left", lambda: 0)
    (tmp_path / "file").write_text("")
    recorder = FlightRecorder(folder=tmp_path / "file")
    _fill(recorder, _stream(), 2)
    state = recorder.state
    assert not state.on
    assert "cannot keep samples" in state.problem


def test_a_full_disk_while_saving_leaves_a_readable_file_and_the_kept_samples(tmp_path: Path) -> None:
    recorder = FlightRecorder(folder=tmp_path)
    _fill(recorder, _stream(), 10)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * N * FRAME_BYTES + 100, old[1]))
    try:
        with pytest.raises(RecordingError, match="disk full"):
            recorder.save(tmp_path / "x.sigmf-meta")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    _check(tmp_path / "x.sigmf-meta", 0, 5 * N)
    recorder.save(tmp_path / "y.sigmf-meta")
    _check(tmp_path / "y.sigmf-meta", 0, 10 * N)
    recorder.close()


def test_close_ends_a_save_early_with_a_valid_file(tmp_path: Path) -> None:
    recorder = FlightRecorder(folder=tmp_path)
    _fill(recorder, _stream(), 50)
    original = Recorder.write

    class Closing(Recorder):
        def write(self, block: Block) -> None:
            original(self, block)
            if self.samples == 10 * N:
                recorder.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flight, "Recorder", Closing)
        assert recorder.save(tmp_path / "x.sigmf-meta").samples == 10 * N
    _check(tmp_path / "x.sigmf-meta", 0, 10 * N)
    assert recorder.state.bytes == 0


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from hil.recorder import flight
flight.memory_left = lambda: 0
from test_flight_recorder import _fill, _stream
recorder = flight.FlightRecorder(folder=Path(sys.argv[1]))
_fill(recorder, _stream(), 5)
assert recorder.state.place == "disk"
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_of_a_killed_process(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(cache), str(Path(__file__).parent)], timeout=60, check=False
    )
    assert done.returncode == -9
    assert list(cache.iterdir()) == []


def test_it_rides_on_a_session_and_is_saved_while_the_stream_goes_on(tmp_path: Path) -> None:
    recorder = FlightRecorder(seconds=0.2, folder=tmp_path)
    waited = threading.Event()

    def more(n: int) -> None:
        goal = session.samples + n
        while session.samples < goal:
            session.wait(0.0)
            waited.wait(0.01)

    with open_session("sim:", None, lambda n: RxConfig(channels=(0, 1, 2, 3))) as session:
        session.start(on_frame=lambda frame, clipped: None)
        session.branch("flight recorder", recorder.write)
        more(800_000)
        summary = recorder.save(tmp_path / "x.sigmf-meta")
        assert summary.samples / session.stream.fs_hz > 0.15
        more(100_000)
        done = session.stop()
        session.raise_error()
    assert "reader -> flight recorder" in done.edges
    with open_recording(tmp_path / "x.sigmf-meta") as recording:
        assert recording.complete
        assert recording.segments[0].global_index > 0
    recorder.close()


def test_no_descriptor_is_left(tmp_path: Path, place: str) -> None:
    import psutil

    before = psutil.Process().num_fds()
    for _ in range(20):
        recorder = FlightRecorder(folder=tmp_path)
        _fill(recorder, _stream(), 2)
        recorder.close()
    assert psutil.Process().num_fds() == before
    assert list(tmp_path.iterdir()) == []


def test_a_branch_that_fails_or_is_slow_leaves_the_stream_alone() -> None:
    waited, seen = threading.Event(), []

    def fails(block: Block) -> None:
        raise RecordingError("no")

    def slow(block: Block) -> None:
        seen.append((block.first_sample, block.n, block.lost_before))
        waited.wait(0.05)

    with open_session("sim:", None, lambda n: RxConfig(channels=(0, 1, 2, 3))) as session:
        session.start(on_frame=lambda frame, clipped: None)
        session.branch("fails", fails)
        session.branch("slow", slow)
        goal = session.samples + 4_000_000
        while session.samples < goal:
            session.wait(0.0)
            waited.wait(0.01)
        done = session.stop()
        session.raise_error()
    assert done.lost == 0
    assert done.edges["reader -> slow"]["dropped"] > 0
    for (a, n, _), (b, _, lost) in itertools.pairwise(seen):
        assert b == a + n + (lost or 0), "what it missed is told with the next block"
