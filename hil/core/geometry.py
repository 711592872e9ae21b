"""Element positions.

Frame: right-handed, metres, phase centre at the origin. A line lies on +x; planar arrays lie in x, y.
A SigMF `spatial:element_geometry` point (boresight +x, left +y) is `(y, -x, z)` of ours.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.checks import array
from hil.core.errors import ConfigError, ShapeError
from hil.core.units import SPEED_OF_LIGHT_M_S

_SPEC_HINT = "use ula:ELEMENTS:SPACING or uca:ELEMENTS:RADIUS (wavelengths), or a TOML file"


@dataclass(frozen=True, slots=True)
class ArrayGeometry:
    """Nominal element positions, one per receiver channel.

    Attributes
    ----------
    positions_m : (M, 3) float64, metres.
    labels : (M,) names of the elements, in channel order.
    name : free text.
    """

    positions_m: NDArray[np.float64]
    labels: tuple[str, ...] = ()
    name: str = ""
    _tolerance_m: float = field(default=1e-9, repr=False, compare=False)

    def __post_init__(self) -> None:
        positions = array("positions_m", self.positions_m, np.float64, (None, 3))
        if len(positions) < 1:
            raise ShapeError("positions_m: an array needs at least one element")
        object.__setattr__(self, "positions_m", positions)
        labels = tuple(self.labels) or tuple(f"E{m + 1}" for m in range(len(positions)))
        if len(labels) != len(positions):
            raise ShapeError(f"labels: {len(labels)} names for {len(positions)} elements")
        object.__setattr__(self, "labels", labels)

    @property
    def n_elements(self) -> int:
        """M."""
        return len(self.positions_m)

    @property
    def kind(self) -> str:
        """ "line" (all on x), "planar" (all in one z plane) or "volume"."""
        centred = self.positions_m - self.positions_m.mean(axis=0)
        if np.all(np.abs(centred[:, 1:]) <= self._tolerance_m):
            return "line"
        if np.all(np.abs(centred[:, 2]) <= self._tolerance_m):
            return "planar"
        return "volume"

    def equals(self, other: ArrayGeometry, tolerance_m: float = 1e-6) -> bool:
        """True if the positions agree within the tolerance."""
        return self.positions_m.shape == other.positions_m.shape and bool(
            np.all(np.abs(self.positions_m - other.positions_m) <= tolerance_m)
        )

    def to_sigmf_points(self) -> list[list[float]]:
        """Points of `spatial:element_geometry` in metres: (y, -x, z)."""
        return [[float(y), float(-x) + 0.0, float(z)] for x, y, z in self.positions_m]

    @classmethod
    def from_sigmf_points(cls, points: ArrayLike, name: str = "") -> ArrayGeometry:
        """Inverse of `to_sigmf_points`."""
        p = array("element_geometry", points, np.float64, (None, 3))
        return cls(np.column_stack((-p[:, 1], p[:, 0], p[:, 2])) + 0.0, name=name)


def ula(n_elements: int, spacing_m: float, name: str = "") -> ArrayGeometry:
    """Uniform line on x, centred, ascending x."""
    x = (np.arange(n_elements, dtype=np.float64) - (n_elements - 1) / 2) * spacing_m
    return ArrayGeometry(np.column_stack((x, np.zeros((n_elements, 2)))), name=name or f"ula:{n_elements}")


def uca(n_elements: int, radius_m: float, name: str = "") -> ArrayGeometry:
    """Uniform circle in x, y: element m at radius (cos, sin)(2 pi m / M)."""
    phi = 2 * np.pi * np.arange(n_elements) / n_elements
    xyz = np.column_stack((radius_m * np.cos(phi), radius_m * np.sin(phi), np.zeros(n_elements)))
    return ArrayGeometry(xyz, name=name or f"uca:{n_elements}")


def parse_array(spec: str, fc_hz: float) -> ArrayGeometry:
    """Geometry from `ula:8:0.5`, `uca:8:0.6` (wavelengths at fc_hz) or the path of a TOML file.

    TOML keys: `kind` ("ula", "uca", "positions"), `n_elements`, `spacing_wavelengths` or `spacing_m`,
    `radius_wavelengths` or `radius_m`, `positions_m`, `name`, `labels`, and `ports`: `ports[i]` is the
    receiver channel that element i is connected to. Raises ConfigError.
    """
    parts = spec.split(":")
    if parts[0] in ("ula", "uca"):
        try:
            n_elements, size = int(parts[1]), float(parts[2].replace(",", "."))
        except (IndexError, ValueError):
            raise ConfigError(f"cannot read {spec!r}", where="--array", hint=_SPEC_HINT) from None
        return _build({"kind": parts[0], "n_elements": n_elements,
                       "spacing_wavelengths" if parts[0] == "ula" else "radius_wavelengths": size},
                      fc_hz, "--array", spec)  # fmt: skip
    path = Path(spec)
    if not path.is_file():
        raise ConfigError(f"no array {spec!r}", where="--array", hint=_SPEC_HINT)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as err:
        raise ConfigError(f"not valid TOML: {err}", where=str(path)) from err
    return _build(table.get("array", table), fc_hz, str(path), path.stem)


_KEYS = {"kind", "n_elements", "spacing_wavelengths", "spacing_m", "radius_wavelengths", "radius_m",
         "positions_m", "name", "labels", "ports"}  # fmt: skip


def _build(table: dict[str, Any], fc_hz: float, where: str, name: str) -> ArrayGeometry:
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise ConfigError(
            f"unknown key {unknown[0]!r}", where=where, hint=f"known: {', '.join(sorted(_KEYS))}"
        )
    wavelength_m = SPEED_OF_LIGHT_M_S / fc_hz
    kind = table.get("kind", "positions" if "positions_m" in table else "ula")
    if kind == "positions":
        try:
            geometry = ArrayGeometry(
                array("positions_m", table.get("positions_m", []), np.float64, (None, 3))
            )
        except ShapeError as err:
            raise ConfigError(str(err), where=where, hint="positions_m = [[x, y, z], ...] in metres") from err
    elif kind in ("ula", "uca"):
        key = "spacing" if kind == "ula" else "radius"
        default = 0.5 if kind == "ula" else 0.6
        size = table.get(f"{key}_m", table.get(f"{key}_wavelengths", default) * wavelength_m)
        n_elements = table.get("n_elements", 8)
        if not isinstance(n_elements, int) or not 1 <= n_elements <= 1024:
            raise ConfigError("n_elements must be between 1 and 1024", where=where)
        if not size > 0:
            raise ConfigError(f"{key} must be positive", where=where)
        geometry = (ula if kind == "ula" else uca)(n_elements, size)
    else:
        raise ConfigError(f"kind {kind!r} is not one of ula, uca, positions", where=where)
    return _connect(geometry, table, where, table.get("name", name))


def _connect(geometry: ArrayGeometry, table: dict[str, Any], where: str, name: str) -> ArrayGeometry:
    n = geometry.n_elements
    ports: Sequence[int] = table.get("ports", list(range(n)))
    if sorted(ports) != list(range(n)):
        raise ConfigError(f"ports must name each channel 0..{n - 1} once", where=where)
    labels = tuple(table.get("labels", geometry.labels))
    if len(labels) != n:
        raise ConfigError(f"{len(labels)} labels for {n} elements", where=where)
    order = np.argsort(ports)
    return ArrayGeometry(geometry.positions_m[order], tuple(labels[i] for i in order), name)
