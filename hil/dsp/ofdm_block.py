"""What the receiver hands out, and the samples that it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class CsiBlock:
    """Channel response of one OFDM symbol, or of the mean of some.

    Attributes
    ----------
    csi : (M, S) complex64: unitary DFT / known symbol, subcarriers ascending and equally spaced
        (`OfdmReceiver.columns`); a delay tau after the zero is exp(-j 2 pi f tau). |csi|^2 S / n_fft is the received
        power (full scale 1). Relative phases of the channels are as received; the common phase is treated as
        the receiver was told.
    first_sample : absolute index of the first sample of the (first) symbol, prefix included, at delay zero.
    symbol : row of layout.grid of the (first) symbol.
    snr_db : (M,) per subcarrier and symbol, before any averaging; a mean over about 64 symbols. -inf: no signal.
    carrier_offset_hz : that was taken out.
    timing_samples : where a period begins at delay zero, in stream samples modulo the period.
    """

    csi: NDArray[np.complex64]
    first_sample: int
    symbol: int
    snr_db: NDArray[np.float64]
    carrier_offset_hz: float
    timing_samples: float


class SampleStore:
    """Samples (M, n) that wait for more, without gaps."""

    def __init__(self, n_channels: int) -> None:
        self._empty = np.zeros((n_channels, 0), np.complex64)
        self.drop()

    def drop(self) -> None:
        """Forget everything."""
        self._pieces: list[NDArray[np.complex64]] = []
        self.n, self._first = 0, 0

    def add(self, x: NDArray[np.complex64], first: int) -> None:
        """Append a copy of x (M, n), the samples from `first`."""
        if x.shape[1]:
            self._first = first if self.n == 0 else self._first
            self._pieces.append(x.copy())
            self.n += x.shape[1]

    def take(self) -> tuple[NDArray[np.complex64], int]:
        """Everything as one array, and its first sample; nothing is left."""
        out = np.concatenate(self._pieces, axis=1) if self._pieces else self._empty
        first = self._first
        self.drop()
        return out, first
