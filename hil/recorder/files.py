"""Files of a recording being made: data appended block by block, JSON replaced atomically."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.sigmf_files import JOURNAL_SUFFIX
from hil.core.device import DeviceInfo, WireFormat
from hil.core.errors import RecordingError
from hil.recorder.direct import DirectWriter

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
SUFFIXES = {".sigmf-collection": "collection", ".sigmf-meta": "interleaved"}


def parse_path(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """(base path without suffix, kind) of an output name. Raises RecordingError."""
    out = Path(path)
    kind = SUFFIXES.get(out.suffix)
    if kind is None or not out.stem:
        raise RecordingError(
            f"{out}: not the name of a recording",
            hint="end it in .sigmf-collection (one file per channel) or .sigmf-meta (interleaved)",
            exit_code=2,
        )
    if not out.parent.is_dir():
        raise RecordingError(f"{out}: the folder does not exist", hint=f"mkdir -p {out.parent}", exit_code=2)
    return out.parent / out.stem, kind


def existing(base: Path, kind: str) -> list[Path]:
    """Files of an earlier recording of this name, members of a collection included."""
    members = r"(-ch\d+)?" if kind == "collection" or Path(f"{base}.sigmf-collection").exists() else ""
    suffixes = r"\.sigmf-(collection|meta|data)|" + re.escape(JOURNAL_SUFFIX)
    own = re.compile(f"{re.escape(base.name)}{members}({suffixes})")
    return sorted(p for p in base.parent.iterdir() if own.fullmatch(p.name))


def check_free(path: Path, need: int) -> None:
    """Raise RecordingError if the disk has not `need` bytes for a recording at `path`."""
    free = shutil.disk_usage(path.parent).free if need else 0
    if need > free:
        raise RecordingError(
            f"{path}: needs {need / 1e6:.0f} MB, {free / 1e6:.0f} MB are free",
            hint="free space, record fewer samples or write to another disk",
        )


def is_disk_full(err: OSError) -> bool:
    """True if the volume, the quota or the file size limit is exhausted."""
    return err.errno in _FULL


def json_bytes(value: Any, indent: int | None = None) -> bytes:
    """One JSON value and a line end in UTF-8; numpy numbers and arrays count as numbers and lists."""

    def from_numpy(item: Any) -> Any:
        if isinstance(item, np.generic | np.ndarray):
            return item.tolist()
        raise TypeError(f"{type(item).__name__} is not a JSON value")

    try:
        text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False, default=from_numpy)
        return (text + "\n").encode("utf-8")
    except (TypeError, ValueError) as err:  # not finite, or text that is no text
        raise RecordingError(f"metadata cannot be written as JSON: {err}") from err


def write_json(path: Path, value: Any) -> str:
    """Replace a JSON file atomically and durably; returns the SHA-512 of its bytes.

    A reader, or a crash, sees the old file or the new one, never a part of it.
    """
    small = len(value.get("captures", ())) < 200
    data = json_bytes(value, indent=2 if small else None)
    temporary = path.with_name(path.name + ".tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o644)
        try:
            write_all(fd, memoryview(data))
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return hashlib.sha512(data).hexdigest()


def write_all(fd: int, data: memoryview) -> None:
    """Write every byte: a nearly full disk takes a part first and fails at the next call."""
    while len(data):
        data = data[os.write(fd, data) :]


def sync_folder(folder: Path) -> None:
    """Make renames durable where the system can."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class DataFile:
    """One `.sigmf-data` file, unbuffered: after `append` returned, killing the process loses nothing.

    path : must not exist. fast : for hundreds of MB/s, which are written past the page cache and not hashed: either costs
    more than the rest of the recorder.
    """

    def __init__(self, path: Path, *, fast: bool = False) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self.path = path
        self._fd = os.open(path, flags, 0o644)
        self._hash = None if fast else hashlib.sha512()
        self._direct: DirectWriter | None = None
        self._size = 0
        if fast:
            with contextlib.suppress(OSError):
                self._direct = DirectWriter(path)

    def append(self, data: NDArray[Any]) -> None:
        """Write a C-contiguous array. A failed write may leave a part, see `truncate`."""
        done, flat = 0, data.reshape(-1).view(np.uint8)
        if self._direct is not None:
            done = self._direct.write(flat, self._size)
        write_all(self._fd, flat.data[done:])
        self._size += len(flat)

    def account(self, data: NDArray[Any]) -> None:
        """Hash what was appended, once every member has it (870 MB/s on one core, and off the GIL)."""
        if self._hash is not None:
            self._hash.update(data.data.cast("B"))

    def truncate(self, n_bytes: int) -> None:
        """Cut off the part of a block that did not fit."""
        os.ftruncate(self._fd, n_bytes)
        self._size = n_bytes

    def sync(self) -> None:
        """Flush to the disk."""
        os.fsync(self._fd)

    def close(self) -> str:
        """Flush to the disk; returns the SHA-512 of the content, "" if it was not hashed."""
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
            if self._direct is not None:
                self._direct.close()
        return "" if self._hash is None else self._hash.hexdigest()


class Deinterleaver:
    """Splits (n, M, 2) wire blocks into M contiguous channels, I and Q moved as one item (10 GB/s)."""

    def __init__(self, n_channels: int, component: np.dtype[Any]) -> None:
        self._item = np.dtype(np.uint32) if component.itemsize == 2 else np.dtype(np.uint64)
        self._n_channels = n_channels
        self._buffer = np.empty((n_channels, 0), self._item)

    def __call__(self, wire: NDArray[Any]) -> NDArray[Any]:
        """(M, n) array of I/Q pairs; valid until the next call."""
        n = len(wire)
        if self._buffer.shape[1] != n:
            self._buffer = np.empty((self._n_channels, n), self._item)
        pairs = wire.reshape(n, 2 * self._n_channels).view(self._item)
        np.copyto(self._buffer, pairs.T)
        return self._buffer


def overloads(wire: NDArray[Any], device: DeviceInfo) -> list[int] | None:
    """Samples of each channel whose I or Q is at full scale; None if there are none."""
    if device.wire is WireFormat.CI16:
        low, high = -(1 << (device.full_scale_bits - 1)), (1 << (device.full_scale_bits - 1)) - 1
    else:
        low, high = -1, 1
    if wire.max() < high and wire.min() > low:  # nearly free; counting is not
        return None
    return ((wire >= high) | (wire <= low)).any(axis=2).sum(axis=0).tolist()
