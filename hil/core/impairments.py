"""What is wrong with an array: the parameters of the forward model

    x(t) = diag(g) C A(theta; r + dr) s(t) + n(t)

Receiver gain and LO phase g come after the antennas' coupling C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """

    gain: NDArray[np.complex128]
    coupling: NDArray[np.complex128]
    position_error_m: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    iq_image: NDArray[np.complex128]
    dc_offset: NDArray[np.complex128]
    angle_table_deg: NDArray[np.float64] | None = None
    angle_response: NDArray[np.complex128] | None = None

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
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def n_elements(self) -> int:
        """M."""
        return len(self.gain)


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
