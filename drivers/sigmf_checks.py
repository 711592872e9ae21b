"""Reads SigMF metadata that may be damaged or hostile: bounded, typed, and only ever a RecordingError."""

from __future__ import annotations

import functools
import json
import math
import stat
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from hil.core.errors import RecordingError

MAX_METADATA_BYTES = 32 << 20
MAX_CHANNELS = 1024
MAX_INDEX = 2**63 - 1
_MAKE = "it may be damaged; try `hil info` on the other files of the recording"


def bad(where: str | Path, what: str, hint: str = _MAKE) -> RecordingError:
    """The one kind of error that reading a recording raises."""
    return RecordingError(f"{where}: {what}", hint=hint, exit_code=2)


def regular_size(path: Path) -> int:
    """Size of a plain file in bytes; a pipe or device, which could block or never end, is refused."""
    try:
        info = path.stat()
    except (OSError, ValueError) as err:
        reason = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
        raise bad(path, reason, "check the name; data and metadata lie in one folder") from err
    if not stat.S_ISREG(info.st_mode):
        raise bad(path, "not a plain file")
    return info.st_size


def read_limited(path: Path, limit: int = MAX_METADATA_BYTES) -> bytes:
    """Content of a small plain file."""
    size = regular_size(path)
    if size > limit:
        raise bad(path, f"{size} bytes of metadata, at most {limit} are read")
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as err:
        raise bad(path, err.strerror or str(err)) from err


def parse_object(data: bytes, where: str | Path) -> dict[str, Any]:
    """A JSON object; wrong UTF-8, endless nesting or numbers of thousands of digits are errors like any other."""
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise bad(where, f"not valid JSON ({str(err)[:80]})") from err
    if not isinstance(value, dict):
        raise bad(where, "not a JSON object")
    return value


def section(value: Mapping[str, Any], key: str, where: str | Path) -> dict[str, Any]:
    """A required JSON object inside another."""
    found = value.get(key)
    if not isinstance(found, dict):
        raise bad(where, f"no {key!r} object")
    return found


def items(value: Mapping[str, Any], key: str, where: str | Path) -> list[Any]:
    """A JSON array inside an object; missing: empty."""
    found = value.get(key, [])
    if not isinstance(found, list):
        raise bad(where, f"{key!r} is not a list")
    return found


def text(value: Mapping[str, Any], key: str, where: str | Path, default: str = "") -> str:
    """A string; missing: the default."""
    found = value.get(key, default)
    if not isinstance(found, str):
        raise bad(where, f"{key} is not a text")
    return found


def number(
    value: Mapping[str, Any], key: str, where: str | Path, default: float, low: float, high: float
) -> float:
    """A finite number within limits; missing: the default, which may be NaN."""
    found = value.get(key)
    if found is None:
        return default
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise bad(where, f"{key} is not a number")
    if not low <= found <= high:  # also false for NaN, and safe for integers of any size
        raise bad(where, f"{key} = {str(found)[:40]} is not between {low:g} and {high:g}")
    return float(found)


def integer(
    value: Mapping[str, Any], key: str, where: str | Path, default: int, low: int = 0, high: int = MAX_INDEX
) -> int:
    """An integer within limits; missing: the default. 3.0 counts as 3, as JSON does."""
    found = value.get(key)
    if found is None:
        return default
    if isinstance(found, float) and math.isfinite(found) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int):
        raise bad(where, f"{key} is not an integer")
    if not low <= found <= high:
        raise bad(where, f"{key} is not between {low} and {high}")
    return found


def numbers(value: Mapping[str, Any], key: str, where: str | Path, limit: float) -> tuple[float, ...]:
    """A list of finite numbers up to +-limit; missing: empty."""
    found = {str(i): v for i, v in enumerate(items(value, key, where))}
    if None in found.values():
        raise bad(where, f"{key} holds null")
    return tuple(number(found, i, f"{where}: {key}", 0.0, -limit, limit) for i in found)


def file_name(name: object, where: str | Path) -> str:
    """A name without a folder: a recording must not lead to files elsewhere."""
    if not isinstance(name, str) or not name or len(name) > 240:
        raise bad(where, "names a file in a way that cannot be used")
    if name in (".", "..") or any(c in "/\\:\0" or ord(c) < 32 for c in name):
        raise bad(where, f"file name {name[:40]!r} leads elsewhere")
    return name


@functools.cache
def _validator() -> Any:
    import jsonschema

    path = resources.files("hil").joinpath("schema", "hil-recording.schema.json")
    schema = json.loads(path.read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def check_extension(metadata: Mapping[str, Any], where: str | Path) -> None:
    """Check `hil:` keys against our schema: SigMF's own validator knows no extension.

    Of the segments only the first hundred: it takes a millisecond for each, and a recording may have thousands.
    What is read from any of them is checked again where it is used.
    """
    captures = metadata.get("captures")
    if isinstance(captures, list):
        metadata = {**metadata, "captures": captures[:100]}
    for error in _validator().iter_errors(metadata):
        at = "/".join(str(p) for p in error.absolute_path)
        raise bad(where, f"{at[:100]}: {error.message[:120]}")
