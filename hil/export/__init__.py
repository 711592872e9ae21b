"""Exports and imports of calibrations: one file per format, one line per format here.

Every export says its convention in itself. `export(calibration, path, "mat")`, `read(path, "json")`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Format:
    """One line of the table.

    Attributes
    ----------
    module : in hil.export, with `write(calibration, path)` and, if `reads`, `read(path)`; "" if planned.
    suffix : usual file name ending. about : one line.
    """

    module: str
    suffix: str
    about: str
    reads: bool = False


FORMATS: dict[str, Format] = {
    "h5": Format("hdf5_file", ".h5", "the program's own file: HDF5", reads=True),
    "npz": Format("npz_file", ".npz", "numpy.load(..., allow_pickle=False)", reads=True),
    "json": Format("json_file", ".json", "everything as text", reads=True),
    "mat": Format("mat_file", ".mat", "MATLAB and Octave: load()"),
    "csv": Format("csv_file", ".csv", "a table, one row per element"),
    "sigmf": Format("", "", "spatial:phase_offset and spatial:calibration of a recording"),
    "uvcal": Format("", "", "pyuvdata UVCal"),
    "heimdall": Format("", "", "KrakenSDR Heimdall DAQ"),
    "gr-doa": Format("", "", "GNU Radio gr-doa"),
    "acoular": Format("", "", "Acoular"),
    "phaser": Format("", "", "ADI Phaser"),
}


def export(calibration: Calibration, path: str | Path, name: str) -> None:
    """Write a calibration in one of FORMATS. Raises ConfigError for an unknown or planned format."""
    importlib.import_module(f"hil.export.{_ready(name).module}").write(calibration, Path(path))


def read(path: str | Path, name: str | None = None) -> Calibration:
    """Read a calibration that was exported; the format follows from the file name if not given.

    Raises
    ------
    ConfigError : the format cannot be read. CalibrationError : the file is damaged or no calibration.
    """
    by_suffix = {f.suffix: key for key, f in FORMATS.items() if f.module}
    chosen = name or by_suffix.get(Path(path).suffix.lower(), "h5")
    if not _ready(chosen).reads:
        readable = ", ".join(key for key, f in FORMATS.items() if f.reads)
        raise ConfigError(
            f"{chosen} files cannot be read", where="--format", hint=f"import one of {readable}"
        )
    return importlib.import_module(f"hil.export.{FORMATS[chosen].module}").read(Path(path))


def _ready(name: str) -> Format:
    found = FORMATS.get(name)
    ready = ", ".join(key for key, f in FORMATS.items() if f.module)
    if found is None:
        raise ConfigError(f"unknown format {name!r}", where="--format", hint=f"use one of {ready}")
    if not found.module:
        raise ConfigError(
            f"the format {name} comes in a later version", where="--format", hint=f"use one of {ready}"
        )
    return found
