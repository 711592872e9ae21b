"""ADI Phaser (CN0566): the values `pcal`, `gcal`, `ccal` of pyadi-iio's class as JSON, in place of its pickle files.

The class adds `pcal` (degrees) to the phase of each element and multiplies its gain code by `gcal` (adi/cn0566.py,
set_chan_phase and set_chan_gain); `ccal` (dB) is added to the gain of the two receivers and stays 0: what it would
hold is in `gcal`. Amplitude is taken as proportional to the gain code.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.export.json_file import parse_object
from hil.export.partial import Found, Given, build, numbers
from hil.store.files import read_limited, write_atomically

HOLDS = "phase and gain of each element as Phaser's pcal and gcal, the carrier"
LACKS = (
    "positions, coupling, delay, responses, image, DC, standard deviations and limits of use; Phaser rounds phases to "
    "its shifter's step and gains to its codes"
)
ASKS = "to import it, --array is asked for"
SIGN = "multiply: pcal = -phase is added to the phase shifter, gcal = smallest gain / gain scales the code; this program divides by the gain"
CARRIES = ("phase", "amplitude")
SNIPPETS = {
    "Python": """
import json
with open(FILE, encoding="utf-8") as f:
    values = json.load(f)
my_phaser.pcal, my_phaser.gcal, my_phaser.ccal = (values[k] for k in ("pcal", "gcal", "ccal"))  # my_phaser: adi.CN0566
""",
}
FORMAT = "phaser-calibration"


def write(calibration: Calibration, path: Path) -> None:
    """Write the values."""
    gain = calibration.impairments.gain
    values = {
        "format": FORMAT,
        "convention": SIGN,
        "fc_hz": float(calibration.fc_hz),
        "pcal": [float(v) + 0.0 for v in -np.degrees(np.angle(gain / gain[0]))],
        "gcal": [float(v) for v in np.min(np.abs(gain)) / np.abs(gain)],
        "ccal": [0.0, 0.0],
    }
    write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())


def read(path: Path, given: Given) -> Calibration:
    """Read pcal and gcal; `fc_hz` may be missing. Raises CalibrationError, ConfigError (see `build`)."""
    data = read_limited(path)
    values, where = parse_object(data, str(path)), f"{path}: not Phaser values"
    lists = [v for key in ("pcal", "gcal", "ccal") if isinstance(v := values.get(key), list)]
    if len(lists) != 3 or len(lists[0]) != len(lists[1]):
        raise CalibrationError(f"{where}: lists pcal, gcal (one number an element) and ccal are expected")
    pcal_deg, gcal, ccal_db = (numbers(v, where) for v in lists)
    if np.any(gcal <= 0):
        raise CalibrationError(f"{where}: a gcal that is not positive")
    if np.any(ccal_db != ccal_db[:1]):
        raise CalibrationError(
            f"{where}: the two receivers' ccal differ, and which elements they feed is not said",
            hint="set ccal to equal values and put their ratio into gcal",
        )
    fc_hz = values.get("fc_hz")
    carrier_hz = None if fc_hz is None else float(numbers([fc_hz], where)[0])
    gain = np.exp(-1j * np.radians(pcal_deg)) / gcal
    return build(Found("phaser", LACKS, gain, fc_hz=carrier_hz), given, data, str(path))
