"""A minute of everything at once: nothing unaccounted for, nothing that grows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from drivers.sigmf_files import open_recording
from hil.core.device import RxConfig
from hil.core.frame import Frame
from hil.core.geometry import parse_array
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder
from hil.learning.live import LiveLearner
from hil.learning.settings import LearnSettings
from hil.recorder import Recorder
from hil.session import open_session

SECONDS = 60.0
GROWTH_BYTES = 60e6


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_of_capture_learning_and_spectra(tmp_path: Path, board: Any, scene_text: Any) -> None:
    out = tmp_path / "soak.sigmf-meta"
    spectra, updates, memory = [0], [], []
    with board(scene_text(8, seed=2)) as server:
        uri = "iio:" + ",".join(server.iio)
        with (
            open_session(
                uri,
                lambda fc_hz: parse_array("ula:8:0.5", fc_hz),
                lambda n: RxConfig(channels=tuple(range(8))),
            ) as session,
            LiveLearner(session.stream, LearnSettings(support_deg=(-60.0, 60.0))) as learner,
        ):
            finder = DoaFinder(parse_array("ula:8:0.5", session.stream.fc_hz), session.stream.fc_hz, None)

            def on_frame(frame: Frame, clipped: object) -> None:
                del clipped
                learner.offer(frame)
                finder.find(sample_covariance(frame.samples[:, :1024]), 1)
                spectra[0] += 1

            recorder = Recorder(out, session.stream, policy="gap")
            session.start(recorder=recorder, on_frame=on_frame)
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                update = learner.poll(0.5)
                if update is not None:
                    updates.append(update)
                memory.append((session.samples, psutil.Process().memory_info().rss))
                session.wait(0.0)
            summary = session.stop()
            session.raise_error()
        learned = learner.edge.counts()
    assert summary.samples > 0.9 * SECONDS * 1e6
    for name, edge in summary.edges.items():
        rest = edge["delivered"] + edge["dropped"] + edge["superseded"] + edge["in_flight"]
        assert edge["produced"] == rest, name
    assert summary.edges["reader -> recorder"]["delivered"] == summary.samples
    assert learned.produced == learned.delivered + learned.dropped + learned.superseded + learned.in_flight
    assert summary.recording is not None
    with open_recording(out) as recording:
        assert recording.n_samples == summary.samples
        assert len(recording.segments) == summary.gaps + 1
    assert spectra[0] > 100
    good = [u for u in updates if u.result is not None and u.result.converged]
    assert len(good) >= 3
    assert good[-1].last_sample > 0.8 * SECONDS * 1e6  # it keeps learning to the end
    # the first ten seconds fill caches and windows
    rss = np.array([m for _, m in memory])
    third = len(rss) // 3
    assert rss[-third:].max() - rss[third : 2 * third].max() < GROWTH_BYTES
