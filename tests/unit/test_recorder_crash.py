"""Killed at any moment, on a full disk, cut off at any byte: what was written can be read."""

import contextlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from drivers.sigmf_files import open_recording

ROOT = Path(__file__).resolve().parents[2]

# Every sample says its own global index (I and the upper part of Q) and the epoch it belongs to.
WRITER = """
import sys, time
sys.path.insert(0, {root!r})
import numpy as np
from dataclasses import replace
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import EpochEvent, EpochScope, Epoch
from hil.core.errors import HilError
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.recorder import Recorder
M, N = 4, 3000
device = DeviceInfo("sim:", "sim", "fmcomms5", "S1", "1", ((0, 1), (2, 3)), WireFormat.CI16, 16)
config = RxConfig(2.45e9, 2.5e6, 2e6, (0.0,) * M, GainMode.MANUAL, tuple(range(M)), N)
stream = StreamInfo(config, device, Epoch("S1", "session"))
recorder = Recorder(sys.argv[1], stream, policy="gap")
first = 0
for k in range(int(sys.argv[2])):
    if k % 7 == 3:
        stream = replace(stream, epoch=stream.epoch.after(EpochEvent.LO, EpochScope.GROUP_PHASES))
    lost = 11 if k % 5 == 4 else 0
    first += lost
    index = first + np.arange(N)
    wire = np.empty((N, M, 2), np.int16)
    wire[:, :, 0] = (index % 30000)[:, None]
    wire[:, :, 1] = stream.epoch.counter * M + np.arange(M)
    try:
        recorder.write(Block(wire, first, k, 0, 10**18, FrameFlag.NONE, stream, lost))
    except HilError as err:
        print("ERROR", type(err).__name__, err, flush=True)
        print("CLOSED", recorder.close().samples, flush=True)
        sys.exit(7)
    first += N
    print(k, flush=True)
"""


def writer(path, n_blocks=10**6, **options):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER.format(root=str(ROOT)), str(path), str(n_blocks)],
        stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def check_every_sample(path):
    """Number of samples; each is right, and attributed to the right index and epoch."""
    with open_recording(path) as recording:
        wire = recording.read(0, recording.n_samples)
        for segment in recording.segments:
            part = wire[segment.start : segment.start + segment.n]
            index = segment.global_index + np.arange(segment.n)
            assert np.array_equal(part[:, :, 0], np.broadcast_to((index % 30000)[:, None], part.shape[:2]))
            assert np.array_equal(part[:, :, 1], np.broadcast_to(segment.stream.epoch.counter * 4 + np.arange(4), part.shape[:2]))  # fmt: skip
        assert sum(s.n for s in recording.segments) == recording.n_samples
        return recording.n_samples


@pytest.mark.parametrize("name", ["x.sigmf-collection", "x.sigmf-meta"])
def test_kill_minus_nine_leaves_every_block_that_was_written(tmp_path, name):
    rng = random.Random(name)
    for k in range(4):
        folder = tmp_path / str(k)
        folder.mkdir()
        process = writer(folder / name)
        wanted = rng.randrange(1, 60)
        written = -1
        with process.stdout as lines:
            for line in lines:
                written = int(line)
                if written == wanted:
                    process.kill()
        process.wait(30)
        assert written >= wanted
        assert check_every_sample(folder / name) >= (written + 1) * 3000


def test_a_recording_cut_off_at_any_byte_opens_up_to_its_last_whole_sample(tmp_path):
    process = writer(tmp_path / "x.sigmf-collection", 20)
    process.communicate(timeout=60)
    for cut in (0, 1, 3, 4, 12001, 40000, 239999):
        copy = tmp_path / f"cut{cut}"
        shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("cut*"))
        os.truncate(copy / "x-ch02.sigmf-data", cut)
        assert check_every_sample(copy / "x.sigmf-collection") == cut // 4
    meta = (tmp_path / "x-ch00.sigmf-meta").read_bytes()
    assert b'"hil:complete": false' in meta, "the writer never closed it"
    journal = tmp_path / "x.hil-journal"
    for cut in (1, 100, 1000, journal.stat().st_size - 1):
        os.truncate(journal, journal.stat().st_size - cut if cut < 500 else cut)
        with open_recording(tmp_path / "x.sigmf-collection") as recording:
            assert recording.n_samples == 60000


def test_a_file_size_limit_ends_the_recording_with_disk_full(tmp_path):
    resource = pytest.importorskip("resource")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = writer(tmp_path / "x.sigmf-collection", preexec_fn=limit)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert "ERROR RecordingError disk full" in out
    kept = int(out.split("CLOSED ")[1])
    assert f"{kept} samples kept" in out
    assert kept == 24000, "eight blocks of 12000 bytes fit in 100 kB"
    assert check_every_sample(tmp_path / "x.sigmf-collection") == kept
    with open_recording(tmp_path / "x.sigmf-collection") as recording:
        assert recording.complete
        assert recording.verify() is True


@pytest.mark.parametrize("name", ["x.sigmf-collection", "x.sigmf-meta"])
def test_a_full_disk_keeps_a_readable_recording(tmp_path, name):
    with tiny_disk(tmp_path / "disk") as disk:
        process = writer(disk / name)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 7
        assert "ERROR RecordingError disk full" in out
        kept = int(out.split("CLOSED ")[1])
        assert kept > 0
        assert check_every_sample(disk / name) == kept
        process = writer(disk / f"second-{name}")
        out, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        assert check_every_sample(disk / name) == kept, "a second one does no harm to the first"


@contextlib.contextmanager
def tiny_disk(folder):
    """A file system of one megabyte."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root; the RLIMIT_FSIZE test covers the same code")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False)  # fmt: skip
    if mount.returncode:
        pytest.skip(f"no tmpfs here: {mount.stderr.decode()[:80]}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
