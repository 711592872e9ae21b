"""A calibration as a table: comment lines that say what it is, then one row per element.

Complex numbers are two columns, `_re` and `_im`; `gain_db` and `gain_phase_deg` repeat the gain for people.
Coupling is the columns `coupling_0_re, coupling_0_im, ...`; an angle-dependent response
`response_<angle>deg_re, ..._im`, a frequency response `response_<f>hz_re, ..._im`. Numbers are written so that they read back exactly;
the comment line `rest` holds what is no number of an element. A table made by hand needs `gain_re`, `gain_im` only.
"""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.export.loss import PARTS
from hil.export.partial import Found, Given, build, numbers
from hil.export.rest import rest_text, whole
from hil.store.fields import CONVENTION, MAX_ELEMENTS, plain
from hil.store.files import read_limited, write_atomically

HOLDS = "everything, exactly: a row per element, the rest in comment lines; can be imported again"
LACKS = "nothing"
ASKS = "of a table made by hand the carrier is asked for (--fc), and nothing is known of its uncertainty"
CARRIES = PARTS
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
    "C": """
#include "hil_cal.h"
int main(void)
{
    hil_cal c;
    int m;
    if (hil_cal_load(FILE, &c) != 0)
        return 1;
    for (m = 0; m < c.n; m++)
        printf("%.17g %.17g\\n", c.gain[2 * m], c.gain[2 * m + 1]);
    hil_cal_free(&c);
    return 0;
}
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
        "rest": rest_text(c),
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
    imp, row = c.impairments, {"element": str(m), "label": " ".join(c.geometry.labels[m].split())}

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
        if c.sigma.frequency_response is not None:
            for f_hz, value in zip(imp.frequency_hz, c.sigma.frequency_response[m], strict=True):
                put(f"sigma_response_{float(f_hz)!r}hz", value)
    return row


_BY_HAND = "standard deviations, gauge and limits of use"
_MAX_BYTES = 32 << 20
_RESPONSE = re.compile(r"response_(.+)(deg|hz)_re")


def read(path: Path, given: Given) -> Calibration:
    """Read the table. Raises CalibrationError, ConfigError (see `build`)."""
    data, where = read_limited(path), f"{path}: not a table of a calibration"
    if len(data) > _MAX_BYTES:
        raise CalibrationError(f"{where}: {len(data) >> 20} MB")
    try:
        lines = data.decode("utf-8-sig").splitlines()
        about = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
        table = csv.DictReader((line for line in lines if not line.startswith("#")), strict=True)
        rows = [row for _, row in zip(range(MAX_ELEMENTS + 1), table, strict=False)]
    except (ValueError, csv.Error) as err:
        raise CalibrationError(f"{where}: {str(err)[:80]}") from err
    if not 1 <= len(rows) <= MAX_ELEMENTS or any(None in row or None in row.values() for row in rows):
        raise CalibrationError(f"{where}: {len(rows)} rows, or rows of different lengths")
    columns = _Columns(rows, where)
    if "rest" not in about:
        return _by_hand(columns, about, given, data, str(path))
    errors, sigma = columns.impairments(), columns.sigma()
    return whole(about["rest"], plain(columns.vectors("nominal")), errors, sigma, str(path))


def _by_hand(columns: _Columns, about: dict[str, str], given: Given, data: bytes, where: str) -> Calibration:
    has = columns.has
    fc_hz = float(numbers([about["fc_hz"]], where)[0]) if "fc_hz" in about else None
    more: dict[str, Any] = {}
    nominal_m = columns.vectors("nominal") if has("nominal_x_m") else None
    moved_m = columns.vectors("position_error") if has("position_error_x_m") else 0.0
    positions_m = None if nominal_m is None else nominal_m + moved_m
    if has("coupling_0_re"):
        more["coupling"] = columns.coupling()
    if has("delay_s"):
        more["delay_s"] = columns.real("delay_s")
    labels = columns.texts("label") if has("label") else ()
    found = Found("csv", _BY_HAND, columns.complex("gain"), positions_m, nominal_m, labels, fc_hz, more)
    return build(found, given, data, where)


class _Columns:
    """Columns of the table as arrays."""

    def __init__(self, rows: list[dict[str, str]], where: str) -> None:
        self._rows, self._where = rows, where

    def has(self, name: str) -> bool:
        return name in self._rows[0]

    def texts(self, name: str) -> tuple[str, ...]:
        if not self.has(name):
            raise CalibrationError(f"{self._where}: no column {name}")
        return tuple(row[name] for row in self._rows)

    def real(self, name: str) -> np.ndarray[Any, Any]:
        return numbers(self.texts(name), f"{self._where}: {name}")

    def open(self, name: str) -> list[float | None]:
        """With NaN (as None) and infinities."""
        try:
            return plain(np.array([float(v) for v in self.texts(name)]))
        except ValueError as err:
            raise CalibrationError(f"{self._where}: {name}: {str(err)[:60]}") from err

    def complex(self, name: str) -> np.ndarray[Any, Any]:
        return self.real(f"{name}_re") + 1j * self.real(f"{name}_im")

    def vectors(self, name: str) -> np.ndarray[Any, Any]:
        return np.column_stack([self.real(f"{name}_{axis}_m") for axis in "xyz"])

    def coupling(self) -> np.ndarray[Any, Any]:
        return np.column_stack([self.complex(f"coupling_{k}") for k in range(len(self._rows))])

    def _responses(self, unit: str) -> tuple[list[str], np.ndarray[Any, Any]]:
        found = [m for key in self._rows[0] if (m := _RESPONSE.fullmatch(key)) and m[2] == unit]
        names = [m[1] for m in found]
        return names, np.column_stack([self.complex(f"response_{n}{unit}") for n in names] or [[]])

    def impairments(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "gain": self.complex("gain"),
            "coupling": self.coupling(),
            "position_error_m": self.vectors("position_error"),
            "delay_s": self.real("delay_s"),
            "iq_image": self.complex("iq_image"),
            "dc_offset": self.complex("dc_offset"),
        }
        for unit, axis, values in (
            ("deg", "angle_table_deg", "angle_response"),
            ("hz", "frequency_hz", "frequency_response"),
        ):
            names, response = self._responses(unit)
            if names:
                out |= {axis: numbers(names, self._where), values: response}
        return plain(out)

    def sigma(self) -> dict[str, Any]:
        position = [self.open(f"sigma_position_{axis}_m") for axis in "xyz"]
        out: dict[str, Any] = {
            "gain_db": self.open("sigma_gain_db"),
            "phase_deg": self.open("sigma_phase_deg"),
            "position_m": [list(row) for row in zip(*position, strict=True)],
            "delay_s": self.open("sigma_delay_s"),
        }
        out |= {k: self.open(f"sigma_{k}") for k in ("iq_image", "dc_offset") if self.has(f"sigma_{k}")}
        names, _ = self._responses("hz")
        if names and self.has(f"sigma_response_{names[0]}hz"):
            by_f = [self.open(f"sigma_response_{n}hz") for n in names]
            out["frequency_response"] = [list(row) for row in zip(*by_f, strict=True)]
        return out
