"""Layout of a calibration in HDF5: groups and attributes that explain themselves.

    /                       attributes: format, schema, convention_*, gain_convention, id, method, fc_hz, ...
    /geometry               positions_m (M, 3); attributes name, labels
    /impairments            gain (M,), coupling (M, M), position_error_m, delay_s, iq_image, dc_offset,
                            angle_table_deg (A,), angle_response (M, A), frequency_hz (F,),
                            frequency_response (M, F) where learned
    /sigma                  gain_db, phase_deg, position_m, delay_s, where learned iq_image, dc_offset,
                            frequency_response: one standard deviation
    /gauge /valid /epoch /metrics    attributes
    /settings /captures     settings as JSON text; SHA-256 of the recordings

Complex numbers are the compound {r, i} of two float64, as h5py writes and MATLAB's h5read returns them.
"""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np

from hil import __version__
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.store.fields import CONVENTION, MAX_ELEMENTS, MAX_TEXT, from_fields, plain, to_fields

FORMAT = "hil-calibration"
_UNITS = {"gain": "1", "coupling": "1", "position_error_m": "m", "delay_s": "s", "iq_image": "1", "dc_offset": "1",
          "angle_table_deg": "deg", "angle_response": "1", "positions_m": "m", "gain_db": "dB", "phase_deg": "deg",
          "position_m": "m", "frequency_hz": "Hz", "frequency_response": "1"}  # fmt: skip
_ROOT = ("method", "fc_hz", "device_model", "device_serial", "reference_element", "config_hash", "score",
         "predicted_score", "converged", "created_utc", "stale_reason", "id", "gain_convention", "schema")  # fmt: skip
_COMPLEX = ("gain", "coupling", "iq_image", "dc_offset", "angle_response", "frequency_response")
_MAX_ITEMS = 4 << 20
_MAX_ATTRIBUTES = 10_000


def image(c: Calibration, userblock_bytes: int = 512) -> bytes:
    """HDF5 file with an empty user block (a power of two from 512), in memory."""
    import h5py

    buffer = io.BytesIO()
    file = h5py.File(buffer, "w", userblock_size=userblock_bytes)
    with file:
        file.attrs["format"] = FORMAT
        file.attrs["program"] = f"coherent-array-hil {__version__}"
        for key, text in CONVENTION.items():
            if key != "gain_convention":
                file.attrs[f"convention_{key}"] = text
        for key in _ROOT:
            file.attrs[key] = getattr(c, key)
        # Seeds may be longer than 64 bits.
        file.attrs["seed"] = c.seed if -(2**63) <= c.seed < 2**63 else str(c.seed)
        file.attrs["coherent_groups"] = json.dumps(c.coherent_groups)
        if c.lit_deg is not None:
            file.attrs["lit_deg"] = np.asarray(c.lit_deg, dtype=np.float64)
        geometry = file.create_group("geometry")
        geometry.attrs["name"] = c.geometry.name
        _texts(h5py, geometry, "labels", c.geometry.labels)
        _array(geometry, "positions_m", c.geometry.positions_m)
        for group, names in (
            ("impairments", ("gain", "coupling", "position_error_m", "delay_s", "iq_image", "dc_offset",
                             "angle_table_deg", "angle_response", "frequency_hz", "frequency_response")),
            ("sigma", ("gain_db", "phase_deg", "position_m", "delay_s", "iq_image", "dc_offset",
                       "frequency_response")),
        ):  # fmt: skip
            for name in names:
                value = getattr(getattr(c, group), name)
                if value is not None:
                    _array(file.require_group(group), name, value)
        for group, value in (("gauge", c.gauge), ("valid", c.valid), ("epoch", c.epoch)):
            if value is not None:
                attributes = file.create_group(group).attrs
                for name in value.__dataclass_fields__:
                    item = getattr(value, name)
                    if item is not None:
                        attributes[name] = np.asarray(item, np.float64) if isinstance(item, tuple) else item
        metrics = file.create_group("metrics").attrs
        for name, item in c.metrics.items():
            metrics[name] = float(item)
        file.create_dataset(
            "settings", data=json.dumps(plain(c.settings), allow_nan=False), dtype=h5py.string_dtype()
        )
        _texts(h5py, file, "captures", c.captures)
    return buffer.getvalue()


def _array(group: Any, name: str, value: Any) -> None:
    dataset = group.create_dataset(name, data=value)
    dataset.attrs["units"] = _UNITS[name]


def _texts(h5py: Any, group: Any, name: str, value: tuple[str, ...]) -> None:
    group.create_dataset(name, data=list(value), shape=(len(value),), dtype=h5py.string_dtype())


def parse(data: bytes) -> Calibration:
    """The calibration in an HDF5 file given as bytes; only names that the layout has are looked at.

    Raises CalibrationError. Call it in a process of its own: the HDF5 library may crash or hang on bytes that
    are not known to be whole.
    """
    import h5py

    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            return from_fields(_collect(h5py, file))
    except CalibrationError:
        raise
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        MemoryError,
        RecursionError,
    ) as err:
        raise CalibrationError(f"not a calibration in HDF5: {str(err)[:120]}") from err


def foreign_fields(data: bytes) -> dict[str, Any]:
    """`parse` as plain values, for `parse_apart`."""
    return to_fields(parse(data))


def _collect(h5py: Any, file: Any) -> dict[str, Any]:
    if _attribute(file, "format") != FORMAT:
        raise CalibrationError(
            "an HDF5 file, but not a calibration", hint="its attribute 'format' names another format"
        )
    v: dict[str, Any] = {key: _attribute(file, key) for key in _ROOT}
    seed = _attribute(file, "seed")
    v["seed"] = int(seed) if isinstance(seed, str) and len(seed) < 100 else seed
    v["coherent_groups"] = json.loads(_attribute(file, "coherent_groups"))
    v["lit_deg"] = _attribute(file, "lit_deg") if "lit_deg" in file.attrs else None
    geometry = _group(h5py, file, "geometry")
    v["geometry"] = {
        "name": _attribute(geometry, "name"),
        "labels": _strings(h5py, geometry, "labels"),
        "positions_m": _values(h5py, geometry, "positions_m"),
    }
    for name in ("impairments", "sigma"):
        group = _group(h5py, file, name)
        v[name] = {key: _values(h5py, group, key, name == "sigma") for key in _UNITS if key in group}
    for name in ("gauge", "valid", "epoch", "metrics"):
        if name in file:
            group = _group(h5py, file, name)
            if len(group.attrs) > _MAX_ATTRIBUTES:
                raise CalibrationError(f"{name}: {len(group.attrs)} attributes")
            v[name] = {key: _attribute(group, key) for key in group.attrs}
    v["settings"] = json.loads(_strings(h5py, file, "settings")[0])
    v["captures"] = _strings(h5py, file, "captures")
    return v


def _attribute(where: Any, key: str) -> Any:
    size = where.attrs.get_id(key).get_storage_size()
    if size > MAX_TEXT:
        raise CalibrationError(f"attribute {key}: {size} bytes")
    value = where.attrs[key]
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    return plain(value)


def _member(h5py: Any, group: Any, name: str, kind: Any) -> Any:
    """A member that lies in this very file: no links to elsewhere, no external or virtual storage."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise CalibrationError(f"{name}: missing, or a link")
    member = group[name]
    if not isinstance(member, kind):
        raise CalibrationError(f"{name}: not a {kind.__name__.lower()}")
    return member


def _group(h5py: Any, file: Any, name: str) -> Any:
    return _member(h5py, file, name, h5py.Group)


def _dataset(h5py: Any, group: Any, name: str) -> Any:
    dataset = _member(h5py, group, name, h5py.Dataset)
    if dataset.external or dataset.is_virtual or dataset.compression not in (None, "gzip"):
        raise CalibrationError(f"{name}: stored in a way that is not read")
    if dataset.shape is None or math.prod(dataset.shape) > _MAX_ITEMS:
        raise CalibrationError(f"{name}: shape {dataset.shape} is too large")
    return dataset


def _values(h5py: Any, group: Any, name: str, real: bool = True) -> Any:
    dataset = _dataset(h5py, group, name)
    if dataset.dtype.kind not in "fiuc" or dataset.dtype.itemsize > 16:
        raise CalibrationError(f"{name}: type {dataset.dtype}")
    if dataset.shape and dataset.shape[0] > 100 * MAX_ELEMENTS:
        raise CalibrationError(f"{name}: shape {dataset.shape} is too large")
    value = dataset[()]
    if not isinstance(value, np.ndarray):
        raise CalibrationError(f"{name}: not an array")
    return plain(value.astype(np.complex128 if name in _COMPLEX and not real else np.float64))


def _strings(h5py: Any, group: Any, name: str) -> list[str]:
    dataset = _dataset(h5py, group, name)
    if h5py.check_string_dtype(dataset.dtype) is None or math.prod(dataset.shape) > 100 * MAX_ELEMENTS:
        raise CalibrationError(f"{name}: not texts")
    value = dataset[()]
    found = [value] if isinstance(value, bytes) else list(value)
    texts = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in found]
    if any(len(t) > 16 * MAX_TEXT for t in texts):
        raise CalibrationError(f"{name}: a text is too long")
    return texts
