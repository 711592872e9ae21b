"""The command that does what a click does: "copy as script"."""

from __future__ import annotations

import shlex
from pathlib import Path

from hil.learning.settings import LearnSettings


def capture_script(uri: str, array: str | None, path: Path | None = None, seconds: float = 10.0) -> str:
    """`hil capture`."""
    return _join(
        "hil", "capture", uri, str(path or "capture.sigmf-meta"), "--seconds", f"{seconds:g}", *_array(array)
    )


def learn_script(uri: str, array: str | None, settings: LearnSettings, seconds: float = 5.0) -> str:
    """`hil learn` on the device."""
    words = ["hil", "learn", uri, "--seconds", f"{seconds:g}", *_array(array), "--method", settings.method]
    if settings.n_sources is not None:
        words += ["--sources", str(settings.n_sources)]
    if settings.support_deg is not None:
        low, high = settings.support_deg
        words += ["--support", f"{low:g}:{high:g}"]
    for degrees, begin, end in settings.anchors_deg:
        at = "" if begin is None or end is None else f"@{begin:g}:{end:g}"
        words += ["--anchor", f"{degrees:g}{at}"]
    return _join(*words, "--out", "array.h5")


def _array(array: str | None) -> list[str]:
    return [] if array is None else ["--array", array]


def _join(*words: str) -> str:
    return shlex.join(words)
