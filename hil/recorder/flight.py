"""The last seconds of a stream, kept so that they can be saved after something has happened.

    session -> ring (drop oldest) -> write() -> bytes written round and round in a file without a name
                                     save()  -> a recording like any other, while the stream goes on

What is being saved is not overwritten: if the disk is slower than the stream, new blocks are missed meanwhile, and the
next save shows a gap there.
"""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hil.core.errors import RecordingError
from hil.core.frame import Block, StreamInfo
from hil.recorder.memory import memory_left
from hil.recorder.summary import RecordingSummary
from hil.recorder.writer import Recorder

SECONDS = 30.0
LIMIT_BYTES = 1 << 30
_MEMORY_SHARE = 0.25  # of what is free; more goes to disk
_MOST_BLOCKS = 1 << 16
_NOTHING = np.empty((0, 1, 2), np.int16)

#: Called with the recording, before it is closed, and the absolute indices of its first and last sample.
Note = Callable[[Recorder, int, int], None]


@dataclass(frozen=True, slots=True)
class FlightState:
    """on : it is switched on. seconds : of samples that are kept now. wanted_s : that should be. bytes : at most taken.
    place : of them, "" before the first sample. missed : samples that came while saving and were not kept. saving,
    problem : "" or why nothing is kept."""

    on: bool
    seconds: float
    wanted_s: float
    bytes: int
    place: Literal["", "memory", "disk"]
    missed: int
    saving: bool
    problem: str


@dataclass(frozen=True, slots=True)
class _Kept:
    """at : where its bytes begin, counted since the ring began. header : the block without its samples."""

    at: int
    n_bytes: int
    n: int
    header: Block


class FlightRecorder:
    """`write` belongs to one thread, the rest to any.

    Parameters
    ----------
    seconds : to keep. limit_bytes : to take at most; at high rates it holds less than `seconds`. folder : for what does
        not fit into a quarter of the free memory; None: the user's cache folder.
    """

    def __init__(
        self, seconds: float = SECONDS, limit_bytes: int = LIMIT_BYTES, folder: Path | None = None
    ) -> None:
        self._seconds, self._limit, self._folder = seconds, limit_bytes, folder
        self._lock = threading.Lock()
        self._on = True
        self._bytes: _RingFile | None = None
        self._stream: StreamInfo | None = None
        self._kept: deque[_Kept] = deque()
        self._samples = self._next = self._end = self._missed = 0
        self._unsaved: int | None = None  # what begins here and later is being saved
        self._abort = False
        self._problem = ""

    @property
    def state(self) -> FlightState:
        """One moment."""
        with self._lock:
            fs_hz = self._stream.fs_hz if self._stream is not None else math.inf
            size, place = (self._bytes.size, self._bytes.place) if self._bytes is not None else (0, "")
            return FlightState(
                self._on, self._samples / fs_hz, self._seconds, size, place, self._missed,
                self._unsaved is not None, self._problem,
            )  # fmt: skip

    def switch(self, on: bool) -> None:
        """Off forgets everything, except what is being saved."""
        with self._lock:
            self._on, self._problem = on, ""
            if not on:
                self._forget()

    def close(self) -> None:
        """Off; a save that runs ends with what it has. Idempotent."""
        self._abort = True
        self.switch(False)

    def write(self, block: Block) -> None:
        """Keep one block and forget the oldest ones. A disk that fails switches it off (`state.problem`)."""
        if not self._on or block.n == 0:
            return
        data = np.ascontiguousarray(block.wire).data.cast("B")
        try:
            with self._lock:
                there = self._room(block, data.nbytes)
                storage, at = self._bytes, self._end
            if not there or storage is None:
                return
            storage.write(at, data)
        except OSError as err:
            with self._lock:
                self._on, self._problem = False, f"cannot keep samples: {err.strerror or err}"
                self._forget()
            return
        with self._lock:
            if storage is self._bytes:
                self._kept.append(_Kept(at, data.nbytes, block.n, replace(block, wire=_NOTHING)))
                self._end = at + data.nbytes
                self._samples += block.n
                self._next = block.first_sample + block.n

    def save(self, path: Path, note: Note = lambda recorder, first, last: None) -> RecordingSummary:
        """Write what is kept at this moment to a recording; the stream and the keeping go on meanwhile.

        Raises RecordingError: nothing is kept, another save runs, or the disk is full (what fits is then readable).
        """
        with self._lock:
            if self._unsaved is not None:
                raise RecordingError(
                    "the last seconds are being saved already", hint="wait until that is done"
                )
            kept, storage = list(self._kept), self._bytes
            if not kept or storage is None:
                raise RecordingError("no samples are kept yet", hint="switch it on and start the stream")
            self._unsaved, self._missed = kept[0].at, 0
        try:
            return self._save(path, kept, storage, note)
        finally:
            with self._lock:
                self._unsaved = None
                if not self._on:
                    self._forget()

    def _save(self, path: Path, kept: list[_Kept], storage: _RingFile, note: Note) -> RecordingSummary:
        stream = kept[0].header.stream
        dtype, m = stream.device.wire.dtype, stream.n_channels
        with Recorder(path, stream, policy="gap", expected_samples=sum(k.n for k in kept)) as recorder:
            for item in kept:
                if self._abort:
                    break
                wire = np.empty((item.n, m, 2), dtype)
                try:
                    storage.read(item.at, wire.data.cast("B"))
                except OSError as err:
                    raise RecordingError(f"{path}: cannot read what was kept: {err.strerror or err}") from err
                recorder.write(replace(item.header, wire=wire))
                with self._lock:
                    self._unsaved = item.at + item.n_bytes
            last = kept[-1]
            note(recorder, kept[0].header.first_sample, last.header.first_sample + last.n)
        return recorder.close()

    def _room(self, block: Block, n_bytes: int) -> bool:
        """Make room for a block, also by beginning anew; False: it cannot be kept now."""
        old = self._stream
        if (
            self._bytes is None
            or old is None
            or _another(old, block.stream)
            or block.first_sample < self._next
        ):
            if self._unsaved is not None:
                self._missed += block.n
                return False
            self._forget()
            self._begin(block.stream, n_bytes)
        assert self._bytes is not None
        self._stream = block.stream
        if n_bytes > self._bytes.size:
            raise OSError(0, f"a block of {n_bytes} bytes does not fit into {self._bytes.size}")
        floor = self._end + n_bytes - self._bytes.size
        while self._kept and (self._kept[0].at < floor or len(self._kept) >= _MOST_BLOCKS):
            if self._unsaved is not None and self._kept[0].at >= self._unsaved:
                self._missed += block.n
                return False
            self._samples -= self._kept.popleft().n
        return True

    def _begin(self, stream: StreamInfo, n_bytes: int) -> None:
        per_s = stream.fs_hz * stream.n_channels * 2 * stream.device.wire.dtype.itemsize
        size = max(min(math.ceil(self._seconds * per_s), self._limit), n_bytes)
        self._bytes = _RingFile(size, self._folder)

    def _forget(self) -> None:
        """All that is kept, and its file; not while it is being saved."""
        if self._unsaved is None:
            if self._bytes is not None:
                self._bytes.close()
            self._bytes = self._stream = None
            self._kept.clear()
            self._samples = self._next = self._end = self._missed = 0


def _another(a: StreamInfo, b: StreamInfo) -> bool:
    """No recording can hold both."""
    if a is b:
        return False
    return (a.fs_hz, a.config.channels, a.device) != (b.fs_hz, b.config.channels, b.device)


class _RingFile:
    """A file without a name, so that nothing is left of it however the process ends."""

    def __init__(self, size: int, folder: Path | None) -> None:
        self.size = size
        self.place: Literal["memory", "disk"] = "disk"
        self._lock = threading.Lock()
        if hasattr(os, "memfd_create") and size <= _MEMORY_SHARE * memory_left():
            self.place = "memory"
            self._file: Any = os.fdopen(os.memfd_create("hil-flight"), "r+b", buffering=0)
            self._file.truncate(size)
            return
        where = folder or _cache_folder()
        where.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=where, buffering=0)  # noqa: SIM115 - `close` closes it
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)  # a full disk shows now, not in the middle
        except OSError:
            self._file.close()
            raise

    def write(self, at: int, data: memoryview) -> None:
        """At a place counted since the ring began."""
        for place, part in self._parts(at, data):
            with self._lock:
                if self._file.closed:
                    return  # switched off meanwhile
                self._file.seek(place)
                while len(part):
                    part = part[self._file.write(part) :]

    def read(self, at: int, out: memoryview) -> None:
        """Fill `out`."""
        for place, part in self._parts(at, out):
            with self._lock:
                self._file.seek(place)
                while len(part):
                    n = self._file.readinto(part)
                    if not n:
                        raise OSError(0, "the file of the last seconds is shorter than it was")
                    part = part[n:]

    def close(self) -> None:
        """Give the space back."""
        with self._lock:
            self._file.close()

    def _parts(self, at: int, data: memoryview) -> list[tuple[int, memoryview]]:
        """At most two: up to the end of the file, and from its beginning."""
        place = at % self.size
        room = self.size - place
        return [(place, data[:room]), (0, data[room:])]


def _cache_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("hil", appauthor=False))
