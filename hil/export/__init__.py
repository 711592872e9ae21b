"""Exports and imports of calibrations: one file per format, one line per format here.

Every export says its convention in itself. `export(calibration, path, "mat")`, `read(path, "json")`.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.export.loss import PARTS, lost
from hil.export.partial import Given
from hil.store.fields import CONVENTION


@dataclass(frozen=True, slots=True)
class Format:
    """One line of the table.

    Attributes
    ----------
    module : in hil.export, with `write(calibration, path)` and, if `reads`, `read(path)` or, if it `asks`, `read(path,
        given)`. It may say more, see `guide`: HOLDS, LACKS, ASKS, SIGN (texts), SNIPPETS (program -> lines that load a file
        named FILE), CARRIES (of hil.export.loss.PARTS).
    suffix : usual file name ending. about : one line. asks : the user may have to tell what the file does not.
    """

    module: str
    suffix: str
    about: str
    reads: bool = False
    asks: bool = False


FORMATS: dict[str, Format] = {
    "h5": Format("hdf5_file", ".h5", "the program's own file: HDF5", reads=True),
    "npz": Format("npz_file", ".npz", "numpy.load(..., allow_pickle=False)", reads=True),
    "json": Format("json_file", ".json", "everything as text", reads=True),
    "mat": Format("mat_file", ".mat", "MATLAB and Octave: load()", reads=True),
    "csv": Format("csv_file", ".csv", "a table, one row per element", reads=True, asks=True),
    "sigmf": Format("sigmf_file", ".sigmf-collection", "SigMF: spatial:phase_offset of each channel", reads=True, asks=True),
    "uvcal": Format("uvcal_file", ".calh5", "pyuvdata UVCal (CalH5)", reads=True, asks=True),
    "heimdall": Format("heimdall_file", ".ini", "KrakenSDR Heimdall DAQ", reads=True, asks=True),
    "gr-doa": Format("gr_doa_file", ".cfg", "GNU Radio gr-doa: antenna correction", reads=True, asks=True),
    "acoular": Format("acoular_file", ".xml", "Acoular: MicGeom and Calib", reads=True, asks=True),
    "phaser": Format("phaser_file", ".phaser", "ADI Phaser: pcal, gcal, ccal as JSON", reads=True, asks=True),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Guide:
    """What to know of a format before and after writing a file.

    Attributes
    ----------
    holds, lacks : in words, "" if the format does not say. sign : how its numbers are meant. snippets : (program, lines
    that load the file).
    """

    holds: str
    lacks: str
    sign: str
    snippets: tuple[tuple[str, str], ...]


_SIGN = "\n".join(CONVENTION[key] for key in ("model", "steering", "direction", "gain_convention"))


def ready_formats() -> dict[str, Format]:
    """The formats that can be written."""
    return dict(FORMATS)


def guide(name: str, path: str | Path) -> Guide:
    """What a format says of itself, with the snippets for this file. Raises ConfigError as `export`."""
    module = importlib.import_module(f"hil.export.{_ready(name).module}")
    quoted = {
        "MATLAB": "'" + str(path).replace("'", "''") + "'",
        "C": json.dumps(str(path), ensure_ascii=False),
    }
    return Guide(
        holds=getattr(module, "HOLDS", ""),
        lacks="; ".join(filter(None, (getattr(module, key, "") for key in ("LACKS", "ASKS")))),
        sign=getattr(module, "SIGN", _SIGN),
        snippets=tuple(
            (program, lines.strip().replace("FILE", quoted.get(program, repr(str(path)))))
            for program, lines in getattr(module, "SNIPPETS", {}).items()
        ),
    )


def export(calibration: Calibration, path: str | Path, name: str) -> list[str]:
    """Write a calibration in one of FORMATS; returns, in words, what of it the file does not hold.

    Raises ConfigError for an unknown format.
    """
    module = importlib.import_module(f"hil.export.{_ready(name).module}")
    module.write(calibration, Path(path))
    return lost(calibration, getattr(module, "CARRIES", PARTS))


def format_of(path: str | Path) -> str | None:
    """The format that a file name's ending stands for, or None."""
    return next((key for key, f in FORMATS.items() if f.suffix == Path(path).suffix.lower()), None)


def read(path: str | Path, name: str | None = None, given: Given | None = None) -> Calibration:
    """Read a calibration that was exported; the format follows from the file name if not given.

    Raises
    ------
    ConfigError : something has to be told. CalibrationError : the file is damaged or no calibration.
    """
    chosen = name or format_of(path) or "h5"
    found = _ready(chosen)
    if not found.reads:
        readable = ", ".join(key for key, f in FORMATS.items() if f.reads)
        raise ConfigError(
            f"{chosen} files cannot be read", where="--format", hint=f"import one of {readable}"
        )
    module = importlib.import_module(f"hil.export.{found.module}")
    if found.asks:
        return module.read(Path(path), given or Given())
    if given is not None and given != Given():
        raise ConfigError(
            f"{chosen} files say their carrier and array", where="--fc, --array", hint="leave them out"
        )
    return module.read(Path(path))


def _ready(name: str) -> Format:
    found = FORMATS.get(name)
    if found is None:
        raise ConfigError(
            f"unknown format {name!r}", where="--format", hint=f"use one of {', '.join(FORMATS)}"
        )
    return found
