"""What a learner is asked to do: parsed from the command line, stored in the calibration."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import tomllib
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from hil.core.errors import ConfigError
from hil.core.units import parse_quantity

DEFAULT_METHOD = "cold-start"


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """Settings of one learning run.

    Attributes
    ----------
    method : name in `calib.registry`.
    n_sources : emitters at a time, None = estimate.
    support_deg : (low, high) that the emitters' directions fill evenly, or None.
    anchors_deg : (direction, from s, to s) of known directions; times None = always.
    position_std_wavelengths : prior spread of the position errors; 0 = positions are known.
    seed : of the learner's restarts.
    rotations : (heading, from s, to s): when a turntable under the array rested at which angle, clockwise seen
        from above and relative to an arbitrary zero.
    anchor_elevations_deg : of the anchors, for methods that learn azimuth and elevation; empty: 0 each.
    angle_sigma_limit_deg : largest standard deviation of the angles that counts as usable.
    """

    method: str = DEFAULT_METHOD
    n_sources: int | None = 1
    support_deg: tuple[float, float] | None = None
    anchors_deg: tuple[tuple[float, float | None, float | None], ...] = ()
    position_std_wavelengths: float = 0.1
    seed: int = 0
    angle_sigma_limit_deg: float = 0.5
    rotations: tuple[tuple[float, float, float], ...] = ()
    anchor_elevations_deg: tuple[float, ...] = ()

    def gauge_kind(self, *, line: bool) -> Literal["anchor", "support", "rotation", "prior"]:
        """What settles the absolute angles. On a line known turns settle all of it (with the anchors, if there are
        any), a support uses the anchors as well; on a plane one anchor says all that a sector or turns could.
        Without any of these only the prior is left."""
        if self.rotations and (line or not (self.anchors_deg or self.support_deg)):
            return "rotation"
        if self.anchors_deg and not (line and self.support_deg):
            return "anchor"
        return "support" if self.support_deg else "prior"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for files."""
        return json.loads(json.dumps(asdict(self)))

    def hash(self) -> str:
        """SHA-256 of the settings."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


def default_position_std(method: str) -> float:
    """Expected spread of position errors in wavelengths where nobody says one; 0: the method takes them as exact."""
    return 0.0 if method == "gain-phase-isac" else 0.1


def parse_support(text: str | None) -> tuple[float, float] | None:
    """`A:B` in degrees -> (A, B). Raises ConfigError."""
    if text is None:
        return None
    parts = text.split(":")
    if len(parts) != 2:
        raise ConfigError(
            f"cannot read {text!r}", where="--support", hint="write two angles in degrees: -60:60"
        )
    low, high = (parse_quantity(p, where="--support", unit="degrees") for p in parts)
    if not -180 <= low < high <= 180:
        raise ConfigError(
            f"{text!r} is not an interval of angles", where="--support", hint="low angle first: -60:60"
        )
    return low, high


_ANCHOR = re.compile(r"^(?P<deg>[^@/]+)(?:/(?P<elevation>[^@]+))?(?:@(?P<t0>[^:]*):(?P<t1>.*))?$")


def parse_anchors(texts: list[str] | None) -> tuple[tuple[float, float | None, float | None], ...]:
    """`DEG[/ELEVATION][@T0:T1]`, several allowed -> ((deg, from s, to s), ...). Raises ConfigError."""
    anchors: list[tuple[float, float | None, float | None]] = []
    for text in texts or []:
        match = _ANCHOR.match(text)
        if match is None:
            raise ConfigError(
                f"cannot read {text!r}", where="--anchor", hint="write 20 or 20@1.5:2.0 (seconds)"
            )
        deg = parse_quantity(match["deg"], where="--anchor", unit="degrees")
        t0 = parse_quantity(match["t0"], where="--anchor", unit="s") if match["t0"] else None
        t1 = parse_quantity(match["t1"], where="--anchor", unit="s") if match["t1"] else None
        if not -180 <= deg <= 180:
            raise ConfigError(f"{deg:g} is not an angle in degrees", where="--anchor")
        if t0 is not None and t1 is not None and t1 <= t0:
            raise ConfigError(f"the interval of {text!r} is empty", where="--anchor")
        anchors.append((deg, t0, t1))
    return tuple(anchors)


def parse_flat_anchors(texts: list[str] | None) -> tuple[tuple[float, float | None, float | None], ...]:
    """As `parse_anchors`, where elevations have no meaning. Raises ConfigError for one."""
    if parse_anchor_elevations(texts):
        raise ConfigError(
            "an anchor has no elevation here", where="--anchor", hint="write 20 or 20@1.5:2.0 (seconds)"
        )
    return parse_anchors(texts)


def parse_anchor_elevations(texts: list[str] | None) -> tuple[float, ...]:
    """Elevations of anchors written as `DEG/ELEVATION`, 0 where there is none; empty if none has one."""
    found = [match["elevation"] for text in texts or [] if (match := _ANCHOR.match(text))]
    if not any(found):
        return ()
    degrees = tuple(parse_quantity(e, where="--anchor", unit="degrees") if e else 0.0 for e in found)
    if not all(-90 <= e <= 90 for e in degrees):
        raise ConfigError("an elevation lies between -90 and 90 degrees", where="--anchor")
    return degrees


_ROTATION_KEYS = ("t0_s", "t1_s", "angle_deg")
_ROTATION_HINT = "CSV with the header t0_s,t1_s,angle_deg, or TOML with [[position]] and these keys"
_MOST_POSITIONS = 10_000
_MOST_BYTES = 16 << 20


def read_rotations(path: Path | None) -> tuple[tuple[float, float, float], ...]:
    """A table of when a turntable rested where -> ((angle_deg, t0_s, t1_s), ...) in the order of time.

    path : CSV with the header `t0_s,t1_s,angle_deg`, or a .toml file with `[[position]]` tables of these keys. Seconds
    count from the first sample learned from; angles are clockwise seen from above, from an arbitrary zero.

    Raises ConfigError : not readable, a missing column, no number, an empty or overlapping interval, fewer than
    two different angles.
    """
    if path is None:
        return ()
    where = f"--rotations {path}"
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigError("more than 16 MB: not a table of positions", where=where, hint=_ROTATION_HINT)
        text = data.decode("utf-8-sig")
        rows = tomllib.loads(text).get("position", []) if path.suffix == ".toml" else _csv_rows(text, where)
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"cannot read: {reason}", where=where, hint=_ROTATION_HINT) from err
    except (RecursionError, ValueError) as err:  # tomllib passes on what int() says of 5000 digits
        raise ConfigError(f"not valid TOML: {err}", where=where, hint=_ROTATION_HINT) from err
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError("position must be a list of tables", where=where, hint=_ROTATION_HINT)
    if len(rows) > _MOST_POSITIONS:
        raise ConfigError(f"more than {_MOST_POSITIONS} table positions", where=where)
    found = sorted((_rotation(row, i, where) for i, row in enumerate(rows, 1)), key=lambda r: r[1])
    for (_, _, end), (_, begin, _) in pairwise(found):
        if begin < end:
            raise ConfigError(
                f"two table positions overlap in time at {begin:g} s", where=where,
                hint="leave out the time while the table turns",
            )  # fmt: skip
    if len({r[0] for r in found}) < 2:
        n = len(found)
        raise ConfigError(
            f"{n} table position{'s' * (n != 1)} at {len({r[0] for r in found})} different angles: at least 2 are needed",
            where=where, hint="3 or more over a wide range for a single emitter" if n else _ROTATION_HINT,
        )  # fmt: skip
    return tuple(found)


def _csv_rows(text: str, where: str) -> list[dict[str, Any]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    try:
        rows = list(csv.DictReader(lines, skipinitialspace=True, strict=True))
    except csv.Error as err:
        raise ConfigError(f"not a table: {err}", where=where, hint=_ROTATION_HINT) from err
    for number, row in enumerate(rows, 1):
        if None in row:
            raise ConfigError(
                f"position {number}: more values than columns", where=where,
                hint="columns are separated by commas, decimals written with a point",
            )  # fmt: skip
    return [{str(k).strip(): v for k, v in row.items()} for row in rows]


def _rotation(row: dict[str, Any], number: int, where: str) -> tuple[float, float, float]:
    """(angle_deg, t0_s, t1_s) of one row."""
    values = []
    for key in _ROTATION_KEYS:
        if row.get(key) is None:
            raise ConfigError(f"position {number}: {key} is missing", where=where, hint=_ROTATION_HINT)
        try:
            if isinstance(row[key], bool):
                raise TypeError
            values.append(float(row[key]))
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(
                f"position {number}: {key} = {str(row[key])[:40]!r} is not a number",
                where=where,
                hint=_ROTATION_HINT,
            ) from None
        if not math.isfinite(values[-1]) or abs(values[-1]) > 1e9:
            raise ConfigError(
                f"position {number}: {key} = {str(row[key])[:40]} is out of range",
                where=where,
                hint=_ROTATION_HINT,
            )
    t0_s, t1_s, angle_deg = values
    if not t0_s < t1_s:
        raise ConfigError(f"position {number}: t1_s = {t1_s:g} is not after t0_s = {t0_s:g}", where=where)
    if abs(angle_deg) > 3600:
        raise ConfigError(f"position {number}: {angle_deg:g} degrees is over ten turns", where=where)
    return angle_deg, t0_s, t1_s


def parse_sources(text: str) -> int | None:
    """A number, or "auto" -> None. Raises ConfigError."""
    if text.strip().lower() == "auto":
        return None
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= 64:
        raise ConfigError(
            f"cannot read {text!r} as a number of sources", where="--sources", hint="write 1, 2, ... or auto"
        )
    return count
