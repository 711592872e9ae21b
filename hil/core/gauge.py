"""What cannot be known, and the choices that files make.

In files: g[ref] > 0 and real, ||g||^2 = M, mean position error 0. On a line, gains and positions are
further open to `u' = al u + be` (u = sin of the broadside angle): `x' = x / al`,
`g' = g exp(-j 2 pi x be / (al lambda))`. On a plane with sources in it: to one rotation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.checks import array
from hil.core.errors import ShapeError
from hil.core.impairments import Impairments


@dataclass(frozen=True, slots=True)
class Gauge:
    """How the open parameters of a calibration were fixed.

    Attributes
    ----------
    kind : "none", "prior", "support", "anchor", "rotation", "known-geometry" or "oracle".
    assumes : in words, what must be true for the absolute angles to be right.
    offset_sigma_deg, scale_sigma : one sigma of what the assumption leaves open: angle offset at
        broadside (for planar arrays: rotation) and relative scale of sin(angle).
    angle_sigma_deg : rms over the supported angles of the resulting angle error, one sigma.
    support_deg : (low, high) angles that the assumption speaks of, or None.
    """

    kind: str = "none"
    assumes: str = ""
    offset_sigma_deg: float = 0.0
    scale_sigma: float = 0.0
    angle_sigma_deg: float = 0.0
    support_deg: tuple[float, float] | None = None


def canonical(imp: Impairments, reference_element: int = 0) -> Impairments:
    """The same array in the gauge of files; the manifold changes by a complex factor only."""
    gain = imp.gain * np.exp(-1j * np.angle(imp.gain[reference_element]))
    gain = gain * np.sqrt(len(gain) / np.sum(np.abs(gain) ** 2))
    error = imp.position_error_m - imp.position_error_m.mean(axis=0)
    return replace(imp, gain=gain, position_error_m=error)


def affine_line(
    gain: ArrayLike, x_wavelengths: ArrayLike, al: float, be: float
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Gains and positions (wavelengths) of a line after `u' = al u + be`.

    `a(u; g, x) = a(u'; g', x')` holds exactly for every u (diffMUSIC spec 4.1 in our sign).
    """
    if al == 0:
        raise ShapeError("al: the scale of sin(angle) cannot be zero")
    g = array("gain", gain, np.complex128, (None,))
    x = array("x_wavelengths", x_wavelengths, np.float64, (len(g),))
    return g * np.exp(-2j * np.pi * x * be / al), x / al


def rotate_planar(positions: ArrayLike, angle_rad: float) -> NDArray[np.float64]:
    """Positions (M, 3) turned so that every azimuth grows by `angle_rad` (azimuth: from +y towards +x)."""
    p = array("positions", positions, np.float64, (None, 3))
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return p @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
