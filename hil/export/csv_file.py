"""A calibration as a table: comment lines that say what it is, then one row per element.

Complex numbers are two columns, `_re` and `_im`; `gain_db` and `gain_phase_deg` repeat the gain for people.
Coupling is the columns `coupling_0_re, coupling_0_im, ...`; an angle-dependent response
`response_<angle>deg_re, ..._im`, a frequency response `response_<f>hz_re, ..._im`. Numbers are written so that they read back exactly.
"""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np

from hil.core.calibration import Calibration
from hil.store.fields import CONVENTION
from hil.store.files import write_atomically

HOLDS = (
    "gain, coupling, positions, delay, image, DC and responses, exactly, a row per element, with the standard deviations "
    "of all but responses"
)
LACKS = (
    "gauge and what it assumes, limits of use (band, gains, epoch, expiry), settings, metrics and captures; "
    "it cannot be imported again"
)
SNIPPETS = {
    "Python": """
import csv
with open(FILE, encoding="utf-8", newline="") as f:
    rows = list(csv.DictReader(line for line in f if not line.startswith("#")))
def numbers(name):
    return [complex(float(r[name + "_re"]), float(r[name + "_im"])) for r in rows]
gain = numbers("gain")
coupling = list(zip(*(numbers(f"coupling_{k}") for k in range(len(rows)))))
positions_m = [[float(r[f"nominal_{x}_m"]) + float(r[f"position_error_{x}_m"]) for x in "xyz"] for r in rows]
""",
    "MATLAB": """
t = readtable(FILE, 'CommentStyle', '#');
gain = complex(t.gain_re, t.gain_im);
positions_m = [t.nominal_x_m + t.position_error_x_m, t.nominal_y_m + t.position_error_y_m, t.nominal_z_m + t.position_error_z_m];
""",
}


def write(calibration: Calibration, path: Path) -> None:
    """Write the .csv file."""
    c, imp = calibration, calibration.impairments
    about = {
        "format": "hil-calibration table",
        "id": c.id,
        "method": c.method,
        "device": f"{c.device_model} {c.device_serial}".strip(),
        "created_utc": c.created_utc,
        "fc_hz": repr(float(c.fc_hz)),
        "reference_element": str(c.reference_element),
    } | CONVENTION
    text = io.StringIO(newline="")
    for key, value in about.items():
        text.write(f"# {key}: {' '.join(value.split())}\r\n")
    rows = [_row(c, m) for m in range(imp.n_elements)]
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8"))


def _row(c: Calibration, m: int) -> dict[str, str]:
    imp, row = c.impairments, {"element": str(m), "label": c.geometry.labels[m]}

    def put(name: str, value: float) -> None:
        row[name] = repr(float(value))

    def put_complex(name: str, value: complex) -> None:
        put(f"{name}_re", value.real)
        put(f"{name}_im", value.imag)

    for name, values in (("nominal", c.geometry.positions_m), ("position_error", imp.position_error_m),
                         ("sigma_position", c.sigma.position_m)):  # fmt: skip
        for axis, value in zip("xyz", values[m], strict=True):
            put(f"{name}_{axis}_m", value)
    put_complex("gain", imp.gain[m])
    put("gain_db", 20 * math.log10(abs(imp.gain[m])))
    put("gain_phase_deg", float(np.degrees(np.angle(imp.gain[m]))))
    put("sigma_gain_db", c.sigma.gain_db[m])
    put("sigma_phase_deg", c.sigma.phase_deg[m])
    put("delay_s", imp.delay_s[m])
    put("sigma_delay_s", c.sigma.delay_s[m])
    put_complex("iq_image", imp.iq_image[m])
    put_complex("dc_offset", imp.dc_offset[m])
    for name in ("iq_image", "dc_offset"):
        if (sigma := getattr(c.sigma, name)) is not None:
            put(f"sigma_{name}", sigma[m])
    for k, value in enumerate(imp.coupling[m]):
        put_complex(f"coupling_{k}", value)
    if imp.angle_table_deg is not None and imp.angle_response is not None:
        for angle, value in zip(imp.angle_table_deg, imp.angle_response[m], strict=True):
            put_complex(f"response_{float(angle)!r}deg", value)
    if imp.frequency_hz is not None and imp.frequency_response is not None:
        for f_hz, value in zip(imp.frequency_hz, imp.frequency_response[m], strict=True):
            put_complex(f"response_{float(f_hz)!r}hz", value)
    return row
