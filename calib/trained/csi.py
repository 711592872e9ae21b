"""Channel responses made ready for a network: receivers' errors divided out, tones picked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, ConfigError


def corrected(
    csi: NDArray[np.complexfloating], frequency_hz: NDArray[np.float64], calibration: Calibration
) -> NDArray[np.complex128]:
    """Channel responses (B, M, S) without gains, delays, frequency responses and coupling: C^-1 diag(1 / (g H(f))) h.

    Places of elements and responses over angle stay: they act through the directions. Raises CalibrationError for a coupling
    that cannot be undone.
    """
    errors = calibration.impairments
    receiver = errors.gain[:, None] * errors.channel_response(frequency_hz)
    try:
        return np.linalg.inv(errors.coupling) @ (csi / receiver)
    except np.linalg.LinAlgError as err:
        raise CalibrationError("coupling: the matrix is singular") from err


def nearest_tones(have_hz: NDArray[np.float64], want_hz: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices (K,) of the subcarriers (S,) nearest to the tones (K,) of a network, all within half a spacing of these.

    Raises ConfigError if some tone has no subcarrier so near.
    """
    index = np.argmin(np.abs(have_hz[:, None] - want_hz), axis=0)
    away = np.abs(have_hz[index] - want_hz)
    half = np.inf if len(want_hz) < 2 else float(np.min(np.diff(want_hz))) / 2
    worst = int(np.argmax(away))
    if away[worst] > half:
        raise ConfigError(
            f"the network takes a tone at {want_hz[worst] / 1e3:+.0f} kHz from the carrier, the nearest subcarrier of these data "
            f"is at {have_hz[index[worst]] / 1e3:+.0f} kHz",
            hint="send a waveform as wide as the one that it was trained with, or train for this one",
        )
    return index
