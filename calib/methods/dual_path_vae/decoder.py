"""The decoder that knows the array: what K users at directions u with channels h put on the elements.

    Y = A(u) [h_1 ... h_M],   A(u) = diag(g) C exp(+j 2 pi x u^T)

Nothing in it is learned; the calibration of the array (gains, coupling, positions) is part of it (Guo et al., eq. 2 and 4).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from hil.core.errors import ConfigError, ShapeError


class KnownArray:
    """A line of N elements. x : (N,) wavelengths at the carrier. gain : (N,) complex. coupling : (N, N) complex."""

    def __init__(
        self,
        x: NDArray[np.float64],
        gain: NDArray[np.complex128] | None = None,
        coupling: NDArray[np.complex128] | None = None,
    ) -> None:
        n = len(x)
        mixing = np.eye(n, dtype=complex) if coupling is None else np.asarray(coupling, complex)
        gains = np.ones(n, complex) if gain is None else np.asarray(gain, complex)
        if mixing.shape != (n, n) or gains.shape != (n,):
            raise ShapeError(f"array of {n} elements: coupling {mixing.shape}, gain {gains.shape}")
        if n < 2 or np.ptp(x) == 0:
            raise ConfigError(
                "the elements are all at one place", hint="give positions of two elements or more"
            )
        mixing = gains[:, None] * mixing
        self.x = torch.as_tensor(np.asarray(x, float))
        self.mixing = torch.as_tensor(mixing)
        self.plain = bool(np.array_equal(mixing, np.eye(n)))

    @property
    def n_elements(self) -> int:
        """N."""
        return len(self.x)

    @property
    def beam_u(self) -> float:
        """Width of a beam in u: one over the aperture of N half wavelengths, 2/N for an evenly spaced line."""
        return 1.0 / (float(self.x.max() - self.x.min()) * self.n_elements / (self.n_elements - 1))

    def responses(self, u: torch.Tensor) -> torch.Tensor:
        """A (..., N, K) of u (..., K): complex128 for float64, else complex64."""
        return self._mixed(self._wave(u))

    def slopes(self, u: torch.Tensor) -> torch.Tensor:
        """Derivatives of the columns of A by their u (..., N, K)."""
        return self._mixed(2j * math.pi * self.x.to(u)[:, None] * self._wave(u))

    def decode(self, u: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """Y (..., N, M) of u (..., K) and channels h (..., K, M)."""
        return self.responses(u) @ h

    def _wave(self, u: torch.Tensor) -> torch.Tensor:
        phase = 2 * math.pi * self.x.to(u)[:, None] * u[..., None, :]
        return torch.polar(torch.ones_like(phase), phase)

    def _mixed(self, wave: torch.Tensor) -> torch.Tensor:
        return wave if self.plain else self.mixing.to(wave) @ wave
