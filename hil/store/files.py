"""Saving and loading calibration files so that no file, however damaged or hostile, does harm.

The file is plain HDF5, for every program that reads HDF5, and begins with the user block that HDF5 leaves to
applications. Ours holds a magic word, the length and SHA-256 of the whole, and all fields as JSON. `load`
checks length and checksum and then reads the JSON only: libhdf5 is C and was seen to hang on files that were
forged with a right checksum, so it never sees a file that we load ourselves. HDF5 without our user block
(written by other programs) is parsed in a process of its own, with limits on memory and time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, HilError
from hil.store.fields import from_fields, to_fields
from hil.store.hdf5 import image

MAX_FILE_BYTES = 64 << 20
MAX_JSON_BYTES = 16 << 20  # hostile JSON takes up to twenty times its size in memory
_MAGIC = b"HIL-CALIBRATION\n"
_HEADER = re.compile(_MAGIC + rb"bytes (\d{1,10})\njson (\d{1,10})\nsha256 ([0-9a-f]{64})\n")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_DAMAGED = "restore it from a backup, or from the store: hil calib history"
_CHILD_SECONDS = 5  # of CPU; it takes half of one
_CHILD_BYTES = 4 << 30  # of address space, most of it libraries


def to_bytes(calibration: Calibration) -> bytes:
    """Content of the file that `save` writes. Raises CalibrationError for what could not be read back."""
    try:
        text = json.dumps(to_fields(calibration), allow_nan=False, ensure_ascii=False).encode("utf-8") + b"\n"
        if len(text) > MAX_JSON_BYTES:
            raise CalibrationError(
                f"calibration {calibration.id}: {len(text) >> 20} MB, at most 16 are possible"
            )
        from_fields(json.loads(text))
        header_bytes = len(_header(0, 0, b""))
        block_bytes = max(512, 1 << (header_bytes + len(text) - 1).bit_length())  # as HDF5 wants it
        body = image(calibration, block_bytes)[block_bytes:]
    except HilError:
        raise
    except (TypeError, ValueError, OverflowError, UnicodeError, OSError, RuntimeError, RecursionError) as err:
        raise CalibrationError(
            f"calibration {calibration.id}: cannot be written: {str(err)[:120]}",
            hint="settings must be JSON values, texts must not hold NUL",
        ) from err
    rest = text.ljust(block_bytes - header_bytes, b"\0") + body
    return _header(header_bytes + len(rest), len(text), rest) + rest


def _header(n_bytes: int, n_json: int, rest: bytes) -> bytes:
    digest = hashlib.sha256(rest).hexdigest().encode()
    return _MAGIC + b"bytes %010d\njson %010d\nsha256 %s\n" % (n_bytes, n_json, digest)


def from_bytes(data: bytes, where: str = "calibration") -> Calibration:
    """Calibration from the content of a file. Raises CalibrationError."""
    try:
        if data.startswith(_HDF5_MAGIC):
            return from_fields(parse_apart(data, "hil.store.hdf5:foreign_fields"))
        header = _HEADER.match(data)
        if header is None:
            raise CalibrationError("not a calibration file")
        if int(header[1]) != len(data):
            raise CalibrationError(
                f"damaged: {len(data)} bytes, {int(header[1])} were written", hint=_DAMAGED
            )
        rest = memoryview(data)[header.end() :]
        if hashlib.sha256(rest).hexdigest().encode() != header[3]:
            raise CalibrationError("damaged: the content does not match its checksum", hint=_DAMAGED)
        if int(header[2]) > min(MAX_JSON_BYTES, len(rest)):
            raise CalibrationError("damaged: says that it holds more than it does", hint=_DAMAGED)
        return from_fields(_json_object(bytes(rest[: int(header[2])])))
    except CalibrationError as err:
        raise CalibrationError(f"{where}: {err}", hint=err.hint) from err


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise CalibrationError(f"not valid JSON: {str(err)[:80]}") from err
    if not isinstance(value, dict):
        raise CalibrationError("not a JSON object")
    return value


def load(path: str | os.PathLike[str]) -> Calibration:
    """Read a calibration file.

    Raises
    ------
    CalibrationError : (exit code 2) not there, damaged, hostile, or not a calibration.
    """
    return from_bytes(read_limited(path), str(path))


def read_limited(path: str | os.PathLike[str]) -> bytes:
    """Content of a plain file of at most 64 MB; pipes and devices, which may never end, are refused."""
    file = Path(path)
    try:
        info = file.stat()
        if not stat.S_ISREG(info.st_mode):
            raise CalibrationError(f"{file}: not a plain file")
        if info.st_size > MAX_FILE_BYTES:
            raise CalibrationError(f"{file}: {info.st_size >> 20} MB, no calibration is larger than 64 MB")
        with file.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES)
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        raise CalibrationError(f"{file}: {reason}", hint="check the file name") from err


def save(calibration: Calibration, path: str | os.PathLike[str]) -> None:
    """Write a calibration file, atomically: a crash leaves the old file or the new one.

    Raises CalibrationError if it cannot be written.
    """
    write_atomically(Path(path), to_bytes(calibration))


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by way of a temporary one in the same folder, flushed to the disk."""
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except (OSError, ValueError) as err:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        reason = getattr(err, "strerror", None) or str(err)
        raise CalibrationError(
            f"{path}: cannot write: {reason}", hint="check the folder and its free space"
        ) from err
    with contextlib.suppress(OSError):  # not every system can flush a folder
        fd = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def parse_apart(data: bytes, parser: str) -> dict[str, Any]:
    """What `parser` ("module:function", from bytes to plain values) makes of bytes that are not known to be intact.

    It runs in a process that may crash, hang or run out of memory. Raises CalibrationError.
    """
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from hil.store.foreign import main; main()"
    environment = dict(os.environ) | {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "HDF5_PLUGIN_PATH": os.devnull,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(_CHILD_BYTES), str(_CHILD_SECONDS), parser],
            input=data, capture_output=True, timeout=4 * _CHILD_SECONDS, check=False, env=environment,
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError) as err:
        raise CalibrationError(f"cannot be read within {_CHILD_SECONDS} s") from err
    try:
        answer = _json_object(done.stdout)
    except CalibrationError:
        raise CalibrationError(f"the library that reads it failed (exit {done.returncode})") from None
    if "error" in answer:
        raise CalibrationError(str(answer["error"])[:200], hint=str(answer.get("hint", ""))[:200])
    return answer
