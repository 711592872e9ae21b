"""Blocks of a millisecond from two boards: handed on a few at once, in order, none lost, and the recording is the same stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drivers.sigmf_files import open_recording
from hil.core.device import RxConfig
from hil.core.frame import Frame
from hil.recorder import Recorder
from hil.session import open_session
from hil.sim_server import free_address, serve

FS_HZ, BLOCK, BLOCKS = 1.0e6, 1000, 1500
SCENE = """
[array]
n_elements = 8
[receiver]
board = "fmcomms5"
fs_hz = 1.0e6
[[emitter]]
"""


@pytest.mark.timeout(240)
def test_short_blocks_are_gathered_and_complete(tmp_path: Path) -> None:
    scene = tmp_path / "s.toml"
    scene.write_text(SCENE)
    seen: list[tuple[int, int, np.ndarray]] = []

    def take(frame: Frame, clipped: np.ndarray) -> None:
        seen.append((frame.first_sample, frame.samples.shape[1], frame.samples[:, 0].copy()))

    with serve(tmp_path, scene=scene, iio=free_address(), free_running=True) as running:
        uri = "iio:" + ",".join(running.iio)
        want = RxConfig(fs_hz=FS_HZ, block_samples=BLOCK, channels=tuple(range(8)))
        with open_session(uri, want=lambda n: want) as session:
            recorder = Recorder(tmp_path / "x.sigmf-meta", session.stream)
            session.start(recorder=recorder, on_frame=take, n_samples=BLOCKS * BLOCK)
            while not session.wait(1.0):
                pass
            summary = session.stop()
            session.raise_error()
    assert (summary.samples, summary.lost, summary.gaps) == (BLOCKS * BLOCK, 0, 0)
    starts, lengths, first = zip(*seen, strict=True)
    assert np.array_equal(np.diff(starts), lengths[:-1])
    assert sum(lengths) == BLOCKS * BLOCK
    assert max(lengths) <= 16 * BLOCK
    assert len(seen) < BLOCKS / 2
    with open_recording(tmp_path / "x.sigmf-meta") as recording:
        assert recording.n_samples == BLOCKS * BLOCK
        for start, column in zip(starts[::50], first[::50], strict=True):
            wire = recording.read(start - starts[0], 1)[0].astype(float)
            assert np.allclose((wire[:, 0] + 1j * wire[:, 1]) / 2**11, column)
