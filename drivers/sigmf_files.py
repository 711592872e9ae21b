"""Opens SigMF recordings: ours and foreign ones, complete or cut off at any byte.

A recording is a `.sigmf-collection` (one data file per channel) or a `.sigmf-meta` (interleaved). Members of a
collection are cut to the shortest, data to whole samples. Everything is bounded before it is read, and whatever
is wrong is a RecordingError with exit code 2.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from drivers.sigmf_annotations import JOURNAL_KEY, Annotation, journal_annotations, read_annotations
from drivers.sigmf_checks import MAX_CHANNELS as MAX_CHANNELS
from drivers.sigmf_checks import MAX_METADATA_BYTES as MAX_METADATA_BYTES
from drivers.sigmf_checks import (
    bad,
    file_name,
    items,
    number,
    parse_object,
    read_limited,
    regular_size,
    section,
    text,
)
from drivers.sigmf_checks import check_extension as check_extension
from drivers.sigmf_segments import RawSegment, geometry_of, read_segments, stream_of
from hil.core.device import WireFormat
from hil.core.errors import RecordingError
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry

#: Segments and annotations of a recording that was not closed, one JSON object a line.
JOURNAL_SUFFIX = ".hil-journal"
_META, _DATA = ".sigmf-meta", ".sigmf-data"
_FOREIGN = "supported: complex samples in the formats ci16_le and cf32_le"


@dataclass(frozen=True, slots=True)
class Segment:
    """Samples between two events.

    Attributes
    ----------
    start, n : first sample in the file and number of samples, per channel.
    global_index : index of the first sample in the original stream.
    stream : StreamInfo that holds for them. t_utc_ns, t_mono_ns : of the first sample, 0 if not known.
    dropped_before : samples lost before it; None: some, not known how many. left_out : samples before it that were
        not recorded on purpose.
    cause : "start", "gap", "retune", "epoch", "gain", "point"; "" in foreign files.
    overload_count : (M,) samples at full scale. emitter_angles_deg : true angles, empty if not known.
    keys : the captures object as it is in the file.
    """

    start: int
    n: int
    global_index: int
    stream: StreamInfo
    t_utc_ns: int
    t_mono_ns: int
    dropped_before: int | None
    cause: str
    overload_count: tuple[int, ...] = ()
    emitter_angles_deg: tuple[float, ...] = ()
    keys: Mapping[str, Any] = field(default_factory=dict, repr=False)
    left_out: int = 0


class Recording:
    """An opened recording; `open_recording` makes it. A context manager.

    Attributes
    ----------
    path, kind : what was opened; "collection" or "interleaved".
    n_samples, n_channels : per channel, whole samples that every channel has.
    segments : in order, without empty ones. annotations : what was noticed while it was made. wire : WireFormat. fs_hz.
    complete : it was closed properly (always True for foreign ones). ours : written by this program.
    global_keys : SigMF `global` object of the first member. sha512 : of each data file, "" if not noted.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        data_files: Sequence[Path],
        n_channels: int,
        global_keys: Mapping[str, Any],
        sha512: Sequence[str],
    ) -> None:
        self._opened: list[io.FileIO] = []
        self.path, self.kind, self.data_files = path, kind, tuple(data_files)
        self.n_channels, self.global_keys, self.sha512 = n_channels, global_keys, tuple(sha512)
        try:
            self.wire = WireFormat(text(global_keys, "core:datatype", path))
        except ValueError:
            raise bad(path, f"datatype {str(global_keys.get('core:datatype'))[:20]!r}", _FOREIGN) from None
        self.fs_hz = number(global_keys, "core:sample_rate", path, float("nan"), 1e-3, 1e12)
        self.ours = "hil:stream" in global_keys
        self.complete = bool(global_keys.get("hil:complete", True))
        per_file = 1 if kind == "collection" else n_channels
        self._frame_bytes = per_file * 2 * self.wire.dtype.itemsize
        self.n_samples = min(regular_size(f) for f in self.data_files) // self._frame_bytes
        self.segments: tuple[Segment, ...] = ()
        self.annotations: tuple[Annotation, ...] = ()
        self._lock = threading.Lock()

    @property
    def stream(self) -> StreamInfo:
        """StreamInfo of the first segment."""
        if not self.segments:
            raise bad(self.path, "holds no samples", "record again")
        return self.segments[0].stream

    @property
    def geometry(self) -> ArrayGeometry | None:
        """Nominal array, None if it is not known."""
        return self.segments[0].stream.geometry if self.segments else None

    @property
    def duration_s(self) -> float:
        """Length of the samples that are there."""
        return self.n_samples / self.fs_hz

    def segment_at(self, index: int) -> Segment:
        """The segment that holds sample `index` of the file."""
        if not self.segments:
            raise bad(self.path, "holds no samples", "record again")
        starts = [s.start for s in self.segments]
        return self.segments[max(int(np.searchsorted(starts, index, side="right")) - 1, 0)]

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Samples first..first+n as (n, M, 2) in the wire dtype, cut at the end of the recording."""
        first = max(first, 0)
        n = max(min(n, self.n_samples - first), 0)
        out = np.empty((n, self.n_channels, 2), self.wire.dtype)
        self.read_into(first, out)
        return out

    def read_into(self, first: int, out: NDArray[Any]) -> None:
        """Fill `out` (n, M, 2), C-contiguous, with samples first..first+n.

        Plain reads, not a memory map: a file that shrinks meanwhile is then an error, not a SIGBUS.
        """
        n = len(out)
        if n == 0:
            return
        with self._lock:
            if not self._opened:
                self._open()
            if self.kind == "interleaved":
                self._read_exactly(0, first, out.data.cast("B"))
                return
            item = np.dtype(np.uint32) if self.wire is WireFormat.CI16 else np.dtype(np.uint64)
            pairs = out.reshape(n, 2 * self.n_channels).view(item)
            channel = np.empty(n, item)
            for m in range(self.n_channels):
                self._read_exactly(m, first, channel.data.cast("B"))
                pairs[:, m] = channel

    def expect(self, first: int, n: int) -> None:
        """These samples will be read soon: where the system can, the disk brings them while something else is done."""
        if not hasattr(os, "posix_fadvise"):
            return
        offset, n_bytes = first * self._frame_bytes, n * self._frame_bytes
        with self._lock, contextlib.suppress(OSError):  # advice: the read itself tells what is wrong
            if not self._opened:
                self._open()
            for file in self._opened:
                os.posix_fadvise(file.fileno(), offset, n_bytes, os.POSIX_FADV_WILLNEED)

    def _open(self) -> None:
        try:
            for file in self.data_files:
                self._opened.append(io.FileIO(file))
        except OSError as err:
            self.close()
            raise bad(self.path, f"{err.filename}: {err.strerror}", "raise the limit of open files") from err

    def _read_exactly(self, file: int, first: int, out: memoryview) -> None:
        offset = first * self._frame_bytes
        while len(out):
            try:
                self._opened[file].seek(offset)
                done = self._opened[file].readinto(out) or 0
            except OSError as err:
                raise bad(self.data_files[file], err.strerror or str(err)) from err
            if done == 0:
                raise bad(self.data_files[file], "has become shorter while it was read")
            out, offset = out[done:], offset + done

    def sha256(self) -> str:
        """SHA-256 over all data files in order: what a calibration's `captures` refer to."""
        digest = hashlib.sha256()
        for file in self.data_files:
            with file.open("rb") as stream:
                hashlib.file_digest(stream, lambda: digest)
        return digest.hexdigest()

    def verify(self) -> bool | None:
        """True if every data file has the SHA-512 noted at closing; None if none was noted."""
        if not all(self.sha512):
            return None
        for file, noted in zip(self.data_files, self.sha512, strict=True):
            with file.open("rb") as stream:
                if hashlib.file_digest(stream, "sha512").hexdigest() != noted.lower():
                    return False
        return True

    def close(self) -> None:
        """Close the data files. Idempotent."""
        for file in self._opened:
            file.close()
        self._opened.clear()

    def __del__(self) -> None:
        self.close()  # a recording may be looked at without `with`

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """Open a `.sigmf-collection`, `.sigmf-meta` or `.sigmf-data` file.

    Raises
    ------
    RecordingError : (exit code 2) not there, damaged, or not a format that can be used.
    """
    file = Path(path)
    if file.suffix == _DATA:
        file = file.with_suffix(_META)
    if file.suffix == ".sigmf-collection":
        return _open_collection(file)
    if file.suffix == _META:
        return _open_interleaved(file)
    raise bad(file, "not a SigMF recording", "open its .sigmf-collection or .sigmf-meta file")


def _open_interleaved(path: Path) -> Recording:
    metadata = _read_metadata(path)
    keys = metadata["global"]
    n_channels = int(number(keys, "core:num_channels", path, 1, 1, MAX_CHANNELS))
    if keys.get("core:metadata_only"):
        raise bad(path, "metadata without samples", "fetch the .sigmf-data file")
    data = path.with_name(file_name(keys.get("core:dataset", path.stem + _DATA), path))
    sha512 = text(keys, "core:sha512", path)
    recording = Recording(path, "interleaved", [data], n_channels, keys, [sha512])
    return _describe(recording, metadata, {})


def _open_collection(path: Path) -> Recording:
    collection = section(parse_object(read_limited(path), path), "collection", path)
    names = [s.get("name") if isinstance(s, dict) else s[0] if isinstance(s, list) and s else s
             for s in items(collection, "core:streams", path)]  # fmt: skip
    if not 1 <= len(names) <= MAX_CHANNELS:
        raise bad(path, f"names {len(names)} streams, between 1 and {MAX_CHANNELS} are possible")
    members = [path.with_name(file_name(name, path) + _META) for name in names]
    if len(set(members)) != len(members):
        raise bad(path, "names one stream twice")
    first: dict[str, Any] = {}
    sha512, budget = [], 4 * MAX_METADATA_BYTES
    for member in members:
        budget -= regular_size(member)
        if budget < 0:
            raise bad(path, "too much metadata")
        metadata = _read_metadata(member, checked=bool(first))  # only the first one's keys are used
        keys = metadata["global"]
        first = first or metadata
        if number(keys, "core:num_channels", member, 1, 1, MAX_CHANNELS) != 1:
            raise bad(member, "has several channels; a collection has one per file", "open the file itself")
        for key in ("core:datatype", "core:sample_rate"):
            if keys.get(key) != first["global"].get(key):
                raise bad(member, f"{key} differs from that of the first member")
        sha512.append(text(keys, "core:sha512", member))
    data = [m.with_suffix(_DATA) for m in members]
    recording = Recording(path, "collection", data, len(members), first["global"], sha512)
    return _describe(recording, first, collection)


def _read_metadata(path: Path, checked: bool = False) -> dict[str, Any]:
    metadata = parse_object(read_limited(path), path)
    keys = section(metadata, "global", path)
    if number(keys, "core:trailing_bytes", path, 0, 0, 1e18) or keys.get("core:offset"):
        raise bad(path, "not a plain recording (offset or trailing bytes)", _FOREIGN)
    for capture in items(metadata, "captures", path):
        if not isinstance(capture, dict) or capture.get("core:header_bytes"):
            raise bad(path, "not a plain recording (header bytes)", _FOREIGN)
    if not checked:
        check_extension(metadata, path)
    return metadata


def _describe(recording: Recording, metadata: Mapping[str, Any], collection: Mapping[str, Any]) -> Recording:
    where = recording.path
    captures, noted = items(metadata, "captures", where), metadata.get("annotations")
    journal, journal_notes = ([], []) if recording.complete else _journal(recording)
    captures = journal or captures
    raw = read_segments(captures, recording.n_samples, where)
    keys = recording.global_keys
    identity = hashlib.sha256(repr(sorted((k, str(v)) for k, v in keys.items())).encode()).hexdigest()[:32]
    segments = []
    counter, previous = 0, None
    for k, segment in enumerate(raw):
        end = raw[k + 1].start if k + 1 < len(raw) else recording.n_samples
        if previous is not None and segment.fc_hz != previous.fc_hz:
            counter += 1  # a foreign file: a retune starts a new epoch, see stream_of
        geometry = geometry_of(segment.keys, keys, collection, recording.n_channels, where)
        stream = stream_of(recording, segment, geometry, identity, counter)
        segments.append(_segment(segment, end, stream, segments[k - 1] if k else None))
        previous = segment
    recording.segments = tuple(segments)
    if journal:
        starts = [(s.start, s.global_index) for s in segments]
        recording.annotations = journal_annotations(journal_notes, starts, recording.n_samples)
    elif isinstance(noted, list):
        recording.annotations = read_annotations(noted, recording.n_samples)
    return recording


def _segment(raw: RawSegment, end: int, stream: StreamInfo, before: Segment | None) -> Segment:
    dropped: int | None = 0
    left_out = 0
    if before is not None:
        jump = raw.global_index - (before.global_index + before.n)
        dropped = None if jump < 0 or raw.lost_unknown else jump
        if jump > 0 and raw.cause == "point" and raw.keys.get("hil:dropped_before") == 0:
            dropped, left_out = 0, jump
    return Segment(
        start=raw.start, n=end - raw.start, global_index=raw.global_index, stream=stream,
        t_utc_ns=raw.t_utc_ns, t_mono_ns=raw.t_mono_ns, dropped_before=dropped, cause=raw.cause,
        overload_count=raw.overload_count, emitter_angles_deg=raw.emitter_angles_deg, keys=raw.keys,
        left_out=left_out,
    )  # fmt: skip


def _journal(recording: Recording) -> tuple[list[Any], list[Any]]:
    """Segments and annotations noted by a writer that never came to closing; a half last line is ignored."""
    path = recording.path.with_name(recording.path.stem + JOURNAL_SUFFIX)
    if not path.exists():
        return [], []
    segments, noted = [], []
    for line in read_limited(path).split(b"\n")[:-1]:
        try:
            value = parse_object(line, path)
        except RecordingError:
            break  # what follows a damaged line cannot be trusted
        if JOURNAL_KEY in value:
            noted.append(value[JOURNAL_KEY])
        else:
            segments.append(value)
    check_extension({"captures": segments}, path)
    return segments, noted
