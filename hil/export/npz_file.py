"""A calibration as .npz: arrays by name for numpy.load(..., allow_pickle=False), and all of it as JSON text.

`gain`, `coupling`, `positions_m` (nominal), `position_error_m`, `delay_s`, `iq_image`, `dc_offset`,
`sigma_*`, where learned `angle_table_deg` and `angle_response`, `frequency_hz` and `frequency_response`; `fc_hz`; texts `gain_convention`, `model`,
`steering`, `direction`, `units`; `json` holds every field and is what `read` uses.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.export.json_file import decode, encode
from hil.store.fields import CONVENTION
from hil.store.files import MAX_FILE_BYTES, read_limited, write_atomically

HOLDS = "everything, exactly; can be imported again"
LACKS = "nothing; programs other than Python read it only with a library of their own"
SNIPPETS = {
    "Python": """
import numpy as np
with np.load(FILE, allow_pickle=False) as f:
    gain, coupling = f["gain"], f["coupling"]
    positions_m = f["positions_m"] + f["position_error_m"]
"""
}


def arrays(calibration: Calibration) -> dict[str, Any]:
    """Arrays and texts of the export by name."""
    c, imp = calibration, calibration.impairments
    out: dict[str, Any] = {
        "positions_m": c.geometry.positions_m,
        "labels": np.array(c.geometry.labels, dtype=np.str_),
        "fc_hz": np.float64(c.fc_hz),
        "reference_element": np.int64(c.reference_element),
        "method": c.method,
        "device_serial": c.device_serial,
        "id": c.id,
        "created_utc": c.created_utc,
    }
    out |= {f.name: value for f in fields(imp) if (value := getattr(imp, f.name)) is not None}
    out |= {
        f"sigma_{f.name}": value for f in fields(c.sigma) if (value := getattr(c.sigma, f.name)) is not None
    }
    texts = {f"{key}_text" if key in out else key: text for key, text in CONVENTION.items()}
    out |= texts | {
        "gain_convention": c.gain_convention,
        "gain_convention_text": CONVENTION["gain_convention"],
    }
    return out


def write(calibration: Calibration, path: Path) -> None:
    """Write the .npz file."""
    buffer = io.BytesIO()
    text = np.frombuffer(encode(calibration), dtype=np.uint8)
    values = {key: np.asarray(value) for key, value in arrays(calibration).items()}
    np.savez_compressed(buffer, allow_pickle=False, **values, json=text)
    write_atomically(path, buffer.getvalue())


def read(path: Path) -> Calibration:
    """Read the JSON text inside. Raises CalibrationError."""
    data = read_limited(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entry = archive.getinfo("json.npy")
            if entry.file_size > MAX_FILE_BYTES:
                raise CalibrationError(f"{path}: unpacks to {entry.file_size >> 20} MB")
            with archive.open(entry) as stream:
                unpacked = stream.read(MAX_FILE_BYTES)
        text = np.lib.format.read_array(io.BytesIO(unpacked), allow_pickle=False, max_header_size=4096)
    except (
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as err:
        raise CalibrationError(f"{path}: not a calibration as .npz: {str(err)[:80]}") from err
    if text.dtype != np.uint8 or text.ndim != 1:
        raise CalibrationError(f"{path}: not a calibration as .npz")
    return decode(text.tobytes(), str(path))
