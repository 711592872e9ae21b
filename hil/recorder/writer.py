"""Writes blocks to a SigMF recording that stays readable whatever happens to the process.

Order of writing: a segment is described (journal line, then metadata) before its first sample is written, and
samples go out block by block, unbuffered. So at every moment the files describe all samples that they hold;
the reader cuts the members of a collection to the shortest one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from drivers.sigmf_annotations import JOURNAL_KEY
from drivers.sigmf_files import JOURNAL_SUFFIX, MAX_METADATA_BYTES
from hil.core.errors import CaptureOverrun, RecordingError
from hil.core.frame import Block, StreamInfo
from hil.recorder.annotations import MOST_ANNOTATIONS, annotation, placed
from hil.recorder.description import write_description
from hil.recorder.files import (
    DataFile,
    Deinterleaver,
    check_free,
    existing,
    is_disk_full,
    overloads,
    parse_path,
    sync_folder,
)
from hil.recorder.journal import Journal
from hil.recorder.metadata import (
    Point,
    check_segment,
    gains_db,
    global_object,
    segment_object,
)
from hil.recorder.summary import RecordingSummary, at_least

#: From here on data are not hashed and pass the page cache: at 500 MB/s either takes half a core.
_FAST_BYTES_PER_S = 200e6
_REWRITE_SHARE = 0.1  # of the time, at most, goes into rewriting metadata while samples arrive


class Recorder:
    """A SigMF recording being made.

    Parameters
    ----------
    path : `.sigmf-collection` (one data file per channel) or `.sigmf-meta` (interleaved).
    stream : of the first block. policy : "fail" (default): lost samples end the recording with
        CaptureOverrun; "gap": they become a new segment.
    expected_samples : per channel, to check the free space before starting; None: not known.
    author, description, license : texts of the metadata. truth : what is known about the scene.
    extras : captures keys (with namespace) of every segment.

    Raises
    ------
    RecordingError : the files exist, cannot be made, or the disk is too full.
    """

    def __init__(
        self,
        path: str | Path,
        stream: StreamInfo,
        *,
        policy: Literal["fail", "gap"] = "fail",
        overwrite: bool = False,
        expected_samples: int | None = None,
        author: str = "",
        description: str = "",
        license: str = "",
        truth: Mapping[str, Any] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        self._base, self.kind = parse_path(path)
        self.path = Path(path)
        self.policy = policy
        self._stream = self._first_stream = stream
        self._frame_bytes = stream.n_channels * 2 * stream.device.wire.dtype.itemsize
        check_free(self.path, (expected_samples or 0) * self._frame_bytes)
        self._fast = (stream.config.fs_hz or 0.0) * self._frame_bytes > _FAST_BYTES_PER_S
        self._extras = dict(extras or {})
        self._point: dict[str, Any] = {}
        self._new_point = self._left_out = False
        self._segments: list[dict[str, Any]] = []
        self._gaps: list[tuple[int, int | None]] = []
        self._annotations: list[dict[str, Any]] = []
        self._epochs: set[str] = set()
        self._n = 0
        self._expected = 0  # absolute index of the next sample if nothing is lost
        self._metadata_bytes = 0
        self._rewritten, self._rewrite_cost = 0.0, 0.0
        self._failure: str = ""
        self._summary: RecordingSummary | None = None
        self._lock = threading.Lock()
        texts = {"author": author, "description": description, "license": license}
        self._global = global_object(stream, texts, truth)
        self._split = Deinterleaver(stream.n_channels, stream.device.wire.dtype)
        self._files: list[DataFile] = []
        self._journal: Journal | None = None
        self._open(overwrite)

    # Opening

    def _open(self, overwrite: bool) -> None:
        old = existing(self._base, self.kind)
        if old and not overwrite:
            raise RecordingError(
                f"{old[0]} exists", hint="choose another name or allow overwriting", exit_code=2
            )
        try:
            for file in old:
                file.unlink()
            self._journal = Journal(self._base.with_name(self._base.name + JOURNAL_SUFFIX))
            for member in self._members:
                self._files.append(DataFile(member.with_name(member.name + ".sigmf-data"), fast=self._fast))
            self._write_metadata()
        except OSError as err:
            self._close_files()
            made = [self._journal.path] if self._journal else []
            made += [f.path for f in self._files] + [f.path.with_suffix(".sigmf-meta") for f in self._files]
            for file in made:
                file.unlink(missing_ok=True)
            what = "disk full, 0 samples kept" if is_disk_full(err) else f"cannot write: {err.strerror}"
            raise RecordingError(f"{self.path}: {what}", hint="check the folder and its free space") from err

    @property
    def _members(self) -> list[Path]:
        if self.kind == "interleaved":
            return [self._base]
        m = self._stream.n_channels
        digits = max(2, len(str(m - 1)))
        return [self._base.with_name(f"{self._base.name}-ch{i:0{digits}d}") for i in range(m)]

    @property
    def files(self) -> tuple[Path, ...]:
        """Metadata and data files, the one to open first."""
        files = [Path(f"{m}{end}") for m in self._members for end in (".sigmf-meta", ".sigmf-data")]
        return (self.path, *(f for f in files if f != self.path))

    @property
    def samples(self) -> int:
        """Samples per channel written so far."""
        return self._n

    @property
    def losses(self) -> tuple[int, int, int]:
        """(samples lost so far at least, gaps, gaps of unknown length); may be asked from any thread."""
        lengths = [n for _, n in self._gaps]
        return at_least(lengths), len(lengths), lengths.count(None)

    # Writing

    def write(self, block: Block) -> None:
        """Append one block; starts a new segment where something changed.

        Raises
        ------
        CaptureOverrun : samples are missing before this block and the policy is "fail".
        RecordingError : disk full or the stream no longer fits this recording. What was written before
            stays, and is complete and readable.
        """
        with self._lock:
            if self._failure or self._summary is not None:
                raise RecordingError(self._failure or f"{self.path}: the recording is closed")
            if block.n == 0:
                return
            lost = self._lost_before(block)
            cause = self._cause(block, lost)
            try:
                if cause:
                    self._start_segment(block, lost, cause)
                self._append(block)
            except OSError as err:
                self._fail(err)

    def note_segment(self, point: Point | None = None, **known: Any) -> None:
        """Start a new segment with the next block; the values hold until the next call.

        Takes a Point or its fields, e.g. `note_segment(table_azimuth_deg=30.0, emitter_angles_deg=[-30.0])`.
        """
        keys = (point or Point(**known)).keys()
        check_segment(keys)
        with self._lock:
            self._point = keys
            self._new_point = True

    def leave_out(self) -> None:
        """What comes before the next block is left out on purpose: it counts as no loss, and begins a new segment."""
        with self._lock:
            self._left_out = self._new_point = True

    def sync(self) -> None:
        """What was written so far survives a power failure once this returns. Raises RecordingError."""
        with self._lock:
            try:
                for file in (*self._files, *([self._journal] if self._journal else [])):
                    file.sync()
            except OSError as err:
                self._fail(err)

    def annotate(self, first_sample: int, last_sample: int, label: str, comment: str, **keys: Any) -> None:
        """Note something about samples (absolute indices) until `close`; keys : further ones, as `hil_name`."""
        made = annotation(first_sample, last_sample, label, comment, keys)
        line = Journal.line({JOURNAL_KEY: made})
        with self._lock:
            room = self._metadata_bytes + 2 * len(line) <= MAX_METADATA_BYTES
            if self._summary is not None or len(self._annotations) >= MOST_ANNOTATIONS or not room:
                return
            self._annotations.append(made)
            self._metadata_bytes += 2 * len(line)
            with contextlib.suppress(OSError):  # a full disk is told by the samples
                if self._journal is not None:
                    self._journal.append(line)

    def _lost_before(self, block: Block) -> int | None:
        if self._n == 0 or self._left_out:
            return 0  # the recording begins, or goes on, with this block, whatever came before it
        jump = int(block.first_sample) - self._expected
        if block.lost_before is None or jump < 0:
            return None
        return jump

    def _cause(self, block: Block, lost: int | None) -> str:
        """Why a segment begins with this block; "" if none does."""
        old, new = self._stream, block.stream
        if not self._segments:
            return "start"
        if lost != 0:
            self._gaps.append((self._expected, lost))
            if self.policy == "fail":
                missing = "an unknown number of" if lost is None else str(lost)
                self._failure = f"{self.path}: {missing} samples lost after {self._n}"
                raise CaptureOverrun(
                    self._failure,
                    gaps=self._gaps,
                    hint="lower the sample rate, use a faster disk, or accept gaps (policy gap)",
                )
            return "gap"
        if new is not old:
            if new.config.fc_hz != old.config.fc_hz:
                return "retune"
            if new.epoch != old.epoch:
                return "epoch"
            if gains_db(new) != gains_db(old) or new.config != old.config:
                return "gain"
        return "point" if self._new_point else ""

    def _start_segment(self, block: Block, lost: int | None, cause: str) -> None:
        self._check_stream(block)
        fs_hz = block.stream.config.fs_hz or 1.0
        age_ns = round(block.n / fs_hz * 1e9)  # the clocks were read when the block's last sample had come
        segment = segment_object(
            block.stream,
            sample_start=self._n,
            global_index=int(block.first_sample),
            t_utc_ns=max(int(block.t_utc_ns) - age_ns, 0),
            t_mono_ns=int(block.t_mono_ns) - age_ns,
            dropped_before=lost,
            cause=cause,
            point=self._extras | self._point,
        )
        if not self._segments:
            check_segment(segment)
        line = Journal.line(segment)
        self._metadata_bytes += 2 * len(line)  # indented
        if self._metadata_bytes > MAX_METADATA_BYTES:
            self._failure = (
                f"{self.path}: {len(self._segments)} segments, no more fit; {self._n} samples kept"
            )
            raise RecordingError(self._failure, hint="too many gaps or retunes: start a new recording")
        assert self._journal is not None
        self._journal.append(line)
        self._segments.append(segment)
        self._stream = block.stream
        self._epochs.add(block.stream.epoch.id)
        self._new_point = self._left_out = False
        # With many segments (a gap in every block) rewriting all metadata each time would cost more than the
        # samples; the journal has them anyway and is merged by the reader until `close`.
        due = time.monotonic() - self._rewritten >= self._rewrite_cost / _REWRITE_SHARE
        if due or len(self._segments) == 1:
            self._write_metadata()

    def _check_stream(self, block: Block) -> None:
        old, new = self._first_stream, block.stream
        for name, was, now in (
            ("sample rate", old.config.fs_hz, new.config.fs_hz),
            ("channels", old.config.channels, new.config.channels),
            ("sample format", old.device.wire, new.device.wire),
        ):
            if was != now:
                self._failure = f"{self.path}: {name} changed from {was} to {now} after {self._n} samples"
                raise RecordingError(self._failure, hint="start a new recording; this one is complete")

    def _append(self, block: Block) -> None:
        wire = block.wire
        shape = (len(wire), self._stream.n_channels, 2)
        if wire.shape != shape or wire.dtype != self._stream.device.wire.dtype:
            raise RecordingError(f"{self.path}: block {wire.dtype} {wire.shape}, expected {shape}")
        if not wire.flags.c_contiguous:
            wire = np.ascontiguousarray(wire)
        parts = [wire] if self.kind == "interleaved" else self._split(wire)
        for file, part in zip(self._files, parts, strict=True):
            file.append(part)
        for file, part in zip(self._files, parts, strict=True):
            file.account(part)
        self._n += len(wire)
        self._expected = int(block.first_sample) + len(wire)
        hit = overloads(wire, self._stream.device)
        if hit is not None:
            segment = self._segments[-1]
            segment["hil:overload_count"] = [
                a + b for a, b in zip(segment["hil:overload_count"], hit, strict=True)
            ]

    # Ending

    def _fail(self, err: OSError) -> None:
        """Cut the block that did not fit off all members, finish, and tell."""
        for file in self._files:
            with contextlib.suppress(OSError):
                file.truncate(self._n * self._frame_bytes // len(self._files))
        what = "disk full" if is_disk_full(err) else f"cannot write: {err.strerror or err}"
        self._failure = f"{what}: {self.path}: {self._n} samples kept"
        self._finish(quiet=True)
        raise RecordingError(self._failure, hint="free space or write to another disk") from err

    def close(self) -> RecordingSummary:
        """Write the final metadata with hashes; returns what the recording holds. Idempotent."""
        with self._lock:
            return self._finish(quiet=bool(self._failure))

    def _finish(self, *, quiet: bool) -> RecordingSummary:
        if self._summary is not None:
            return self._summary
        lengths = [n for _, n in self._gaps]
        self._summary = RecordingSummary(
            samples=self._n,
            lost=at_least(lengths),
            lost_unknown=lengths.count(None),
            gaps=len(self._gaps),
            epochs=len(self._epochs),
            overloads=sum(sum(s["hil:overload_count"]) for s in self._segments),
            bytes=self._n * self._frame_bytes,
            files=self.files,
            gap_list=tuple(self._gaps),
        )
        try:
            hashes = self._close_files()
            self._write_metadata(hashes)
            if self._journal is not None:
                self._journal.path.unlink()
            sync_folder(self._base.parent)
        except OSError as err:
            # On a full disk the open-ended metadata and the journal stay: they describe the same samples.
            if not quiet:
                raise RecordingError(
                    f"{self.path}: {err.strerror} while closing; {self._n} samples kept",
                    hint="the recording can be read; its hashes are missing",
                ) from err
        return self._summary

    def discard_empty(self) -> bool:
        """Close, and remove the files if they hold no sample: nobody is helped by them. True if there was none."""
        self.close()
        if self._n == 0:
            for file in existing(self._base, self.kind):
                file.unlink(missing_ok=True)
        return self._n == 0

    def _close_files(self) -> list[str]:
        if self._journal is not None:
            self._journal.close()
        return [file.close() for file in self._files]

    def _write_metadata(self, hashes: list[str] | None = None) -> None:
        begin = time.monotonic()
        write_description(
            self.path, self._members, self._global, self._segments, self._first_stream.geometry, hashes,
            placed(self._annotations, self._segments, self._n),
        )  # fmt: skip
        self._rewritten = time.monotonic()
        self._rewrite_cost = self._rewritten - begin

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
