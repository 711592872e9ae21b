"""pyuvdata's UVCal as CalH5: gains with an explicit `gain_convention`, per frequency where they depend on it.

Layout after the CalH5 memo and pyuvdata 3.2 (uvcal/calh5.py): groups Header and Data, gains of shape (antennas,
frequencies, times, Jones). The telescope stands at latitude 0, longitude 0, so that its East, North, Up are this
program's x, y, z: ECEF differences are (z, x, y). pyuvdata's visibility of a baseline is x_1 conj(x_2).
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hil import __version__
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.export.partial import Found, Given, build
from hil.store.fields import MAX_ELEMENTS, plain
from hil.store.files import parse_apart, read_limited, write_atomically
from hil.store.status import parse_utc

HOLDS = (
    "gains, per frequency where a delay or a frequency response was learned; learned positions; the carrier"
)
LACKS = (
    "nominal positions, coupling, angle-dependent response, image, DC, standard deviations and limits of use; "
    "a delay comes back as a frequency response"
)
SIGN = "divide: gain_convention in the file; a visibility of antennas 1 and 2 is divided by g_1 conj(g_2)"
CARRIES = ("phase", "amplitude", "positions", "delay", "frequency")
SNIPPETS = {
    "Python": """
from pyuvdata import UVCal
cal = UVCal.from_file(FILE, file_type="calh5")
gain = cal.gain_array[:, cal.Nfreqs // 2, 0, 0]  # divide: corrected samples are x / gain[:, None]
positions_m = cal.telescope.get_enu_antpos()  # East, North, Up = x, y, z
""",
    "MATLAB": """
g = h5read(FILE, '/Data/gains'); gain = complex(squeeze(g.r(1, 1, :, :)), squeeze(g.i(1, 1, :, :)));
p = h5read(FILE, '/Header/antenna_positions'); positions_m = p([2 3 1], :).';  % x = East, y = North, z = Up
""",
}
_NAMES = ("gains", "flags", "freq_array", "antenna_positions", "antenna_names", "ant_array", "antenna_numbers",
          "cal_type", "gain_convention", "latitude", "longitude", "telescope_name")  # fmt: skip
_GRID = 65
_JULIAN_UNIX_EPOCH_DAYS = 2440587.5
_MAX_ITEMS = 1 << 20


def write(calibration: Calibration, path: Path) -> None:
    """Write the CalH5 file."""
    import h5py

    c, m = calibration, calibration.geometry.n_elements
    offsets_hz = _offsets_hz(c)
    gains = c.impairments.gain[:, None] * c.impairments.channel_response(offsets_hz)
    made = parse_utc(c.created_utc) or datetime(2000, 1, 1, 12, tzinfo=UTC)
    days = _JULIAN_UNIX_EPOCH_DAYS + made.timestamp() / 86400
    x, y, z = c.positions_m.T
    step_hz = float(np.min(np.diff(offsets_hz))) if len(offsets_hz) > 1 else 1.0
    header: dict[str, Any] = {
        "version": np.bytes_("0.1"),
        "telescope_frame": np.bytes_("itrs"),
        "instrument": np.bytes_("coherent array"),
        "telescope_name": np.bytes_(_ascii(f"{c.device_model} {c.device_serial}") or "array"),
        "latitude": 0.0,
        "longitude": 0.0,
        "altitude": 0.0,
        "Nants_telescope": m,
        "Nants_data": m,
        "antenna_numbers": np.arange(m),
        "ant_array": np.arange(m),
        "antenna_names": np.array([f"{k}:{_ascii(v)}" for k, v in enumerate(c.geometry.labels)], "S"),
        "antenna_positions": np.column_stack((z, x, y)),
        "mount_type": np.array(["fixed"] * m, "S"),
        "Nfeeds": 1,
        "feed_array": np.array([["x"]] * m, "S"),
        "feed_angle": np.full((m, 1), np.pi / 2),
        "Nfreqs": len(offsets_hz),
        "Njones": 1,
        "Nspws": 1,
        "Ntimes": 1,
        "integration_time": np.ones(1),
        "jones_array": np.array([-5]),
        "spw_array": np.array([0]),
        "flex_spw_id_array": np.zeros(len(offsets_hz), int),
        "channel_width": np.full(len(offsets_hz), step_hz),
        "freq_array": c.fc_hz + offsets_hz,
        "time_array": np.array([days]),
        "cal_type": np.bytes_("gain"),
        "cal_style": np.bytes_("redundant"),
        "gain_convention": np.bytes_("divide"),
        "gain_scale": np.bytes_("uncalib"),
        "pol_convention": np.bytes_("avg"),
        "wide_band": False,
        "history": np.bytes_(_ascii(f"calibration {c.id}, {c.method}, coherent-array-hil {__version__}")),
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for key, value in header.items():
            file[f"Header/{key}"] = value
        file["Header/extra_keywords/fc_hz"] = float(c.fc_hz)
        file["Data/gains"] = gains[:, :, None, None]
        file["Data/flags"] = np.zeros((m, len(offsets_hz), 1, 1), bool)
    write_atomically(path, buffer.getvalue())


def _offsets_hz(c: Calibration) -> np.ndarray[Any, Any]:
    """Frequencies from the carrier, 0 among them."""
    imp = c.impairments
    if imp.frequency_hz is not None:
        return np.union1d(imp.frequency_hz, [0.0])
    if np.any(imp.delay_s != imp.delay_s[0]) and c.valid.fc_max_hz > c.valid.fc_min_hz:
        grid = np.linspace(c.valid.fc_min_hz - c.fc_hz, c.valid.fc_max_hz - c.fc_hz, _GRID)
        return np.union1d(grid, [0.0])
    return np.zeros(1)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().strip()


def read(path: Path, given: Given) -> Calibration:
    """Read gains of one time and one Jones component. Raises CalibrationError, ConfigError (see `build`)."""
    data, where = read_limited(path), f"{path}: not a UVCal file"
    try:
        v = parse_apart(data, "hil.export.uvcal_file:content")
        return _calibration(v, given, data, str(path))
    except CalibrationError as err:
        raise CalibrationError(f"{where}: {err}", hint=err.hint) from err
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as err:
        raise CalibrationError(f"{where}: {type(err).__name__} {str(err)[:80]}") from err


def _calibration(v: dict[str, Any], given: Given, data: bytes, where: str) -> Calibration:
    parts = _finite(v["gains"])
    if parts.ndim != 5 or parts.shape[2:] != (1, 1, 2):
        raise CalibrationError(
            f"gains of shape {parts.shape[:-1]}", hint="select one time and one Jones component with pyuvdata"
        )
    gains = parts[:, :, 0, 0, 0] + 1j * parts[:, :, 0, 0, 1]
    if v["cal_type"] != "gain" or v["gain_convention"] not in ("divide", "multiply"):
        raise CalibrationError(f"cal_type {v['cal_type']!r}, gain_convention {v['gain_convention']!r}")
    if np.any(v["flags"]):
        raise CalibrationError("some gains are flagged", hint="leave them out with pyuvdata")
    if np.any(gains == 0):
        raise CalibrationError("a gain of zero")
    if v["gain_convention"] == "multiply":
        gains = 1 / gains
    freq_hz = _finite(v["freq_array"])
    if freq_hz.shape != gains.shape[1:] or np.any(np.diff(freq_hz) <= 0):
        raise CalibrationError("frequencies are not ascending, or not one for each gain")
    rows = [list(v["antenna_numbers"]).index(number) for number in v["ant_array"]]
    lat, lon = np.radians(_finite([v["latitude"], v["longitude"]]))
    ecef = _finite(v["antenna_positions"])[rows]
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    positions_m = ecef @ np.column_stack((east, np.cross(up, east), up))
    labels = tuple(v["antenna_names"][k].split(":", 1)[-1] or f"E{k}" for k in rows)
    wanted_hz = given.fc_hz or v.get("fc_hz") or freq_hz[len(freq_hz) // 2]
    at = int(np.argmin(np.abs(freq_hz - wanted_hz)))
    more = None
    if len(freq_hz) > 1:
        more = {"frequency_hz": freq_hz - freq_hz[at], "frequency_response": gains / gains[:, at : at + 1]}
    found = Found("uvcal", LACKS, gains[:, at], positions_m, None, labels, float(freq_hz[at]), more)
    if given.fc_hz is not None and abs(given.fc_hz - freq_hz[at]) > np.ptp(freq_hz) / len(freq_hz) + 1:
        raise CalibrationError(
            f"no gains at {given.fc_hz:g} Hz", hint=f"the nearest are at {freq_hz[at]:g} Hz"
        )
    return build(found, Given(float(freq_hz[at]), given.array), data, where)


def _finite(value: Any) -> np.ndarray[Any, Any]:
    out = np.array(value, dtype=np.float64)
    if not np.all(np.isfinite(out)):
        raise CalibrationError("a number is not finite")
    return out


def content(data: bytes) -> dict[str, Any]:
    """What `read` needs of a file, as plain values; runs in a process of its own. Raises CalibrationError."""
    import h5py

    out: dict[str, Any] = {}
    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            for name in (*_NAMES, "extra_keywords/fc_hz"):
                group = "Data" if name in ("gains", "flags") else "Header"
                key = f"{group}/{name}"
                if name.startswith("extra") and key not in file:
                    continue
                if not isinstance(file.get(key, getlink=True), h5py.HardLink):
                    raise CalibrationError(f"{name}: missing, or a link")
                dataset = file[key]
                if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
                    raise CalibrationError(f"{name}: stored in a way that is not read")
                if dataset.size is None or dataset.size > _MAX_ITEMS or dataset.dtype.itemsize > 4096:
                    raise CalibrationError(f"{name}: too large")
                out[name.rpartition("/")[2]] = _plain(dataset[()])
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as err:
        raise CalibrationError(str(err)[:100]) from err
    if len(out["gains"]) > MAX_ELEMENTS:
        raise CalibrationError(f"{len(out['gains'])} antennas")
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        return [_plain(v) for v in value.tolist()]
    if isinstance(value, np.ndarray) and value.dtype.kind == "c":
        return plain(value.astype(np.complex128))
    return plain(value)
