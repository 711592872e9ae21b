"""What an array answers to a plane wave, whatever describes it: positions, geometry, calibration, function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.calibration import Calibration
from hil.core.checks import array
from hil.core.errors import CalibrationMismatch, ShapeError
from hil.core.geometry import ArrayGeometry
from hil.core.steering import unit_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S

#: (G,) degrees -> (M, G) complex128, unnormalised steering vectors.
Steering = Callable[[NDArray[np.float64]], NDArray[np.complex128]]
#: Everything that `array_response` understands.
ArrayLikeResponse = ArrayGeometry | Calibration | Steering | ArrayLike

#: Nominal positions and those of a calibration count as the same array within this part of a wavelength.
_SAME_WAVELENGTHS = 1e-3


@dataclass(frozen=True, slots=True)
class ArrayResponse:
    """Steering function of an array with the angles on which it is unique.

    Attributes
    ----------
    steering : (G,) degrees -> (M, G) complex128.
    limits_deg : (low, high): -90..90 for a line, -180..180 for any other array, or a calibration's table.
    beamwidth_deg : about wavelength / aperture, for the choice of a grid; None if not known.
    """

    steering: Steering
    limits_deg: tuple[float, float]
    beamwidth_deg: float | None

    def grid_deg(self) -> NDArray[np.float64]:
        """Default grid over `limits_deg`: 0.25 degrees or a twentieth of a beam, whichever is finer."""
        low, high = self.limits_deg
        step = 0.25 if self.beamwidth_deg is None else min(0.25, self.beamwidth_deg / 20)
        n = int(np.ceil((high - low) / step))
        return np.linspace(low, high, n + 1)


def array_response(
    described: ArrayLikeResponse, fc_hz: float | None = None, elevation_deg: float = 0.0
) -> ArrayResponse:
    """Response of an array given as geometry, (M, 3) positions in metres, calibration or steering function.

    Parameters
    ----------
    fc_hz : carrier in Hz; may be None for a calibration (that of learning) and for a function.
    elevation_deg : elevation at which azimuths are searched (not for functions).

    Raises
    ------
    ShapeError : positions are not (M, 3), or fc_hz is missing.
    """
    if callable(described):
        return ArrayResponse(described, (-180.0, 180.0), None)
    if isinstance(described, Calibration):
        return _of_calibration(described, fc_hz or described.fc_hz, elevation_deg)
    geometry = described if isinstance(described, ArrayGeometry) else ArrayGeometry(np.asarray(described))
    if fc_hz is None or not fc_hz > 0:
        raise ShapeError("fc_hz: a positive carrier is needed with element positions")
    positions = geometry.positions_m
    return ArrayResponse(
        _ideal(positions, fc_hz, elevation_deg), _limits(geometry), _beamwidth_deg(positions, fc_hz)
    )


def calibrated_response(
    positions_m: ArrayLike, fc_hz: float, calibration: Calibration | None
) -> ArrayResponse:
    """Response of an array at `positions_m` (M, 3), with its calibration if there is one.

    Raises
    ------
    CalibrationMismatch : the calibration is of another array than `positions_m` (its nominal or its
        learned positions, up to a common shift).
    """
    if calibration is None:
        return array_response(positions_m, fc_hz)
    positions = array("positions_m", positions_m, np.float64, (None, 3))
    tolerance_m = _SAME_WAVELENGTHS * SPEED_OF_LIGHT_M_S / fc_hz
    known = (calibration.geometry.positions_m, calibration.positions_m)
    if not any(_same_shape(positions, have, tolerance_m) for have in known):
        raise CalibrationMismatch(
            f"the calibration is of another array ({calibration.geometry.name or 'unnamed'}, "
            f"{calibration.geometry.n_elements} elements)",
            field="geometry",
            hint="use the array that the calibration was learned on (hil info FILE shows it)",
        )
    return array_response(calibration, fc_hz)


def _ideal(positions_m: NDArray[np.float64], fc_hz: float, elevation_deg: float) -> Steering:
    """Steering vectors of positions that were checked once: the search calls it for a few angles often."""
    phase = 2j * np.pi * fc_hz / SPEED_OF_LIGHT_M_S * positions_m
    elevation_rad = np.deg2rad(elevation_deg)
    if not np.any(positions_m[:, 1:]):
        along_x = phase[:, :1] * np.cos(elevation_rad)
        return lambda angles_deg: np.exp(along_x * np.sin(np.deg2rad(angles_deg)))

    def steering(angles_deg: NDArray[np.float64]) -> NDArray[np.complex128]:
        return np.exp(phase @ unit_vectors(np.deg2rad(angles_deg), elevation_rad))

    return steering


def _of_calibration(cal: Calibration, fc_hz: float, elevation_deg: float) -> ArrayResponse:
    def steering(angles_deg: NDArray[np.float64]) -> NDArray[np.complex128]:
        return cal.steering(angles_deg, fc_hz, elevation_deg)

    low, high = _limits(cal.geometry)
    table = cal.impairments.angle_table_deg
    if table is not None:
        low, high = max(low, float(table[0])), min(high, float(table[-1]))
    return ArrayResponse(steering, (low, high), _beamwidth_deg(cal.positions_m, fc_hz))


def _limits(geometry: ArrayGeometry) -> tuple[float, float]:
    return (-90.0, 90.0) if geometry.kind == "line" else (-180.0, 180.0)


def _beamwidth_deg(positions_m: NDArray[np.float64], fc_hz: float) -> float:
    extent_m = float(np.linalg.norm(np.ptp(positions_m, axis=0)))
    wavelength_m = SPEED_OF_LIGHT_M_S / fc_hz
    return float(np.rad2deg(wavelength_m / max(extent_m, wavelength_m / 10)))


def _same_shape(a: NDArray[np.float64], b: NDArray[np.float64], tolerance_m: float) -> bool:
    if a.shape != b.shape:
        return False
    return bool(np.all(np.abs((a - a.mean(axis=0)) - (b - b.mean(axis=0))) <= tolerance_m))
