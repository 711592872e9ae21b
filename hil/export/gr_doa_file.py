"""GNU Radio gr-doa: the text file of its block Antenna Correction, "gain phase" a line, phase in radians.

The block multiplies channel m by `1/gain exp(-j phase)` (EttusResearch/gr-doa, lib/antenna_correction_impl.cc). It
reads nothing but numbers: comments would end the reading, so carrier and array are not in the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.export.partial import Found, Given, build, numbers
from hil.store.fields import MAX_ELEMENTS
from hil.store.files import read_limited, write_atomically

HOLDS = "gain and phase of each channel (gr-doa keeps them in single precision)"
LACKS = "carrier, positions, coupling, delay, responses, image, DC, standard deviations and limits of use"
ASKS = "to import it, --fc and --array are asked for"
SIGN = (
    "divide: gr-doa multiplies by 1/gain exp(-j phase), with gain and phase (radians) of the channel itself"
)
CARRIES = ("phase", "amplitude")
SNIPPETS = {
    "GNU Radio": """
from gnuradio import doa
correction = doa.antenna_correction(CHANNELS, FILE)  # between the source's channels and doa.autocorrelate
""",
    "Python": """
import numpy as np
g, phase_rad = np.loadtxt(FILE, unpack=True)
gain = g * np.exp(1j * phase_rad)  # corrected samples: x / gain[:, None]
""",
}


def write(calibration: Calibration, path: Path) -> None:
    """Write the text."""
    gain = calibration.impairments.gain
    lines = [f"{float(abs(g))!r} {float(np.angle(g))!r}\n" for g in gain]
    write_atomically(path, "".join(lines).encode())


def read(path: Path, given: Given) -> Calibration:
    """Read it. Raises CalibrationError, ConfigError (see `build`)."""
    data = read_limited(path)
    words = data[: 64 * MAX_ELEMENTS + 1].split()
    if len(data) > 64 * MAX_ELEMENTS or not words or len(words) % 2:
        raise CalibrationError(f"{path}: not a gr-doa file: pairs of gain and phase are expected")
    values = numbers(words, f"{path}: not a gr-doa file").reshape(-1, 2)
    gain = values[:, 0] * np.exp(1j * values[:, 1])
    return build(Found("gr-doa", LACKS, gain), given, data, str(path))
