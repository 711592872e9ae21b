"""Results of cases on disk, one JSON file each, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from hil.core.errors import ConfigError
from hil.reproduce.experiment import Case

_PACKAGES = ("calib", "hil/core", "hil/dsp", "hil/reproduce")
_MAX_BYTES = 64_000_000


@cache
def code_digest() -> str:
    """SHA-256 of the sources that a result depends on: another version of the code is another result."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class ResultCache:
    """Folder of results. redraw : accept results of another version of the code."""

    def __init__(self, folder: Path, *, redraw: bool = False) -> None:
        self._folder = folder
        self._redraw = redraw
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise ConfigError(f"cannot make {folder}: {err.strerror}", where="--out") from err

    def read(self, case: Case) -> dict[str, Any] | None:
        """The stored entry {"result", "seconds", ...} if it belongs to this case and code."""
        path = self._path(case)
        try:
            if path.stat().st_size > _MAX_BYTES:
                return None
            entry = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(entry, dict) or not isinstance(entry.get("result"), dict):
            return None
        same = entry.get("function") == case.function and entry.get("arguments") == _plain(case.arguments)
        if same and (self._redraw or entry.get("code") == code_digest()):
            return entry
        return None

    def write(self, case: Case, result: dict[str, Any], seconds: float) -> None:
        """Store a result; the file appears whole or not at all. Raises ConfigError if the disk refuses."""
        path = self._path(case)
        entry = {
            "function": case.function,
            "arguments": case.arguments,
            "code": code_digest(),
            "seconds": seconds,
            "result": result,
        }
        partial = path.with_suffix(".partial")
        try:
            partial.write_text(json.dumps(entry, allow_nan=True), encoding="utf-8")
            partial.replace(path)
        except OSError as err:
            raise ConfigError(f"cannot write {path}: {err.strerror}", where="--out") from err
        finally:  # also after an interruption
            partial.unlink(missing_ok=True)

    def split(self, cases: Iterable[Case]) -> tuple[dict[str, dict[str, Any]], list[Case]]:
        """Entries that are there by case key, and the cases that are left to run."""
        done: dict[str, dict[str, Any]] = {}
        left: list[Case] = []
        for case in cases:
            entry = self.read(case)
            if entry is None:
                left.append(case)
            else:
                done[case.key] = entry
        return done, left

    def _path(self, case: Case) -> Path:
        return self._folder / f"{case.key}.json"


def _plain(arguments: dict[str, Any]) -> Any:
    return json.loads(json.dumps(arguments))
