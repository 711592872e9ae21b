"""What methods may learn from: the simulator, turntable recordings, or a drive through the hall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.methods.mod_dnn.recorded import RecordedSource
from calib.methods.mod_dnn.tones import normalised
from calib.methods.mod_dnn.train import Source
from calib.response.tones import ToneTable, measure_tones
from hil.reproduce.mod_dnn_channels import N_SYMBOLS, Hall, hall
from hil.reproduce.mod_dnn_data import FIELD_DEG, draw, ideal, manifold, with_noise

TRAIN_SNR_DB = (10.0, 30.0)
TABLE_SNR_DB = 25.0
N_TRAIN, N_HELD = 400, 50
_WHOLE_DEG = np.arange(FIELD_DEG[0], FIELD_DEG[1] + 0.5)
_EVEN_DEG = np.arange(FIELD_DEG[0], FIELD_DEG[1] + 0.5, 2.0)
_NEAR_DEG = 6.0
_EXTRA_SNR_DB = (15.0, 40.0)


@dataclass(frozen=True, slots=True)
class Material:
    """source : of training samples. tones (R, K, M), angle_deg (R,) : the turntable run that both tables are made of."""

    source: Source
    tones: NDArray[np.complex64]
    angle_deg: NDArray[np.float64]

    def table(self) -> ToneTable:
        """Response table of the turntable run."""
        return measure_tones(self.tones, self.angle_deg, ideal)


def material(protocol: str, rho: float = 1.0) -> Material:
    """simulated, few: labelled samples without end. chamber: 121 angles x 400 symbols; held-out: even degrees of it.
    parking: three of four positions of the hall x 100 symbols. Tables always come from a turntable run."""
    rng = np.random.default_rng([8, 1])
    angles = np.repeat(_EVEN_DEG if protocol == "held-out" else _WHOLE_DEG, N_TRAIN)
    tones = normalised(draw(angles, rng, TABLE_SNR_DB, rho))
    if protocol in ("chamber", "held-out"):
        table = measure_tones(tones, angles, ideal)
        return Material(RecordedSource(table, snr_db=TRAIN_SNR_DB), tones, angles)
    if protocol == "parking":
        return Material(_DriveSource(hall()), tones, angles)

    def simulated(angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
        snr_db = rng.uniform(*TRAIN_SNR_DB, len(angle_deg))
        return normalised(draw(angle_deg, rng, snr_db, rho))

    return Material(simulated, tones, angles)


class _DriveSource:
    """Recorded symbols of training positions near the angle asked for, turned to it by the ideal array.

    Only 209 channels were recorded: each is used for all angles within 6 degrees, as if the car had stood there, and gets
    extra noise. The turn takes the whole scene along, echoes included.
    """

    def __init__(self, place: Hall) -> None:
        rng = np.random.default_rng([8, 2])
        kept = np.flatnonzero(~place.held_out)
        self._angle_deg = place.angle_deg[kept]
        symbols = place.symbols(np.repeat(kept, N_SYMBOLS), rng)
        self._symbols = symbols.reshape(len(kept), N_SYMBOLS, *symbols.shape[1:])

    def __call__(self, angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
        """Normalised tones (n, K, M)."""
        low = np.searchsorted(self._angle_deg, angle_deg - _NEAR_DEG)
        high = np.searchsorted(self._angle_deg, angle_deg + _NEAR_DEG)
        last = len(self._angle_deg) - 1
        pick = np.clip(
            low + np.floor(rng.random(len(angle_deg)) * np.maximum(high - low, 1)), 0, last
        ).astype(int)
        turn = manifold(angle_deg) / manifold(self._angle_deg[pick])
        tones = self._symbols[pick, rng.integers(N_SYMBOLS, size=len(pick))] * turn.T[:, None]
        return normalised(with_noise(tones, rng, rng.uniform(*_EXTRA_SNR_DB, len(pick))))
