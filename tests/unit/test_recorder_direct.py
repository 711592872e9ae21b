"""Fast streams: written past the page cache, byte for byte what came, also where a file system refuses."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.sigmf_files import open_recording
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.recorder import Recorder
from hil.recorder import direct as module
from hil.recorder.direct import ALIGNED_BYTES, DirectWriter
from hil.recorder.files import DataFile
from tests.campaign_folders import stream_of

FAST_HZ = 30.72e6


@pytest.fixture
def stream() -> StreamInfo:
    made = stream_of("a")
    return replace(made, config=replace(made.config, fs_hz=FAST_HZ))


@pytest.fixture
def sizes() -> tuple[int, ...]:
    """Samples of blocks: whole pages, no pages, pages at a place that is none, and more than is staged at once."""
    return (4096, 256, 1, 4096, 255, 1024, 400_000, 7)


def _record(path: Path, stream: StreamInfo, sizes: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(1)
    wires, first = [], 0
    with Recorder(path, stream) as recorder:
        for seq, n in enumerate(sizes):
            wires.append(rng.integers(-2000, 2000, (n, 4, 2), dtype=np.int16))
            recorder.write(Block(wires[-1], first, seq, 0, 0, FrameFlag.NONE, stream, 0))
            first += n
    return np.concatenate(wires)


@pytest.mark.parametrize("name", ["x.sigmf-meta", "x.sigmf-collection"])
def test_what_came_is_what_is_read(
    tmp_path: Path, stream: StreamInfo, sizes: tuple[int, ...], name: str
) -> None:
    wire = _record(tmp_path / name, stream, sizes)
    with open_recording(tmp_path / name) as recording:
        assert recording.n_samples == len(wire)
        np.testing.assert_array_equal(recording.read(0, len(wire)), wire)
        assert set(recording.sha512) == {""}
        assert recording.complete
    text = next(tmp_path.glob("*.sigmf-meta")).read_text()
    assert "core:sha512" not in json.loads(text)["global"]


def test_a_slow_stream_is_hashed(tmp_path: Path) -> None:
    _record(tmp_path / "x.sigmf-meta", stream_of("a"), (100,))
    with open_recording(tmp_path / "x.sigmf-meta") as recording:
        assert len(recording.sha512[0]) == 128


def test_aligned_pieces_do_pass_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch()
    try:
        writer = DirectWriter(path)
    except OSError:
        pytest.fail("the folder of the tests lies on a file system without O_DIRECT: set TMPDIR to another")
    data = np.arange(3 * ALIGNED_BYTES + 5, dtype=np.uint8)
    assert writer.write(data, 0) == 3 * ALIGNED_BYTES
    assert writer.write(data, 7) == 0
    assert writer.write(data[:100], 3 * ALIGNED_BYTES) == 0
    writer.close()
    writer.close()
    assert writer.write(data, 3 * ALIGNED_BYTES) == 0
    assert path.read_bytes() == data[: 3 * ALIGNED_BYTES].tobytes()


@pytest.mark.parametrize("refused", ["flag", "write"])
def test_a_refusal_falls_back(
    tmp_path: Path, stream: StreamInfo, sizes: tuple[int, ...], refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def no_write(*_: object) -> int:
        calls.append(1)
        raise OSError(errno.EINVAL, "Invalid argument")

    if refused == "flag":
        monkeypatch.delattr(module.os, "O_DIRECT")
    else:
        monkeypatch.setattr(module.os, "pwrite", no_write)
    wire = _record(tmp_path / "x.sigmf-meta", stream, sizes)
    monkeypatch.undo()
    assert len(calls) == (refused == "write")
    assert (tmp_path / "x.sigmf-data").read_bytes() == wire.tobytes()


def test_a_full_disk_keeps_whole_blocks(tmp_path: Path) -> None:
    """In a process of its own: the limit of the file's size counts as a disk that is full in the midst of a write."""
    code = (
        "import resource, signal, sys; from dataclasses import replace; from pathlib import Path; import numpy as np\n"
        "from hil.core.errors import RecordingError; from hil.core.frame import Block, FrameFlag\n"
        "from hil.recorder import Recorder; from tests.campaign_folders import stream_of\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "s = stream_of('a'); s = replace(s, config=replace(s.config, fs_hz=30.72e6))\n"
        "r = Recorder(Path(sys.argv[1]), s); wire = np.ones((4096, 4, 2), np.int16)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3 * wire.nbytes + 5000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    for k in range(9): r.write(Block(wire * k, 4096 * k, k, 0, 0, FrameFlag.NONE, s, 0))\n"
        "except RecordingError as err: print(k, err)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.sigmf-meta")], cwd=root, capture_output=True, text=True,
        check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.stdout.startswith("3 disk full"), done
    assert (tmp_path / "x.sigmf-data").stat().st_size == 3 * 4096 * 16
    with open_recording(tmp_path / "x.sigmf-meta") as recording:
        assert recording.n_samples == 3 * 4096
        assert recording.read(8192, 1)[0, 0, 0] == 2


def test_truncated_it_goes_on_there(tmp_path: Path) -> None:
    file = DataFile(tmp_path / "f", fast=True)
    page = np.ones(ALIGNED_BYTES, np.uint8)
    file.append(page)
    file.append(2 * page[:100])
    file.truncate(ALIGNED_BYTES)
    file.append(3 * page)
    assert file.close() == ""
    assert (tmp_path / "f").read_bytes() == page.tobytes() + (3 * page).tobytes()
