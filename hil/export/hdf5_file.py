"""The program's own calibration file."""

from __future__ import annotations

from pathlib import Path

from hil.core.calibration import Calibration
from hil.store import load, save

HOLDS = "everything, exactly; can be imported again"
LACKS = "nothing; a change made by another HDF5 program is refused as damage"
SNIPPETS = {
    "Python": """
import h5py
with h5py.File(FILE) as f:
    gain, coupling = f["impairments/gain"][:], f["impairments/coupling"][:]
    positions_m = f["geometry/positions_m"][:] + f["impairments/position_error_m"][:]
""",
    "MATLAB": """
g = h5read(FILE, '/impairments/gain'); gain = complex(g.r, g.i);
c = h5read(FILE, '/impairments/coupling'); coupling = complex(c.r, c.i).';  % axes come reversed
positions_m = (h5read(FILE, '/geometry/positions_m') + h5read(FILE, '/impairments/position_error_m')).';
""",
}


def write(calibration: Calibration, path: Path) -> None:
    """Write HDF5, see hil.store.hdf5 for the layout."""
    save(calibration, path)


def read(path: Path) -> Calibration:
    """Read it; also HDF5 of the same layout written by other programs."""
    return load(path)
