"""What a learner is asked to do: parsed from the command line, stored in the calibration."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
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
    angle_sigma_limit_deg : largest standard deviation of the angles that counts as usable.
    """

    method: str = DEFAULT_METHOD
    n_sources: int | None = 1
    support_deg: tuple[float, float] | None = None
    anchors_deg: tuple[tuple[float, float | None, float | None], ...] = ()
    position_std_wavelengths: float = 0.1
    seed: int = 0
    angle_sigma_limit_deg: float = 0.5

    def gauge_kind(self, *, line: bool) -> Literal["anchor", "support", "prior"]:
        """What settles the absolute angles. On a line a support uses the anchors as well; on a plane one anchor
        says all that a sector could. Without either only the prior is left."""
        if self.anchors_deg and not (line and self.support_deg):
            return "anchor"
        return "support" if self.support_deg else "prior"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for files."""
        return json.loads(json.dumps(asdict(self)))

    def hash(self) -> str:
        """SHA-256 of the settings."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


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


_ANCHOR = re.compile(r"^(?P<deg>[^@]+)(?:@(?P<t0>[^:]*):(?P<t1>.*))?$")


def parse_anchors(texts: list[str] | None) -> tuple[tuple[float, float | None, float | None], ...]:
    """`DEG[@T0:T1]`, several allowed -> ((deg, from s, to s), ...). Raises ConfigError."""
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
