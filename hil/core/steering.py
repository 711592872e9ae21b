"""The array manifold and the sign convention, in one place.

    a_m(u) = exp(+j 2 pi fc r_m . u / c),  u the unit vector from the array to the source,
    u = (sin az cos el, cos az cos el, sin el): azimuth counts from +y towards +x,

for the phasor exp(+j w t). On a line along x the azimuth at elevation 0 is the broadside angle,
positive towards +x. Ours +30 = SigMF azimuth +30 = MATLAB azimuth -30 = 60 degrees from the array axis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.checks import array
from hil.core.units import SPEED_OF_LIGHT_M_S


def unit_vectors(azimuth_rad: ArrayLike, elevation_rad: ArrayLike = 0.0) -> NDArray[np.float64]:
    """Unit vectors from the array to the source, (3, G) float64, for azimuths and elevations in radians."""
    az, el = np.broadcast_arrays(
        np.atleast_1d(np.asarray(azimuth_rad, dtype=np.float64)),
        np.asarray(elevation_rad, dtype=np.float64),
    )
    return np.stack((np.sin(az) * np.cos(el), np.cos(az) * np.cos(el), np.sin(el)))


def steering_vectors(
    positions_m: ArrayLike,
    fc_hz: float,
    azimuth_rad: ArrayLike,
    elevation_rad: ArrayLike = 0.0,
) -> NDArray[np.complex128]:
    """Unnormalised ideal steering vectors a, (M, G) complex128, of elements at `positions_m` (M, 3)."""
    positions = array("positions_m", positions_m, np.float64, (None, 3))
    path_m = positions @ unit_vectors(azimuth_rad, elevation_rad)
    return np.exp(2j * np.pi * fc_hz / SPEED_OF_LIGHT_M_S * path_m)
