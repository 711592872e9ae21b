"""What is wrong with an array: the parameters of the forward model

    x(t) = diag(g) C A(theta; r + dr) s(t) + n(t)

Receiver gain and LO phase g come after the antennas' coupling C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.checks import array
from hil.core.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Impairments:
    """Errors of M elements. All fields hold the forward model ("divide" convention when applied).

    Attributes
    ----------
    gain : (M,) complex128, receiver gain and phase, not zero.
    coupling : (M, M) complex128, unit diagonal.
    position_error_m : (M, 3) float64, metres, true minus nominal.
    delay_s : (M,) float64, seconds, positive = later; H_m(f) = g_m exp(-j 2 pi f delay), f from fc.
    iq_image : (M,) complex128, x + iq_image * conj(x).
    dc_offset : (M,) complex128, full scale 1.
    angle_table_deg, angle_response : (A,) float64 degrees and (M, A) complex128, or both None: an extra
        response that depends on the angle; not extrapolated.
    frequency_hz, frequency_response : (F,) float64 from fc, ascending, and (M, F) complex128, or both None: what
        gain and delay leave of H_m(f) = g_m exp(-j 2 pi f delay) R_m(f).
    """

    gain: NDArray[np.complex128]
    coupling: NDArray[np.complex128]
    position_error_m: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    iq_image: NDArray[np.complex128]
    dc_offset: NDArray[np.complex128]
    angle_table_deg: NDArray[np.float64] | None = None
    angle_response: NDArray[np.complex128] | None = None
    frequency_hz: NDArray[np.float64] | None = None
    frequency_response: NDArray[np.complex128] | None = None

    def __post_init__(self) -> None:
        gain = array("gain", self.gain, np.complex128, (None,))
        m = len(gain)
        if m < 1 or np.any(gain == 0):
            raise ShapeError("gain: needs one value per element, none of them zero")
        fields = {
            "gain": gain,
            "coupling": array("coupling", self.coupling, np.complex128, (m, m)),
            "position_error_m": array("position_error_m", self.position_error_m, np.float64, (m, 3)),
            "delay_s": array("delay_s", self.delay_s, np.float64, (m,)),
            "iq_image": array("iq_image", self.iq_image, np.complex128, (m,)),
            "dc_offset": array("dc_offset", self.dc_offset, np.complex128, (m,)),
        }
        if (self.angle_table_deg is None) != (self.angle_response is None):
            raise ShapeError("angle_table_deg and angle_response belong together")
        if self.angle_table_deg is not None and self.angle_response is not None:
            table = array("angle_table_deg", self.angle_table_deg, np.float64, (None,))
            if len(table) < 2 or np.any(np.diff(table) <= 0):
                raise ShapeError("angle_table_deg: needs at least two ascending angles")
            fields["angle_table_deg"] = table
            fields["angle_response"] = array(
                "angle_response", self.angle_response, np.complex128, (m, len(table))
            )
        if (self.frequency_hz is None) != (self.frequency_response is None):
            raise ShapeError("frequency_hz and frequency_response belong together")
        if self.frequency_hz is not None and self.frequency_response is not None:
            grid = array("frequency_hz", self.frequency_hz, np.float64, (None,))
            if len(grid) < 2 or np.any(np.diff(grid) <= 0):
                raise ShapeError("frequency_hz: needs at least two ascending frequencies")
            response = array("frequency_response", self.frequency_response, np.complex128, (m, len(grid)))
            if np.any(response == 0):
                raise ShapeError("frequency_response: must not be zero")
            fields |= {"frequency_hz": grid, "frequency_response": response}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def n_elements(self) -> int:
        """M."""
        return len(self.gain)

    def channel_response(self, f_hz: ArrayLike) -> NDArray[np.complex128]:
        """Response of the receivers relative to their gain, exp(-j 2 pi f delay) R(f), (M, G) complex128.

        f_hz : (G,) from fc. Beyond the learned frequencies R keeps its value at the edge.
        """
        f = np.atleast_1d(np.asarray(f_hz, dtype=np.float64))
        out = np.exp(-2j * np.pi * self.delay_s[:, None] * f)
        if self.frequency_hz is not None and self.frequency_response is not None:
            for m, row in enumerate(self.frequency_response):
                out[m] *= np.interp(f, self.frequency_hz, row)
        return out


def ideal(n_elements: int) -> Impairments:
    """An array without errors."""
    zeros = np.zeros(n_elements)
    return Impairments(
        gain=np.ones(n_elements, complex),
        coupling=np.eye(n_elements, dtype=complex),
        position_error_m=np.zeros((n_elements, 3)),
        delay_s=zeros,
        iq_image=zeros.astype(complex),
        dc_offset=zeros.astype(complex),
    )
