"""A calibration: learned array errors with their uncertainty, provenance and limits of use."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.checks import array
from hil.core.epoch import Epoch
from hil.core.errors import CalibrationMismatch, ShapeError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments
from hil.core.steering import steering_vectors

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Sigma:
    """One standard deviation of each learned field; NaN where the method does not know it, 0 where fixed.

    gain_db (M,), phase_deg (M,), position_m (M, 3), delay_s (M,). Where they were learned, else None: iq_image
    and dc_offset (M,), of the real and of the imaginary part; frequency_response (M, F), likewise.
    """

    gain_db: NDArray[np.float64]
    phase_deg: NDArray[np.float64]
    position_m: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    iq_image: NDArray[np.float64] | None = None
    dc_offset: NDArray[np.float64] | None = None
    frequency_response: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        gain = array("sigma.gain_db", self.gain_db, np.float64, (None,), finite=False)
        m = len(gain)
        object.__setattr__(self, "gain_db", gain)
        for name, shape in (("phase_deg", (m,)), ("position_m", (m, 3)), ("delay_s", (m,))):
            value = array(f"sigma.{name}", getattr(self, name), np.float64, shape, finite=False)
            object.__setattr__(self, name, value)
        for name, learned in (("iq_image", (m,)), ("dc_offset", (m,)), ("frequency_response", (m, None))):
            if getattr(self, name) is not None:
                value = array(f"sigma.{name}", getattr(self, name), np.float64, learned, finite=False)
                object.__setattr__(self, name, value)


def unknown_sigma(n_elements: int) -> Sigma:
    """Nothing is known about the uncertainty."""
    nan = np.full(n_elements, np.nan)
    return Sigma(nan, nan, np.full((n_elements, 3), np.nan), nan)


@dataclass(frozen=True, slots=True)
class Validity:
    """Where a calibration may be used.

    fc_min_hz..fc_max_hz; gains_db (M,) at which it was learned or None; expires_utc ISO 8601 or "".
    """

    fc_min_hz: float
    fc_max_hz: float
    gains_db: tuple[float, ...] | None = None
    expires_utc: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Learned errors of one array.

    Attributes
    ----------
    geometry : nominal array. impairments : in the gauge of files (hil.core.gauge.canonical).
    sigma : one standard deviation per field. gauge : how the open parameters were fixed.
    fc_hz : carrier at which it was learned. epoch : coherence epoch, None if not known.
    device_model, device_serial : of the receiver. method, settings, seed, config_hash : how it was made.
    captures : SHA-256 of the recordings used. score, predicted_score : null depth (log) and its prediction.
    metrics : numbers before and after. created_utc : ISO 8601. lit_deg : angles that the data covered.
    """

    geometry: ArrayGeometry
    impairments: Impairments
    sigma: Sigma
    gauge: Gauge
    fc_hz: float
    valid: Validity
    method: str
    epoch: Epoch | None = None
    coherent_groups: tuple[tuple[int, ...], ...] = ()
    device_model: str = ""
    device_serial: str = ""
    reference_element: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    config_hash: str = ""
    seed: int = 0
    captures: tuple[str, ...] = ()
    score: float = float("nan")
    predicted_score: float = float("nan")
    converged: bool = False
    lit_deg: tuple[float, float] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    created_utc: str = ""
    stale_reason: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    gain_convention: str = "divide"
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.geometry.n_elements != self.impairments.n_elements:
            raise ShapeError(
                f"calibration of {self.impairments.n_elements} elements for an array of {self.geometry.n_elements}"
            )
        if self.gain_convention != "divide":
            raise ShapeError(f"gain_convention {self.gain_convention!r}: only 'divide' is known")
        if not self.fc_hz > 0:
            raise ShapeError("fc_hz: must be positive")

    @property
    def positions_m(self) -> NDArray[np.float64]:
        """(M, 3) learned element positions in metres."""
        return self.geometry.positions_m + self.impairments.position_error_m

    def steering(
        self, angles_deg: ArrayLike, fc_hz: float | None = None, elevation_deg: ArrayLike = 0.0
    ) -> NDArray[np.complex128]:
        """Unnormalised calibrated steering vectors diag(g) C a, (M, G) complex128.

        angles_deg : (G,) broadside angle or azimuth in degrees; fc_hz : carrier, default that of learning.

        Raises
        ------
        CalibrationMismatch : angles outside a learned angle-dependent table, which is not extrapolated.
        """
        imp = self.impairments
        angles = np.atleast_1d(np.asarray(angles_deg, dtype=np.float64))
        ideal = steering_vectors(
            self.positions_m, fc_hz or self.fc_hz, np.deg2rad(angles), np.deg2rad(elevation_deg)
        )
        if imp.angle_table_deg is not None and imp.angle_response is not None:
            ideal = ideal * _interpolate(imp.angle_table_deg, imp.angle_response, angles)
        return imp.gain[:, None] * (imp.coupling @ ideal)


def _interpolate(
    table_deg: NDArray[np.float64], response: NDArray[np.complex128], angles_deg: NDArray[np.float64]
) -> NDArray[np.complex128]:
    low, high = float(table_deg[0]), float(table_deg[-1])
    if np.any(angles_deg < low) or np.any(angles_deg > high):
        raise CalibrationMismatch(
            f"angles outside the learned table {low:g} to {high:g} degrees",
            field="angle_table_deg",
            hint="restrict the angle grid; the table is not extrapolated",
        )
    out = np.empty((len(response), len(angles_deg)), dtype=np.complex128)
    for m, row in enumerate(response):
        out[m] = np.interp(angles_deg, table_deg, row)
    return out
