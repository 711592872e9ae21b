"""What a table of numbers beside it does not hold of a calibration: one line of JSON, so that the whole comes back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError
from hil.export.json_file import parse_object
from hil.store.fields import from_fields, to_fields

_TABLE = ("impairments", "sigma")
_DIGEST = "numbers_sha256"


def rest_text(c: Calibration) -> str:
    """Everything but impairments, sigma and positions, as JSON in ASCII without line ends."""
    fields = {key: value for key, value in to_fields(c).items() if key not in _TABLE}
    fields["geometry"] = {key: value for key, value in fields["geometry"].items() if key != "positions_m"}
    return json.dumps(fields | {_DIGEST: _digest(c)}, allow_nan=False)


def _digest(c: Calibration) -> str:
    """Of the numbers that stand in the table."""
    fields = to_fields(c)
    numbers = [fields["geometry"]["positions_m"], *(fields[key] for key in _TABLE)]
    return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()


def whole(
    rest: str, positions_m: list[Any], impairments: dict[str, Any], sigma: dict[str, Any], where: str
) -> Calibration:
    """The calibration of such a text and the numbers of the table (plain values).

    Where the numbers are not those that were written it is another calibration, with an id that follows from them and
    `settings` that name the first one. Raises CalibrationError.
    """
    fields = parse_object(rest.encode(), where)
    try:
        geometry = dict(fields["geometry"]) | {"positions_m": positions_m}
        c = from_fields(fields | {"geometry": geometry, "impairments": impairments, "sigma": sigma})
    except CalibrationError as err:
        raise CalibrationError(f"{where}: {err}", hint=err.hint) from err
    except (KeyError, TypeError, ValueError) as err:
        raise CalibrationError(f"{where}: {type(err).__name__} {str(err)[:80]}") from err
    if fields.get(_DIGEST) == (digest := _digest(c)):
        return c
    identity = hashlib.sha256(f"{c.id} {digest}".encode()).hexdigest()[:32]
    return replace(c, id=identity, settings=c.settings | {"changed_from": c.id})
