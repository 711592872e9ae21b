"""Exports and imports of calibrations: one file per format, one line per format here.

Every export says its convention in itself. `export(calibration, path, "mat")`, `read(path, "json")`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.store.fields import CONVENTION


@dataclass(frozen=True, slots=True)
class Format:
    """One line of the table.

    Attributes
    ----------
    module : in hil.export, with `write(calibration, path)` and, if `reads`, `read(path)`; "" if planned. It may say
        more, see `guide`: HOLDS, LACKS, SIGN (texts), SNIPPETS (program -> lines that load a file named FILE).
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
    return {key: found for key, found in FORMATS.items() if found.module}


def guide(name: str, path: str | Path) -> Guide:
    """What a format says of itself, with the snippets for this file. Raises ConfigError as `export`."""
    module = importlib.import_module(f"hil.export.{_ready(name).module}")
    quoted = {"MATLAB": "'" + str(path).replace("'", "''") + "'"}
    return Guide(
        holds=getattr(module, "HOLDS", ""),
        lacks=getattr(module, "LACKS", ""),
        sign=getattr(module, "SIGN", _SIGN),
        snippets=tuple(
            (program, lines.strip().replace("FILE", quoted.get(program, repr(str(path)))))
            for program, lines in getattr(module, "SNIPPETS", {}).items()
        ),
    )


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
