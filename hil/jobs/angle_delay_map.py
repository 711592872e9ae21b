"""The map of `hil angle-delay`: power over angle and range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay import AngleDelayMapper
from hil.dsp.angle_delay_channel import known_channel
from hil.dsp.angle_delay_paths import PathEstimate
from hil.dsp.response import calibrated_response
from hil.learning.csi_recording import CsiCapture

#: Doppler shifts of which a map is the largest: those with most energy.
_SPECTRA = 128
_DELAYS = 400
_ANGLES = 361


def power_map(
    capture: CsiCapture,
    estimate: PathEstimate,
    calibration: Calibration | None,
    grid_deg: tuple[float, float, float] | None,
    max_range_m: float | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Angles (A,) degrees, delays (D,) after the reference, power (A, D): the largest over Doppler at each place.

    The direct path is removed if it is the reference. grid_deg : (low, high, step) of the angles, None: all.
    max_range_m : None: past the last path.
    """
    stream, geometry = capture.stream, capture.stream.geometry
    assert geometry is not None
    response = calibrated_response(geometry.positions_m, stream.fc_hz, calibration)
    low, high = response.limits_deg
    angles = np.linspace(low, high, _ANGLES)
    if grid_deg is not None:
        a, b, step = grid_deg
        angles = np.arange(max(a, low), min(b, high) + step / 2, step)
    bin_s = 2 * estimate.range_bin_m / SPEED_OF_LIGHT_M_S
    most = bin_s * len(capture.frequency_hz) / 2
    if max_range_m is not None:
        most = min(2 * max_range_m / SPEED_OF_LIGHT_M_S, 2 * most)
    elif estimate.paths:
        most = min(2 * most, max(1.3 * max(p.delay_s for p in estimate.paths), 10 * bin_s))
    early = min([-bin_s, *(p.delay_s - bin_s for p in estimate.paths)])
    delays = np.linspace(early, most, _DELAYS)
    csi = capture.csi.astype(np.complex128)
    f = capture.frequency_hz
    if calibration is not None:
        csi = csi / known_channel(calibration, f)
    if estimate.delay_reference == "direct path":
        basis = np.exp(-2j * np.pi * f * estimate.reference_s) / np.sqrt(len(f))
        csi = csi - (csi.mean(axis=0) @ basis.conj())[:, None] * basis
    mapper = AngleDelayMapper(response, f, angles, delays + estimate.reference_s)
    spectra = np.fft.fft(csi, axis=0) / len(csi)
    energy = np.sum(np.abs(spectra) ** 2, axis=(1, 2))
    spectra = spectra[np.argsort(-energy, kind="stable")[:_SPECTRA]]
    power = np.zeros((len(angles), len(delays)), np.float32)
    for spectrum in spectra:
        np.maximum(power, mapper(spectrum), out=power)
    return angles, delays, power
