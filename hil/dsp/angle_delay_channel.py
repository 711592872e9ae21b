"""What a calibration says about the receivers over frequency, as far as it is known better than not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.core.calibration import Calibration
from hil.dsp.angle_delay_model import Complex, Real

_DELAY_SIGMAS = 4.0


def known_channel(calibration: Calibration, frequency_hz: Real) -> Complex:
    """(M, S) response of the receivers over frequency relative to their gain: known delays and learned responses.

    Only what stands out of its standard deviation: a response that is mostly noise, divided out of a direct path far
    above the echoes, would put ghosts beside it. Responses shrink towards 1 by the share of noise in their deviation
    (Wiener), delays count from four standard deviations on.
    """
    imp = replace(calibration.impairments, delay_s=_delays_s(calibration))
    response, sigma = imp.frequency_response, calibration.sigma.frequency_response
    if response is not None and sigma is not None:
        seen = np.mean(np.abs(response - 1) ** 2, axis=1)
        noise = 2 * np.mean(np.nan_to_num(sigma) ** 2, axis=1)
        trust = np.clip(1 - noise / np.maximum(seen, 1e-30), 0.0, 1.0)
        trust[trust < 0.5] = 0.0
        imp = replace(imp, frequency_response=1 + (response - 1) * trust[:, None])
    return imp.channel_response(frequency_hz)


def _delays_s(calibration: Calibration) -> Real:
    delay = np.asarray(calibration.impairments.delay_s, float)
    sigma = np.nan_to_num(np.asarray(calibration.sigma.delay_s, float))
    return np.where(np.abs(delay) > _DELAY_SIGMAS * sigma, delay, 0.0)


def mistrust(calibration: Calibration | None) -> float:
    """Mean square relative error of the steering vectors that the calibration states; 0 for a nominal array."""
    if calibration is None:
        return 0.0
    gain = np.nan_to_num(calibration.sigma.gain_db) * np.log(10) / 20
    phase = np.deg2rad(np.nan_to_num(calibration.sigma.phase_deg))
    return float(np.mean(gain**2) + np.var(phase))
