"""Training samples without end from a turntable recording: its response table at any angle, and fresh noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.methods.mod_dnn.tones import normalised
from calib.response.tones import ToneTable


class RecordedSource:
    """A training source. table : of the recording. snr_db : range of the SNR per element and tone, drawn evenly."""

    def __init__(self, table: ToneTable, snr_db: tuple[float, float] = (10.0, 30.0)):
        self._table = table
        self._snr_db = snr_db

    def __call__(self, angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
        """Normalised tones (n, K, M) of a source at each angle (n,)."""
        tones = self._table.response(angle_deg)
        sigma = 10 ** (-rng.uniform(*self._snr_db, len(tones)) / 20) * np.sqrt(0.5)
        noise = rng.standard_normal((*tones.shape, 2), np.float32).view(np.complex64)[..., 0]
        return normalised(tones + sigma[:, None, None] * noise)
