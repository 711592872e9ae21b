"""A calibration as a MATLAB 5 file: one struct `calibration`, columns per element.

s = load('array.mat').calibration;
a = exp(2j*pi*s.fc_hz/299792458 * (s.positions_m + s.position_error_m) * u);  % u (3, G), see s.direction
a = s.gain .* (s.coupling * a);                                             % calibrated steering vectors
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from hil.core.calibration import Calibration
from hil.export.npz_file import arrays
from hil.store.files import write_atomically

HOLDS = "gain, coupling, positions, delay, image, DC, responses and their standard deviations, exactly, in one struct"
LACKS = (
    "gauge and what it assumes, limits of use (band, gains, epoch, expiry), settings, metrics and captures; "
    "it cannot be imported again"
)
SNIPPETS = {
    "Python": """
import scipy.io
s = scipy.io.loadmat(FILE, squeeze_me=True, struct_as_record=False)["calibration"]
gain, coupling = s.gain, s.coupling
positions_m = s.positions_m + s.position_error_m
""",
    "MATLAB": """
s = load(FILE).calibration;
gain = s.gain; coupling = s.coupling;
positions_m = s.positions_m + s.position_error_m;
""",
}


def write(calibration: Calibration, path: Path) -> None:
    """Write the .mat file."""
    import scipy.io

    values: dict[str, Any] = {}
    for key, value in arrays(calibration).items():
        item = np.asarray(value)
        short = key[:31]  # MATLAB 5 names
        if key == "labels":
            values[short] = np.array(calibration.geometry.labels, dtype=object)
        elif item.dtype.kind in "US":
            values[short] = str(value)
        else:
            values[short] = item[:, None] if item.ndim == 1 else item
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"calibration": values}, oned_as="column")
    write_atomically(path, buffer.getvalue())
