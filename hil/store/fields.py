"""Calibration as plain values (dict, list, str, numbers): the form behind JSON and the checked way back.

Complex numbers are [re, im], matrices lists of rows, NaN null, infinities "inf" and "-inf". Python writes and
reads floats exactly, so `from_fields(to_fields(c))` gives every number back bit for bit (any NaN as NaN).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from hil.core.calibration import SCHEMA_VERSION, Calibration, Sigma, Validity
from hil.core.epoch import Epoch
from hil.core.errors import CalibrationError, HilError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments

MAX_ELEMENTS = 1024
MAX_TEXT = 1 << 20
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

CONVENTION = {
    "model": "x(t) = diag(g) C A(theta; r + dr) s(t) + n(t)",
    "steering": "a_m(u) = exp(+j 2 pi fc (r_m + dr_m).u / c), c = 299792458 m/s; manifold = diag(g) C a",
    "direction": "u = (sin az cos el, cos az cos el, sin el): from +y, positive towards +x; a line lies on x and "
    "its angle is the broadside angle",
    "phasor": "exp(+j w t)",
    "gain_convention": "divide: corrected samples are C^-1 diag(1/g) x",
    "delay": "H_m(f) = g_m exp(-j 2 pi f delay_s) R_m(f), f relative to fc_hz, positive delay = later; R_m is "
    "frequency_response at frequency_hz, 1 where there is none",
    "iq_image": "x + iq_image conj(x)",
    "units": "gain, coupling, iq_image, angle_response, frequency_response: ratio; position_error_m, positions_m: metre; "
    "delay_s: second; dc_offset: full scale 1; fc_hz, frequency_hz: hertz; *_deg: degree; gain_db: decibel",
}


def plain(value: Any) -> Any:
    """Arrays, complex numbers and tuples as lists; NaN as None."""
    if isinstance(value, np.ndarray):
        if np.iscomplexobj(value):
            return plain(np.stack((value.real, value.imag), axis=-1))
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, np.generic):
        return plain(value.item())
    return value


def to_fields(c: Calibration) -> dict[str, Any]:
    """Everything a calibration knows as plain values."""
    imp = c.impairments
    out: dict[str, Any] = {f.name: getattr(c, f.name) for f in fields(c)}
    out["geometry"] = {
        "name": c.geometry.name,
        "labels": c.geometry.labels,
        "positions_m": c.geometry.positions_m,
    }
    out["impairments"] = {f.name: getattr(imp, f.name) for f in fields(imp)}
    for name in ("sigma", "gauge", "valid", "epoch"):
        part = getattr(c, name)
        out[name] = None if part is None else {f.name: getattr(part, f.name) for f in fields(part)}
    return plain(out)


def from_fields(value: Mapping[str, Any]) -> Calibration:
    """The calibration that such values describe.

    Raises
    ------
    CalibrationError : something is missing or impossible; the message says what.
    """
    try:
        return _build(value)
    except CalibrationError:
        raise
    except HilError as err:
        raise CalibrationError(f"not a valid calibration: {err}") from err
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as err:
        raise CalibrationError(f"not a valid calibration: {type(err).__name__} {str(err)[:100]}") from err


def _build(v: Mapping[str, Any]) -> Calibration:
    schema = _whole(v.get("schema"), "schema")
    if schema > SCHEMA_VERSION:
        raise CalibrationError(
            f"written by a newer version (schema {schema}, this one reads {SCHEMA_VERSION})",
            hint="update the program",
        )
    geometry, imp, sigma = v["geometry"], v["impairments"], v["sigma"]
    m = len(imp["gain"])
    if not 1 <= m <= MAX_ELEMENTS:
        raise CalibrationError(f"{m} elements, between 1 and {MAX_ELEMENTS} are possible")
    table = imp.get("angle_table_deg")
    gauge, valid, epoch = v["gauge"], v["valid"], v.get("epoch")
    identity = _text(v["id"], "id")
    if not _ID.fullmatch(identity):
        raise CalibrationError(f"id {identity[:40]!r}: only letters, digits, - and _ are possible")
    return Calibration(
        geometry=ArrayGeometry(_real(geometry["positions_m"]), _texts(geometry["labels"], "labels"),
                               _text(geometry["name"], "name")),
        impairments=Impairments(
            gain=_complex(imp["gain"], 1),
            coupling=_complex(imp["coupling"], 2),
            position_error_m=_real(imp["position_error_m"]),
            delay_s=_real(imp["delay_s"]),
            iq_image=_complex(imp["iq_image"], 1),
            dc_offset=_complex(imp["dc_offset"], 1),
            angle_table_deg=None if table is None else _real(table),
            angle_response=None if table is None else _complex(imp["angle_response"], 2),
            frequency_hz=_optional(imp.get("frequency_hz"), _real),
            frequency_response=_optional(imp.get("frequency_response"), lambda x: _complex(x, 2)),
        ),
        sigma=Sigma(
            *(_real(sigma[name]) for name in ("gain_db", "phase_deg", "position_m", "delay_s")),
            *(_optional(sigma.get(name), _real) for name in ("iq_image", "dc_offset", "frequency_response")),
        ),
        gauge=Gauge(
            _text(gauge["kind"], "gauge"), _text(gauge["assumes"], "gauge"), _number(gauge["offset_sigma_deg"]),
            _number(gauge["scale_sigma"]), _number(gauge["angle_sigma_deg"]), _pair(gauge.get("support_deg")),
        ),
        fc_hz=_number(v["fc_hz"]),
        valid=Validity(
            _number(valid["fc_min_hz"]), _number(valid["fc_max_hz"]),
            _optional(valid.get("gains_db"), lambda g: tuple(_number(x) for x in g)),
            _text(valid["expires_utc"], "expires_utc"),
        ),
        epoch=_optional(epoch, _epoch),
        coherent_groups=tuple(tuple(_whole(c, "channel") for c in g) for g in v["coherent_groups"]),
        reference_element=_index(v["reference_element"], m),
        settings=_object(v["settings"], "settings"),
        seed=_whole(v["seed"], "seed"),
        captures=_texts(v["captures"], "captures"),
        score=_number(v["score"]),
        predicted_score=_number(v["predicted_score"]),
        converged=_flag(v["converged"]),
        lit_deg=_pair(v.get("lit_deg")),
        metrics={str(k): _number(x) for k, x in _object(v["metrics"], "metrics").items()},
        id=identity,
        schema=schema,
        **{k: _text(v[k], k) for k in ("method", "device_model", "device_serial", "config_hash", "created_utc",
                                       "stale_reason", "gain_convention")},
    )  # fmt: skip


def _optional(value: Any, make: Callable[[Any], Any]) -> Any:
    return None if value is None else make(value)


def _epoch(v: Mapping[str, Any]) -> Epoch:
    return Epoch(
        _text(v["serial"], "epoch"), _text(v["session"], "epoch"), _whole(v["counter"], "epoch"),
        _whole(v["base"], "epoch"), _text(v["cause"], "epoch"),
    )  # fmt: skip


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise CalibrationError(f"{name}: not a text")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise CalibrationError(f"{name}: not a list of texts")
    return tuple(_text(v, name) for v in value)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise CalibrationError(f"{name}: not an integer")
    return value


def _index(value: Any, m: int) -> int:
    index = _whole(value, "reference_element")
    if not 0 <= index < m:
        raise CalibrationError(f"reference_element {str(index)[:20]}: the array has elements 0 to {m - 1}")
    return index


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CalibrationError("converged: not true or false")
    return value


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CalibrationError(f"{name}: not an object")
    return dict(value)


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not (isinstance(value, int | float) or value in ("inf", "-inf")):
        raise CalibrationError(f"{str(value)[:40]!r}: not a number")
    return float(value)


def _pair(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = (_number(v) for v in value)
    return low, high


def _real(value: Any) -> np.ndarray[Any, Any]:
    def numbers(v: Any) -> Any:
        return [numbers(x) for x in v] if isinstance(v, list) else _number(v)

    if not isinstance(value, list):
        raise CalibrationError("an array of numbers is missing")
    return np.array(numbers(value), dtype=np.float64)


def _complex(value: Any, n_axes: int) -> np.ndarray[Any, Any]:
    parts = _real(value)
    if parts.ndim != n_axes + 1 or parts.shape[-1] != 2:
        raise CalibrationError("an array of complex numbers is not a list of [re, im]")
    return np.ascontiguousarray(parts).view(np.complex128)[..., 0]
