"""Calibrations from formats that hold a part of one: what is missing is asked for or stays unknown, never guessed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.errors import CalibrationError, ConfigError, HilError
from hil.core.gauge import Gauge, canonical
from hil.core.geometry import ArrayGeometry, parse_array
from hil.core.impairments import ideal
from hil.store.fields import MAX_ELEMENTS

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says of a file that does not say it; it wins over what the file says.

    Attributes
    ----------
    fc_hz : carrier. array : nominal array as `parse_array` takes it, "" if not given.
    """

    fc_hz: float | None = None
    array: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Numbers of a file of another program, in the forward model (x = diag(gain) C a).

    Attributes
    ----------
    format : name in FORMATS. lacks : in words. gain : (M,) complex128. positions_m, nominal_m : (M, 3) float64 metres, as
    learned and nominal, or None. fc_hz : carrier or None. more : other fields of Impairments.
    """

    format: str
    lacks: str
    gain: NDArray[Any]
    positions_m: NDArray[np.float64] | None = None
    nominal_m: NDArray[np.float64] | None = None
    labels: tuple[str, ...] = ()
    fc_hz: float | None = None
    more: dict[str, Any] | None = None


def build(found: Found, given: Given, data: bytes, where: str) -> Calibration:
    """The calibration that a file amounts to.

    It is known by the content: the same `data` and the same words of the user make the same id. Its gauge and its
    standard deviations are not known; `settings` say from which format it came and what that format lacks.

    Raises
    ------
    ConfigError : the carrier or the array has to be told. CalibrationError : impossible numbers.
    """
    m = len(found.gain)
    if not 1 <= m <= MAX_ELEMENTS:
        raise CalibrationError(f"{where}: {m} elements, between 1 and {MAX_ELEMENTS} are possible")
    for placed in (found.positions_m, found.nominal_m):
        if placed is not None and placed.shape != (m, 3):
            raise CalibrationError(f"{where}: {len(placed)} positions for {m} elements")
    fc_hz = given.fc_hz if given.fc_hz is not None else found.fc_hz
    if fc_hz is None:
        raise ConfigError(
            f"{where} does not say its carrier", where="--fc", hint="hil calib import takes --fc 2.45GHz"
        )
    if not (np.isfinite(fc_hz) and fc_hz > 0):
        raise CalibrationError(f"{where}: carrier {fc_hz} Hz")
    geometry = _geometry(found, given, fc_hz, where)
    said = json.dumps([found.format, given.fc_hz, given.array]).encode()
    try:
        errors = replace(ideal(m), gain=found.gain, **(found.more or {}))
        if found.positions_m is not None:
            errors = replace(errors, position_error_m=found.positions_m - geometry.positions_m)
        return Calibration(
            geometry=geometry,
            impairments=canonical(errors),
            sigma=unknown_sigma(m),
            gauge=Gauge("none", f"imported from {found.format}: the file does not say", _NAN, _NAN, _NAN),
            fc_hz=fc_hz,
            valid=Validity(fc_hz, fc_hz),
            method=f"import-{found.format}",
            settings={"imported": {"format": found.format, "lacks": found.lacks}},
            converged=True,
            id=hashlib.sha256(said + data).hexdigest()[:32],
        )
    except CalibrationError:
        raise
    except HilError as err:
        raise CalibrationError(f"{where}: {err}", hint=err.hint) from err


def _geometry(found: Found, given: Given, fc_hz: float, where: str) -> ArrayGeometry:
    m = len(found.gain)
    if given.array:
        geometry = parse_array(given.array, fc_hz)
        if geometry.n_elements != m:
            raise ConfigError(
                f"{geometry.n_elements} elements, {where} has {m}", where="--array", hint=f"give one of {m}"
            )
        return geometry
    nominal_m = found.positions_m if found.nominal_m is None else found.nominal_m
    if nominal_m is None:
        raise ConfigError(
            f"{where} does not say where the elements are",
            where="--array",
            hint=f"hil calib import takes --array ula:{m}:0.5",
        )
    try:
        return ArrayGeometry(nominal_m, found.labels)
    except HilError as err:
        raise CalibrationError(f"{where}: {err}") from err


def numbers(values: Any, where: str) -> NDArray[np.float64]:
    """(M,) finite float64 from texts or numbers; raises CalibrationError."""
    try:
        out = np.array([float(v) for v in values], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as err:
        raise CalibrationError(f"{where}: {str(err)[:80]}") from err
    if not np.all(np.isfinite(out)):
        raise CalibrationError(f"{where}: a number is not finite")
    return out
