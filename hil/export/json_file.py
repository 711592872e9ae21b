"""A calibration as JSON: every field as plain values; complex numbers are [re, im].

JSON Schema: hil/schema/hil-calibration.schema.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.store.fields import CONVENTION, from_fields, to_fields
from hil.store.files import read_limited, write_atomically

HOLDS = "everything, exactly, as text for people and programs; can be imported again"
LACKS = "nothing; complex numbers are [re, im], unknown numbers null"
SNIPPETS = {
    "Python": """
import json
import numpy as np
with open(FILE, encoding="utf-8") as f:
    c = json.load(f)
gain, coupling = (np.array(c["impairments"][k]) @ [1, 1j] for k in ("gain", "coupling"))
positions_m = np.array(c["geometry"]["positions_m"]) + np.array(c["impairments"]["position_error_m"])
""",
    "GNU Radio": """
import json
import numpy as np
from gnuradio import blocks
with open(FILE, encoding="utf-8") as f:
    c = json.load(f)
gain, coupling = (np.array(c["impairments"][k]) @ [1, 1j] for k in ("gain", "coupling"))
matrix = np.linalg.inv(coupling) / gain  # C^-1 diag(1/g)
correction = blocks.multiply_matrix_cc(matrix.tolist())  # M streams in, M corrected streams out
""",
    "MATLAB": """
c = jsondecode(fileread(FILE));
gain = complex(c.impairments.gain(:, 1), c.impairments.gain(:, 2));
coupling = complex(c.impairments.coupling(:, :, 1), c.impairments.coupling(:, :, 2));
positions_m = c.geometry.positions_m + c.impairments.position_error_m;
""",
}

FORMAT = "hil-calibration"
_MAX_BYTES = 16 << 20  # parsed JSON takes some twenty times its size in memory


def encode(calibration: Calibration) -> bytes:
    """UTF-8 text of the file."""
    value = {"format": FORMAT, "convention": CONVENTION} | to_fields(calibration)
    try:
        return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode("utf-8")
    except (TypeError, ValueError) as err:
        raise CalibrationError(f"settings cannot be written as JSON: {str(err)[:100]}") from err


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """The object in a JSON text of bounded size. Raises CalibrationError."""
    if len(data) > _MAX_BYTES:
        raise CalibrationError(f"{where}: {len(data) >> 20} MB of JSON, at most {_MAX_BYTES >> 20} are read")
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise CalibrationError(f"{where}: not valid JSON: {str(err)[:80]}") from err
    if not isinstance(value, dict):
        raise CalibrationError(f"{where}: JSON, but not an object")
    return value


def decode(data: bytes, where: str) -> Calibration:
    """Inverse of `encode`. Raises CalibrationError."""
    value = parse_object(data, where)
    if value.get("format") != FORMAT:
        raise CalibrationError(
            f"{where}: JSON, but not a calibration", hint="name the program that it is for: --format"
        )
    try:
        return from_fields(value)
    except CalibrationError as err:
        raise CalibrationError(f"{where}: {err}", hint=err.hint) from err


def write(calibration: Calibration, path: Path) -> None:
    """Write the JSON file."""
    write_atomically(path, encode(calibration))


def read(path: Path) -> Calibration:
    """Read the JSON file."""
    return decode(read_limited(path), str(path))
