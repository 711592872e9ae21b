"""What the learners of the ISAC array train on: batches of echoes of the beam they ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Echoes of B transmissions in the delay subspace, in units of N0 = 1.

    Attributes
    ----------
    taps : (B, K, r) complex64; carries the gradient to the beam where the channel is simulated.
    sector_u : (B, 2) float, limits of u = sin(broadside angle).
    theta_rad, delay_s : (B, T) float64, angle and round-trip delay of the targets; None without labels.
    present : (B, T) bool, which of the targets are there; None: all.
    """

    taps: Tensor
    sector_u: Tensor
    theta_rad: Tensor | None = None
    delay_s: Tensor | None = None
    present: Tensor | None = None


class Source(Protocol):
    """Draws scenes, sends the beam of each scene's sector through the true channel, returns what comes back.

    basis : (S, r) complex128, spacing_hz, window_s : the delay subspace, as in `calib.gpi.delay.Reduced`.
    """

    @property
    def basis(self) -> NDArray[np.complex128]: ...

    @property
    def spacing_hz(self) -> float: ...

    @property
    def window_s(self) -> tuple[float, float]: ...

    def __call__(self, beam_of: Callable[[Tensor], Tensor], count: int) -> Batch:
        """`count` transmissions; beam_of(sector_u (B, 2)) gives the transmit vectors (B, K) of unit norm."""
        ...
