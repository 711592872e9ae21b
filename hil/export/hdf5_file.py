"""The program's own calibration file."""

from __future__ import annotations

from pathlib import Path

from hil.core.calibration import Calibration
from hil.store import load, save


def write(calibration: Calibration, path: Path) -> None:
    """Write HDF5, see hil.store.hdf5 for the layout."""
    save(calibration, path)


def read(path: Path) -> Calibration:
    """Read it; also HDF5 of the same layout written by other programs."""
    return load(path)
