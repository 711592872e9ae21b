"""Directions over a long recording, every sample used, and looks at 100 a second over a longer one.

Between the looks the longer recording is a hole in its file: nobody reads there, and an hour takes no 144 GB.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.registry import open_device
from hil.bench.measure import Row, StageReport, at_most
from hil.bench.processes import MemoryWatch
from hil.core.device import RxConfig
from hil.core.errors import HilError
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.core.geometry import parse_array
from hil.core.steering import steering_vectors
from hil.jobs.directions import SpectrumSettings
from hil.jobs.over_time import over_time, read_rows
from hil.processing.cluster import local_cluster
from hil.processing.where import HERE, Where
from hil.recorder import Recorder

M, FS_HZ = 4, 2.5e6
_ARRAY = "ula:4:0.5"
_BLOCK = 4096
_LOOK, _EVERY_S = 1024, 0.01
_MOST_BYTES, _MOST_SHARE = 40e9, 0.5
_SHARE_OF_TWO, _GROWTH_MB = 0.6, 50.0
_WORKERS, _WORKER_BYTES = 2, 1 << 30
#: Below, starting the program in the workers takes most of the time, and the ratio is shown but not judged.
_JUDGED_FROM_S = 20.0
#: Directions of the emitter, one a block, again and again.
_DIRECTIONS_DEG = (-41.3, -18.2, 3.7, 22.9, 48.6)
_LARGEST_ERROR_DEG = 0.5


@dataclass(frozen=True, slots=True)
class _Work:
    """One recording: seconds of it, samples of a look, seconds between looks."""

    words: str
    path: Path
    seconds: float
    snapshots: int
    every_s: float


def run(quick: bool, hours: float | None = None) -> StageReport:
    """hours : length; None: 300 s (3 s with `quick`). Files go to the folder of temporary files and are deleted."""
    seconds = 3600.0 * hours if hours is not None else 3.0 if quick else 300.0
    rows: list[Row] = []
    notes = [f"4 channels x 2.5 MS/s; files under {tempfile.gettempdir()}, deleted again."]
    missing: dict[str, str] = {}
    for dense in (True, False):
        with tempfile.TemporaryDirectory(prefix="hil-bench-") as name:
            folder = Path(name)
            room = min(_MOST_BYTES, _MOST_SHARE * shutil.disk_usage(folder).free)
            per_second = FS_HZ * M * 4 if dense else _LOOK * M * 4 / _EVERY_S
            length_s = min(seconds, room / per_second)
            if length_s < seconds:
                notes.append(f"The disk has room for {length_s:.0f} s with every sample.")
            work = _recorded(folder, dense, length_s)
            try:
                rows += _rows(folder, work, missing)
            except OSError as err:
                missing["a disk"] = str(err)
    return StageReport(tuple(rows), missing, tuple(notes))


def _rows(folder: Path, work: _Work, missing: dict[str, str]) -> list[Row]:
    with MemoryWatch() as memory:
        alone_s, note = _timed(folder / "alone.csv", work, HERE)
    case = f"{work.words}, {work.seconds:.0f} s"
    times = Row(f"{case}: time over real time", "ours", alone_s / work.seconds, "", wall_s=alone_s, note=note)
    times = at_most(times, 1.0, words="below 1")
    growth = Row(f"{case}: memory growth", "ours", memory.growth_bytes / 1e6, "MB")
    rows = [replace(times, reached=bool(times.reached) and not note), at_most(growth, _GROWTH_MB)]
    try:
        with local_cluster(_WORKERS, _WORKER_BYTES) as client:
            both_s, note = _timed(folder / "both.csv", work, Where(scheduler=client.scheduler.address))
    except HilError as err:
        missing["Dask cluster"] = f"pip install coherent-array-hil[cluster] ({err})"
        return rows
    if not note and (folder / "both.csv").read_bytes() != (folder / "alone.csv").read_bytes():
        note = "other directions than alone"
    share = Row(
        f"{case}: two workers over one process", "ours", both_s / alone_s, "", wall_s=both_s, note=note
    )
    share = at_most(share, _SHARE_OF_TWO, words=f"at most {_SHARE_OF_TWO:g}")
    judged = bool(share.reached) and not note if alone_s >= _JUDGED_FROM_S or note else None
    return [*rows, replace(share, reached=judged)]


def _timed(out: Path, work: _Work, where: Where) -> tuple[float, str]:
    """Seconds, and what is wrong with the directions, "" if nothing."""
    settings = SpectrumSettings(n_sources=1, snapshots=work.snapshots)
    begin = time.monotonic()
    over_time(work.path, _ARRAY, settings, out, every_s=work.every_s, where=where)
    return time.monotonic() - begin, _judged(out, work)


def _judged(out: Path, work: _Work) -> str:
    step = max(1, round(work.every_s * FS_HZ))
    count, worst = 0, 0.0
    for time_s, doa_deg, _ in read_rows(out):
        look = round(time_s * FS_HZ / step)
        worst = max(worst, abs(doa_deg - _DIRECTIONS_DEG[look % len(_DIRECTIONS_DEG)]))
        count += 1
    if count < int(work.seconds / work.every_s) - 1:
        return f"{count} directions only"
    return "" if worst < _LARGEST_ERROR_DEG else f"a direction is wrong by {worst:.2g} degrees"


def _recorded(folder: Path, dense: bool, seconds: float) -> _Work:
    """The recording: its metadata as the recorder writes them, its samples in the places that will be looked at."""
    stream = _stream()
    path = folder / "long.sigmf-meta"
    snapshots = _BLOCK if dense else _LOOK
    step = _BLOCK if dense else round(_EVERY_S * FS_HZ)
    looks = [_look(direction, snapshots, k) for k, direction in enumerate(_DIRECTIONS_DEG)]
    with Recorder(path, stream) as recorder:
        recorder.write(Block(looks[0], 0, 0, 0, 0, FrameFlag.NONE, stream, 0))
    frame = M * 4
    count = max(1, int(seconds * FS_HZ) // step)
    with (folder / "long.sigmf-data").open("r+b", buffering=0) as file:
        os.truncate(file.fileno(), count * step * frame)
        for k in range(count):
            os.pwrite(file.fileno(), looks[k % len(looks)].data, k * step * frame)
    words = "every sample" if dense else f"a look of {_LOOK} samples every 10 ms"
    return _Work(words, path, count * step / FS_HZ, snapshots, step / FS_HZ)


def _look(direction_deg: float, n: int, seed: int) -> NDArray[np.int16]:
    """(n, M, 2) of one emitter in noise 20 dB below."""
    rng = np.random.default_rng(seed)
    stream = _stream()
    geometry = parse_array(_ARRAY, stream.fc_hz)
    a = steering_vectors(geometry.positions_m, stream.fc_hz, np.deg2rad([direction_deg]))
    parts = rng.standard_normal((2, M + 1, n))
    both = parts[0] + 1j * parts[1]
    x = 250 * (a @ both[:1] + 0.1 * both[1:])
    wire = np.clip(np.stack((x.real.T, x.imag.T), axis=-1).round(), -2047, 2046)
    return np.ascontiguousarray(wire.astype("<i2"))


def _stream() -> StreamInfo:
    with open_device("sim:?free") as device:
        return device.configure(RxConfig(channels=tuple(range(M))))
