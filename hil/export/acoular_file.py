"""Acoular: one XML file for both of its classes, MicGeom (positions) and Calib (factors that multiply).

Acoular reads `x`, `y`, `z` and the real `factor` of every `pos` (acoular/microphones.py, calib.py). The complex
factor stands beside them as `factor_re` and `factor_im`, for spectra. Axes are as here: directions from +y.
"""

from __future__ import annotations

import xml.parsers.expat
from pathlib import Path
from typing import NoReturn
from xml.sax.saxutils import quoteattr

import numpy as np

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.export.partial import Found, Given, build, numbers
from hil.store.fields import MAX_ELEMENTS
from hil.store.files import read_limited, write_atomically

HOLDS = "learned positions, factors 1/|gain| that Acoular reads, and complex factors 1/gain for spectra; the carrier"
LACKS = (
    "nominal positions, coupling, delay, responses, image, DC, standard deviations and limits of use; Acoular itself "
    "reads real factors only: phases need the snippet"
)
ASKS = "to import a file of Acoular's own, --fc is asked for"
SIGN = "multiply: factor = 1/gain, the inverse of the gain that this program divides by"
CARRIES = ("phase", "amplitude", "positions")
SNIPPETS = {
    "Python": """
import acoular as ac
import numpy as np
from xml.dom import minidom
mics = ac.MicGeom(file=FILE)
calib = ac.Calib(file=FILE)  # amplitudes, for time signals
pos = minidom.parse(FILE).getElementsByTagName("pos")
factor = np.array([complex(*(float(p.getAttribute(f"factor_{k}")) for k in ("re", "im"))) for p in pos])
# for spectra: ac.Calib(source=ac.RFFT(...), data=np.tile(factor, number_of_frequencies))
""",
}
_MAX_BYTES = 1 << 20


def write(calibration: Calibration, path: Path) -> None:
    """Write the XML file."""
    c, factor = calibration, 1 / calibration.impairments.gain
    lines = ['<?xml version="1.0" encoding="utf-8"?>']
    name = quoteattr(_clean(c.geometry.name or c.id))
    lines.append(f'<MicArray name={name} fc_hz="{float(c.fc_hz)!r}" convention={quoteattr(SIGN)}>')
    for label, (x, y, z), f in zip(c.geometry.labels, c.positions_m.tolist(), factor.tolist(), strict=True):
        lines.append(
            f'  <pos Name={quoteattr(_clean(label))} x="{x!r}" y="{y!r}" z="{z!r}" factor="{abs(f)!r}" '
            f'factor_re="{f.real!r}" factor_im="{f.imag!r}"/>'
        )
    write_atomically(path, ("\n".join(lines) + "\n</MicArray>\n").encode("utf-8"))


def _clean(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def read(path: Path, given: Given) -> Calibration:
    """Read ours, or a file of MicGeom or Calib. Raises CalibrationError, ConfigError (see `build`).

    Document types and entities are refused.
    """
    data, where = read_limited(path), f"{path}: not an Acoular file"
    if len(data) > _MAX_BYTES:
        raise CalibrationError(f"{where}: {len(data) >> 20} MB")
    root, rows = _parse(data, where)
    m = len(rows)
    if not 1 <= m <= MAX_ELEMENTS:
        raise CalibrationError(f"{where}: {m} elements `pos`")

    def column(key: str) -> np.ndarray:
        return numbers([row.get(key, "missing") for row in rows], f"{where}: {key}")

    if any("factor_re" in row for row in rows):
        factor, lacks = column("factor_re") + 1j * column("factor_im"), LACKS
    elif any("factor" in row for row in rows):
        factor, lacks = column("factor") + 0j, f"phases; {LACKS}"
    else:
        factor, lacks = np.ones(m, complex), f"amplitudes and phases; {LACKS}"
    if np.any(np.abs(factor) < 1e-30):
        raise CalibrationError(f"{where}: a factor of zero")
    placed = any("x" in row for row in rows)
    positions_m = np.column_stack([column(axis) for axis in "xyz"]) if placed else None
    fc_hz = float(numbers([root["fc_hz"]], where)[0]) if "fc_hz" in root else None
    labels = tuple(row.get("Name", "") for row in rows)
    return build(
        Found("acoular", lacks, 1 / factor, positions_m, None, labels, fc_hz), given, data, str(path)
    )


def _parse(data: bytes, where: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Attributes of the root and of every `pos`."""
    rows: list[dict[str, str]] = []
    root: dict[str, str] = {}
    parser = xml.parsers.expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "pos":
            rows.append(attributes)
        elif name in ("MicArray", "Calib"):
            root.update(attributes)

    def refuse(*_: object) -> NoReturn:
        raise CalibrationError(f"{where}: it has a document type", hint="entities are not read")

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (xml.parsers.expat.ExpatError, ValueError, LookupError) as err:
        raise CalibrationError(f"{where}: {str(err)[:80]}") from err
    return root, rows
