"""A calibration as a MATLAB 5 file: one struct `calibration`, columns per element.

s = load('array.mat').calibration;
a = exp(2j*pi*s.fc_hz/299792458 * (s.positions_m + s.position_error_m) * u);  % u (3, G), see s.direction
a = s.gain .* (s.coupling * a);                                             % calibrated steering vectors
"""

from __future__ import annotations

import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.core.impairments import Impairments
from hil.export.loss import PARTS
from hil.export.npz_file import arrays
from hil.export.rest import rest_text, whole
from hil.store.fields import plain
from hil.store.files import parse_apart, read_limited, write_atomically

HOLDS = "everything, exactly, in one struct of MATLAB 5; can be imported again"
LACKS = "nothing; imported is what this program wrote, with numbers that may have been changed since"
CARRIES = PARTS
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
    """Write the .mat file; complex numbers stay so where their imaginary parts are zero."""
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
    values["rest"] = rest_text(calibration)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"calibration": values}, oned_as="column")
    write_atomically(path, buffer.getvalue())


_VECTORS = ("gain", "delay_s", "iq_image", "dc_offset", "angle_table_deg", "frequency_hz", "sigma_gain_db",
            "sigma_phase_deg", "sigma_delay_s", "sigma_iq_image", "sigma_dc_offset")  # fmt: skip
_COMPLEX = ("gain", "coupling", "iq_image", "dc_offset", "angle_response", "frequency_response")


def read(path: Path) -> Calibration:
    """Read the struct, in a process of its own. Raises CalibrationError."""
    data = read_limited(path)
    try:
        v = parse_apart(data, "hil.export.mat_file:content")
    except CalibrationError as err:
        raise CalibrationError(f"{path}: not a calibration as .mat: {err}", hint=err.hint) from err
    errors = {f.name: v[f.name] for f in fields(Impairments) if f.name in v}
    sigma = {key[6:]: value for key, value in v.items() if key.startswith("sigma_")}
    return whole(str(v.get("rest", "")), v.get("positions_m", []), errors, sigma, str(path))


def content(data: bytes) -> dict[str, Any]:
    """Numbers and texts of the struct as plain values; runs in a process of its own. Raises CalibrationError."""
    import scipy.io

    if data[:6] != b"MATLAB":
        raise CalibrationError("not a MATLAB 5 file", hint="save it with -v6 or -v7")
    try:
        record = scipy.io.loadmat(io.BytesIO(data), variable_names=["calibration"])["calibration"][0, 0]
        out: dict[str, Any] = {}
        for key in record.dtype.names:
            value = record[key]
            if value.dtype.kind == "U":
                out[key] = str(value[0]) if value.size else ""
            elif value.dtype.kind in "fiuc":
                kind = np.complex128 if key in _COMPLEX else np.float64
                out[key] = plain((value[:, 0] if key in _VECTORS else value).astype(kind))
        return out
    except CalibrationError:
        raise
    except Exception as err:
        raise CalibrationError(f"{type(err).__name__} {str(err)[:80]}") from err
