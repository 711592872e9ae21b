"""Recordings that begin and end while the stream runs."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from drivers.convert import wire_to_complex
from drivers.sigmf_files import open_recording
from hil.core.device import RxConfig
from hil.core.errors import DeviceStateError
from hil.recorder import Recorder
from hil.session import Session, open_session

SCENE = """
seed = 3
[array]
n_elements = 4
[receiver]
fs_hz = 1.0e6
[[emitter]]
"""


@pytest.fixture
def session(tmp_path: Path):
    scene = tmp_path / "s.toml"
    scene.write_text(SCENE)
    with open_session(f"sim:{scene}", None, lambda n: RxConfig(channels=(0, 1, 2, 3))) as opened:
        yield opened


def _more(session: Session, n: int) -> None:
    goal, waited = session.samples + n, threading.Event()
    while session.samples < goal:
        assert not session.finished
        waited.wait(0.01)


def _refused(session: Session, path: Path, words: str) -> None:
    recorder = Recorder(path, session.stream)
    with pytest.raises(DeviceStateError, match=words):
        session.record(recorder)
    recorder.close()


def test_two_recordings_of_one_run_are_pieces_of_its_stream(session: Session, tmp_path: Path) -> None:
    seen: list[tuple[int, np.ndarray]] = []
    session.start(on_frame=lambda frame, clipped: seen.append((frame.first_sample, frame.samples.copy())))
    summaries = []
    for name in ("a", "b"):
        _more(session, 50_000)
        session.record(Recorder(tmp_path / f"{name}.sigmf-meta", session.stream))
        _refused(session, tmp_path / f"{name}2.sigmf-meta", "already")
        _more(session, 100_000)
        summaries.append(session.stop_recording())
        assert session.stop_recording() is None
    _more(session, 50_000)
    done = session.stop()
    session.raise_error()
    assert set(done.edges) == {"reader -> dsp", "reader -> recorder", "reader -> recorder 2"}
    stream = dict(seen)
    for name, summary in zip(("a", "b"), summaries, strict=True):
        assert summary is not None
        with open_recording(tmp_path / f"{name}.sigmf-meta") as recording:
            assert recording.n_samples == summary.samples >= 100_000
            assert len(recording.segments) == 1
            first = recording.segments[0].global_index
            n = stream[first].shape[1]
            bits = recording.stream.device.full_scale_bits
            np.testing.assert_array_equal(wire_to_complex(recording.read(0, n), bits)[0], stream[first])


def test_the_end_of_the_run_closes_a_recording(session: Session, tmp_path: Path) -> None:
    session.start(on_frame=lambda frame, clipped: None)
    _more(session, 20_000)
    session.record(Recorder(tmp_path / "a.sigmf-meta", session.stream))
    _more(session, 20_000)
    done = session.stop()
    assert done.recording is not None
    with open_recording(tmp_path / "a.sigmf-meta") as recording:
        assert recording.n_samples == done.recording.samples > 0


def test_nothing_is_recorded_of_what_does_not_run(session: Session, tmp_path: Path) -> None:
    _refused(session, tmp_path / "a.sigmf-meta", "does not run")
