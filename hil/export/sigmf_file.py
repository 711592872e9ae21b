"""SigMF: a collection of one metadata-only file per channel with `spatial:phase_offset` and `spatial:calibration`.

Beside `NAME.sigmf-collection` lie `NAME-cal-ch00.sigmf-meta`, ...: the keys to copy into the captures of a recording.
`spatial:phase_offset` (degrees, relative to channel 0) is aligned by `exp(-j phi)`; amplitudes, which SigMF has no key
for, are `hil:gain_db`. The collection's geometry is the nominal one, that of each capture the learned one; points are
SigMF's: +x boresight, +y to the left of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hil import __version__
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, ConfigError, HilError
from hil.core.geometry import ArrayGeometry
from hil.export.json_file import parse_object
from hil.export.partial import Found, Given, build, numbers
from hil.store.fields import MAX_ELEMENTS
from hil.store.files import read_limited, write_atomically

HOLDS = (
    "phases as spatial:phase_offset, amplitudes as hil:gain_db, nominal and learned positions, the carrier"
)
LACKS = "coupling, delay, responses, image, DC, standard deviations and limits of use"
SIGN = "divide: channel m is aligned by exp(-j phase_offset) and by 10^(-gain_db/20)"
CARRIES = ("phase", "amplitude", "positions")
SNIPPETS = {
    "Python": """
import json
import numpy as np
from pathlib import Path
file = Path(FILE)
streams = json.loads(file.read_text())["collection"]["core:streams"]
captures = [json.loads((file.parent / f"{s['name']}.sigmf-meta").read_text())["captures"][0] for s in streams]
phase_rad = np.radians([c["spatial:phase_offset"] for c in captures])
gain = 10 ** (np.array([c["hil:gain_db"] for c in captures]) / 20) * np.exp(1j * phase_rad)
""",
}
_VERSION = "1.2.5"
_EXTENSIONS = [
    {"name": "spatial", "version": "1.1.0", "optional": False},
    {"name": "hil", "version": "1.0.0", "optional": True},
]
_MAX_BYTES = 4 << 20
_POINTS = "spatial:element_geometry"
_KEYS = ("spatial:phase_offset", "hil:gain_db", "core:frequency", _POINTS)


def write(calibration: Calibration, path: Path) -> None:
    """Write the collection and its members. Raises ConfigError where a recording's files would be replaced."""
    c, gain = calibration, calibration.impairments.gain
    base = path.name.removesuffix(".sigmf-collection")
    if path.name == base:
        raise ConfigError(f"{path}: not a collection's name", where="OUT", hint=f"{base}.sigmf-collection")
    names = [f"{base}-cal-ch{m:02d}" for m in range(len(gain))]
    if path.exists() and not _ours(path):
        raise ConfigError(
            f"{path} is a recording", where="OUT", hint="choose another name: it would be replaced"
        )
    learned = ArrayGeometry(c.positions_m).to_sigmf_points()
    streams = []
    for m, name in enumerate(names):
        text = _text(_member(c, m, [{"point": p} for p in learned]))
        write_atomically(path.parent / f"{name}.sigmf-meta", text)
        streams.append({"name": name, "hash": hashlib.sha512(text).hexdigest()})
    value = {
        "core:version": _VERSION,
        "core:description": f"calibration {c.id}, no samples",
        "core:extensions": _EXTENSIONS,
        "core:streams": streams,
        "spatial:element_geometry": [{"point": p} for p in c.geometry.to_sigmf_points()],
    }
    write_atomically(path, _text({"collection": value}))


def _member(c: Calibration, m: int, points: list[dict[str, list[float]]]) -> dict[str, Any]:
    gain = c.impairments.gain
    capture: dict[str, Any] = {
        "core:sample_start": 0,
        "core:frequency": float(c.fc_hz),
        "spatial:element_geometry": points,
        "spatial:phase_offset": math.degrees(float(np.angle(gain[m] * np.conj(gain[0])))),
        "spatial:calibration": {"caltype": "other"},
        "hil:gain_db": 20 * math.log10(abs(gain[m])),
        "hil:cal_id": c.id,
    }
    about: dict[str, Any] = {
        "core:datatype": "cf32_le",
        "core:version": _VERSION,
        "core:metadata_only": True,
        "core:description": f"channel {m} of calibration {c.id}, {c.method}; {SIGN}",
        "core:recorder": f"coherent-array-hil {__version__}",
        "core:extensions": _EXTENSIONS,
        "spatial:num_elements": len(gain),
        "spatial:channel_index": m,
    }
    if name := f"{c.device_model} {c.device_serial}".strip():
        about["core:hw"] = name
    return {"global": about, "captures": [capture], "annotations": []}


def _text(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _ours(path: Path) -> bool:
    """The file is an export of this kind: nothing is lost if it is written anew."""
    try:
        collection = _object(path)["collection"]
        return all("-cal-ch" in stream["name"] for stream in collection["core:streams"])
    except (HilError, KeyError, TypeError):
        return False


def _object(path: Path) -> dict[str, Any]:
    data = read_limited(path)
    if len(data) > _MAX_BYTES:
        raise CalibrationError(f"{path}: {len(data) >> 20} MB of metadata")
    return parse_object(data, str(path))


def read(path: Path, given: Given) -> Calibration:
    """Read a collection whose members' first captures hold `spatial:phase_offset`.

    Raises CalibrationError, ConfigError (see `build`).
    """
    where = f"{path}: not a calibration in SigMF"
    try:
        collection = _object(path)["collection"]
        names = [stream["name"] for stream in collection["core:streams"]]
        if not 1 <= len(names) <= MAX_ELEMENTS:
            raise CalibrationError(f"{where}: {len(names)} streams")
        if any(not isinstance(n, str) or Path(n).name != n for n in names):
            raise CalibrationError(f"{where}: a stream's name is not a file name")
        captures = dict(_first_captures(path, names))
        if sorted(captures) != list(range(len(names))):
            raise CalibrationError(f"{where}: spatial:channel_index does not count the {len(names)} streams")
        rows = [captures[channel] for channel in range(len(names))]
        phase_deg = numbers([row["spatial:phase_offset"] for row in rows], where)
        level_db = numbers([row["hil:gain_db"] or 0.0 for row in rows], where)
        carriers = [row["core:frequency"] for row in rows]
        fc_hz = None if carriers[0] is None else float(numbers(carriers[:1], where)[0])
        if any(other != carriers[0] for other in carriers):
            raise CalibrationError(f"{where}: the channels' core:frequency differ")
        nominal_m = _positions_m(collection.get("spatial:element_geometry"))
        learned_m = _positions_m(rows[0]["spatial:element_geometry"])
    except (KeyError, TypeError, IndexError, AttributeError) as err:
        raise CalibrationError(f"{where}: {type(err).__name__} {str(err)[:60]}") from err
    except CalibrationError:
        raise
    except HilError as err:
        raise CalibrationError(f"{where}: {err}") from err
    if np.any(np.abs(level_db) > 400):
        raise CalibrationError(f"{where}: a level of {np.max(np.abs(level_db)):g} dB")
    gain = 10 ** (level_db / 20) * np.exp(1j * np.radians(phase_deg))
    learned_m = nominal_m if learned_m is None else learned_m
    data = repr(
        [
            phase_deg.tolist(),
            level_db.tolist(),
            *(None if p is None else p.tolist() for p in (learned_m, nominal_m)),
        ]
    )
    found = Found("sigmf", LACKS, gain, learned_m, nominal_m, (), fc_hz)
    return build(found, given, data.encode(), str(path))


def _first_captures(path: Path, names: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Channel and the keys that count of each member; positions of the first channel only, for all have them."""
    for name in names:
        member = _object(path.parent / f"{name}.sigmf-meta")
        channel, capture = member["global"]["spatial:channel_index"], member["captures"][0]
        yield channel, {key: capture.get(key) for key in _KEYS if channel == 0 or key != _POINTS}


def _positions_m(points: Any) -> np.ndarray[Any, Any] | None:
    """(M, 3) metres in this program's axes; None where a point is unknown."""
    if points is None or any("point" not in p for p in points):
        return None
    return ArrayGeometry.from_sigmf_points([p["point"] for p in points]).positions_m
