"""KrakenSDR's Heimdall DAQ: the keys of daq_chain_config.ini that correct what its noise source does not see.

`iq_adjust_amplitude` (dB) and `iq_adjust_time_delay_ns` have a value for every channel but the standard channel
`std_ch_ind`. Heimdall multiplies channel m by `10^(dB/20) exp(+j 2 pi center_freq t_m)` (krakenrf/heimdall_daq_fw,
delay_sync.py, explicit-time-delay); a phase is written as the shortest time that has it at this carrier.
"""

from __future__ import annotations

from configparser import ConfigParser, Error
from pathlib import Path

import numpy as np

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, ConfigError
from hil.export.partial import Found, Given, build, numbers
from hil.store.files import read_limited, write_atomically

HOLDS = (
    "gain and phase of each channel relative to the standard channel, as dB and as time at this carrier; made from "
    "recordings that Heimdall's own calibration had already corrected"
)
LACKS = (
    "positions, coupling, delay apart from phase, responses, image, DC, standard deviations and limits of use; at "
    "another carrier Heimdall scales the phases"
)
ASKS = "to import it, --array is asked for"
SIGN = (
    "multiply by 10^(dB/20) exp(+j 2 pi center_freq t): the inverse of the gain that this program divides by"
)
CARRIES = ("phase", "amplitude")
SNIPPETS = {
    "Python": """
from configparser import ConfigParser
daq = ConfigParser(interpolation=None)
daq.read(["daq_chain_config.ini", FILE])  # the second one replaces what it holds
with open("daq_chain_config.ini", "w") as f:
    daq.write(f)
""",
}
_MAX_BYTES = 1 << 20


def write(calibration: Calibration, path: Path) -> None:
    """Write the .ini file. Raises ConfigError for a single channel."""
    gain, std = calibration.impairments.gain, calibration.reference_element
    if len(gain) < 2:
        raise ConfigError("a calibration of one channel", where="--format heimdall", hint="it needs two")
    fc_hz = round(calibration.fc_hz)  # Heimdall reads an integer
    factor = np.delete(gain[std] / gain, std)
    level_db = ",".join(repr(float(v)) for v in 20 * np.log10(np.abs(factor)))
    time_ns = ",".join(repr(float(v)) for v in 1e9 * np.angle(factor) / (2 * np.pi * fc_hz))
    lines = [
        "; for daq_chain_config.ini; multiply: x_m 10^(dB/20) exp(+j 2 pi center_freq t_m)",
        "[hw]",
        f"num_ch = {len(gain)}",
        "[daq]",
        f"center_freq = {fc_hz}",
        "[calibration]",
        f"std_ch_ind = {std}",
        "iq_adjust_source = explicit-time-delay",
        f"iq_adjust_amplitude = {level_db}",
        f"iq_adjust_time_delay_ns = {time_ns}",
    ]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def read(path: Path, given: Given) -> Calibration:
    """Read a whole daq_chain_config.ini or ours. Raises CalibrationError, ConfigError (see `build`)."""
    data = read_limited(path)
    if len(data) > _MAX_BYTES:
        raise CalibrationError(f"{path}: {len(data) >> 20} MB, no Heimdall configuration is so large")
    where = f"{path}: not a Heimdall configuration"
    ini = ConfigParser(interpolation=None)
    try:
        ini.read_string(data.decode("utf-8"))
        m, fc_hz = ini.getint("hw", "num_ch"), ini.getfloat("daq", "center_freq")
        std, source = (ini.get("calibration", key) for key in ("std_ch_ind", "iq_adjust_source"))
        if source != "explicit-time-delay":
            raise CalibrationError(
                f"{path}: iq_adjust_source is {source[:40]!r}",
                hint="only explicit-time-delay has its numbers here",
            )
        level_db, time_ns = (
            numbers(ini.get("calibration", key).split(",")[: max(m - 1, 0)], where)
            for key in ("iq_adjust_amplitude", "iq_adjust_time_delay_ns")
        )
        index = int(std)
    except (Error, ValueError) as err:
        raise CalibrationError(f"{where}: {' '.join(str(err).split())[:100]}") from err
    if not (0 <= index < m and len(level_db) == len(time_ns) == m - 1):
        raise CalibrationError(f"{where}: {len(level_db)} levels and {len(time_ns)} times for {m} channels")
    if not np.all(np.abs(level_db) < 400):
        raise CalibrationError(f"{where}: a level of {np.max(np.abs(level_db)):g} dB")
    carrier_hz = given.fc_hz if given.fc_hz is not None else fc_hz
    factor = 10 ** (level_db / 20) * np.exp(2j * np.pi * carrier_hz * 1e-9 * time_ns)
    gain = 1 / np.insert(factor, index, 1.0)
    return build(Found("heimdall", LACKS, gain, fc_hz=fc_hz), given, data, str(path))
