"""Capture to disk at 4 channels x 30.72 MS/s, 491.5 MB/s: the recorder alone, then over IIO from the emulator.

The emulator repeats a loop of samples in a process of its own and paces it by the clock: what the client reads too late is
lost. A disk or a loopback that cannot carry the rate is named with what it carries, and the bar is not judged.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from drivers.registry import open_device
from drivers.sigmf_files import open_recording
from hil.bench.disk_limit import DiskLimit, disk_limit
from hil.bench.measure import Row, StageReport, at_most
from hil.bench.processes import cpu_s, rss_bytes, thread_cpu_s
from hil.core.device import RxConfig
from hil.core.errors import DriverUnavailable, HilError
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.pipeline.ring import pages
from hil.recorder import Recorder
from hil.session import open_session
from hil.sim_server import free_address, serve

FS_HZ, M = 30.72e6, 4
BYTES_PER_S = FS_HZ * M * 4
_BLOCK = 1 << 18
_LOOP_S = 0.25
#: Of disk that may be taken at a time, and of what is free.
_MOST_BYTES, _MOST_SHARE = 40e9, 0.5
_RECORDER_SHARE, _GROWTH_MB = 0.10, 50.0
_SCENE = f'[array]\nn_elements = {M}\n[receiver]\nboard = "fmcomms5"\nfs_hz = {FS_HZ}\n'
_HINT = "libiio 0.24 to 0.26 (hil doctor)"


def run(quick: bool) -> StageReport:
    """Files go to the folder of temporary files and are deleted at once; never more than one recording at a time."""
    seconds = 3.0 if quick else 60.0
    notes = [f"491.5 MB/s; recordings under {tempfile.gettempdir()}, deleted again."]
    with tempfile.TemporaryDirectory(prefix="hil-bench-") as name:
        folder = Path(name)
        room = min(_MOST_BYTES, _MOST_SHARE * shutil.disk_usage(folder).free)
        if seconds * BYTES_PER_S > room:
            seconds = room / BYTES_PER_S
            notes.append(f"The disk has room for {seconds:.0f} s.")
        n_blocks = max(2, int(seconds * FS_HZ / _BLOCK))
        rows = []
        try:
            limit = disk_limit(folder, n_blocks * _BLOCK * M * 4)
            rows = _alone(folder, n_blocks, limit)
            emulated, more = _emulated(folder, seconds, limit)
        except OSError as err:
            return StageReport(tuple(rows), {"a disk": str(err)}, tuple(notes))
        except (ImportError, DriverUnavailable) as err:
            return StageReport(tuple(rows), {"libiio": _HINT}, (*notes, str(err)))
    return StageReport((*rows, *emulated), notes=(*notes, *more))


def _alone(folder: Path, n_blocks: int, limit: DiskLimit) -> list[Row]:
    """The recorder fed from memory, as fast as it takes blocks."""
    stream = fast_stream()
    wire = pages((_BLOCK, M, 2), np.int16)  # as in the session's ring
    wire[:] = np.random.default_rng(1).integers(-2047, 2047, wire.shape, dtype=np.int16)
    path = folder / "alone.sigmf-meta"
    wall, cpu = time.perf_counter(), time.process_time()
    with Recorder(path, stream) as recorder:
        for k in range(n_blocks):
            recorder.write(Block(wire, k * _BLOCK, k, 0, 0, FrameFlag.NONE, stream, 0))
    wall_s, used_s = time.perf_counter() - wall, time.process_time() - cpu
    with open_recording(path) as recording:
        right = recording.n_samples == n_blocks * _BLOCK and np.array_equal(
            recording.read(_BLOCK, _BLOCK), wire
        )
    _delete(folder)
    total = n_blocks * wire.nbytes
    share = used_s * BYTES_PER_S / total
    case = f"recorder from memory, {total / 1e9:.1f} GB"
    note = f"{total / wall_s / 1e6:.0f} MB/s" + ("" if right else "; the recording is not what was written")
    row = at_most(
        Row(case, "ours", 100 * share, "% of a core at 491.5 MB/s", used_s, wall_s, None, note),
        100 * _RECORDER_SHARE,
    )
    limit_s = total / limit.bytes_per_s
    note = f"{limit.bytes_per_s / 1e6:.0f} MB/s, {limit.how}"
    bare = 100 * limit.cpu_s * BYTES_PER_S / total
    least = Row(
        case,
        "machine limit",
        bare,
        "% of a core at 491.5 MB/s",
        limit.cpu_s,
        limit_s,
        limit.cpu_s / used_s,
        note,
    )
    return [replace(row, reached=bool(row.reached) and right), least]


@dataclass(slots=True)
class _Capture:
    """What one capture over IIO came to."""

    samples: int = 0
    lost: int = 0
    seconds: float = 0.0
    recorder_s: float = 0.0
    client_s: float = 0.0
    server_s: float = 0.0
    growth: int = 0
    problem: str = ""


def _emulated(folder: Path, seconds: float, limit: DiskLimit) -> tuple[list[Row], list[str]]:
    """Over the loopback, paced; and how fast the loopback is where nobody keeps time."""
    scene = folder / "scene.toml"
    scene.write_text(_SCENE, encoding="utf-8")
    loopback_hz = _loopback(folder, scene)
    with serve(folder, scene=scene, iio=free_address(), loop_s=_LOOP_S) as server:
        got = _capture(f"iio:{server.iio[0]}", folder, seconds, psutil.Process(server.process.pid))
    _delete(folder)
    case = f"capture over IIO, {seconds:.0f} s"
    share = 100 * got.recorder_s / max(got.seconds, 1e-9)
    able = limit.bytes_per_s > BYTES_PER_S and loopback_hz > FS_HZ
    cores = f"client {got.client_s / max(got.seconds, 1e-9):.2f} cores, emulator {got.server_s / max(got.seconds, 1e-9):.2f}"
    rows = [
        at_most(
            Row(case + ": lost", "ours", got.lost, "samples a channel", wall_s=got.seconds, note=got.problem),
            0,
        ),
        at_most(
            Row(case + ": recorder", "ours", share, "% of a core", got.recorder_s, got.seconds, note=cores),
            10.0,
        ),
        at_most(Row(case + ": memory growth", "ours", got.growth / 1e6, "MB"), _GROWTH_MB),
        Row(
            "loopback, nobody keeps time",
            "machine limit",
            loopback_hz / 1e6,
            "MS/s a channel",
            note="emulator and client",
        ),
    ]
    if got.problem:
        rows[1:3] = [replace(row, reached=False) for row in rows[1:3]]
    notes = []
    if not able:
        rows[0] = replace(rows[0], reached=None)
        notes.append(
            f"This machine cannot carry it: disk {limit.bytes_per_s / 1e6:.0f} MB/s of 491.5, "
            f"loopback {loopback_hz / 1e6:.1f} MS/s of 30.72 a channel."
        )
    return rows, notes


def _loopback(folder: Path, scene: Path) -> float:
    """Samples per second and channel from a free-running emulator into memory."""
    with (
        serve(folder, scene=scene, iio=free_address(), free_running=True, loop_s=_LOOP_S) as server,
        open_session(f"iio:{server.iio[0]}", None, _want) as session,
    ):
        session.start()
        time.sleep(0.5)
        at, begin = session.samples, time.monotonic()
        time.sleep(1.5)
        rate_hz = (session.samples - at) / (time.monotonic() - begin)
        session.stop()
    return rate_hz


def _capture(uri: str, folder: Path, seconds: float, server: psutil.Process) -> _Capture:
    got = _Capture()
    me = psutil.Process()
    with open_session(uri, None, _want) as session:
        recorder = Recorder(folder / "iio.sigmf-meta", session.stream, policy="gap")
        session.start(recorder=recorder)
        begin, client, emulator = time.monotonic(), cpu_s(me), cpu_s(server)
        warm, least = begin + min(5.0, 0.4 * seconds), 0
        while time.monotonic() < begin + seconds and not session.finished:
            time.sleep(0.1)
            if not least and time.monotonic() > warm:
                least = rss_bytes(me)
            got.recorder_s = max(got.recorder_s, thread_cpu_s("recorder"))
        got.seconds = time.monotonic() - begin
        got.client_s, got.server_s = cpu_s(me) - client, cpu_s(server) - emulator
        got.growth = max(0, rss_bytes(me) - least)
        summary = session.stop()
        try:
            session.raise_error()
        except HilError as err:
            got.problem = str(err)
        got.samples, got.lost = summary.samples, summary.lost
    with open_recording(folder / "iio.sigmf-meta") as recording:
        if recording.n_samples != got.samples:
            got.problem = got.problem or f"{recording.n_samples} samples on disk of {got.samples} that came"
    if not got.samples:
        got.problem = got.problem or "nothing came"
    return got


def _want(n_channels: int | None) -> RxConfig:
    del n_channels
    return RxConfig(gain_db=30.0, block_samples=_BLOCK, channels=tuple(range(M)))


def fast_stream() -> StreamInfo:
    """Four channels of 12 bits at 30.72 MS/s."""
    with open_device("sim:?free") as device:
        stream = device.configure(RxConfig(channels=tuple(range(M))))
    return replace(stream, config=replace(stream.config, fs_hz=FS_HZ))


def _delete(folder: Path) -> None:
    for file in folder.glob("*.sigmf*"):
        file.unlink()
