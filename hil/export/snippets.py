"""Programs beside an exported file that load it: the snippets of its format, and the loaders that they use."""

from __future__ import annotations

import re
from pathlib import Path

from hil.core.errors import ConfigError
from hil.export import guide
from hil.store.files import read_limited, write_atomically

_LOADERS = {"load_cal.m": ("mat", "json", "h5"), "hil_cal.h": ("csv",)}
_PROGRAMS = {
    "Python": (".py", "#"),
    "MATLAB": (".m", "%"),
    "GNU Radio": ("_gnuradio.py", "#"),
    "C": (".c", "//"),
}
_MARK = 'written by "hil calib export'


def write_snippets(path: Path, name: str) -> list[Path]:
    """Write one program per snippet of the format beside `path`; returns the files.

    Raises ConfigError where a file of somebody else would be replaced, CalibrationError if one cannot be written.
    """
    found = guide(name, path.name)
    stem = "load_" + re.sub(r"\W+", "_", f"{path.stem}_{name}", flags=re.ASCII)
    texts: dict[str, str] = {}
    for program, lines in found.snippets:
        ending, comment = _PROGRAMS[program]
        head = [
            f'{path.name}: loads a calibration {_MARK}"',
            f"holds: {found.holds}",
            *found.sign.splitlines(),
        ]
        texts[stem + ending] = "\n".join([*(f"{comment} {line}" for line in head), "", lines, ""])
    folder = Path(__file__).with_name("loaders")
    texts |= {k: (folder / k).read_text(encoding="utf-8") for k, names in _LOADERS.items() if name in names}
    for file, text in texts.items():
        there = path.parent / file
        if there.exists() and not _is_ours(there, text):
            raise ConfigError(
                f"{there} exists and is not a snippet", where="--with-snippets", hint="move it away"
            )
    for file, text in texts.items():
        write_atomically(path.parent / file, text.encode("utf-8"))
    return [path.parent / file for file in texts]


def _is_ours(file: Path, text: str) -> bool:
    content = read_limited(file)
    return _MARK.encode() in content[:1000] or content == text.encode("utf-8")
